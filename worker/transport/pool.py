"""Several sessions to one relay, fed from one queue; every transaction is recorded exactly once.

A *lane* is a task that keeps one connection at work. What a broken connection had not sent goes to another lane; a mail
that saw three connections break is recorded as deferred, so that one poisonous mail cannot hold up an issue. When the
relay itself is in trouble the pool says so in `fault`, gives everything waiting back at once, and tries again with one
lane after a growing pause. A crash here loses nothing but time: the queue is a copy of claimed rows.
"""

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, replace

from worker.clock import monotonic
from worker.transport.handshake import OpeningError, open_wire, tls_context
from worker.transport.next_hop import Relay
from worker.transport.replies import Outcome, Permanence, Phase, Scope, unsent
from worker.transport.session import Session, Transaction

__all__ = ["Pool", "RelayFault", "Transaction"]

MAX_STRIKES = 3
"""Connections that may break under one mail before it is deferred."""
MAX_BARREN = 4
"""Connections that may break in a row, without any mail judged meanwhile, before the relay itself is at fault; above
MAX_STRIKES, so that one poisonous mail alone never looks like it."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
_NO_ANSWER = (Permanence.UNSENT, Permanence.DOUBT)
UNCAP_AFTER_S = 60.0
"""After the relay refused a further connection, how long the pool keeps to the number it had."""


@dataclass(frozen=True, slots=True)
class RelayFault:
    """Trouble with the relay itself. `cause` is one sentence without secrets; times are monotonic seconds."""

    cause: str
    phase: Phase
    since: float
    retry_at: float
    code: int | None = None


class Pool:
    """All methods belong to the event loop's thread.

    `arm` is asked in the very call that writes a body; `record` is told each outcome right after it was judged; `pace`
    is awaited before each body. None of them may raise: an exception from one ends the pool and shows in `drained`.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        arm: Callable[[Transaction], bool],
        record: Callable[[Transaction, Outcome], None],
        pace: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.relay = relay
        self.arm = arm
        self.pace = pace
        self.outstanding = 0
        self.fault: RelayFault | None = None
        self._record = record
        self._queue: deque[Transaction] = deque()
        self._strikes: dict[Hashable, int] = {}
        self._lanes: set[asyncio.Task[None]] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._gates: list[tuple[int, asyncio.Future[None]]] = []
        self._opening = 0
        self._live = 0
        self._cap = relay.connections
        self._cap_until = 0.0
        self._barren = 0
        self._pause_s = 0.0  # 0 = the relay works, as far as we know
        self._overlap = self._pipeline = True
        self._is_proven = False
        self._is_closing = False
        self._crash: BaseException | None = None
        self._context: ssl.SSLContext | None = None
        self._rng = random.Random()  # noqa: S311  spreads reconnects, keeps no secret

    @property
    def connections(self) -> int:
        """Sessions open now."""
        return self._live

    @property
    def broken(self) -> BaseException | None:
        """What a lane or a callback raised: nothing is handed over any more."""
        return self._crash

    def submit(self, transactions: Iterable[Transaction]) -> None:
        """Queue transactions. While the pool is closing or its fault is fresh they are recorded UNSENT right here."""
        new = list(transactions)
        self.outstanding += len(new)
        self._queue.extend(new)
        if self._is_closing:
            self._release_waiting("the sending was stopped")
        elif self.fault is not None and monotonic() < self.fault.retry_at:
            self._release_waiting(self.fault.cause)
        else:
            self._staff()

    def recall(self) -> list[Transaction]:
        """Take back what no connection has begun; it is not recorded any more."""
        taken = list(self._queue)
        self._queue.clear()
        self.outstanding -= len(taken)
        self._open_gates()
        return taken

    async def drained(self) -> None:
        """Wait until every submitted transaction was recorded."""
        await self.below(1)

    async def below(self, n: int) -> None:
        """Wait until fewer than `n` transactions are outstanding. Re-raises what a callback raised."""
        if self.outstanding >= n and self._crash is None:
            gate = asyncio.get_running_loop().create_future()
            self._gates.append((n, gate))
            await gate
        if self._crash is not None:
            raise RuntimeError("the sending stopped because of an error of our own") from self._crash

    async def close(self, grace_s: float) -> None:
        """Begin no further body, give those on the wire `grace_s` seconds, then cut the lines. Records all."""
        self._is_closing = True
        self._release_waiting("the sending was stopped")
        self._wake_idle(len(self._idle))
        if self._lanes:
            await asyncio.wait(self._lanes, timeout=grace_s)
        while self._lanes:
            for lane in self._lanes:
                lane.cancel()
            # Again and again: wait_for of Python 3.11 loses a cancellation that meets a result.
            await asyncio.wait(self._lanes, timeout=0.05)

    # What sessions ask for (session.Desk).

    def take(self) -> Transaction | None:
        """The next waiting transaction."""
        return self._queue.popleft() if self._queue and not self._is_closing else None

    def record(self, transaction: Transaction, outcome: Outcome) -> None:
        """Pass an outcome on and count the transaction off."""
        if outcome.code is not None and outcome.permanence not in _NO_ANSWER:
            self._note_answer()
        if self._strikes:
            self._strikes.pop(transaction.key, None)
        self.outstanding -= 1
        try:
            self._record(transaction, outcome)
        finally:
            if self._gates:
                self._open_gates()

    def give_back(self, transaction: Transaction, outcome: Outcome) -> None:
        """Take a transaction whose body did not leave: queue it again, or settle it after three broken lines."""
        if outcome.phase is not Phase.LOCAL:
            self._strikes[transaction.key] = self._strikes.get(transaction.key, 0) + 1
        if self._is_closing:
            self.record(transaction, unsent(outcome.phase, "the sending was stopped"))
        elif self._strikes.get(transaction.key, 0) >= MAX_STRIKES:
            # Either the line's fault or this mail's; a later try tells. It never counts against the reader.
            deferred = replace(outcome, permanence=Permanence.TRANSIENT, scope=Scope.SESSION, code=None)
            self.record(transaction, deferred)
        else:
            self._queue.appendleft(transaction)

    # Lanes.

    def _limit(self) -> int:
        if self._pause_s:
            return 1
        if self._cap < self.relay.connections and monotonic() >= self._cap_until:
            self._cap = self.relay.connections
        return self._cap

    def _staff(self) -> None:
        """Wake idle lanes and start new ones, as many as there is work for and the relay allows."""
        if not self._queue or self._is_closing or self._crash is not None:
            return
        woken = self._wake_idle(len(self._queue))
        for _ in range(min(len(self._queue) - woken, self._limit() - len(self._lanes))):
            lane = asyncio.get_running_loop().create_task(self._run_lane(), name=f"lane to {self.relay.key}")
            self._lanes.add(lane)
            lane.add_done_callback(self._lane_ended)

    def _wake_idle(self, count: int) -> int:
        woken = 0
        while self._idle and woken < count:
            sleeper = self._idle.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                woken += 1
        return woken

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        self._lanes.discard(lane)
        error = None if lane.cancelled() else lane.exception()
        if error is not None:
            self._crash = self._crash or error
            for _, gate in self._gates:
                if not gate.done():
                    gate.set_result(None)
        else:
            self._staff()

    async def _run_lane(self) -> None:
        session: Session | None = None
        try:
            while not self._is_closing:
                if not self._queue:
                    if not await self._wait_for_work():
                        break
                    continue
                if session is None:
                    session = await self._open()
                    if session is None:
                        break
                await session.serve(self)
                if session.is_over:
                    await self._end(session)
                    session = None
                    if len(self._lanes) > self._limit():
                        break
        finally:
            if session is not None:
                await self._end(session)

    async def _wait_for_work(self) -> bool:
        """False when nothing came for as long as a connection is worth keeping."""
        sleeper = asyncio.get_running_loop().create_future()
        self._idle.append(sleeper)
        try:
            async with asyncio.timeout(self.relay.timeouts.idle_s):
                await sleeper
        except TimeoutError:
            return bool(self._queue)
        return True

    async def _open(self) -> Session | None:
        self._opening += 1
        try:
            if self._context is None and self.relay.uses_tls:
                self._context = await asyncio.to_thread(tls_context, self.relay)
            wire, offer = await open_wire(self.relay, self._context)
        except OpeningError as error:
            self._opening -= 1
            self._note_closed_door(error)
            return None
        except BaseException:
            self._opening -= 1
            raise
        self._opening -= 1
        self._live += 1
        if self._barren < MAX_BARREN:
            self.fault = None
        return Session(self.relay, wire, offer, overlap=self._overlap, pipeline=self._pipeline)

    async def _end(self, session: Session) -> None:
        """Close a session and learn from how it went."""
        self._live -= 1
        if session.misfit is Phase.MAIL and self._pipeline and self._overlap and session.judged:
            self._overlap = False
        elif session.misfit is not None and not self._is_proven:
            self._pipeline = False
        if session.judged:
            self._is_proven = True
        elif session.is_over and not self._is_closing:
            self._barren += 1
            if self._barren >= 2 and not self._is_proven:
                self._pipeline = False  # some gateways announce PIPELINING and cut whoever uses it
            if self._barren >= MAX_BARREN:
                self._set_fault(f"{self.relay.key} breaks every connection before it takes a mail", Phase.MAIL)
        await session.quit()

    # Health.

    def _note_answer(self) -> None:
        """A mail was judged by a reply: the relay works."""
        self._barren = 0
        if self._pause_s:
            self._pause_s = 0.0
            self.fault = None
            asyncio.get_running_loop().call_soon(self._staff)

    def _note_closed_door(self, error: OpeningError) -> None:
        if self._live:
            # It talks to us on other connections: it allows fewer than we wanted.
            self._cap = max(1, self._live)
            self._cap_until = monotonic() + UNCAP_AFTER_S
        elif not self._opening:
            self._set_fault(error.cause, error.phase, error.code)

    def _set_fault(self, cause: str, phase: Phase, code: int | None = None) -> None:
        now = monotonic()
        self._pause_s = min(self._pause_s * 2 or FIRST_PAUSE_S, LONGEST_PAUSE_S)
        since = self.fault.since if self.fault else now
        retry_at = now + self._pause_s * self._rng.uniform(0.8, 1.2)
        self.fault = RelayFault(cause, phase, since, retry_at, code)
        self._release_waiting(cause)

    def _release_waiting(self, why: str) -> None:
        while self._queue:
            self.record(self._queue.popleft(), unsent(Phase.LOCAL, why))

    def _open_gates(self) -> None:
        still = []
        for n, gate in self._gates:
            if self.outstanding < n:
                if not gate.done():
                    gate.set_result(None)
            else:
                still.append((n, gate))
        self._gates = still
