"""A Redis connection that reads no reply larger than we ever ask for.

A blocking pop tells no size beforehand: whoever may write to the server could make any process fetch 500 MB.
The length stands before the octets, so an oversized reply is refused unread and the connection closed with it; what
was popped is gone, which is right for something that is no nudge.
"""

from typing import Any

import redis
from redis._parsers.resp2 import _RESP2Parser
from redis._parsers.socket import SocketBuffer

MOST_OCTETS = 64 * 1024
"""Of one reply: a nudge has 4 KiB at most, the server's description of itself about 2."""


class OversizedError(redis.InvalidResponse):
    """Raised when the server began a reply that is larger than any we ask for; nothing of it was kept."""


class _BoundedBuffer(SocketBuffer):
    """Counts what one reply takes: a long value, an endless line and a list without end alike."""

    def __init__(self, *given: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(*given)
        self._left = MOST_OCTETS

    def read(self, length: int, timeout: Any = redis.utils.SENTINEL) -> bytes:  # noqa: ANN401
        self._take(length)
        return bytes(super().read(length, timeout=timeout))

    def readline(self, timeout: Any = redis.utils.SENTINEL) -> bytes:  # noqa: ANN401
        data = bytes(self._buffer.readline())
        while not data.endswith(b"\r\n"):
            if len(data) > self._left:
                raise OversizedError("a line without end")
            self._read_from_socket(timeout=timeout)
            data += self._buffer.readline()
        self._take(len(data))
        return data[:-2]

    def purge(self) -> None:
        super().purge()
        self._left = MOST_OCTETS

    def _take(self, octets: int) -> None:
        if octets > self._left:
            raise OversizedError("a reply larger than any we ask for")
        self._left -= octets


class BoundedParser(_RESP2Parser):
    """The library's parser (RESP2), over a buffer that knows its bound."""

    def on_connect(self, connection: Any) -> None:  # noqa: ANN401 - the library's own
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        self._buffer = _BoundedBuffer(self._sock, self.socket_read_size, connection.socket_timeout)
