"""Hand built mails to the relay: the connections of this process on a loop of their own, and the last question
before each body.

Slices in other threads submit and recall; `_arm` and `_record` run on the loop, in the very calls that write a body
and judge its reply.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from worker import clock, log
from worker.dispatch.batches import Batches
from worker.dispatch.events import Hook, Step
from worker.dispatch.rates import RateGate
from worker.dispatch.verdict import verdict_of
from worker.journal.own import Journal, Key
from worker.transport.pool import Pool, RelayFault, Transaction
from worker.transport.relay import Relay
from worker.transport.replies import Outcome, Permanence, Phase

SETTLE_ROWS = 200
"""Outcomes after which a slice is woken to settle."""

MOST_OCTETS = 16 * 1024 * 1024
"""Built mails a process holds for its connections: more than all of them carry in a round trip, and little memory."""

_log = log.logger("dispatch.hand_over")


class HandOver:
    """The way to one relay. `fresh_s` is the most that a batch's recheck may be old when a body is written."""

    def __init__(
        self,
        relay: Relay,
        gate: RateGate,
        batches: Batches,
        journal: Journal,
        draining: threading.Event,
        *,
        fresh_s: float,
        hook: Hook | None,
    ) -> None:
        self.relay, self.gate, self._journal, self._draining = relay, gate, journal, draining
        self._batches, self._fresh_s, self._hook = batches, fresh_s, hook
        self._failure: BaseException | None = None  # the loop's thread writes, the heartbeat reads
        self._guard = threading.Lock()
        self._is_closing = False
        self._submitted_octets = 0  # under the guard
        self._recorded_octets = 0  # the loop's thread
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="smtp", daemon=True)
        self._thread.start()
        self._pool: Pool = asyncio.run_coroutine_threadsafe(self._open_pool(), self._loop).result()

    def submit(self, transactions: list[Transaction]) -> bool:
        """Queue mails for the connections; each is recorded in its batch once. False, and nothing, while closing."""
        with self._guard:
            if not self._is_closing:
                self._submitted_octets += sum(len(transaction.body) for transaction in transactions)
                self._loop.call_soon_threadsafe(self._guarded, self._pool.submit, transactions)
            return not self._is_closing

    @property
    def is_full(self) -> bool:
        """Whether no more mails should be built for now, whatever issue they are of."""
        return self._submitted_octets - self._recorded_octets >= MOST_OCTETS

    def recall(self, claim_ids: set[int]) -> None:
        """Take back what no connection has begun of these claims; it is recorded as unsent."""
        self._loop.call_soon_threadsafe(self._guarded, self._recall, claim_ids)

    @property
    def fault(self) -> RelayFault | None:
        """Trouble with the relay itself, however old."""
        return self._pool.fault

    @property
    def fresh_fault(self) -> RelayFault | None:
        """Trouble with the relay that is not worth another try yet."""
        fault = self._pool.fault
        return fault if fault is not None and fault.retry_at > clock.monotonic() else None

    @property
    def broken(self) -> BaseException | None:
        """The error of ours after which nothing can be handed over any more: this process has to end."""
        is_alive = self._thread.is_alive() or self._is_closing
        ended = None if is_alive else RuntimeError("the thread of the connections ended")
        return self._failure or self._pool.broken or self._journal.broken or ended

    def close(self, grace_s: float) -> None:
        """End the connections; everything submitted is recorded before."""
        with self._guard:
            self._is_closing = True
        if not self._thread.is_alive():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._pool.close(grace_s), self._loop).result(grace_s + 10)
        except TimeoutError:
            _log.critical("connections did not end in time; what they held stays claimed")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _guarded(self, act: Callable[[Any], object], what: object) -> None:
        """An event loop logs what a callback raises and goes on, with mails that nobody would ever record."""
        try:
            act(what)
        except Exception as error:
            self._failure = self._failure or error
            _log.critical("the connections' queue met an error of our own", exc_info=True)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open_pool(self) -> Pool:
        pace = self.gate.pace if self.gate.limits else None
        return Pool(self.relay, arm=self._arm, record=self._record, disarm=self._disarm, pace=pace)

    def _arm(self, transaction: Transaction, port: int) -> bool:
        """Whether this body may be written now: still ours, still wanted, rechecked not too long ago, and written down.

        The journal comes last: who stands in it is in doubt from here on, whatever happens to this process.
        """
        key = claim_id, n = _key(transaction)
        batch = self._batches.get(claim_id)
        if batch is None or not batch.may_leave(n, clock.monotonic(), self._fresh_s) or self._draining.is_set():
            return False
        if self._batches.stop_reason(batch.claim.issue_id) is not None:
            return False  # stopped here, and the ledger does not know yet
        if self._hook is not None:
            self._hook(Step.ARMING, claim_id, n)
        if not self._journal.arm(key, port, clock.utcnow().timestamp(), batch.fingerprints.get(n)):
            return False  # no record, no send
        self._batches.breaker(batch.claim.issue_id).begin(key)
        if self._hook is not None:
            self._hook(Step.ARMED, claim_id, n)
        return True

    def _disarm(self, transaction: Transaction) -> None:
        self._journal.disarm(_key(transaction))

    def _record(self, transaction: Transaction, outcome: Outcome | None) -> None:
        """Keep an outcome for its slice; None for a mail that was taken back. The journal comes first."""
        key = claim_id, n = _key(transaction)
        if outcome is not None and self._is_moot(claim_id, outcome):
            outcome = None
        if outcome is None or outcome.permanence is Permanence.UNSENT:
            self._journal.disarm(key)
        else:
            if self._hook is not None:
                self._hook(Step.ANSWERED, claim_id, n)
            outcome = self._placed(key, outcome)
            self._journal.answer(key, verdict_of(outcome), outcome.code, outcome.enhanced)
        batch = self._batches.get(claim_id)
        if batch is None:
            _log.critical("an outcome came back for a claim that is not held", claim=claim_id, n=n)
            return
        issue_id = batch.claim.issue_id
        breaker = self._batches.breaker(issue_id)
        if outcome is None or outcome.permanence is Permanence.UNSENT:
            breaker.forget(key)
        else:
            batch.outcomes.append((n, outcome))
            if reason := breaker.feed(outcome, key):
                # Not here and now: this call comes from the middle of the pool.
                self._loop.call_soon(self._guarded, self._recall, self._batches.stop_issue(issue_id, reason))
            if self._hook is not None:
                self._hook(Step.RECORDED, claim_id, n)
        batch.recorded += 1
        self._recorded_octets += len(transaction.body)
        if batch.flying == 0 or len(batch.outcomes) >= SETTLE_ROWS:
            batch.wake.set()

    def _is_moot(self, claim_id: int, outcome: Outcome) -> bool:
        """A refusal that was on its way when a breaker stopped the issue: nothing was taken, and it condemns nobody."""
        batch = self._batches.get(claim_id)
        is_refusal = outcome.permanence is Permanence.PERMANENT and outcome.phase is not Phase.LOCAL
        return is_refusal and batch is not None and batch.is_stopped

    def _placed(self, key: Key, outcome: Outcome) -> Outcome:
        """A doubt says over which connection and when, so that the relay's log can be searched for it."""
        if outcome.permanence is not Permanence.DOUBT:
            return outcome
        return replace(outcome, text=f"{outcome.text}; {self._journal.whereabouts(key)} to {self.relay.key}")

    def _recall(self, claim_ids: set[int]) -> None:
        others = []
        for transaction in self._pool.recall():
            if _key(transaction)[0] in claim_ids:
                self._record(transaction, None)
            else:
                others.append(transaction)
        self._pool.submit(others)


def _key(transaction: Transaction) -> Key:
    """(claim, n): what `build` put there."""
    return cast("Key", transaction.key)
