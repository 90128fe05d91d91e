"""Header fields of mails nobody vouches for: find, unfold, decode. Pure.

Never raises: what cannot be decoded is shown with replacement characters. The structured parser of the standard
library (`email.policy.default`) is left out on purpose, its header grammar costs much and fails on hostile fields.
"""

import re
from email.errors import HeaderParseError
from email.header import decode_header
from functools import lru_cache

LARGEST_HEAD = 256 * 1024
"""Octets of header looked at; Postfix cuts at 100 KiB."""
LONGEST_SUMMARY = 998
"""Octets of one field kept in the mailbox's index: one line of RFC 5322 2.1.1."""

_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")


def head_of(raw: bytes) -> bytes:
    """The header section of a mail without the empty line, cut at LARGEST_HEAD."""
    end = raw.find(b"\r\n\r\n", 0, LARGEST_HEAD)
    return raw[: end if end >= 0 else LARGEST_HEAD]


def find_field(head: bytes, lowered: bytes, name: bytes) -> bytes:
    """The first field `name` (lower case) unfolded, without the name; b"" when there is none.

    `lowered` is `head.lower()`, made once by the caller for several names.
    """
    start = 0
    if not lowered.startswith(name + b":"):
        start = lowered.find(b"\n" + name + b":") + 1
        if not start:
            return b""
    start += len(name) + 1
    end = head.find(b"\n", start)
    while 0 <= end < len(head) - 1 and head[end + 1 : end + 2] in b" \t":
        end = head.find(b"\n", end + 1)
    return _FOLD.sub(b"", head[start : end if end >= 0 else None]).strip()


def split_fields(head: bytes, limit: int) -> list[tuple[str, bytes]]:
    """At most `limit` fields as (name, unfolded raw value); lines that are no field get the name "" ."""
    fields: list[tuple[str, bytes]] = []
    for line in _FOLD.sub(b"", head).split(b"\n", limit)[:limit]:
        name, colon, value = line.rstrip(b"\r").partition(b":")
        if colon and name and b" " not in name:
            fields.append((name.decode("ascii", "replace"), value.strip()))
        elif line.strip():
            fields.append(("", line.rstrip(b"\r")))
    return fields


@lru_cache(maxsize=4096)
def decode_words(raw: bytes) -> str:
    """A field's value as people read it: encoded words (RFC 2047) decoded, controls made visible.

    Cached, because all mails of one issue share their subject and sender.
    """
    text = raw.decode("utf-8", "replace")
    if "=?" in text:
        text = _decode_encoded_words(text)
    return visible(text)


def visible(text: str) -> str:
    """`text` with control and direction-changing characters replaced, so that nothing can pose as another line."""
    return text if text.isprintable() and text.isascii() else _UNPRINTABLE.sub("\ufffd", text)


def _decode_encoded_words(text: str) -> str:
    try:
        pieces = decode_header(text)
    except (HeaderParseError, ValueError):
        return text
    return "".join(
        piece if isinstance(piece, str) else decode_octets(piece, charset or "ascii") for piece, charset in pieces
    )


def decode_octets(octets: bytes, charset: str) -> str:
    """Octets in the named charset; an unknown or wrong charset falls back instead of failing."""
    try:
        return octets.decode(charset, "replace")
    except (LookupError, UnicodeError, ValueError):
        return octets.decode("utf-8", "replace")
