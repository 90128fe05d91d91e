"""Work slices of an issue: claim, look, build, hand over, settle, release.

A slice runs in a thread and lasts about a second; the mails it submits travel on the process's own event loop. The
order is the guarantee: the claim commits first; then one query looks who left; nothing is armed whose last look is
older than `optout_fresh_s`; results are written under the claim's id. A crash anywhere leaves rows claimed by a dead
worker, which `reconcile` finds.
"""

import random
import threading
from datetime import timedelta

from worker import clock, log
from worker.dispatch.hand_over import SETTLE_ROWS, Held, Sender
from worker.dispatch.judge import judge
from worker.domain.delivery import DeliveryState, DoubtReason, FailureReason, SkipReason
from worker.domain.issue import IssueState, WaitReason
from worker.errors import UnreachableError
from worker.message.build import BuildError
from worker.storage.ledger import claims, deliveries, issues, settlements
from worker.storage.ledger.deliveries import Due
from worker.storage.ledger.settlements import Result
from worker.transport.pool import Transaction

SLICE_S = 1.0
"""Work per nudge: short, so that issues share workers and a stop is quick."""

OVERTIME_S = 1.0
"""What was submitted may still leave this long after the slice; then what no connection has begun is taken back."""

BROKEN_S = 30.0
"""How long an issue waits after an error of our own, so that it does not fill the log."""

SETTLE_S = 0.25
SLOT_LOOK_S = 0.25
"""Between asking for slots again, while other workers hold those of the next second."""

LOOK_S = 1.0
"""How often held rows are looked at again for people who left."""

_log = log.logger("dispatch.send")


