"""Find and mend what a crash or a lost nudge left behind. Every step is safe to run twice, anywhere."""

from worker import log
from worker.dispatch.nudger import Nudger
from worker.domain.delivery import DoubtPolicy
from worker.domain.issue import IssueState, WaitReason
from worker.storage.engine import Database
from worker.storage.ledger import deliveries, issues

QUIET_S = 5.0
"""Seconds without a claim despite claimable rows before an issue is nudged again."""

DOUBT_SETTLE_S = 900.0
"""A relay may still be finishing a mail whose line broke; a repeat waits longer than it takes (RFC 5321 4.5.3.2.6)."""

_log = log.logger("dispatch.reconcile")


def nudge_again(database: Database, nudger: Nudger, issue_id: int) -> None:
    """A new chain for an issue with rows that came back; older nudges die with their number."""
    with database.write() as conn:
        number = issues.bump_nudge(conn, issue_id)
    nudger.send(issue_id, number)


def nudge_forgotten(database: Database, nudger: Nudger) -> None:
    """New nudges for issues whose time has come, or whose nudge was lost."""
    with database.read() as conn:
        waiting = issues.without_nudge(conn, QUIET_S)
    for issue_id, planning in waiting:
        with database.write() as conn:
            number = issues.bump_nudge(conn, issue_id)
        if planning:
            nudger.plan(issue_id)
        nudger.send(issue_id, number)


def bring_back(database: Database) -> None:
    """Nobody waits for a time that only a clock that jumped could set: such copies are due now."""
    with database.read() as conn:
        sending = issues.list_issues(conn, [IssueState.SENDING])
        far = [issue.id for issue in sending if deliveries.has_far(conn, issue.id)]
    for issue_id in far:
        with database.write() as conn:
            count = deliveries.bring_back(conn, issue_id)
        _log.warning("a clock jumped: copies waited for a time that is too far away", issue=issue_id, rows=count)


def repeat_never_miss(database: Database, settle_s: float = DOUBT_SETTLE_S) -> int:
    """Reopen, once, the copies in doubt of never-miss issues after the settle time. Returns how many."""
    total = 0
    with database.read() as conn:
        open_issues = issues.list_issues(conn, [IssueState.SENDING])
    for issue in open_issues:
        if issue.doubt is DoubtPolicy.NEVER_MISS:
            with database.write() as conn:
                if issues.get_locked(conn, issue.id).state is IssueState.SENDING:
                    reopened = deliveries.repeat_doubts(conn, issue.id, settle_s)
                    total += reopened
                    if reopened:
                        issues.wait_until(conn, issue.id, 0, WaitReason.NONE)  # now, whatever it waited for
    return total


def finish(database: Database) -> None:
    """Move issues with nothing open to finished, and cancel what came back unsent after a cancel."""
    with database.read() as conn:
        unswept = issues.cancelled_unswept(conn)
    for issue_id in unswept:
        with database.write() as conn:
            deliveries.cancel_open(conn, issue_id)
            issues.note_swept(conn, issue_id)
    with database.write() as conn:
        done = issues.finish_done(conn)
    for issue_id in done:
        _log.info("issue finished", issue=issue_id)
