"""One strict line to a relay: bytes out, groups of replies in.

Every reply is expected by name and number; whatever comes beyond that breaks the line for good. A broken line is never
mended: its transport is aborted at once, so nothing still buffered can leave after it was judged.
"""

import asyncio
import select
import sys
import termios
from enum import StrEnum
from fcntl import ioctl

from worker.transport.replies import Reply
from worker.transport.reply_reader import MalformedReplyError, ReplyReader

MOST_ROUNDS = 8
"""Of the event loop, for what has arrived: it takes two. Octets that TLS keeps to itself need no more of them."""
_BEYOND_A_COPY = 1028
"""Python's ioctl fills a longer array in place and without letting other threads run, which would cost more than it."""
_RECORD_OCTETS = 128  # what TLS adds to a tail that travels in records of its own


class Cause(StrEnum):
    """Why a line is over."""

    CLOSED = "closed"
    """The relay, or the network, closed it."""
    DEADLINE = "deadline"
    """A reply did not come in its time."""
    MALFORMED = "malformed"
    """Something came that is no reply."""
    SURPLUS = "surplus"
    """A reply came that nobody asked for, or in an order that cannot be."""
    LET_GO = "let_go"
    """We dropped it: cancellation, or an end in the middle of DATA."""


class Broken(Exception):
    """Raised when the line is over; `cause` says why, `text` in a few words, without anything a reader typed."""

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(text)
        self.cause = cause
        self.text = text