class Slice:
    """One nudge's worth of one issue, in one thread."""

    def __init__(self, sender: Sender, issue_id: int) -> None:
        self._sender, self._issue_id = sender, issue_id
        self._database = sender.database
        self._wake = threading.Event()
        self._held: list[Held] = []
        self._rng = random.Random()  # noqa: S311 - jitter of retry times, not a secret
        self._settled_at = clock.monotonic()
        self._noted_at = self._progress_at = -SLICE_S
        self._fingerprint = ""
        self._size = sender.settings.claim_size
        self._is_broken = False
        self._is_away = False
        self._stuck: set[int] = set()
        self._life = timedelta(seconds=sender.settings.retry_life_s)

    def run(self, nudge_no: int) -> None:
        """Work the slice. The nudge goes back to the queue's end as soon as there is something to do."""
        if not self._may_start(nudge_no):
            return
        deadline = clock.monotonic() + SLICE_S
        over_at = deadline + OVERTIME_S
        try:
            held = self._claim()
            if held is None:
                self._nothing_to_claim()
                return
            self._sender.nudger.send(self._issue_id, nudge_no)
            while held is not None:
                self._submit(held)
                self._pump(until_below=self._size // 2, until=deadline)
                over = clock.monotonic() >= deadline or self._must_stop()
                held = None if over else self._claim()
        except BaseException as error:
            over_at = 0.0
            self._is_broken = not isinstance(error, UnreachableError)
            raise
        finally:
            # Whatever happened: nothing is released while a copy of it may be on the wire.
            self._drain(over_at)
            self._give_back()

    def _may_start(self, nudge_no: int) -> bool:
        sender = self._sender
        if sender.draining.is_set():
            return False
        self._write_down_stop()
        with self._database.read() as conn:
            issue = issues.get(conn, self._issue_id)
        if issue.state is not IssueState.SENDING or issue.nudge_no != nudge_no:
            return False
        self._fingerprint = issue.fingerprint
        if not sender.journal.still_ours():
            sender.note = "the journal's file is gone: nothing is sent by this process"
            _log.error("the journal's file is gone, nothing is sent", worker=sender.worker_id)
            return False
        fault = sender.fault()
        if fault is not None:
            self._wait(max(fault.retry_at - clock.monotonic(), 1.0), WaitReason.RELAY, fault.cause)
            return False
        return True

    def _must_stop(self) -> bool:
        sender = self._sender
        return sender.draining.is_set() or sender.fault() is not None or any(not held.live for held in self._held)

    def _claim(self) -> Held | None:
        """Commit a claim of what may be sent now; retries that are due go first."""
        size = self._reserve()
        if size == 0:
            return None
        owner = self._sender.worker_id
        with self._sender.claiming:
            try:
                with self._database.write() as conn:
                    claim = claims.claim_retry(conn, self._issue_id, owner, size)
                    claim = claim or claims.claim_first(conn, self._issue_id, owner, size)
            except UnreachableError:
                self._sender.claims_unsure.set()
                raise
            if claim is None:
                return None
            held = Held(claim)
            self._held.append(held)
            self._sender.held[claim.id] = (held, self._wake)
        self._note_claim()
        return held

    def _note_claim(self) -> None:
        """Tell the tick that this issue has a claim; the row is shared by all workers, so once a second will do."""
        now = clock.monotonic()
        if now - self._noted_at >= SLICE_S:
            self._noted_at = now
            with self._database.write() as conn:
                issues.touch_claimed(conn, self._issue_id)

    def _reserve(self) -> int:
        """How many rows may be claimed: as many as slots could be leased. Waits out a short gap between slots.

        A longer one is left to the tick; waiting here for seconds would only hold the thread.
        """
        gate = self._sender.gate
        if not gate.limits:
            return self._size
        asked_at = clock.monotonic()
        while True:
            size, wait_s = gate.reserve(self._size)
            if size:
                return size
            if wait_s > SLICE_S or clock.monotonic() - asked_at > 2 * SLICE_S:
                self._wait(wait_s, WaitReason.RATE_LIMIT, str(gate.limits))
                return 0
            if self._held or self._sender.draining.wait(min(wait_s, SLOT_LOOK_S)):
                return 0  # with mails on the wire the slice settles them first

    def _nothing_to_claim(self) -> None:
        """End the chain: the tick, a release or the next page's nudge begins it again."""
        with self._database.read() as conn:
            wait_s = deliveries.next_try_in(conn, self._issue_id)
            issue = issues.get(conn, self._issue_id)
        if wait_s is not None and wait_s > 0 and issue.nudge_at is None and issue.plan_cursor is None:
            self._wait(wait_s, WaitReason.LATER_TRIES)

    def _wait(self, seconds: float, reason: WaitReason, detail: str = "") -> None:
        with self._database.write() as conn:
            issues.wait_until(conn, self._issue_id, seconds, reason, detail)

    def _submit(self, held: Held) -> None:
        """Look, build, hand to the connections. The look begins after the claim's commit: that makes it count."""
        held.looked_at = clock.monotonic()
        with self._database.read() as conn:
            due = deliveries.read_due(conn, held.claim)
            held.live = deliveries.is_live(conn, held.claim, self._sender.worker_id)
        held.due = {row.recipient.n: row for row in due}
        if not held.live:
            return
        wanted = []
        for row in due:
            if row.skip is None:
                wanted.append(row)
            else:
                held.results.append(_skipped(row, row.skip))
        transactions = self._build(held, wanted)
        held.flying = len(transactions)
        if transactions:
            self._sender.submit(transactions)

    def _build(self, held: Held, rows: list[Due]) -> list[Transaction]:
        builder = self._sender.builder(self._issue_id, self._fingerprint)
        fresh = [row for row in rows if row.claimed_at is None]
        built = list(
            zip(
                fresh,
                builder.build_all([row.recipient for row in fresh], held.claim.claimed_at, self._sender.signing),
                strict=True,
            )
        )
        # A repeat carries the Date of the copy that went in doubt.
        built += [(row, builder.build_all([row.recipient], row.claimed_at)[0]) for row in rows if row.claimed_at]
        transactions = []
        for row, mail in built:
            n = row.recipient.n
            if isinstance(mail, BuildError):
                fault = FailureReason.UNBUILDABLE
                held.results.append(Result(n, row.state, DeliveryState.FAILED, fault, phase="local", text=mail.reason))
            elif row.fingerprint is not None and row.fingerprint != mail.fingerprint:
                held.results.append(
                    Result(
                        n,
                        row.state,
                        DeliveryState.IN_DOUBT,
                        DoubtReason.NOT_THE_SAME,
                        fingerprint=row.fingerprint,
                        tried=0,
                        first_try=row.first_try,
                    )
                )
            else:
                held.fingerprints[n] = mail.fingerprint
                transactions.append(Transaction((held.claim.id, n), mail.envelope, mail.message, vetted=True))
        return transactions

    def _pump(self, until_below: int, until: float | None = None) -> None:
        """Settle and look again while mails are on the wire, until fewer than `until_below` are."""
        while True:
            self._wake.clear()
            flying = sum(held.flying for held in self._held)
            waiting = sum(len(held.outcomes) + len(held.results) for held in self._held)
            now = clock.monotonic()
            if waiting >= SETTLE_ROWS or (waiting and now - self._settled_at >= SETTLE_S) or (waiting and not flying):
                self._settle()
            self._write_down_stop(patiently=True)
            if flying < max(until_below, 1) or (until is not None and now >= until):
                return
            self._look_again()
            if self._must_stop():
                self._sender.recall({held.claim.id for held in self._held})
            self._wake.wait(SETTLE_S)

    def _look_again(self) -> None:
        """Ask who left since, and whether the issue still is being sent; the age counts from before the question."""
        for held in self._held:
            if not held.flying or clock.monotonic() - held.looked_at < LOOK_S:
                continue
            asked_at = clock.monotonic()
            try:
                with self._database.read() as conn:
                    sending, stops = deliveries.read_stops(conn, held.claim, self._sender.worker_id)
            except UnreachableError as error:
                self._sender.note = str(error)
                return  # the look grows old, and nothing more is armed
            held.stopped.update(stops)
            held.live = held.live and sending
            held.looked_at = asked_at

    def _settle(self) -> None:
        """Judge what came back and write it, claim by claim. While the database is away it is kept and tried again."""
        self._settled_at = clock.monotonic()
        for held in self._held:
            self._judge(held)
            if not held.results or not held.ours:
                continue
            batch = held.results
            self._note_progress()  # first: an opt-out finds what left just now by this note
            try:
                with self._database.write() as conn:
                    written = settlements.settle(conn, held.claim, self._sender.worker_id, batch, again=held.unsure)
            except UnreachableError as error:
                held.unsure = True
                self._say_away(error, len(batch))
                return
            except Exception:
                _log.critical("results do not fit the ledger; their rows are in doubt", claim=held.claim, exc_info=True)
                self._lose(held)
                continue
            self._is_away = False
            held.results = held.results[len(batch) :]
            if written is None:
                held.live = held.ours = False
                if not held.unsure:
                    _log.critical("a claim was taken from a living worker, its results are lost", claim=held.claim)
                continue
            held.unsure = False
            for result in batch:
                self._sender.on_result(result)

    def _note_progress(self) -> None:
        """In a transaction of its own: all workers share the row, and a settlement must not hold it."""
        if (now := clock.monotonic()) - self._progress_at >= SLICE_S:
            self._progress_at = now
            try:
                with self._database.write() as conn:
                    issues.touch_progress(conn, self._issue_id)
            except UnreachableError as error:
                self._sender.note = str(error)

    def _judge(self, held: Held) -> None:
        now = clock.utcnow()
        while held.outcomes:
            n, outcome = held.outcomes.popleft()
            result = judge(
                held.due[n],
                outcome,
                now=now,
                rng=self._rng,
                life=self._life,
                fingerprint=held.fingerprints.get(n),
            )
            if result is not None:
                held.results.append(result)

    def _lose(self, held: Held) -> None:
        """An invariant is broken: what became of these rows cannot be written, so nobody may send them again."""
        held.live = held.ours = False
        try:
            with self._database.write() as conn:
                claims.lose(conn, held.claim, DoubtReason.WORKER_LOST)
        except Exception:
            self._stuck.add(held.claim.id)
            _log.critical("a claim stays behind until this process ends", claim=held.claim, exc_info=True)

    def _say_away(self, error: UnreachableError, rows: int) -> None:
        self._sender.note = str(error)
        if not self._is_away:
            _log.warning("results are kept until the database answers", cause=str(error), rows=rows)
        self._is_away = True

    def _write_down_stop(self, *, patiently: bool = False) -> None:
        """Pause an issue that a breaker stopped; `patiently` leaves it for later while the database is away."""
        reason = self._sender.stops.get(self._issue_id)
        if reason is None:
            return
        try:
            with self._database.write() as conn:
                issues.move(conn, self._issue_id, [IssueState.SENDING], IssueState.PAUSED, stopped_reason=reason)
        except UnreachableError:
            if not patiently:
                raise
            return
        self._sender.stops.pop(self._issue_id, None)
        _log.error("issue paused by a safety stop", issue=self._issue_id, cause=reason)

    def _drain(self, soft_deadline: float) -> None:
        """Let what was submitted leave; after the deadline take back what no connection has begun."""
        self._pump(until_below=1, until=soft_deadline)
        if any(held.flying for held in self._held):
            self._sender.recall({held.claim.id for held in self._held})
            self._pump(until_below=1)

    def _give_back(self) -> None:
        """Settle the rest, release every claim; waits while the database is away, because outcomes must not be lost."""
        while True:
            self._settle()
            self._write_down_stop(patiently=True)
            unsettled = any(held.ours and (held.outcomes or held.results) for held in self._held)
            if not unsettled and self._issue_id not in self._sender.stops:
                break
            self._pause()
        if not self._held and not self._is_broken:
            return
        left = sum([self._release(held) for held in self._held])
        fault = self._sender.fault()
        if self._is_broken:
            self._wait(BROKEN_S, WaitReason.OWN_FAULT)
        elif fault is not None:
            self._wait(max(fault.retry_at - clock.monotonic(), 1.0), WaitReason.RELAY, fault.cause)
        elif left:
            # Whoever found nothing to claim meanwhile has ended the chain: begin a new one, older nudges die.
            with self._database.write() as conn:
                number = issues.bump_nudge(conn, self._issue_id)
            self._sender.nudger.send(self._issue_id, number)

    def _release(self, held: Held) -> bool:
        """Whether rows were given back."""
        left = False
        while held.ours:
            try:
                with self._database.write() as conn:
                    left = claims.release(conn, held.claim, self._sender.worker_id)
                break
            except UnreachableError as error:
                self._say_away(error, held.claim.left)
                self._pause()
        if held.claim.id not in self._stuck:
            self._sender.held.pop(held.claim.id, None)
        return left

    def _pause(self) -> None:
        self._wake.clear()
        self._wake.wait(1.0)


def _skipped(row: Due, reason: SkipReason) -> Result:
    return Result(row.recipient.n, row.state, DeliveryState.SKIPPED, reason, tried=0, first_try=row.first_try)
