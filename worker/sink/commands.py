"""SMTP commands as the sink reads them: strict grammar, limits, and what makes a body unacceptable. Pure.

Octets in, values out; anything else raises `Rejected` with the reply to give. RFC 5321 4.1, 4.5.3.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

LONGEST_COMMAND = 512  # RFC 5321 4.5.3.1.4, with CRLF
LONGEST_PATH_COMMAND = 1_100
"""MAIL and RCPT: 512 and what SIZE, SMTPUTF8, 8BITMIME and DSN may add (RFC 3461 4: 500 octets)."""
LONGEST_LINE = 4_096
"""Octets without a line end after which the client is not talking SMTP and is sent away."""
LONGEST_TEXT_LINE = 1_000  # RFC 5321 4.5.3.1.6, with CRLF

OTHER_PROTOCOLS = frozenset(
    {
        b"GET",
        b"POST",
        b"PUT",
        b"HEAD",
        b"DELETE",
        b"OPTIONS",
        b"PATCH",
        b"TRACE",
        b"CONNECT",
        b"PRI",
        b"SSH-2.0",
        b"HOST:",
    }
)
"""First words of other programs' requests. A web page can make a browser send mail commands as the body of one."""
TLS_RECORD = 0x16  # first octet of a TLS handshake (RFC 8446 5.1)

LAST_IN_GROUP = frozenset({b"EHLO", b"HELO", b"DATA", b"VRFY", b"NOOP"})
"""RFC 2920 3.1: the client must wait for these replies. QUIT belongs to them but nothing after it is read anyway."""


class Extension(StrEnum):
    """What EHLO may announce; each can be switched off."""

    PIPELINING = "PIPELINING"  # commands in groups (RFC 2920)
    CHUNKING = "CHUNKING"  # BDAT in place of DATA (RFC 3030)
    EIGHTBITMIME = "8BITMIME"  # 8-bit text in bodies (RFC 6152)
    SMTPUTF8 = "SMTPUTF8"  # addresses beyond ASCII (RFC 6531)
    SIZE = "SIZE"  # the largest mail, and MAIL's SIZE (RFC 1870)
    DSN = "DSN"  # what reports are wished (RFC 3461)
    ENHANCEDSTATUSCODES = "ENHANCEDSTATUSCODES"  # x.y.z in replies (RFC 2034)


class Rejected(Exception):
    """Raised when a command is refused; `reply` is the line to answer, without CRLF."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        super().__init__(reply.decode("ascii"))


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """What MAIL said; address is "" for the null return path."""

    address: str
    smtputf8: bool


_PATH = rb'<((?:"(?:[^"\\\r\n]|\\[ -~])*"@)?[^<>"\x00-\x20\x7f]*)>((?: [^ ]+)*)'
_MAIL = re.compile(rb"(?i:FROM):" + _PATH)
_RCPT = re.compile(rb"(?i:TO):" + _PATH)
_BDAT = re.compile(rb"([0-9]{1,12})( +(?i:LAST))?")
_ENHANCED = re.compile(rb"([2-5][0-9]{2}) [245]\.[0-9]{1,3}\.[0-9]{1,3} ")


def length_limit(verb: bytes) -> int:
    """Octets a command line may have, CRLF counted."""
    return LONGEST_PATH_COMMAND if verb in (b"MAIL", b"RCPT") else LONGEST_COMMAND


def ehlo_lines(host: bytes, offers: frozenset[Extension], largest: int) -> list[bytes]:
    """The lines of EHLO's reply, without line ends (RFC 5321 4.1.1.1)."""
    words = [host]
    words += [b"SIZE %d" % largest if e is Extension.SIZE else e.value.encode() for e in Extension if e in offers]
    return [b"250-" + word for word in words[:-1]] + [b"250 " + words[-1]]


