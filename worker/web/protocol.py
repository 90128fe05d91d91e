"""How one connection is served: uvicorn's HTTP protocol, with an end to its patience and to its hospitality.

uvicorn only counts the seconds between two requests. Here a head, an answer and a reader's pause have deadlines, and
when connections get many the oldest that asks for nothing, or keeps us waiting for the rest of what it asks or for
room to answer, makes room: such ones, however many, keep nobody out.
"""

import asyncio
from collections import Counter
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from worker.web.places import Networks, client_key

HEAD_DEADLINE_S = 10.0
"""From the beginning of a connection, or the first octet of a further request, to its last header line."""

STALL_S = 20.0
"""How long the other side may read nothing of an answer; what waits for it lies in our memory."""

ANSWER_DEADLINE_S = 600.0
"""From the headers to the end of the answer: the largest hosted file on a line of 33 kB a second."""

MOST_CONNECTIONS = 500
MOST_OF_A_CLIENT = 100
"""Below the file descriptors a process usually has (1024), with room for database, files and metrics."""


class Guests:
    """The open connections of one listener, in the order they came. Used in the event loop only."""

    def __init__(
        self, trusted: Networks = (), most: int = MOST_CONNECTIONS, most_of_a_client: int = MOST_OF_A_CLIENT
    ) -> None:
        self._trusted, self._most, self._most_of_a_client = trusted, most, most_of_a_client
        self._all: dict[PatientProtocol, str | None] = {}
        self._by_client: Counter[str | None] = Counter()

    def welcome(self, guest: "PatientProtocol", host: str | None) -> None:
        """Count a new connection in, and show one out when there are too many: of its own client, or of all."""
        key = client_key(host, self._trusted)
        self._all[guest] = key
        self._by_client[key] += 1
        if key is not None and self._by_client[key] > self._most_of_a_client:
            self._show_out(guest, [each for each, its in self._all.items() if its == key])
        elif len(self._all) > self._most:
            self._show_out(guest, list(self._all))

    def leave(self, guest: "PatientProtocol") -> None:
        """Count a connection out; safe to repeat."""
        if guest in self._all:
            key = self._all.pop(guest)
            self._by_client[key] -= 1
            if not self._by_client[key]:
                del self._by_client[key]

    def _show_out(self, newest: "PatientProtocol", guests: list["PatientProtocol"]) -> None:
        # The oldest that waits for nothing from us, then the oldest that we wait for; when all are being answered,
        # whoever came last comes again.
        others = [each for each in guests if each is not newest]
        idle = (each for each in others if each.is_idle)
        slow = (each for each in others if each.is_slow)
        out = next(idle, None) or next(slow, newest)
        self.leave(out)
        out.transport.abort()


class PatientProtocol(H11Protocol):
    """One connection. `guests` is the listener's; without it none is turned away."""

    head_deadline_s: ClassVar[float] = HEAD_DEADLINE_S
    answer_deadline_s: ClassVar[float] = ANSWER_DEADLINE_S
    stall_s: ClassVar[float] = STALL_S
    guests: Guests | None = None
    _bell: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _watched: tuple[object, bool] = (None, False)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._watch()
        if self.guests is not None:
            self.guests.welcome(self, self.client[0] if self.client else None)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._bell, self._stall):
            if timer is not None:
                timer.cancel()
        if self.guests is not None:
            self.guests.leave(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """More lies in our memory than the other side reads just now."""
        super().pause_writing()
        self._stall = self.loop.call_later(self.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    @property
    def is_idle(self) -> bool:
        """Whether it waits for nothing from us: no request was read, or the last one was answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_slow(self) -> bool:
        """Whether we wait for it: for the rest of a request's body, or for it to read its answer."""
        is_half_asked = self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete
        return is_half_asked or self._stall is not None

    @property
    def _stage(self) -> tuple[object, bool]:
        """The request at hand, and whether its answer is still to be given; else a head is waited for."""
        return self.cycle, not self.is_idle

    def _watch(self) -> None:
        """Set the bell anew at each new stage; within one it runs on, whatever trickles in."""
        if self._bell is not None:
            if self._stage == self._watched:
                return
            self._bell.cancel()
        self._watched = self._stage
        seconds = self.answer_deadline_s if self._watched[1] else self.head_deadline_s
        self._bell = self.loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        if self._stage == self._watched:
            self.transport.abort()  # not closed: that would wait for what the other side never reads
        else:
            self._watch()


def protocol_for(trusted: Networks, base: type[PatientProtocol] = PatientProtocol) -> type[PatientProtocol]:
    """The protocol of one listener, with guests of its own."""
    return type(base.__name__, (base,), {"guests": Guests(trusted)})
