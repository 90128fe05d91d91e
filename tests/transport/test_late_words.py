"""What a relay says between its last answer and the body, and what the loop has not brought when the body is due."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.transport.handing import hand, mails, run
from worker.transport.relay import Relay
from worker.transport.replies import Permanence

DEADLINE_S = 10.0


@dataclass
class Late:
    """A relay in a thread of its own, so that its words can wait in our socket while our loop stands still.

    It speaks `words` when told to, once, where the body is due; every body it refuses.
    """

    words: bytes
    extension: bytes
    port: int = 0
    bodies: int = 0
    lines: list[bytes] = field(default_factory=list)
    told: threading.Event = field(default_factory=threading.Event)
    said: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # said is arrived
            with line, line.makefile("rwb", buffering=0) as stream:
                self._talk(line, stream)

    def _talk(self, line: socket.socket, stream: socket.SocketIO) -> None:
        stream.write(b"220 late.example.org ESMTP\r\n")
        for got in iter(stream.readline, b""):
            self.lines.append(got)
            verb = got[:4].upper()
            if verb == b"EHLO":
                stream.write(b"250-late.example.org\r\n250 " + self.extension + b"\r\n")
            elif verb == b"DATA":
                stream.write(b"354 go on\r\n")
                if self._leaves(line, stream):
                    return
            elif verb == b"QUIT":
                stream.write(b"221 bye\r\n")
                return
            elif verb in (b"MAIL", b"RSET"):
                stream.write(b"250 OK\r\n")
            elif verb == b"RCPT":
                stream.write(b"250 OK\r\n")
                if self.extension == b"CHUNKING" and self._leaves(line, stream):
                    return
            elif verb == b"BDAT" or got == b".\r\n":
                self.bodies += 1
                stream.write(b"554 no\r\n")
                return

    def _leaves(self, line: socket.socket, stream: socket.SocketIO) -> bool:
        """Says its words, or ends the line and is gone."""
        if self.said.is_set() or not self.told.wait(DEADLINE_S):
            return False
        if self.words:
            stream.write(self.words)
        else:
            line.shutdown(socket.SHUT_RDWR)
        self.said.set()
        return not self.words


@contextmanager
def late_relay(words: bytes, extension: bytes) -> Iterator[Late]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        late = Late(words, extension, listener.getsockname()[1])
        thread = threading.Thread(target=late.serve, args=(listener,), daemon=True)
        thread.start()
        yield late
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)


@pytest.mark.parametrize("extension", [b"SIZE 0", b"CHUNKING"], ids=["stepwise", "chunked"])
@pytest.mark.parametrize("words", [b"250 OK\r\n", b"250", b""], ids=["a second answer", "half of one", "its end"])
def test_what_arrived_before_the_body_is_never_its_answer(words: bytes, extension: bytes) -> None:
    # Given: what comes out of turn is in the socket, and the loop has not looked
    with late_relay(words, extension) as late:

        async def pace() -> bool:
            late.told.set()
            assert late.said.wait(DEADLINE_S)
            return True

        # When
        handed = run(hand(Relay("127.0.0.1", late.port, connections=1), mails(1), pace=pace))

    # Then: no body left on that line, so nothing is accepted and nothing in doubt
    assert handed.outcomes[0].permanence not in (Permanence.ACCEPTED, Permanence.DOUBT)
    assert late.bodies <= 1
    assert len(handed.armed) == late.bodies
