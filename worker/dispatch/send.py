"""Work slices of an issue: claim, recheck, build, hand over, settle, release.

A slice runs in a thread and lasts about a second; the mails it submits travel on the process's own event loop. The
order is the guarantee: the claim commits first; then one query finds who left; nothing is armed whose last recheck is
older than `optout_fresh_s`; results are written under the claim's id. A crash anywhere leaves rows claimed by a dead
worker, which `reconcile` finds.
"""

import math
import threading
from dataclasses import dataclass

from worker import clock, log
from worker.dispatch.batches import Batch
from worker.dispatch.build import build_batch
from worker.dispatch.chain import Chain
from worker.dispatch.claim import claim_rows, note_claim, reserve_slots
from worker.dispatch.events import Step
from worker.dispatch.hand_over import SETTLE_ROWS
from worker.dispatch.recheck import RECHECK_S, read_batch, recheck_batches
from worker.dispatch.sender import Sender
from worker.dispatch.settle import Settler
from worker.domain.delivery import ClaimKind
from worker.domain.issue import IssueState, WaitReason
from worker.errors import RefusedError, Trouble, UnreachableError
from worker.storage.ledger import claims, deliveries, issues
from worker.transport.pool import Transaction

UNRECORDED_S = 5.0
"""How long this process rests when it cannot write down what begins: its disk may be full for hours."""

GIVES_WAY = 4.0
"""While an audience is being counted, one slice works at a time, and rests so many times as long as it worked: until
the audience is frozen nobody can be told how many it is for, and a million rows are written in seconds when they have
a core."""

_log = log.logger("dispatch.send")


@dataclass(frozen=True)
class Timing:
    """The measures of a slice, in seconds."""

    slice_s: float = 1.0
    """Work per nudge: short, so that issues share workers and a stop is quick."""
    overtime_s: float = 1.0
    """What was submitted may still leave this long after; then what no connection has begun is taken back."""
    settle_s: float = 0.25
    """Between two settlements, unless enough came together before."""
    recheck_s: float = RECHECK_S
    again_s: float = 1.0
    """Between two tries while the database is away."""


