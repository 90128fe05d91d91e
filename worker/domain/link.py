"""Whether an address may stand behind a link of ours, in a mail, on a page or in a publication's fields. Pure.

One judgement for every place, so that nothing is refused here and sent there. What a browser reads differently from
what a person sees is refused: names before an @, numbers for hosts, letters that only look like others (UTS 39).
"""

import ipaddress
import re
import unicodedata
from enum import Enum
from urllib.parse import SplitResult, unquote, urlsplit

import idna

SCHEMES = frozenset({"http", "https", "mailto", "tel"})

_STAGING = frozenset({"staging", "stage", "preprod"})
"""Names no public site has. `dev` and `test` are left out: dev.example.org may be a public site for developers, and
this finding cannot be waived."""
_SECOND_LEVEL = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})
"""Where names of sites stand one label lower, as in example.co.uk."""

# Direction controls, zero-width characters and the soft hyphen: what is shown is not what is there.
# Joiners (U+200C, U+200D) are left out: Persian and Indic words and emoji need them, and host names are judged apart.
_UNSEEN = re.compile(
    "[\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PHONE = re.compile(r"\+?[0-9()./\- ]*[0-9][0-9()./\- ]*(?:;[a-z]+=[\w.+-]+)*")
_MIXING = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})
"""Scripts whose letters look like each other's: a name in two of them is made to be mistaken."""
_LIKE_LATIN = frozenset("асԁеһіјӏорԛѕԝхуѵүԍ" + "αικνορτυχ")
"""Small Cyrillic and Greek letters that cannot be told from Latin ones."""


class LinkFault(Enum):
    """Why a link cannot be sent. Each value is its meaning: the end of a sentence that begins with the link."""

    EMPTY = "is empty"
    RELATIVE = "is relative: in a mail it leads nowhere"
    SCHEME = "has a scheme that mail programs block"
    LOCAL = "leads to this computer, which no reader can reach"
    STAGING = "leads to a place for rehearsals, not for readers"
    BROKEN = "is not an address"
    LOGIN = "has an @ before its first slash: it leads to what stands behind the @, not to what a reader sees first"
    NUMBER = "names its site by a number, so nobody can see where it leads"
    UNSEEN = "holds characters that nobody can see"
    LOOKALIKE = "has letters of several scripts in its site's name, or letters that look like others"

    @property
    def works(self) -> bool:
        """True for a well-formed link: rules refuse it, yet a page or a proof may carry it."""
        return self in (LinkFault.LOCAL, LinkFault.STAGING)

    @property
    def remedy(self) -> str:
        """What to write instead."""
        return _REMEDIES.get(self, "write a whole address that begins with https://")


_REMEDIES = {
    LinkFault.STAGING: "write the address that readers will use",
    LinkFault.LOGIN: "write the address without the part before the @",
    LinkFault.NUMBER: "write the site's name",
    LinkFault.UNSEEN: "type the address anew instead of pasting it",
    LinkFault.LOOKALIKE: "type the site's name anew, in one script",
}


def judge_link(target: str) -> LinkFault | None:
    """The fault of a link, None for one that may be sent. Only http, https, mailto and tel may."""
    stripped = target.strip(" ")
    if not stripped:
        return LinkFault.EMPTY
    if _UNSEEN.search(unquote(stripped)):
        return LinkFault.UNSEEN
    if any(char == "\\" or char.isspace() or unicodedata.category(char) in ("Cc", "Cs", "Co") for char in stripped):
        return LinkFault.BROKEN  # browsers read \ as / and drop tabs and line ends inside addresses
    try:
        parts = urlsplit(stripped)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return LinkFault.BROKEN
    scheme = parts.scheme.lower()
    if not scheme:
        return LinkFault.RELATIVE
    if scheme not in SCHEMES:
        return LinkFault.SCHEME
    if scheme == "tel":
        return _judge_phone(unquote(parts.path))
    if scheme == "mailto":
        return _judge_mailto(parts)
    if "@" in parts.netloc:
        return LinkFault.LOGIN
    return _judge_host(host) if parts.netloc and host else LinkFault.BROKEN


def _judge_phone(number: str) -> LinkFault | None:
    if not number:
        return LinkFault.EMPTY
    return None if _PHONE.fullmatch(number) else LinkFault.BROKEN  # * and # would run a command of the network


def _judge_mailto(parts: SplitResult) -> LinkFault | None:
    if not parts.path:
        return None if parts.query else LinkFault.EMPTY  # "mail this to a friend" names nobody
    for mailbox in unquote(parts.path).split(","):
        local, at, domain = mailbox.strip().rpartition("@")
        if not at or not local or "." not in domain:
            return LinkFault.BROKEN
        fault = _judge_name(domain)
        if fault is not None:
            return fault
    return None


def _judge_host(host: str) -> LinkFault | None:
    if ":" in host:  # in brackets: IPv6
        return LinkFault.LOCAL if is_local_host(host) else None
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # WHATWG URL 3.5: a name whose last label is a number is an IPv4 address, in whatever spelling.
        try:
            ipaddress.IPv4Address(host.removesuffix("."))
        except ValueError:
            return LinkFault.NUMBER
    else:
        fault = _judge_name(host)
        if fault is not None:
            return fault
    if is_local_host(host):
        return LinkFault.LOCAL
    return LinkFault.STAGING if is_staging_host(host) else None


def _judge_name(host: str) -> LinkFault | None:
    """A name of the domain name system, in letters or in its xn-- form."""
    name = host.removesuffix(".").lower()
    if unicodedata.normalize("NFKC", name) != name:
        return LinkFault.LOOKALIKE
    top = name.rpartition(".")[2]
    for label in name.split("."):
        try:
            shown = idna.ulabel(label) if label.startswith("xn--") else label
            wire = label if label.isascii() else idna.alabel(label).decode()
        except (idna.IDNAError, UnicodeError):
            return LinkFault.BROKEN
        if not _LABEL.fullmatch(wire):
            return LinkFault.BROKEN
        if not shown.isascii() and _deceives(shown, top):
            return LinkFault.LOOKALIKE
    return None if len(name) <= 253 else LinkFault.BROKEN


def _deceives(label: str, top: str) -> bool:
    letters = [char for char in label if char.isalpha()]
    scripts = {unicodedata.name(char, "").split(" ")[0] for char in letters}
    if len(scripts & _MIXING) > 1:
        return True
    return top.isascii() and bool(letters) and all(char in _LIKE_LATIN for char in letters)


def is_local_host(host: str) -> bool:
    """True for a name or address that only this computer or its network knows."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal", ".lan", ".localdomain")):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." not in name
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


def is_staging_host(host: str) -> bool:
    """True for staging.example.org and its like; a site's own name may be such a word, as in dev.to or web.dev."""
    *below, second, top = ["", *host.rstrip(".").lower().split(".")]
    if len(top) == 2 and second in _SECOND_LEVEL:
        below = below[:-1]
    return not _STAGING.isdisjoint(below)
