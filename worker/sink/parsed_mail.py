"""A raw mail taken apart for people to look at. Pure; never raises, whatever the mail holds.

What is beyond the bounds is left out and a sentence says so. Everything returned is
untrusted text: pages escape it, the HTML part only ever goes through `sink.frame`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import urlsplit

from selectolax.lexbor import LexborHTMLParser

from worker.received.fields import LARGEST_HEAD, decode_octets, decode_words, find_field, head_of, split_fields, visible
from worker.received.parts import MOST_PARTS, Part, leaves_of

LARGEST_OPENED = 1024 * 1024
"""Octets of a mail that are taken apart: ten times what a large mailbox provider shows uncut."""
LONGEST_PART = 256 * 1024
"""Characters of a text or HTML part that are shown."""
MOST_FIELDS = 500  # shown of one mail; ours have some 20
LONGEST_FIELD = 20_000  # characters of one field: a page stays readable
MOST_LINKS = 500  # taken from the HTML part, and listed in all
LONGEST_LINK_TEXT = 300  # characters: a link may span a whole mail
MOST_TAGS = 8_000
"""The HTML parser takes the square of the nesting, a sixth of a second for this many, and holds all else meanwhile."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_URL = re.compile(r"\b(?:https?://|mailto:)[^\s<>\"'\x00-\x1f]{1,2000}", re.IGNORECASE)
_ANGLE_URI = re.compile(r"<\s*([^<>\s]{1,2000})\s*>")


@dataclass(frozen=True, slots=True)
class MailLink:
    """One link of a mail. `part` is html, text or header; `opens` whether a page may offer it as a link."""

    part: str
    text: str
    target: str

    @property
    def opens(self) -> bool:
        return opens_in_browser(self.target)


@dataclass(frozen=True, slots=True)
class OtherPart:
    """A part that is neither the text nor the HTML; size in octets."""

    media_type: str
    name: str
    size: int


@dataclass(frozen=True)
class OpenedMail:
    """A mail as shown. `text` and `html` are None when there is no such part; `notes` are sentences for the reader."""

    fields: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    others: tuple[OtherPart, ...]
    notes: tuple[str, ...]

    def field(self, name: str) -> str:
        """The first field with this name, decoded; "" when there is none."""
        lowered = name.lower()
        return next((value for known, value in self.fields if known.lower() == lowered), "")

    @property
    def unsubscribe_uris(self) -> tuple[str, ...]:
        """All URIs of List-Unsubscribe in order (RFC 2369 3.2)."""
        return tuple(_ANGLE_URI.findall(self.field("List-Unsubscribe")))

    @property
    def is_one_click(self) -> bool:
        """Whether a mail program may offer its own button (RFC 8058 3.1)."""
        return self.field("List-Unsubscribe-Post").strip() == "List-Unsubscribe=One-Click"

    def links(self) -> tuple[MailLink, ...]:
        """Every link of both parts and of List-Unsubscribe, in order of appearance, at most MOST_LINKS."""
        links = [MailLink("header", "List-Unsubscribe", uri) for uri in self.unsubscribe_uris]
        links += _html_links(self.html or "")
        links += [MailLink("text", url, url) for is_url, url in pieces_of(self.text or "") if is_url]
        return tuple(links[:MOST_LINKS])


def open_mail(raw: bytes) -> OpenedMail:
    """Take a mail apart; only its first LARGEST_OPENED octets are looked at."""
    notes: list[str] = []
    if len(raw) > LARGEST_OPENED:
        notes.append(f"This mail has {len(raw):,} octets. Only the first {LARGEST_OPENED:,} are taken apart.")
        raw = raw[:LARGEST_OPENED]
    head = head_of(raw)
    fields = split_fields(head, MOST_FIELDS + 1)
    if len(fields) > MOST_FIELDS or len(head) >= LARGEST_HEAD:
        notes.append("The header is cut: it has too many fields or is too long.")
    decoded = tuple((name or "(no field)", decode_words(value[:LONGEST_FIELD])) for name, value in fields[:MOST_FIELDS])
    shown = _Parts(notes)
    shown.take(raw)
    return OpenedMail(decoded, shown.text, shown.html, tuple(shown.others), tuple(notes))


def raw_head(raw: bytes) -> str:
    """The header section as it stands in the mail, controls made harmless by the page."""
    return visible(decode_octets(head_of(raw), "utf-8").replace("\r\n", "\n"))


def message_id(raw: bytes) -> str:
    """The Message-ID field as it stands."""
    head = head_of(raw)
    return decode_words(find_field(head, head.lower(), b"message-id"))


def pieces_of(text: str) -> Iterator[tuple[bool, str]]:
    """Plain text cut into (is a URL, piece), at most MOST_LINKS of them; joined they are the text again."""
    position = 0
    for match in islice(_URL.finditer(text), MOST_LINKS):
        url = match[0].rstrip(".,;:!?)]}")
        yield False, text[position : match.start()]
        yield True, url
        position = match.start() + len(url)
    yield False, text[position:]


def opens_in_browser(target: str) -> bool:
    """Whether a target is a plain web address: never javascript:, data: or the like."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and bool(parts.netloc)


class _Parts:
    """Collects what is shown of a mail's parts: the first text, the first HTML, a list of the others."""

    def __init__(self, notes: list[str]) -> None:
        self.text: str | None = None
        self.html: str | None = None
        self.others: list[OtherPart] = []
        self._notes = notes

    def take(self, raw: bytes) -> None:
        leaves, whole = leaves_of(raw)
        if not whole:
            self._notes.append(f"Only the first {MOST_PARTS} parts are shown, and none that is nested too deeply.")
        for part in leaves:
            self._take_part(part)

    def _take_part(self, part: Part) -> None:
        octets = part.octets()
        if part.media_type == "text/html" and self.html is None and not part.is_attached:
            if octets.count(b"<") > MOST_TAGS:
                self._notes.append(f"The HTML is not shown: it has more than {MOST_TAGS:,} tags. See the source.")
            else:
                self.html = self._words(octets, part.charset)
        elif part.media_type == "text/plain" and self.text is None and not part.is_attached:
            self.text = self._words(octets, part.charset)
        else:
            self.others.append(OtherPart(part.media_type, part.name, len(octets)))

    def _words(self, octets: bytes, charset: str) -> str:
        text = decode_octets(octets[: 4 * LONGEST_PART + 4], charset)
        if len(text) > LONGEST_PART:
            self._notes.append(f"A part is longer than {LONGEST_PART:,} characters. Only so many are shown.")
            text = text[:LONGEST_PART]
        return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def _html_links(html: str) -> list[MailLink]:
    if not html:
        return []
    links = []
    for node in LexborHTMLParser(html).css("a[href], area[href]")[:MOST_LINKS]:
        target = (node.attributes.get("href") or "").strip()
        image = node.css_first("img[alt]")
        text = " ".join(node.text(deep=True).split()) or (image.attributes.get("alt") if image else None) or ""
        links.append(MailLink("html", text[:LONGEST_LINK_TEXT], target))
    return links
