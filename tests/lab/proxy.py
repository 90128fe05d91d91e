"""A TCP proxy that spoils lines: delays, cuts after so many octets, swallows, closes one half, resets.

It runs on a thread of its own; what it does to lines may be changed while they are open.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum


class End(StrEnum):
    """How a line ends once its octets are used up."""

    RESET = "reset"
    CLOSE = "close"
    HALF_CLOSE = "half_close"
    """The other side is told that nothing more comes, and may go on talking."""
    BLACKHOLE = "blackhole"
    """Everything is swallowed and nobody is told, until `Proxy.cut`."""


@dataclass
class Proxy:
    """`port` leads to `target`. The dice are thrown per line, so a seed tells what each line meets."""

    target: tuple[str, int]
    port: int = 0
    delay_s: float = 0.0
    """Of each piece, in each direction."""
    octets: tuple[int, int] | None = None
    """A line lives for a number of octets between these, both directions together; None for ever."""
    ends: tuple[End, ...] = (End.RESET,)
    seed: int = 1
    lines: int = 0
    cut_lines: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop | None = None

    def cut(self) -> None:
        """Reset every line that is open."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    async def _cut(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    async def serve(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        self.lines += 1
        dice = random.Random(f"{self.seed} {self.lines}")
        try:
            far_in, far_out = await asyncio.open_connection(*self.target)
        except OSError:
            _reset(near_out)
            return
        line = _Line(self, near_out, far_out, dice)
        self._open |= {near_out, far_out}
        try:
            with suppress(OSError):  # an end is what lines are here for
                await asyncio.gather(line.carry(near_in, far_out), line.carry(far_in, near_out))
        finally:
            for writer in (near_out, far_out):
                self._open.discard(writer)
                writer.close()


class _Line:
    def __init__(
        self, proxy: Proxy, near: asyncio.StreamWriter, far: asyncio.StreamWriter, dice: random.Random
    ) -> None:
        self._proxy, self._both = proxy, (near, far)
        self._left = dice.randint(*proxy.octets) if proxy.octets else None
        self._end = dice.choice(proxy.ends)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            if self._proxy.delay_s:
                await asyncio.sleep(self._proxy.delay_s)
            if self._left is not None:
                piece, self._left = piece[: self._left], max(self._left - len(piece), 0)
            writer.write(piece)
            await writer.drain()
            if self._left == 0:
                await self._finish(writer)
                return
        writer.write_eof()

    async def _finish(self, writer: asyncio.StreamWriter) -> None:
        self._proxy.cut_lines += 1
        if self._end is End.RESET:
            for each in self._both:
                _reset(each)
        elif self._end is End.CLOSE:
            for each in self._both:
                each.close()
        elif self._end is End.HALF_CLOSE:
            writer.write_eof()
            self._left = None  # the other direction goes on for as long as it likes
        else:
            await asyncio.Event().wait()  # nothing is left for the other direction either


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):  # closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def proxy_to(port: int, **given: object) -> Iterator[Proxy]:
    """A proxy to a port of this machine."""
    proxy = Proxy(("127.0.0.1", port), **given)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy._loop = loop

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(proxy.serve, "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.cut()
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
