"""The wire form of header fields and bodies, byte for byte. Pure.

Texts come in, 7-bit bytes with CRLF line ends go out. Nothing here passes through the standard library's policies:
they turn long List-Unsubscribe URLs into encoded words, which no mail program follows.

Bodies are quoted-printable in pieces (RFC 2045 6.7): `quote` encodes one piece without knowing its neighbours, because
each piece begins on a fresh line and ends its last line with a soft break. So pieces encoded at different times join
by concatenation, no line starts with "." or "From ", and no bare CR or LF exists. Fields: RFC 5322 2.2.3, RFC 2047.
"""

import base64
import re
from binascii import b2a_qp
from collections.abc import Callable

MAX_LINE = 76  # RFC 2045 6.7 for quoted-printable, RFC 2047 2 for lines with encoded words
SOFT_BREAK = b"=\r\n"

# Everything that could end a line, hide, or cannot be written in UTF-8. Tab and LF are text and handled apart.
_LINE_SEPARATORS = re.compile("\r\n|[\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_UNCLEAN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BLANKS = re.compile("[ \t\n]+")

# Fits one line as it stands: no escape, no "." or "F" first (dot-stuffing, mbox quoting), no blank last.
_PLAIN_PIECE = re.compile(r"[!-\-/-<>-EG-~](?:[ -<>-~]{0,73}[!-<>-~])?")
_EQUALS = ord("=")

_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_NOT_IN_HEADER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")  # RFC 5322 3.2.3
_PRINTABLE = re.compile(r"[!-~]+")
_QUOTABLE = re.compile(r"[ -~]+")
# RFC 2047 5 (3), the narrowest of its three sets: right in a phrase and everywhere else.
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_WORD_FRAME = len("=?utf-8?q??=")


class HeaderError(ValueError):
    """Raised when a header field would carry a line end, a control character or a broken name."""


def clean_text(value: str) -> str:
    """A value as it may stand in a body: every line separator is LF, other controls are blanks, all of it UTF-8."""
    if not _UNCLEAN.search(value):
        return value
    lined = _LINE_SEPARATORS.sub("\n", value)
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub(" ", lined))


def one_line(value: str) -> str:
    """A value as it may stand in a header: cleaned, and every run of blanks and line ends is one blank."""
    return _BLANKS.sub(" ", clean_text(value)).strip(" ")


def quote(piece: str) -> bytes:
    """One piece of a body in quoted-printable. Empty, or ends with CRLF (soft unless the piece ends a line).

    Exact for every text once line ends are read as LF; characters that UTF-8 cannot carry become "?".
    """
    if _PLAIN_PIECE.fullmatch(piece):
        return piece.encode("ascii") + SOFT_BREAK
    if type(piece) is not str:
        piece = str.__str__(piece)  # autoescape hands out a subclass whose every method escapes again, and is slow
    lines = piece.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    out = [_quote_line(line) + b"\r\n" for line in lines[:-1]]
    if lines[-1]:
        out.append(_quote_line(lines[-1]) + SOFT_BREAK)
    return b"".join(out)


def _quote_line(line: str) -> bytes:
    """One line with soft breaks inside; at most 75 characters each, so that one more "=" always fits."""
    # The C encoder escapes right, blanks at the end included, but knows no neighbours and breaks lines its own way.
    escaped = b2a_qp(line.encode("utf-8", "replace"), istext=False).replace(b"=\n", b"")
    room = MAX_LINE - 1
    if len(escaped) <= room and not escaped.startswith((b".", b"From ")):
        return escaped
    out = []
    start = 0
    while True:
        if escaped.startswith(b".", start):
            head, start = b"=2E", start + 1
        elif escaped.startswith(b"From ", start):
            head, start = b"=46", start + 1
        else:
            head = b""
        end = start + room - len(head)
        if end >= len(escaped):
            out.append(head + escaped[start:])
            return b"=\r\n".join(out)
        if escaped[end - 1] == _EQUALS:
            end -= 1
        elif escaped[end - 2] == _EQUALS:
            end -= 2
        out.append(head + escaped[start:end])
        start = end


def end_body(pieces: list[bytes]) -> list[bytes]:
    """The same list, its last line without the soft break, so that nothing dangles before the boundary."""
    for at in range(len(pieces) - 1, -1, -1):
        if pieces[at]:
            pieces[at] = pieces[at].removesuffix(SOFT_BREAK)
            break
    return pieces


class Alternative:
    """The frame of multipart/alternative: plain text first, HTML last (RFC 2046 5.1.4). One per issue.

    "=_" cannot occur in quoted-printable, so a boundary holding it never occurs in content (RFC 2045 6.7).
    """

    def __init__(self, boundary: str) -> None:
        self.boundary = boundary if "=_" in boundary else "=_" + boundary
        if not re.fullmatch(r"[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]", self.boundary):
            raise HeaderError("a boundary has 1 to 70 of the characters of RFC 2046 5.1.1 and does not end in a blank")
        mark = f"--{self.boundary}"
        part = "Content-Type: text/{}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        self.field = f'Content-Type: multipart/alternative;\r\n boundary="{self.boundary}"\r\n'.encode()
        self.before_text = f"{mark}\r\n{part.format('plain')}".encode()
        self.before_html = f"\r\n{mark}\r\n{part.format('html')}".encode()
        self.end = f"\r\n{mark}--\r\n".encode()

    def body(self, text: list[bytes], html: list[bytes]) -> list[bytes]:
        """The pieces of both parts, framed; joined they end with CRLF. Not joined here: a copy costs microseconds."""
        return [self.before_text, *text, self.before_html, *html, self.end]


