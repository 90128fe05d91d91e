"""What a dialogue of the sink holds of one mail on its way in. Pure."""

from dataclasses import dataclass, field

LARGEST_MAIL = 26_214_400
"""Octets announced with SIZE: 25 MiB, what the large providers take."""
TOO_LARGE = b"552 5.3.4 Message too large"
NO_ROOM = b"452 4.3.1 Too much mail at once, try again later"


class IncomingData:
    """A body after DATA: lines up to the lone dot (RFC 5321 4.1.1.4). Only CRLF ends a line: nothing is smuggled."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._size = 0
        self.is_whole = False
        self.refusal: bytes | None = None
        """Why the body is not kept; it is read to its end all the same, to stay in step."""

    def take(self, data: bytes, position: int, has_room: bool) -> int:
        """Read on from `position`; returns where the body, or `data`, ends."""
        body = self._body
        known = len(body)
        if not has_room:
            self.refusal = self.refusal or NO_ROOM
        body += data[position:] if position else data
        if body.startswith(b".\r\n") and self.refusal is None:
            at, width = 0, 3
        else:
            at, width = body.find(b"\r\n.\r\n", max(0, known - 4)), 5
        if at < 0:
            if len(body) > LARGEST_MAIL:
                self.refusal = TOO_LARGE
            if self.refusal is not None:
                del body[:-4]
            return len(data)
        self._size = at + (2 if width == 5 else 0)
        if self._size > LARGEST_MAIL:
            self.refusal = self.refusal or TOO_LARGE
        self.is_whole = True
        return position + at + width - known

    def content(self) -> bytes:
        """The mail, dots undone. Asked for once: the octets read are given up."""
        with memoryview(self._body) as octets:
            content = bytes(octets[: self._size])
        self._body = bytearray()
        return (content[1:] if content.startswith(b".") else content).replace(b"\r\n.", b"\r\n")


@dataclass(slots=True)
class IncomingMail:
    """One mail on its way in; MAIL has not been said while `mail_from` is None."""

    mail_from: str | None = None
    smtputf8: bool = False
    rcpts: list[str] = field(default_factory=list)
    drops: bool = False
    delay_s: float = 0.0
    data: IncomingData | None = None
    chunks: bytearray = field(default_factory=bytearray)
    chunk_left: int = 0
    chunk_total: int = 0
    chunk_is_last: bool = False
    chunk_refusal: bytes | None = None
    held: int = 0
    """Octets of SinkState.in_flight that are this mail's."""
