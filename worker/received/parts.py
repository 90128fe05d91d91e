"""A mail's body taken apart: bounded in depth, parts, fields and parameters, and linear in its octets. Pure.

The parser of the standard library takes the square of what a hostile mail holds (parameters, boundaries, odd charsets);
here each octet is looked at a fixed number of times. Never raises. RFC 2045, 2046, 2183, 2231.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote_to_bytes

from worker.received.fields import decode_octets, decode_words, split_fields

MOST_PARTS = 100  # leaves of one mail; ours have two
MOST_OPENED = 300  # leaves and what holds them
MOST_DEPTH = 8  # multipart in multipart
LARGEST_PART_HEAD = 16 * 1024  # octets of a part's own header that are read
MOST_PART_FIELDS = 50
LONGEST_PARAMETERS = 2_000  # octets of a Content-Type or Content-Disposition that are read
MOST_PARAMETERS = 40
LONGEST_BOUNDARY = 200  # RFC 2046 5.1.1 allows 70

_PARAMETER = re.compile(rb';[ \t]*([!#-\'*+\-.0-9A-Z^-~]{1,80})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))')
_CONTINUED = re.compile(rb"(.+?)\*([0-9]{1,2})(\*?)")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_TYPE = re.compile(rb"[ \t]*([!#-'*+\-.0-9A-Z^-~]{1,60}/[!#-'*+\-.0-9A-Z^-~]{1,60})[ \t]*(?:;|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of a mail. `encoded` are its octets as sent; `charset` is "" and `name` is "" where nothing is said."""

    media_type: str
    charset: str
    is_attached: bool
    name: str
    encoding: str
    encoded: bytes

    def octets(self) -> bytes:
        """The content, transfer encoding undone as far as it can be."""
        if self.encoding == "base64":
            return _base64(self.encoded)
        return binascii.a2b_qp(self.encoded) if self.encoding == "quoted-printable" else self.encoded


def leaves_of(raw: bytes) -> tuple[list[Part], bool]:
    """(the leaves in order, whether all of them): those beyond MOST_PARTS or MOST_DEPTH are left out."""
    found: list[Part] = []
    whole, opened = True, 0
    waiting = [(raw, 0)]  # the next one last
    while waiting:
        octets, depth = waiting.pop()
        opened += 1
        if opened > MOST_OPENED or len(found) == MOST_PARTS:
            return found, False
        head, body = _cut_head(octets)
        fields = {name.lower(): value for name, value in reversed(split_fields(head, MOST_PART_FIELDS))}
        given = fields.get("content-type", b"")[:LONGEST_PARAMETERS]
        match = _TYPE.match(given)
        media_type = match[1].decode().lower() if match else "text/plain"
        about = _parameters(given)
        boundary = about.get("boundary", b"")[:LONGEST_BOUNDARY]
        if not boundary or not media_type.startswith("multipart/"):
            found.append(_leaf(fields, media_type, about, body))
        elif depth < MOST_DEPTH:
            pieces = list(islice(_pieces(body, boundary), MOST_PARTS + 1))
            waiting += [(piece, depth + 1) for piece in reversed(pieces)]
        else:
            whole = False
    return found, whole


def _leaf(fields: dict[str, bytes], media_type: str, about: dict[str, bytes], body: bytes) -> Part:
    disposition = fields.get("content-disposition", b"")[:LONGEST_PARAMETERS]
    name = _parameters(disposition).get("filename", b"") or about.get("name", b"")
    return Part(
        media_type,
        about.get("charset", b"").decode("ascii", "replace")[:40],
        disposition.lstrip()[:10].lower() == b"attachment",
        decode_words(name[:300]),
        fields.get("content-transfer-encoding", b"")[:40].strip().lower().decode("ascii", "replace"),
        body,
    )


def _cut_head(raw: bytes) -> tuple[bytes, bytes]:
    if raw[:1] == b"\n" or raw[:2] == b"\r\n":
        return b"", raw[2 if raw[:1] == b"\r" else 1 :]
    end = _HEAD_END.search(raw)
    if end is None:
        return raw[:LARGEST_PART_HEAD], b""
    return raw[: min(end.start(), LARGEST_PART_HEAD)], raw[end.end() :]


def _pieces(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What stands between the delimiter lines; the last piece may lack its end."""
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]{0,100}(?=\r?\n|\Z)")
    start = -1
    for match in line.finditer(body):
        if start >= 0:
            yield _after_line_end(body, start, match.start())
        if match[1]:
            return
        start = match.end()
    if start >= 0:
        yield _after_line_end(body, start, len(body))


def _after_line_end(body: bytes, start: int, end: int) -> bytes:
    start += 2 if body[start : start + 2] == b"\r\n" else 1
    return body[start : max(start, end)]


def _parameters(field: bytes) -> dict[str, bytes]:
    """Parameters by lower-case name, those of RFC 2231 put together; in UTF-8 where a charset was said."""
    found: dict[str, bytes] = {}
    pieces: dict[str, dict[int, tuple[bytes, bool]]] = {}
    for number, match in enumerate(_PARAMETER.finditer(field)):
        if number == MOST_PARAMETERS:
            break
        name, value = match[1].lower(), match[3] if match[2] is None else re.sub(rb"\\(.)", rb"\1", match[2])
        continued = _CONTINUED.fullmatch(name)
        if continued:
            key = continued[1].decode()
            pieces.setdefault(key, {})[int(continued[2])] = (value, bool(continued[3]))
        elif name.endswith(b"*"):
            pieces.setdefault(name[:-1].decode(), {})[0] = (value, True)
        else:
            found.setdefault(name.decode(), value)
    for key, numbered in pieces.items():
        found[key] = _joined([numbered[at] for at in sorted(numbered)])
    return found


def _joined(pieces: list[tuple[bytes, bool]]) -> bytes:
    first, encoded = pieces[0]
    charset = ""
    if encoded and first.count(b"'") >= 2:
        said, _, first = first.split(b"'", 2)
        charset = said.decode("ascii", "replace")[:40]
    octets = b"".join(
        unquote_to_bytes(value) if percent else value for value, percent in [(first, encoded), *pieces[1:]]
    )
    return decode_octets(octets, charset).encode() if charset else octets


def _base64(encoded: bytes) -> bytes:
    try:
        return binascii.a2b_base64(encoded)
    except binascii.Error:
        pass
    try:
        # What is left over at the end, or missing there, is no reason to show nothing.
        clean = re.sub(rb"[^A-Za-z0-9+/]", b"", encoded)
        return binascii.a2b_base64(clean[: len(clean) // 4 * 4])
    except binascii.Error:
        return encoded