def plain_field(name: str, value: str) -> bytes:
    """A structured field whose value stands exactly as given, on one line, ASCII unless an address needs UTF-8.

    For addr-specs, URIs, dates, ids. Raises HeaderError for anything that could end or hide in the line.
    """
    if not _FIELD_NAME.fullmatch(name) or _NOT_IN_HEADER.search(value):
        raise HeaderError(f"{name[:40]!r} holds a control character or a line separator")
    line = f"{name}: {value}".encode()
    if len(line) > 998:  # RFC 5322 2.1.1
        raise HeaderError(f"{name} is longer than 998 octets")
    return line + b"\r\n"


def text_field(name: str, value: str) -> bytes:
    """An unstructured field (Subject): ASCII words as they are, all else as encoded words, folded at 76."""
    limit = _room_after(name)
    line = one_line(value)
    if len(line) <= limit and _QUOTABLE.fullmatch(line) and "=?" not in line:
        return f"{name}: {line}\r\n".encode("ascii")
    return _fold(name, _encode_words(line, limit, _PRINTABLE))


def phrase_field(name: str, phrase: str, bracketed: str) -> bytes:
    """`phrase <bracketed>` as in From and List-Id; what stands in brackets is never encoded (RFC 2047 5)."""
    tail = f"<{bracketed}>"
    plain_field(name, tail)
    return _fold(name, [*_phrase_words(one_line(phrase), _room_after(name)), tail])


def _phrase_words(phrase: str, limit: int) -> list[str]:
    words = phrase.split(" ") if phrase else []
    if "=?" not in phrase and len(phrase) <= limit - 2 and _QUOTABLE.fullmatch(phrase):
        if all(_ATOM.fullmatch(word) for word in words):
            return words
        quoted = '"' + phrase.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if len(quoted) <= limit:
            return [quoted]
    return _encode_words(phrase, limit, _ATOM)


def _room_after(name: str) -> int:
    if not _FIELD_NAME.fullmatch(name):
        raise HeaderError(f"{name[:40]!r} is not a field name")
    return min(75, MAX_LINE - len(name) - 2)


def _encode_words(text: str, limit: int, plain: re.Pattern[str]) -> list[str]:
    """Words to be folded with one blank between them: those matching `plain` stay, runs of others are encoded.

    Blanks inside a run are encoded with it, because blanks between two encoded words vanish (RFC 2047 6.2).
    """
    out: list[str] = []
    run: list[str] = []
    for word in text.split(" ") if text else []:
        if plain.fullmatch(word) and "=?" not in word and len(word) <= limit:
            if run:
                out.extend(_encoded(" ".join(run), limit))
                run = []
            out.append(word)
        else:
            run.append(word)
    if run:
        out.extend(_encoded(" ".join(run), limit))
    return out


def _encoded(text: str, limit: int) -> list[str]:
    """Encoded words of at most `limit` characters, B or Q, whichever is shorter; no character is split."""
    octets = text.encode("utf-8", "replace")
    unsafe = sum(octet not in _Q_SAFE and octet != 32 for octet in octets)
    room = limit - _WORD_FRAME
    if 2 * unsafe * 3 > len(octets):  # Q costs n + 2 * unsafe, B costs 4 n / 3
        return [f"=?utf-8?b?{base64.b64encode(chunk).decode()}?=" for chunk in _chunks(text, room // 4 * 3, len)]
    return [f"=?utf-8?q?{_q(chunk)}?=" for chunk in _chunks(text, room, lambda octets: len(_q(octets)))]


def _q(octets: bytes) -> str:
    return "".join(chr(o) if o in _Q_SAFE else "_" if o == 32 else f"={o:02X}" for o in octets)


def _chunks(text: str, room: int, cost: Callable[[bytes], int]) -> list[bytes]:
    out: list[bytes] = []
    current, used = b"", 0
    for char in text:
        octets = char.encode("utf-8", "replace")
        price = cost(octets)
        if current and used + price > room:
            out.append(current)
            current, used = b"", 0
        current += octets
        used += price
    return [*out, current]


def _fold(name: str, words: list[str]) -> bytes:
    """One field; breaks only between words, the first word stays on the first line (RFC 5322 2.2.3)."""
    lines = [f"{name}:"]
    for at, word in enumerate(words):
        if at and len(lines[-1]) + 1 + len(word) > MAX_LINE:
            lines.append("")
        lines[-1] += " " + word
    return ("\r\n".join(lines) + "\r\n").encode()
