"""An editor's orders about an issue: undo, pause, resume, cancel, retry. Each says what it found and what it did."""

import threading
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from worker import clock
from worker.dispatch.nudger import Nudger
from worker.domain.delivery import DeliveryState, Totals
from worker.domain.issue import Issue, IssueState
from worker.errors import RefusedError, Remedy
from worker.settings import Settings
from worker.storage import acts
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries, issues

POLL_S = 0.05  # a person waits for the answer, and a look is one query
MARGIN_S = 3.0
"""Beyond S: a worker settles and releases what it held."""

RETRYABLE = frozenset({DeliveryState.FAILED, DeliveryState.BOUNCED, DeliveryState.IN_DOUBT})
_BEFORE_SENDING = (IssueState.HOLDING, IssueState.SCHEDULED, IssueState.HELD_LATE)
_CANCELLABLE = (*_BEFORE_SENDING, IssueState.SENDING, IssueState.PAUSED)


@dataclass(frozen=True)
class Stopped:
    """A pause or cancel that holds: `in_flight` copies could not be called back in time and may still leave."""

    issue: Issue
    totals: Totals
    in_flight: int
    waited_s: float

    def as_dict(self) -> dict[str, object]:
        """The shape of `issue pause --json` and `issue cancel --json`."""
        return {
            "issue": self.issue.slug,
            "state": self.issue.state,
            "in_flight": self.in_flight,
            "waited_s": round(self.waited_s, 3),
            "totals": self.totals.as_dict(),
        }


def undo(database: Database, ref: str, actor: str) -> Issue:
    """Take a queued issue back to draft: nobody was mailed. Raises RefusedError once sending began."""
    with database.write() as conn:
        issue = _move(conn, ref, "undo", _BEFORE_SENDING, IssueState.DRAFT, hold_until=None, due_at=None)
        acts.record(conn, actor, "issue.undo", f"issue {issue.slug}", {})
        return issues.get(conn, issue.id)


def pause(database: Database, settings: Settings, ref: str, actor: str) -> Stopped:
    """Stop claiming and arming; answers when no copy is in flight any more, or after S and a margin."""
    with database.write() as conn:
        reason = f"paused by {actor}"
        issue = _move(conn, ref, "pause", [IssueState.SENDING], IssueState.PAUSED, stopped_reason=reason)
        acts.record(conn, actor, "issue.pause", f"issue {issue.slug}", {})
    return _stopped(database, issue.id, _wait_until_still(database, settings, issue.id))


def resume(database: Database, nudger: Nudger, ref: str, actor: str) -> Issue:
    """Go on where it was: only rows still waiting or deferred are sent."""
    with database.write() as conn:
        issue = _move(conn, ref, "resume", [IssueState.PAUSED], IssueState.SENDING, stopped_reason="")
        acts.record(conn, actor, "issue.resume", f"issue {issue.slug}", {})
    _nudge(database, nudger, issue.id)
    with database.read() as conn:
        return issues.get(conn, issue.id)


def refuse_cancel(issue: Issue) -> None:
    """Raises RefusedError for an issue that has nothing to cancel: said before anybody is asked whether to."""
    if issue.state not in _CANCELLABLE:
        raise RefusedError("issue.wrong_state", slug=issue.slug, state=issue.state, order="cancel")


def cancel(database: Database, settings: Settings, ref: str, actor: str, *, margin_s: float = MARGIN_S) -> Stopped:
    """Stop for good: every copy that is not in flight is cancelled; what is in flight ends as it will.

    Answers like `pause`, after S and `margin_s` at the latest.
    """
    with database.write() as conn:
        reason = f"cancelled by {actor}"
        issue = _move(conn, ref, "cancel", _CANCELLABLE, IssueState.CANCELLED, stopped_reason=reason, **issues.TO_SWEEP)
        count = deliveries.cancel_open(conn, issue.id)
        acts.record(conn, actor, "issue.cancel", f"issue {issue.slug}", {"cancelled": count})
    waited = _wait_until_still(database, settings, issue.id, margin_s)
    with database.write() as conn:
        # A copy that was in flight may have been put off till later: it will not be tried again.
        deliveries.cancel_open(conn, issue.id)
    return _stopped(database, issue.id, waited)


def retry(database: Database, nudger: Nudger, ref: str, states: Set[str], actor: str) -> int:
    """Send again to everyone in the given shown states; sets a finished issue back to sending. Returns how many.

    Of copies in doubt some may arrive twice; the caller says so before. Raises RefusedError for a state or an issue
    that allows no retry.
    """
    refuse_states(states)
    with database.write() as conn:
        # Locked: a cancel that commits now must not leave rows that wait for ever.
        issue = issues.get_locked(conn, ref)
        if issue.state not in (IssueState.SENDING, IssueState.PAUSED, IssueState.FINISHED):
            raise RefusedError("issue.never_sent", slug=issue.slug, state=str(issue.state))
        count = deliveries.reopen(conn, issue.id, sorted(DeliveryState(state) for state in states))
        if count and issue.state is IssueState.FINISHED:
            issues.move(conn, issue.id, [IssueState.FINISHED], IssueState.SENDING, finished_at=None)
        acts.record(conn, actor, "issue.retry", f"issue {issue.slug}", {"reopened": count})
    if count and issue.state is not IssueState.PAUSED:
        _nudge(database, nudger, issue.id)
    return count


def refuse_states(states: Set[str]) -> None:
    """Raises RefusedError for shown states in which no copy can be sent again."""
    if wrong := states - RETRYABLE:
        raise RefusedError("delivery.no_retry", states=sorted(wrong), allowed=sorted(RETRYABLE), remedy=Remedy.CHOOSE)


def _nudge(database: Database, nudger: Nudger, issue_id: int) -> None:
    """Truth, then nudge: the number is committed before a nudge carries it."""
    with database.write() as conn:
        issue = issues.get(conn, issue_id)
        number = issues.bump_nudge(conn, issue_id)
    if issue.plan_cursor is not None:
        nudger.plan(issue_id)
    nudger.send(issue_id, number)


def _move(conn: Connection, ref: str, order: str, old: Iterable[IssueState], new: IssueState, **columns: Any) -> Issue:  # noqa: ANN401
    """The issue as it was before the order moved it. Raises RefusedError when the order does not fit its state."""
    issue = issues.get(conn, ref)
    if not issues.move(conn, issue.id, old, new, **columns):
        raise RefusedError("issue.wrong_state", slug=issue.slug, state=issue.state, order=order)
    return issue


def _wait_until_still(database: Database, settings: Settings, issue_id: int, margin_s: float = MARGIN_S) -> float:
    """Seconds until nobody held a claim of the issue, at most S and the margin."""
    began = clock.monotonic()
    between = threading.Event()
    while True:
        with database.read() as conn:
            owned = claims.count_owned(conn, issue_id)
        waited = clock.monotonic() - began
        if not owned or waited >= settings.optout_fresh_s + margin_s:
            return waited
        between.wait(POLL_S)


def _stopped(database: Database, issue_id: int, waited: float) -> Stopped:
    with database.read() as conn:
        totals = issues.totals(conn, issue_id)
        return Stopped(issues.get(conn, issue_id), totals, totals.sending, waited)
