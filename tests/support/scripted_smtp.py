"""An SMTP server that behaves, until its scenario says otherwise: the double for everything a relay can do to us.

A scenario is a list of `On(event, *steps)`. Events: connect, ehlo, helo, starttls, tls (after the handshake), auth,
mail, rcpt, data, body_begins (its first line is there), bdat, body (complete), rset, quit, other. Steps are done in
order in place of the server's usual answer: bytes are written as they are (one write, so one segment), the others are
named below. A rule may be limited by a pattern over the command line, by `skip` and by `times`.
"""

import asyncio
import base64
import hmac
import re
import socket
import ssl
import struct
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType


class Step(Enum):
    """What a scenario may do besides writing bytes."""

    CLOSE = "close the connection in good order"
    RESET = "reset the connection"
    HANG = "say nothing more until the other side gives up"
    USUAL = "do what a well-behaved server does here"
    KEEP = "count the mail as taken without a word"
    FLOOD = "write continuation lines without end"
    DRIP = "write one octet of an unfinished reply at a time without end"
    LISTEN = "notice whether the client has spoken already"
    DATA = "read lines up to the lone dot and answer that nobody was to get them"
    STOP_READING = "leave everything that comes in the kernel's buffer, until the other side gives up"


CLOSE, RESET, HANG, USUAL, KEEP = Step.CLOSE, Step.RESET, Step.HANG, Step.USUAL, Step.KEEP
FLOOD, DRIP, LISTEN, DATA, STOP_READING = Step.FLOOD, Step.DRIP, Step.LISTEN, Step.DATA, Step.STOP_READING


@dataclass
class On:
    """One line of a scenario."""

    event: str
    steps: tuple[bytes | Step, ...]
    line: str = ""
    skip: int = 0
    times: int | None = None

    def __init__(
        self, event: str, *steps: bytes | Step, line: str = "", skip: int = 0, times: int | None = None
    ) -> None:
        self.event, self.steps, self.line, self.skip, self.times = event, steps, line, skip, times

    def applies(self, event: str, line: str) -> bool:
        if event != self.event or not re.search(self.line, line, re.IGNORECASE):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            if not self.times:
                return False
            self.times -= 1
        return True


@dataclass
class Taken:
    """A mail the server answered for: its envelope as written, its octets, and the connection's number from 1."""

    mail: str
    rcpt: str
    body: bytes
    connection: int


class _OverError(Exception):
    pass


ALL = ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "SIZE 10485760", "ENHANCEDSTATUSCODES")


