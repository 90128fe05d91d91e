"""Several connections to one relay, fed from one queue; every transaction is recorded exactly once.

What a broken connection had not sent goes to another one; a mail that saw three connections break is recorded as
deferred, so that one poisonous mail cannot hold up an issue. When the relay itself is in trouble the pool says so in
`fault`, gives everything waiting back at once, and tries again with one connection after a growing pause. A crash here
loses nothing but time: the queue is a copy of claimed rows.
"""

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from worker import log
from worker.clock import monotonic
from worker.transport.handshake import open_wire
from worker.transport.health import USUAL_PAUSES, Pauses, RelayFault, RelayHealth
from worker.transport.lanes import Connect, Lanes, error_place
from worker.transport.next_hop import Relay
from worker.transport.refusals import Refusals, is_about_us
from worker.transport.replies import MAX_TEXT, Outcome, Permanence, Phase, Scope, unsent
from worker.transport.transaction import Transaction
from worker.transport.waiting import Waiting
from worker.transport.wordings import without_addresses

__all__ = ["Pool", "RelayFault", "Transaction"]

_NO_ANSWER = (Permanence.UNSENT, Permanence.DOUBT)
_STOPPED = "the sending was stopped"

_log = log.logger("transport.pool")


class Pool:
    """The pool of one relay. All methods belong to the event loop's thread.

    `arm` is asked in the very call that writes a body, with our port of the connection; `record` is told each outcome
    right after it was judged, `disarm` that a mail which may have been armed was certainly not taken and stays with the
    pool; `pace` is awaited before each body. None of them may raise: an exception from one ends the pool, stands in
    `broken`, and is raised again by `drained`.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        arm: Callable[[Transaction, int], bool],
        record: Callable[[Transaction, Outcome], None],
        disarm: Callable[[Transaction], None] = lambda _transaction: None,
        pace: Callable[[], Awaitable[bool]] | None = None,
        connect: Connect = open_wire,
        pauses: Pauses = USUAL_PAUSES,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.relay = relay
        self.broken: BaseException | None = None
        """What `arm`, `record` or `pace` raised first: a broken promise of ours. Nothing more leaves, what waits can
        be recalled, and the process should say so and end."""
        self._arm, self._record, self._disarm, self._pace, self._now = arm, record, disarm, pace, now
        self._is_closing = False
        self._waiting = Waiting()
        self._refusals = Refusals(relay.key)
        self._health = RelayHealth(relay, pauses, random.Random())  # noqa: S311  spreads reconnects, keeps no secret
        self._lanes = Lanes(
            relay, self, self._waiting, self._health, connect=connect, now=now, on_fault=self._release_if_resting
        )

    @property
    def connections(self) -> int:
        """Sessions open now."""
        return self._lanes.connections

    @property
    def outstanding(self) -> int:
        """Transactions submitted and not recorded yet."""
        return self._waiting.outstanding

    @property
    def fault(self) -> RelayFault | None:
        """Trouble with the relay itself, until a mail was judged again."""
        return self._health.fault

    def submit(self, transactions: Iterable[Transaction]) -> None:
        """Queue transactions. While the pool is closing, broken or resting they are recorded UNSENT right here."""
        self._waiting.add(transactions)
        if self._is_closing or self.broken is not None:
            self._release(_STOPPED)
        elif not self._release_if_resting():
            self._lanes.staff()

    def recall(self) -> list[Transaction]:
        """Take back what no connection has begun; it is not recorded any more."""
        return self._waiting.take_all()

    async def drained(self) -> None:
        """Wait until every submitted transaction was recorded."""
        await self.below(1)

    async def below(self, n: int) -> None:
        """Wait until fewer than `n` transactions are outstanding. Re-raises what a callback raised."""
        if self.broken is None:
            await self._waiting.below(n)
        if self.broken is not None:
            raise RuntimeError("the sending stopped because of an error of our own") from self.broken

    async def close(self, grace_s: float) -> None:
        """Begin no further body, give those on the wire `grace_s` seconds, then cut the lines. Records all."""
        self._is_closing = True
        self._release(_STOPPED)
        await self._lanes.close(grace_s)

    # What sessions ask for (held_mails.MailSource); none of it raises.

    def take(self) -> Transaction | None:
        """The next waiting transaction."""
        return None if self._is_closing or self.broken is not None else self._waiting.take()

    async def pace(self) -> bool:
        """Wait for the turn of the next body; False when there is none."""
        try:
            return self._pace is None or await self._pace()
        except Exception as error:
            self._break(error)
            return False

    def arm(self, transaction: Transaction, port: int) -> bool:
        """Whether this body may leave in this very moment, over the connection with this port of ours."""
        try:
            return self.broken is None and self._arm(transaction, port)
        except Exception as error:
            self._break(error)
            return False

    def record(self, transaction: Transaction, outcome: Outcome) -> None:
        """Pass an outcome on and count the transaction off."""
        self._settle(transaction, outcome)
        self._release_if_resting()
        self._waiting.open_gates()

    def _settle(self, transaction: Transaction, outcome: Outcome) -> None:
        if outcome.permanence not in (Permanence.ACCEPTED, Permanence.UNSENT) and outcome.text:
            envelope = transaction.envelope
            text = without_addresses(outcome.text, envelope.rcpt_to, envelope.mail_from)
            outcome = replace(outcome, text=text[:MAX_TEXT])
        self._learn(outcome)
        self._waiting.settled(transaction)
        try:
            self._record(transaction, outcome)
        except Exception as error:
            self._break(error)

    def give_back(self, transaction: Transaction, outcome: Outcome) -> None:
        """Take a transaction whose body did not leave: queue it again, or settle it after three broken lines."""
        is_worn = outcome.phase is not Phase.LOCAL and self._waiting.strike(transaction)
        if self._is_closing:
            self.record(transaction, unsent(outcome.phase, _STOPPED))
        elif is_worn:
            # Either the line's fault or this mail's; a later try tells. It never counts against the reader.
            deferred = replace(outcome, permanence=Permanence.TRANSIENT, scope=Scope.SESSION, code=None)
            self.record(transaction, deferred)
        else:
            self._waiting.put_back(transaction)
            self._take_back_arming(transaction)
            self._release_if_resting()

    def _take_back_arming(self, transaction: Transaction) -> None:
        try:
            self._disarm(transaction)
        except Exception as error:
            self._break(error)

    def _learn(self, outcome: Outcome) -> None:
        """What one outcome says about the relay."""
        if outcome.permanence is Permanence.DOUBT:
            self._health.note_doubt()
        elif outcome.code is not None and outcome.permanence not in _NO_ANSWER and not is_about_us(outcome):
            is_taken = outcome.permanence is Permanence.ACCEPTED
            if self._health.note_answer() | (is_taken and self._health.note_taken()):
                self._lanes.staff_soon()
        if rest := self._refusals.feed(outcome):
            self._health.note_refused_mails(rest.cause, outcome.phase, outcome.code, rest.pause_s, self._now())

    def _break(self, error: Exception) -> None:
        """A promise made to this room was broken: end the lanes, and wake whoever waits so that it learns of it."""
        if self.broken is None:
            self.broken = error
            _log.critical("the sending stopped: a callback raised", relay=self.relay.key, cause=error_place(error))
            self._lanes.stop()
        self._waiting.open_all_gates()

    def _release_if_resting(self) -> bool:
        """While the relay's trouble is fresh, give back everything that waits."""
        fault = self._health.fault
        if fault is None or not self._health.is_resting(self._now()):
            return False
        self._release(fault.cause)
        return True

    def _release(self, why: str) -> None:
        while (transaction := self._waiting.take()) is not None:
            self._settle(transaction, unsent(Phase.LOCAL, why))
        self._waiting.open_gates()
