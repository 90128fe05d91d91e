"""An issue's chain of nudges: each is worth a slice and puts itself back; this is how a chain goes on, rests and ends.

A nudge carries the issue's `nudge_no`: when that is bumped a new chain begins, and nudges of the old one die.
"""

from worker import clock
from worker.dispatch.sender import Sender
from worker.domain.issue import WaitReason
from worker.storage.ledger import deliveries, issues
from worker.transport.pool import RelayFault

BROKEN_S = 30.0
"""How long an issue waits after an error of our own, so that it does not fill the log."""

SHORTEST_WAIT_S = 1.0  # the relay's next try may be due already: one nudge must not chase the other


class Chain:
    """Of one issue, as one slice of it moves it."""

    def __init__(self, sender: Sender, issue_id: int) -> None:
        self._sender, self._issue_id = sender, issue_id

    def go_on(self, nudge_no: int) -> None:
        """Put the nudge back, at the queue's end."""
        self._sender.nudger.send(self._issue_id, nudge_no)

    def pass_on(self, nudge_no: int, after_s: float) -> None:
        """To a worker that may send, after a while, because it may be this one."""
        self._sender.draining.wait(after_s)
        self.go_on(nudge_no)

    def begin_anew(self) -> None:
        """Rows came back, and whoever found nothing to claim meanwhile has ended the chain."""
        with self._sender.database.write() as conn:
            number = issues.bump_nudge(conn, self._issue_id)
        self.go_on(number)

    def end(self) -> None:
        """Nothing to claim: the tick, a release or the next page's nudge begins a new one."""
        with self._sender.database.read() as conn:
            wait_s = deliveries.next_try_in(conn, self._issue_id)
            issue = issues.get(conn, self._issue_id)
        if wait_s is not None and wait_s > 0 and issue.nudge_at is None and issue.plan_cursor is None:
            self.postpone(wait_s, WaitReason.LATER_TRIES)

    def postpone(self, seconds: float, reason: WaitReason, detail: str = "") -> None:
        """Store that nothing of the issue may be sent for so long, and why: the tick nudges it then."""
        with self._sender.database.write() as conn:
            issues.wait_until(conn, self._issue_id, seconds, reason, detail)

    def postpone_for(self, fault: RelayFault) -> None:
        """Until the relay's next try."""
        self.postpone(max(fault.retry_at - clock.monotonic(), SHORTEST_WAIT_S), WaitReason.RELAY, fault.cause)

    def postpone_own_fault(self) -> None:
        """Nudges on their way die with their number, or the error would meet itself again at once."""
        with self._sender.database.write() as conn:
            issues.bump_nudge(conn, self._issue_id)
            issues.wait_until(conn, self._issue_id, BROKEN_S, WaitReason.OWN_FAULT)
