"""Where links and pictures of an issue may point. Pure.

One judgement for the rules, the layouts and the sanitiser, so that nothing is refused in one place and sent by another.
"""

import ipaddress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

SCHEMES = frozenset({"http", "https", "mailto", "tel"})

_STAGING = frozenset({"staging", "stage", "preprod"})
"""Names no public site has. `dev` and `test` are left out: dev.example.org may be a public site for developers, and
this finding cannot be waived."""
_SECOND_LEVEL = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})
"""Where names of sites stand one label lower, as in example.co.uk."""


class LinkFault(Enum):
    """Why a link cannot be sent. Each value is its meaning: the end of a sentence that begins with the link."""

    EMPTY = "is empty"
    RELATIVE = "is relative: in a mail it leads nowhere"
    SCHEME = "has a scheme that mail programs block"
    LOCAL = "leads to this computer, which no reader can reach"
    STAGING = "leads to a place for rehearsals, not for readers"
    BROKEN = "is not an address"

    @property
    def works(self) -> bool:
        """True for a well-formed link: rules refuse it, yet a page or a proof may carry it."""
        return self in (LinkFault.LOCAL, LinkFault.STAGING)


@dataclass(frozen=True)
class Link:
    """A link of the issue's text with its visible words and the line of the file."""

    target: str
    label: str
    line: int


def judge_link(target: str) -> LinkFault | None:
    """The fault of a link, None for one that may be sent. Only http, https, mailto and tel may."""
    stripped = target.strip()
    if not stripped:
        return LinkFault.EMPTY
    if any(ord(char) <= 32 or ord(char) == 127 or char == "\\" for char in stripped):
        return LinkFault.BROKEN  # browsers read \ as / and drop tabs and line ends inside addresses
    try:
        parts = urlsplit(stripped)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return LinkFault.BROKEN
    if not parts.scheme:
        return LinkFault.RELATIVE
    if parts.scheme.lower() not in SCHEMES:
        return LinkFault.SCHEME
    if parts.scheme.lower() in ("mailto", "tel"):
        return None if parts.path else LinkFault.EMPTY
    if not parts.netloc or not host:
        return LinkFault.BROKEN
    if is_local_host(host):
        return LinkFault.LOCAL
    return LinkFault.STAGING if is_staging_host(host) else None


def is_local_host(host: str) -> bool:
    """True for a name or address that only this computer or its network knows."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal", ".lan", ".localdomain")):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." not in name
    return not address.is_global


def is_staging_host(host: str) -> bool:
    """True for staging.example.org and its like; a site's own name may be such a word, as in dev.to or web.dev."""
    *below, second, top = ["", *host.rstrip(".").lower().split(".")]
    if len(top) == 2 and second in _SECOND_LEVEL:
        below = below[:-1]
    return not _STAGING.isdisjoint(below)


def is_remote_picture(src: str) -> bool:
    """True for a picture that is not a file beside the issue."""
    return ":" in src.split("/")[0] or src.startswith(("/", "\\"))
