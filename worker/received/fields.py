"""Header fields of mails nobody vouches for: find, unfold, decode. Pure.

Never raises: what cannot be decoded is shown with replacement characters. The structured parser of the standard
library (`email.policy.default`) is left out on purpose, its header grammar costs much and fails on hostile fields.
"""

import binascii
import re
from functools import lru_cache

LARGEST_HEAD = 256 * 1024
"""Octets of header looked at; Postfix cuts at 100 KiB."""
LONGEST_SUMMARY = 998
"""Octets of one field kept in the mailbox's index: one line of RFC 5322 2.1.1."""

CHARSETS = {
    **{name: name for name in ("utf-8", "utf-16", "utf-16le", "utf-16be", "gb2312", "gbk", "gb18030", "big5")},
    **{f"iso{dash}8859-{part}": f"iso8859-{part}" for part in (*range(1, 12), 13, 14, 15, 16) for dash in ("", "-")},
    **{f"windows-125{part}": f"cp125{part}" for part in range(9)},
    **{f"cp125{part}": f"cp125{part}" for part in range(9)},
    **{name: name for name in ("euc-jp", "euc-kr", "iso-2022-jp", "koi8-r", "koi8-u", "tis-620")},
    "windows-874": "cp874",
    "shift-jis": "cp932",
    "windows-31j": "cp932",
    "ks-c-5601-1987": "cp949",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "latin1": "iso8859-1",
    "utf8": "utf-8",
}
"""Charsets of mails and the codecs for them. All others Python knows are left out: some take the square of their input,
some are no charsets, and each unknown name it is asked for stays in its memory."""

_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?\r\n]{0,1000})\?=")
_WORDS = re.compile(rf"(?:{_WORD.pattern.replace('(', '(?:')}(?:[ \t]{{1,100}}(?==\?))?)+")
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


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


def decode_words(raw: bytes) -> str:
    """A field's value as people read it: encoded words (RFC 2047) decoded, controls made visible."""
    return _decode_short(raw) if len(raw) <= LONGEST_SUMMARY else _decode(raw)


@lru_cache(maxsize=4096)
def _decode_short(raw: bytes) -> str:
    """Remembered, because all mails of one issue share their subject and sender; long ones would fill the memory."""
    return _decode(raw)


def _decode(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return visible(_WORDS.sub(_decode_group, text) if "=?" in text else text)


def visible(text: str) -> str:
    """`text` with control and direction-changing characters replaced, so that nothing can pose as another line."""
    return text if text.isprintable() and text.isascii() else _UNPRINTABLE.sub("\ufffd", text)


def _decode_group(words: re.Match[str]) -> str:
    """Encoded words that follow one another: octets of one charset belong together, a character may be cut between."""
    groups: list[tuple[str, bytes]] = []
    for charset, encoding, text in _WORD.findall(words[0]):
        charset = charset.partition("*")[0].lower()  # RFC 2231 5: a language may follow
        octets = text.encode("utf-8", "surrogateescape")
        try:
            decoded = binascii.a2b_base64(octets) if encoding in "bB" else binascii.a2b_qp(octets, header=True)
        except binascii.Error:
            return words[0]
        if groups and groups[-1][0] == charset:
            decoded = groups.pop()[1] + decoded
        groups.append((charset, decoded))
    return "".join(decode_octets(octets, charset) for charset, octets in groups)


def decode_octets(octets: bytes, charset: str) -> str:
    """Octets in the named charset, as UTF-8 where it is none of CHARSETS."""
    try:
        return octets.decode(CHARSETS.get(charset.strip().lower().replace("_", "-"), "utf-8"), "replace")
    except (UnicodeError, ValueError):
        return octets.decode("utf-8", "replace")