class Wire(asyncio.Protocol):
    """The protocol that takes a connected transport over. One group of expected replies at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._expected = 0
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._then_s = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._is_plain = True
        self._is_stuck = False
        self._poll = select.poll()
        self._file: int | None = None
        self._unconfirmed = bytearray(_BEYOND_A_COPY)
        self._tail: int | None = None
        self.is_early = False
        """Whether the current group's first reply was written before the other end had all octets but the tail's."""
        self.answered: list[Reply] = []
        """The replies of the current group, as far as they came."""
        self.surplus: list[Reply] = []
        """Replies that came beyond the group."""
        self.broken: Broken | None = None

    def take_over(self, transport: asyncio.Transport) -> None:
        """Become the protocol of a connected transport whose former reader has nothing left unread."""
        self._transport = transport
        self._is_plain = transport.get_extra_info("sslcontext") is None
        sock = transport.get_extra_info("socket")
        self._file = sock.fileno() if sock is not None else None
        transport.set_protocol(self)
        if transport.is_closing():
            self.break_off(Cause.CLOSED, "the relay closed the connection")
        elif self._file is not None:
            self._poll.register(self._file, select.POLLIN)

    @property
    def local_port(self) -> int:
        """Our end of the connection, by which the relay's log can be searched; 0 when there is none."""
        name = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return int(name[1]) if isinstance(name, tuple) and len(name) > 1 else 0

    @property
    def is_waiting(self) -> bool:
        """Whether replies of the current group are still to come."""
        return self.broken is None and len(self.answered) < self._expected

    @property
    def body_is_stuck(self) -> bool:
        """Whether part of the last body never left this process, so that the relay cannot have all of it.

        Known on plain connections only: TLS buffers below our sight, and there a body counts as gone.
        """
        return self._is_plain and self._is_stuck

    def send(self, data: bytes, replies: int, first_s: float, then_s: float, *, tail: int | None = None) -> None:
        """Write `data` and expect `replies` of them, the first within `first_s` seconds, each next within `then_s`.

        Behind a body `tail` is how many octets at the end of `data` are not the body's: while more than these wait in
        the transport the body is stuck. Raises Broken when the line is over, was not quiet, or still holds unwritten
        bytes.
        """
        # Before anything may raise: what answered the last group must never be read as answers to this one.
        self.answered, self._expected = [], replies
        self.require_quiet()
        assert self._transport is not None
        self._then_s = then_s
        # The high-water mark makes pause_writing mean exactly "more than the tail has not left".
        self._transport.set_write_buffer_limits(high=tail or 0, low=tail or 0)
        self._set_deadline(first_s)
        self._is_stuck = self.is_early = False
        self._tail = tail if self._is_plain or not tail else tail + _RECORD_OCTETS
        self._transport.write(data)
        if self._transport.is_closing():
            self._is_stuck = True  # the system refused the very first octet

    async def replies(self) -> list[Reply]:
        """The group's replies. Raises Broken when the line is over before all came; `answered` has those that did.

        A line that broke after the group was complete answers here and raises at the next send.
        """
        if len(self.answered) < self._expected and self.broken is None:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if len(self.answered) < self._expected:
            assert self.broken is not None
            raise self.broken
        return self.answered

    def require_quiet(self) -> None:
        """Raises Broken unless the line is whole, nothing unasked came, and all we wrote has left."""
        if self.broken is None and self._transport is not None:
            if self._transport.is_closing():
                self.break_off(Cause.CLOSED, "the connection to the relay was lost")
            elif not self._reader.is_empty:
                self.break_off(Cause.SURPLUS, "the relay spoke out of turn")
            elif self._transport.get_write_buffer_size():
                # It answered what it cannot have read yet.
                self.break_off(Cause.SURPLUS, "the relay answered before it was asked")
        if self.broken is not None:
            raise self.broken

    async def catch_up(self) -> None:
        """Have the loop bring what the system holds already: words out of turn, or the relay's end. Seldom waits.

        A late second answer to RCPT would be taken for the body's, and a relay that left needs no body to show it.
        """
        for _ in range(MOST_ROUNDS):
            if self.broken is not None or not self._poll.poll(0):
                return
            await asyncio.sleep(0)

    def break_off(self, cause: Cause, text: str) -> None:
        """End the line now. The first cause stays."""
        if self.broken is None:
            self.broken = Broken(cause, text)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self.broken is not None:
            return
        try:
            replies = self._reader.feed(data)
        except MalformedReplyError as error:
            self.break_off(Cause.MALFORMED, str(error))
            return
        missing = self._expected - len(self.answered)
        if replies and not self.answered and self._tail is not None:
            self.is_early = self._octets_on_the_way() > self._tail
        self.answered += replies[:missing]
        if len(replies) > missing or (len(replies) == missing and not self._reader.is_empty):
            self.surplus += replies[missing:]
            self.break_off(Cause.SURPLUS, "the relay spoke out of turn")
        elif len(replies) == missing:
            self._wake()
        elif replies:
            self._set_deadline(self._then_s)

    def eof_received(self) -> None:
        self.break_off(Cause.CLOSED, "the relay closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self.break_off(Cause.CLOSED, "the connection to the relay was lost")

    def pause_writing(self) -> None:
        self._is_stuck = True

    def resume_writing(self) -> None:
        # Aborting a transport empties its buffer too; what was stuck then stays stuck.
        if self.broken is None:
            self._is_stuck = False

    def _octets_on_the_way(self) -> int:
        """How much of what we wrote the other end's system has not confirmed.

        A reply confirms with its own segment all that came before it was written, so whatever is unconfirmed when it is
        read was not there when it was written (RFC 9293 3.4).
        """
        assert self._transport is not None
        waiting = self._transport.get_write_buffer_size()
        if self._file is None:
            return waiting
        try:
            ioctl(self._file, termios.TIOCOUTQ, self._unconfirmed)
        except OSError:
            return waiting  # a system that cannot say it of sockets
        return waiting + int.from_bytes(self._unconfirmed[:4], sys.byteorder)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_deadline(self, seconds: float) -> None:
        # One lazy timer per line instead of one per reply: arming and cancelling would cost more than the dialogue.
        self._deadline = self._loop.time() + seconds
        if self._alarm is None or self._alarm.when() > self._deadline:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if len(self.answered) >= self._expected:
            return
        if self._loop.time() < self._deadline:
            self._alarm = self._loop.call_at(self._deadline, self._ring)
            return
        self.break_off(Cause.DEADLINE, "the relay did not answer in time")