def parse_mail(argument: bytes, offers: frozenset[Extension], largest: int) -> ReturnPath:
    """The argument of MAIL, `FROM:<...>` and parameters. Raises Rejected."""
    match = _MAIL.fullmatch(argument)
    if match is None:
        raise Rejected(b"501 5.5.4 Say MAIL FROM:<address>")
    smtputf8 = False
    for parameter in match[2].split():
        name, _, value = parameter.upper().partition(b"=")
        if name == b"SIZE" and Extension.SIZE in offers and value.isdigit():
            if len(value) > 20 or int(value) > largest:
                raise Rejected(b"552 5.3.4 Message too large")
        elif name == b"BODY" and Extension.EIGHTBITMIME in offers and value in (b"7BIT", b"8BITMIME"):
            pass
        elif name == b"SMTPUTF8" and Extension.SMTPUTF8 in offers and not value:
            smtputf8 = True
        elif not _is_dsn(name, value, offers, {b"RET": (b"FULL", b"HDRS"), b"ENVID": ()}):
            raise Rejected(b"555 5.5.4 Unknown or malformed parameter")
    return ReturnPath(_address(match[1], smtputf8), smtputf8)


def parse_rcpt(argument: bytes, offers: frozenset[Extension], *, smtputf8: bool) -> str:
    """The address in RCPT's argument, `TO:<...>` and parameters. Raises Rejected."""
    match = _RCPT.fullmatch(argument)
    if match is None or not match[1]:
        raise Rejected(b"501 5.5.4 Say RCPT TO:<address>")
    for parameter in match[2].split():
        name, _, value = parameter.upper().partition(b"=")
        if not _is_dsn(name, value, offers, {b"NOTIFY": (), b"ORCPT": ()}):
            raise Rejected(b"555 5.5.4 Unknown or malformed parameter")
    address = _address(match[1], smtputf8)
    if "@" not in address and address.lower() != "postmaster":
        raise Rejected(b"553 5.1.3 The address has no domain")
    return address


def _is_dsn(name: bytes, value: bytes, offers: frozenset[Extension], allowed: dict[bytes, tuple[bytes, ...]]) -> bool:
    if Extension.DSN not in offers or name not in allowed or not value:
        return False
    return not allowed[name] or value in allowed[name]


def _address(path: bytes, smtputf8: bool) -> str:
    if not smtputf8 and not path.isascii():
        raise Rejected(b"553 5.6.7 A non-ASCII address needs SMTPUTF8")
    try:
        address = path.decode()
    except UnicodeDecodeError:
        raise Rejected(b"553 5.6.7 The address is not UTF-8") from None
    # RFC 5321 4.5.3.1.1 and 4.5.3.1.3, brackets counted.
    if len(path) > 254 or len(path.rpartition(b"@")[0]) > 64:
        raise Rejected(b"501 5.1.3 The address is too long")
    return address


def parse_bdat(argument: bytes) -> tuple[int, bool]:
    """(octets, is last) of a BDAT command. Raises Rejected (RFC 3030 2)."""
    match = _BDAT.fullmatch(argument)
    if match is None:
        raise Rejected(b"501 5.5.4 Say BDAT size [LAST]")
    return int(match[1]), match[2] is not None


def body_refusal(raw: bytes, offers: frozenset[Extension]) -> bytes | None:
    """The reply to a body no strict relay should carry on, or None: bare CR or LF, NUL, over-long line, 8-bit text.

    521 closes the session: such octets are how a second mail is smuggled in.
    """
    lines = raw.count(b"\n")
    if raw.count(b"\r") != lines or raw.count(b"\r\n") != lines:
        return b"521 5.5.2 Bare LF or CR received"
    if b"\0" in raw:
        return b"554 5.6.0 NUL in the mail"
    if _has_long_line(raw):
        return b"554 5.6.0 A line is longer than 998 octets"
    if Extension.EIGHTBITMIME not in offers and not raw.isascii():
        return b"554 5.6.3 8-bit text needs 8BITMIME, which is not offered"
    return None


def _has_long_line(raw: bytes) -> bool:
    # From each line start jump to the last line end within reach: a few steps instead of one per line.
    start, end = 0, len(raw)
    while end - start > LONGEST_TEXT_LINE:
        line_end = raw.rfind(b"\n", start, start + LONGEST_TEXT_LINE)
        if line_end < 0:
            return True
        start = line_end + 1
    # Without CRLF at the very end the last line has two octets less.
    return end - start > LONGEST_TEXT_LINE - 2 and not raw.endswith(b"\n")


def without_enhanced_code(reply: bytes) -> bytes:
    """`250 2.1.0 Ok` → `250 Ok`."""
    return _ENHANCED.sub(rb"\1 ", reply, count=1)
