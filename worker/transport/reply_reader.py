"""Bytes in, replies out: the strict grammar of what a relay may write. Pure. RFC 5321 4.2."""

from worker.transport.replies import Reply

MAX_LINE_BYTES = 2048  # RFC 5321 4.5.3.1.5 says 512; real relays are wordier
MAX_LINES = 100  # EHLO's reply has some 20; whoever writes more is filling our memory
MAX_REPLY_BYTES = 64 * 1024  # 32 of the longest lines: the memory that one relay can take

_CODES = {b"%d%d%d" % (a, b, c): 100 * a + 10 * b + c for a in range(2, 6) for b in range(6) for c in range(10)}


class MalformedReplyError(Exception):
    """Raised when what the relay wrote is not an SMTP reply; nothing after it can be attributed to a command."""


class ReplyReader:
    """Bytes in, replies out. Strict: CRLF, a code of [2-5][0-5][0-9], one code per reply, bounded sizes.

    8-bit text is let through (relays write it, RFC 6531 3.5 allows it); NUL, bare CR and bare LF are not.
    """

    def __init__(self) -> None:
        self._partial = b""
        self._lines: list[bytes] = []
        self._code = b""
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether no part of an unfinished reply is held."""
        return not self._partial and not self._lines

    def feed(self, data: bytes) -> list[Reply]:
        """The replies completed by `data`, oldest first.

        Raises MalformedReplyError when `data` breaks the grammar; replies before the break are then withheld, because
        what a broken line was meant to answer is unknown.
        """
        if self._partial:
            data = self._partial + data
        lines = data.split(b"\r\n")
        self._partial = lines.pop()
        if len(self._partial) > MAX_LINE_BYTES:
            raise MalformedReplyError("a reply line is too long")
        if b"\n" in self._partial or b"\0" in self._partial or b"\r" in self._partial[:-1]:
            raise MalformedReplyError("a reply has a control character in it")
        return [reply for line in lines if (reply := self._take(line)) is not None]

    def _take(self, line: bytes) -> Reply | None:
        code, mark = line[:3], line[3:4]
        value = _CODES.get(code)
        if value is None or mark not in (b" ", b"-", b""):
            raise MalformedReplyError("a reply line does not begin with a reply code")
        if b"\n" in line or b"\r" in line or b"\0" in line:
            raise MalformedReplyError("a reply has a control character in it")
        if len(line) > MAX_LINE_BYTES:
            raise MalformedReplyError("a reply line is too long")
        if mark != b"-" and not self._lines:
            return Reply(value, line[4:])
        return self._take_long(code, value, mark, line)

    def _take_long(self, code: bytes, value: int, mark: bytes, line: bytes) -> Reply | None:
        if self._lines and code != self._code:
            raise MalformedReplyError("a reply changes its code between lines")
        self._code = code
        self._lines.append(line[4:])
        self._bytes += len(line)
        if len(self._lines) > MAX_LINES or self._bytes > MAX_REPLY_BYTES:
            raise MalformedReplyError("a reply is too long")
        if mark == b"-":
            return None
        reply = Reply(value, b"\n".join(self._lines))
        self._lines, self._bytes = [], 0
        return reply