@dataclass
class ScriptedRelay:
    """`async with ScriptedRelay(...) as relay:` listens on a free loopback port; `host` is a name for certificates."""

    scenario: list[On] = field(default_factory=list)
    extensions: tuple[str, ...] = ALL
    extensions_after_tls: tuple[str, ...] | None = None
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    login: tuple[str, str] | None = None
    takes_initial_login: bool = True
    receive_buffer: int | None = None
    greeting: bytes = b"220 relay.example.org ESMTP\r\n"
    round_trip_s: float = 0.0
    """How long the answers to what was written together are on their way: a relay that is far."""

    def __post_init__(self) -> None:
        self.taken: list[Taken] = []
        self.lines: list[str] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.early_talk = False
        self.written_ahead: set[int] = set()
        """The connections on which a command arrived before the one before it was answered."""
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Condition()

    async def __aenter__(self) -> "ScriptedRelay":
        sock = socket.create_server(("127.0.0.1", 0))
        if self.receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(
            self._accept, sock=sock, limit=2**20, ssl=self.tls if self.implicit_tls else None
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Close the door and every connection, as a relay that is restarted does."""
        await self.__aexit__(None, None, None)

    def answer(self, event: str, connection: int) -> bytes | None:
        """What a relay with a mind of its own says; None leaves it to the scenario."""
        return None

    async def has_taken(self, count: int) -> None:
        """Wait until `count` mails were taken."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.taken) >= count)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Its sockets come from a listener without a protocol number, so asyncio does not do this by itself.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        task = asyncio.get_running_loop().create_task(_Conversation(self, reader, writer).run())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.open -= 1
        self._tasks.discard(task)


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()


class _Conversation:
    def __init__(self, relay: ScriptedRelay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.relay, self.reader, self.writer = relay, reader, writer
        self.number = relay.connections
        self.is_secure = relay.implicit_tls
        self.mail = self.rcpt = ""
        self.body = b""

    async def run(self) -> None:
        try:
            await self._step("connect", "", self.relay.greeting)
            while True:
                raw = await self.reader.readline()
                if not raw.endswith(b"\r\n"):
                    return
                line = raw[:-2].decode("utf-8", "replace")
                self.relay.lines.append(line)
                if self.reader._buffer and not line.startswith("BDAT"):  # type: ignore[attr-defined]
                    self.relay.written_ahead.add(self.number)
                await self._command(line)
        except (_OverError, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.writer.close()

    async def _command(self, line: str) -> None:
        verb = line.split(" ")[0].upper()
        if verb in ("EHLO", "HELO"):
            await self._step(verb.lower(), line, self._hello(verb))
        elif verb == "STARTTLS":
            await self._start_tls(line)
        elif verb == "AUTH":
            await self._auth(line)
        elif verb == "MAIL":
            nested = bool(self.mail)
            usual = b"503 5.5.1 nested MAIL\r\n" if nested else b"250 2.1.0 sender ok\r\n"
            if await self._step("mail", line, usual):
                self.mail = line
        elif verb == "RCPT":
            usual = b"250 2.1.5 recipient ok\r\n" if self.mail else b"503 5.5.1 MAIL first\r\n"
            if await self._step("rcpt", line, usual):
                self.rcpt = line
        elif verb == "DATA":
            await self._data(line)
        elif verb == "BDAT":
            await self._step("bdat", line, b"")
            self.body = await self.reader.readexactly(int(line.split(" ")[1]))
            await self._take(line)
        elif verb == "RSET":
            self.mail = self.rcpt = ""
            await self._step("rset", line, b"250 2.0.0 flushed\r\n")
        elif verb == "QUIT":
            await self._step("quit", line, b"221 2.0.0 bye\r\n")
            raise _OverError
        else:
            await self._step("other", line, b"500 5.5.2 what?\r\n")

    def _hello(self, verb: str) -> bytes:
        offered = self.relay.extensions
        if self.is_secure and self.relay.extensions_after_tls is not None:
            offered = self.relay.extensions_after_tls
        if verb == "HELO" or not offered:
            return b"250 relay.example.org\r\n"
        lines = ["relay.example.org greets you", *offered]
        return "".join(f"250{' ' if n == len(lines) else '-'}{text}\r\n" for n, text in enumerate(lines, 1)).encode()

    async def _start_tls(self, line: str) -> None:
        if not await self._step("starttls", line, b"220 2.0.0 go ahead\r\n"):
            return
        assert self.relay.tls is not None
        await self.writer.start_tls(self.relay.tls)
        self.is_secure = True
        await self._step("tls", "", b"")

    async def _auth(self, line: str) -> None:
        way, *initial = line.split(" ")[1:]
        if way.upper() == "LOGIN":
            user = (
                initial[0] if initial and self.relay.takes_initial_login else await self._ask(b"334 VXNlcm5hbWU6\r\n")
            )
            given = (_decode(user), _decode(await self._ask(b"334 UGFzc3dvcmQ6\r\n")))
        elif way.upper() == "CRAM-MD5":
            challenge = b"<1@relay.example.org>"
            said = _decode(await self._ask(b"334 " + base64.b64encode(challenge) + b"\r\n"))
            user, digest = said.split(" ")
            password = (self.relay.login or ("", ""))[1]
            proven = hmac.new(password.encode(), challenge, "md5").hexdigest()
            given = (user, password if hmac.compare_digest(digest, proven) else "")
        else:
            _, user, password = _decode(initial[0]).split("\0")
            given = (user, password)
        usual = b"235 2.7.0 welcome\r\n" if given == self.relay.login else b"535 5.7.8 no\r\n"
        await self._step("auth", line, usual)

    async def _ask(self, prompt: bytes) -> str:
        self.writer.write(prompt)
        return (await self.reader.readline()).strip().decode()

    async def _data(self, line: str) -> None:
        usual = b"354 go on\r\n" if self.rcpt else b"503 5.5.1 RCPT first\r\n"
        if not await self._step("data", line, usual):
            return
        if usual.startswith(b"503"):
            return
        raw = await self.reader.readline()
        await self._step("body_begins", line, b"")
        lines: list[bytes] = []
        while raw != b".\r\n":
            if not raw.endswith(b"\n"):
                return
            lines.append(raw[1:] if raw.startswith(b".") else raw)
            raw = await self.reader.readline()
        self.body = b"".join(lines)
        await self._take(line)

    async def _take(self, line: str) -> None:
        if not self.rcpt:
            self.mail = ""
            await self._step("body", line, b"503 5.5.1 no recipient\r\n")
            return
        if await self._step("body", f"{self.mail} {self.rcpt}", b"250 2.0.0 queued\r\n"):
            await self._keep()
        self.mail = self.rcpt = ""

    async def _keep(self) -> None:
        self.relay.taken.append(Taken(self.mail, self.rcpt, self.body, self.number))
        async with self.relay.changed:
            self.relay.changed.notify_all()

    async def _step(self, event: str, line: str, usual: bytes) -> bool:
        """Whether the answer was positive, or for data and body whether the usual thing was done."""
        if self.relay.round_trip_s and not self.reader._buffer:  # type: ignore[attr-defined]
            await asyncio.sleep(self.relay.round_trip_s)
        if (words := self.relay.answer(event, self.number)) is not None:
            self.writer.write(words)
            return words.startswith(b"2")
        for rule in self.relay.scenario:
            if rule.applies(event, line):
                did_usual, words = await self._play(rule.steps, usual)
                return did_usual or (event in ("mail", "rcpt") and words.startswith(b"2"))
        self.writer.write(usual)
        await self.writer.drain()
        return usual[:1] != b"5"

    async def _play(self, steps: tuple[bytes | Step, ...], usual: bytes) -> tuple[bool, bytes]:
        did_usual, words = False, b""
        for step in steps:
            if isinstance(step, bytes):
                self.writer.write(step)
                await self.writer.drain()
                words += step
            elif step is USUAL:
                self.writer.write(usual)
                did_usual = True
            elif step is KEEP:
                await self._keep()
            elif step is LISTEN:
                for _ in range(5):
                    await asyncio.sleep(0)
                self.relay.early_talk |= bool(self.reader._buffer)  # type: ignore[attr-defined]
            elif step is DATA:
                while await self.reader.readline() != b".\r\n":
                    pass
                self.writer.write(b"554 5.5.1 no valid recipients\r\n")
            elif step is CLOSE:
                raise _OverError
            else:
                await self._misbehave(step)
        return did_usual, words

    async def _misbehave(self, step: Step) -> None:
        if step is RESET:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
            raise _OverError
        if step is STOP_READING:
            self.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        if step is HANG:
            while await self.reader.read(65536):
                pass
            raise _OverError
        drop = b"250-and so on\r\n" if step is FLOOD else b"2"
        while not self.writer.transport.is_closing():
            self.writer.write(drop)
            await self.writer.drain()
            await asyncio.sleep(0.001)
        raise _OverError