class Slice:
    """One nudge's worth of one issue, in one thread. The steps are public, so that a test may stop between two."""

    def __init__(self, sender: Sender, issue_id: int, timing: Timing | None = None) -> None:
        self._sender, self._issue_id, self._timing = sender, issue_id, timing or Timing()
        self._database = sender.database
        self._settler, self._chain = Settler(sender, issue_id), Chain(sender, issue_id)
        self._wake = threading.Event()
        self._noted_at = -self._timing.slice_s
        self._fingerprint = ""
        self._gives_way = False
        self._is_broken = False
        self._is_unrecorded = False
        self.batches: list[Batch] = []
        """What this slice has claimed."""

    def run(self, nudge_no: int) -> None:
        """Work the slice. The nudge goes back to the queue's end as soon as there is something to do.

        1. Is the nudge current, the issue being sent, and everything fit to send? Else end.
        2. Claim, recheck, build, hand over; while half of it is on the wire, claim the next, until the time is over.
        3. Whatever happened: let what was submitted leave, settle, release.
        """
        with self._sender.room.entered() as inside:
            if inside:
                self._work(nudge_no)
        if not inside and not self._sender.draining.is_set():
            # Another process may have its turn with this nudge; this thread takes one again when there is room here.
            self._chain.go_on(nudge_no)
            self._sender.room.wait(self._timing.slice_s, self._sender.draining)

    def _work(self, nudge_no: int) -> None:
        if not self._may_start(nudge_no):
            return
        deadline = clock.monotonic() + self._timing.slice_s
        overtime_ends = deadline + self._timing.overtime_s
        try:
            batch = self.claim()
            if batch is None:
                self._chain.end()
                return
            if not self._gives_way:
                self._chain.go_on(nudge_no)
            while batch is not None:
                began = clock.monotonic()
                self.hand_over(batch, deadline)
                self._await_results(until_below=self._sender.settings.claim_size // 2, until=deadline)
                if self._gives_way:
                    self._give_way(began, deadline)
                batch = None if clock.monotonic() >= deadline or self._must_stop() else self.claim()
            if self._gives_way:
                self._chain.go_on(nudge_no)
                self._sender.nudger.plan(self._issue_id)  # who counted may have died, and our progress hides it
        except BaseException as error:
            overtime_ends = 0.0
            self._is_broken = not isinstance(error, UnreachableError)
            raise
        finally:
            # Nothing is released while a copy of it may be on the wire.
            self.drain(overtime_ends)
            self.give_back()

    # The steps.

    def claim(self) -> Batch | None:
        """Commit a claim of what may be sent now; None when nothing may."""
        sender = self._sender
        sender.wishes.fulfil()
        gate, size = sender.hand_over.gate, sender.settings.claim_size
        slots, wait_s = reserve_slots(gate, size, sender.draining, may_wait=not self.batches)
        if not slots:
            if wait_s:
                self._chain.postpone(wait_s, WaitReason.RATE_LIMIT, gate.limits)
            return None
        try:
            batch = claim_rows(self._database, sender.batches, self._issue_id, sender.worker_id, slots, self._wake)
        except RefusedError as error:
            sender.refuse_older(error.trouble.fields["claims"])
            return None
        if batch is None:
            return None
        self.batches.append(batch)
        if sender.lock is not None:
            batch.stop()
        sender.tell(Step.CLAIMED, batch.claim.id, batch.claim.left)
        if why := self._write_down(batch):
            batch.stop()  # no record, no send: it goes back as it was
            self._is_unrecorded = True
            sender.note_unrecorded(why)
            raise UnreachableError("journal.cannot_be_kept", place=str(sender.settings.state_dir), why=why)
        sender.note_unrecorded("")
        if (now := clock.monotonic()) - self._noted_at >= self._timing.slice_s:
            self._noted_at = now
            note_claim(self._database, self._issue_id)
        return batch

    def _write_down(self, batch: Batch) -> str:
        """The claim in this process's journal, and on disk among all that has begun. Why nothing may leave, or ""."""
        held, sender = batch.claim, self._sender
        numbers: tuple[int, int] | list[int] = held.from_n, held.to_n
        if held.kind is ClaimKind.RETRY:
            with self._database.read() as conn:
                numbers = deliveries.numbers_of(conn, held)
        if not sender.journal.claim(held.id, held.issue_id, held.from_n, held.to_n):
            return "it has no free place"
        return sender.claim_log.note(held.id, held.issue_id, numbers)

    def hand_over(self, batch: Batch, until: float = math.inf) -> None:
        """Recheck, build, give to the connections, portion by portion. After `until`, what is not built goes back."""
        sender, claim_id = self._sender, batch.claim.id
        sender.wishes.fulfil()
        read_batch(self._database, batch, sender.worker_id)
        sender.tell(Step.RECHECKED, claim_id, len(batch.due) - len(batch.recheck.skips))
        if not batch.is_live:
            return
        builder = sender.builders.get(self._issue_id, self._fingerprint or self._read_fingerprint())
        if builder is not None:
            batch.is_building = True
            for transactions in build_batch(batch, builder, sender.builders, lambda: self._await_room(until)):
                sender.tell(Step.BUILT, claim_id, len(transactions))
                if not self._submit(batch, transactions):
                    break
            batch.is_building = False
        if reason := sender.builders.why_unbuildable(self._issue_id):
            sender.batches.stop_issue(self._issue_id, f"safety stop: {reason}")
            sender.builders.forget(self._issue_id)

    def _submit(self, batch: Batch, transactions: list[Transaction]) -> bool:
        """False when the process ends: they go back as they were."""
        batch.submitted += len(transactions)
        if transactions and not self._sender.hand_over.submit(transactions):
            batch.submitted -= len(transactions)
            return False
        return True

    def _await_room(self, until: float) -> bool:
        """Wait while the connections have enough to do; whether more may be built."""
        while True:
            self._wake.clear()
            is_full = self._sender.hand_over.is_full
            self._settle_in_time(more_follows=True)
            self.recheck()
            if self._must_stop() or clock.monotonic() >= until:
                return False
            if not is_full:
                return True
            self._wake.wait(self._timing.settle_s)

    def recheck(self) -> None:
        """Ask again who left meanwhile; while the database is away the last answer grows old by itself."""
        try:
            self._sender.wishes.fulfil()
            recheck_batches(self._database, self.batches, self._sender.worker_id, self._timing.recheck_s)
        except UnreachableError as error:
            self._sender.note_away(error.trouble)
        except Exception:
            # Who cannot ask must not send: what is on the wire comes back, the rest is released.
            _log.critical("a recheck met an error of our own, its claims stop", issue=self._issue_id, exc_info=True)
            for batch in self.batches:
                batch.stop()

    def settle(self) -> None:
        """Judge what came back and write it."""
        self._settler.settle(self.batches)

    def drain(self, overtime_ends: float) -> None:
        """Let what was submitted leave; after the deadline take back what no connection has begun."""
        self._await_results(until_below=1, until=overtime_ends)
        if any(batch.flying for batch in self.batches):
            self._sender.hand_over.recall({batch.claim.id for batch in self.batches})
            self._await_results(until_below=1)

    def release(self, batch: Batch) -> bool:
        """Give back rows without a result. Whether there were any that can be sent again."""
        can_be_sent = False
        while batch.is_ours:
            try:
                with self._database.write() as conn:
                    most = batch.claim.left - batch.settled
                    can_be_sent = claims.release(conn, batch.claim, self._sender.worker_id, most)
                break
            except claims.ForgottenError:
                # It stays ours, so that nobody sends it again, until an operator has looked.
                self._sender.refuse_older()
                batch.is_ours = False
            except UnreachableError as error:
                self._settler.say_away(error.trouble, batch.claim.left)
                self._rest()
        if not batch.is_stuck:
            self._sender.batches.remove(batch)
        if batch.is_ours:
            self._sender.journal.end_claim(batch.claim.id)
        self._sender.tell(Step.RELEASED, batch.claim.id, int(can_be_sent))
        return can_be_sent

    def give_back(self) -> None:
        """Settle the rest, release every claim; waits while the database is away, because outcomes must not be lost."""
        while True:
            self.settle()
            self._write_stop(patiently=True)
            unsettled = any(batch.is_ours and batch.unsettled for batch in self.batches)
            if not unsettled and self._sender.batches.stop_reason(self._issue_id) is None:
                break
            self._rest()
        if not self.batches and not self._is_broken:
            return
        came_back = [self._release_calmly(batch) for batch in self.batches]
        if self._is_broken:
            self._chain.postpone_own_fault()
        elif fault := self._sender.hand_over.fresh_fault:
            self._chain.postpone_for(fault)
        elif any(came_back):
            self._chain.begin_anew()
        if self._is_unrecorded:
            self._sender.draining.wait(UNRECORDED_S)  # other machines go on meanwhile

    # Between the steps.

    def _release_calmly(self, batch: Batch) -> bool:
        """One claim's release that fails by an error of ours must not keep the others claimed."""
        try:
            return self.release(batch)
        except Exception:
            _log.critical("a claim could not be released", claim=batch.claim.id, exc_info=True)
            self._is_broken = True
            return False

    def _may_start(self, nudge_no: int) -> bool:
        sender = self._sender
        if sender.draining.is_set():
            return False
        if sender.lock is not None or sender.clock_trouble is not None:
            self._chain.pass_on(nudge_no, self._timing.again_s)
            return False
        self._write_stop()
        with self._database.read() as conn:
            issue = issues.get(conn, self._issue_id)
        if issue.state is not IssueState.SENDING or issue.nudge_no != nudge_no:
            return False
        self._fingerprint = issue.fingerprint
        # SQLite's planner rests between its pages itself.
        self._gives_way = issue.plan_cursor is not None and self._database.dialect == "postgresql"
        if not sender.journal.still_ours():
            sender.note = Trouble("journal.gone")
            _log.error("the journal's file is gone, nothing is sent", worker=sender.worker_id)
            sender.draining.set()  # the heartbeat ends this process; others take the nudge
            self._chain.go_on(nudge_no)
            return False
        if fault := sender.hand_over.fresh_fault:
            self._chain.postpone_for(fault)
            return False
        if missing := sender.wishes.missing():
            sender.note = missing
            self._chain.pass_on(nudge_no, self._timing.again_s)
            return False
        return True

    def _give_way(self, began: float, deadline: float) -> None:
        """To whoever writes the audience."""
        self._await_results(until_below=1, until=deadline)
        now = clock.monotonic()
        self._sender.draining.wait(max(0.0, min(GIVES_WAY * (now - began), deadline - now)))

    def _read_fingerprint(self) -> str:
        with self._database.read() as conn:
            return issues.get(conn, self._issue_id).fingerprint

    def _must_stop(self) -> bool:
        sender = self._sender
        is_stopped = sender.draining.is_set() or sender.hand_over.fresh_fault is not None
        return is_stopped or any(not batch.is_live for batch in self.batches)

    def _await_results(self, until_below: int, until: float | None = None) -> None:
        """Settle and recheck while mails are on the wire, until fewer than `until_below` are."""
        while True:
            self._wake.clear()
            flying = sum(batch.flying for batch in self.batches)
            now = clock.monotonic()
            self._settle_in_time(more_follows=flying > 0)
            if flying < max(until_below, 1) or (until is not None and now >= until):
                return
            self.recheck()
            if self._must_stop():
                self._sender.hand_over.recall({batch.claim.id for batch in self.batches})
            self._wake.wait(self._timing.settle_s)

    def _settle_in_time(self, *, more_follows: bool) -> None:
        """Write what came back, when it is enough or nothing else will come.

        A fast relay has answered a portion before the next one is built: settling each would double the transactions.
        """
        unsettled = sum(batch.unsettled for batch in self.batches)
        is_time = clock.monotonic() - self._settler.settled_at >= self._timing.settle_s
        if unsettled and (unsettled >= SETTLE_ROWS or is_time or not more_follows):
            self.settle()
        self._write_stop(patiently=True)

    def _write_stop(self, *, patiently: bool = False) -> None:
        """Pause an issue that a breaker stopped; `patiently` leaves it for later while the database is away."""
        reason = self._sender.batches.stop_reason(self._issue_id)
        if reason is None:
            return
        try:
            with self._database.write() as conn:
                issues.move(conn, self._issue_id, [IssueState.SENDING], IssueState.PAUSED, stopped_reason=reason)
        except UnreachableError:
            if not patiently:
                raise
            return
        except Exception:
            # Its copies stay stopped here, and are released; the breaker says it again when it has to.
            _log.critical("a safety stop could not be written", issue=self._issue_id, exc_info=True)
        else:
            _log.error("issue paused by a safety stop", issue=self._issue_id, cause=reason)
        self._sender.batches.note_stop_written(self._issue_id)

    def _rest(self) -> None:
        """Sleep between two tries while the database is away."""
        self._wake.clear()
        self._wake.wait(self._timing.again_s)
