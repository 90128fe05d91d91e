"""An editor's orders about an issue: undo, pause, resume, cancel, retry. Each says what it found and what it did."""

import threading
from collections.abc import Set
from dataclasses import dataclass

from worker import clock
from worker.dispatch.nudger import Nudger
from worker.domain.delivery import DeliveryState, Totals
from worker.domain.issue import Issue, IssueState
from worker.errors import RefusedError
from worker.settings import Settings
from worker.storage import acts
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries, issues

POLL_S = 0.05
MARGIN_S = 3.0
"""Beyond S: a worker settles and releases what it held."""

RETRYABLE = frozenset({DeliveryState.FAILED, DeliveryState.BOUNCED, DeliveryState.IN_DOUBT})
_BEFORE = "nothing has left yet, take it back with: corranto issue undo {slug}"
_REMEDIES = {
    IssueState.DRAFT: "nothing of it leaves until its file is queued again",
    IssueState.HOLDING: _BEFORE,
    IssueState.SCHEDULED: _BEFORE,
    IssueState.HELD_LATE: _BEFORE,
    IssueState.SENDING: "stop it with: corranto issue pause {slug}",
    IssueState.PAUSED: "go on with: corranto issue resume {slug}, or end it with: corranto issue cancel {slug}",
    IssueState.FINISHED: "it has been sent, see: corranto issue report {slug}",
    IssueState.CANCELLED: "it was stopped for good, see: corranto issue report {slug}",
}
"""What an editor whose order does not fit the state may do instead."""
_BEFORE_SENDING = (IssueState.HOLDING, IssueState.SCHEDULED, IssueState.HELD_LATE)


@dataclass(frozen=True)
class Stopped:
    """A pause or cancel that holds: `in_flight` copies could not be called back in time and may still leave."""

    issue: Issue
    totals: Totals
    in_flight: int
    waited_s: float


def undo(database: Database, ref: str, actor: str) -> Issue:
    """Take a queued issue back to draft: nobody was mailed. Raises RefusedError once sending began."""
    with database.write() as conn:
        issue = issues.get(conn, ref)
        if not issues.move(conn, issue.id, _BEFORE_SENDING, IssueState.DRAFT, hold_until=None, due_at=None):
            raise _refusal(issue, "only an issue that has not begun can be undone")
        acts.record(conn, actor, "issue.undo", f"issue {issue.slug}", {})
        return issues.get(conn, issue.id)


def pause(database: Database, settings: Settings, ref: str, actor: str) -> Stopped:
    """Stop claiming and arming; answers when no copy is in flight any more, or after S and a margin."""
    with database.write() as conn:
        issue = issues.get(conn, ref)
        reason = f"paused by {actor}"
        if not issues.move(conn, issue.id, [IssueState.SENDING], IssueState.PAUSED, stopped_reason=reason):
            raise _refusal(issue, "only an issue that is being sent can be paused")
        acts.record(conn, actor, "issue.pause", f"issue {issue.slug}", {})
    return _stopped(database, issue.id, _wait_until_still(database, settings, issue.id))


def resume(database: Database, nudger: Nudger, ref: str, actor: str) -> Issue:
    """Go on where it was: only rows still waiting or deferred are sent."""
    with database.write() as conn:
        issue = issues.get(conn, ref)
        if not issues.move(conn, issue.id, [IssueState.PAUSED], IssueState.SENDING, stopped_reason=""):
            raise _refusal(issue, "only a paused issue can be resumed")
        acts.record(conn, actor, "issue.resume", f"issue {issue.slug}", {})
    _nudge(database, nudger, issue.id)
    with database.read() as conn:
        return issues.get(conn, issue.id)


def cancel(database: Database, settings: Settings, ref: str, actor: str) -> Stopped:
    """Stop for good: every copy that is not in flight is cancelled; what is in flight ends as it will."""
    with database.write() as conn:
        issue = issues.get(conn, ref)
        old = (*_BEFORE_SENDING, IssueState.SENDING, IssueState.PAUSED)
        reason = f"cancelled by {actor}"
        if not issues.move(conn, issue.id, old, IssueState.CANCELLED, stopped_reason=reason, **issues.TO_SWEEP):
            raise _refusal(issue, "there is nothing to cancel")
        count = deliveries.cancel_open(conn, issue.id)
        acts.record(conn, actor, "issue.cancel", f"issue {issue.slug}", {"cancelled": count})
    waited = _wait_until_still(database, settings, issue.id)
    with database.write() as conn:
        deliveries.cancel_open(conn, issue.id)  # a copy that was in flight may have been put off till later
    return _stopped(database, issue.id, waited)


def retry(database: Database, nudger: Nudger, ref: str, states: Set[DeliveryState], actor: str) -> int:
    """Send again to everyone in the given states; sets a finished issue back to sending. Returns how many.

    Of copies in doubt some may arrive twice; the caller says so before.
    """
    wrong = states - RETRYABLE
    if wrong:
        allowed = ", ".join(sorted(RETRYABLE))
        raise RefusedError(f"{', '.join(sorted(wrong))} cannot be retried; these can: {allowed}")
    with database.write() as conn:
        issue = issues.get_locked(conn, ref)
        if issue.state not in (IssueState.SENDING, IssueState.PAUSED, IssueState.FINISHED):
            raise RefusedError(f"{issue.slug} is {issue.state}: retry is for an issue that was sent")
        count = deliveries.reopen(conn, issue.id, sorted(states))
        if count and issue.state is IssueState.FINISHED:
            issues.move(conn, issue.id, [IssueState.FINISHED], IssueState.SENDING, finished_at=None)
        acts.record(conn, actor, "issue.retry", f"issue {issue.slug}", {"reopened": count})
    if count and issue.state is not IssueState.PAUSED:
        _nudge(database, nudger, issue.id)
    return count


def _nudge(database: Database, nudger: Nudger, issue_id: int) -> None:
    with database.write() as conn:
        issue = issues.get(conn, issue_id)
        number = issues.bump_nudge(conn, issue_id)
    if issue.plan_cursor is not None:
        nudger.plan(issue_id)
    nudger.send(issue_id, number)


def _refusal(issue: Issue, rule: str) -> RefusedError:
    """The rule, and what can be done in the state the issue is in."""
    state, slug = str(issue.state).replace("_", " "), issue.slug
    return RefusedError(f"{slug} is {state}: {rule}; {_REMEDIES[issue.state].format(slug=slug)}")


def _wait_until_still(database: Database, settings: Settings, issue_id: int) -> float:
    """Seconds until nobody held a claim of the issue, at most S and the margin."""
    began = clock.monotonic()
    pause_between = threading.Event()
    while True:
        with database.read() as conn:
            owned = claims.count_owned(conn, issue_id)
        waited = clock.monotonic() - began
        if not owned or waited >= settings.optout_fresh_s + MARGIN_S:
            return waited
        pause_between.wait(POLL_S)


def _stopped(database: Database, issue_id: int, waited: float) -> Stopped:
    with database.read() as conn:
        totals = issues.totals(conn, issue_id)
        return Stopped(issues.get(conn, issue_id), totals, totals.sending, waited)
