"""How an issue gets on, in numbers that add up, and the first true cause when it does not."""

from dataclasses import dataclass
from datetime import datetime

from worker import clock
from worker.domain.delivery import Totals
from worker.domain.issue import Issue, IssueState, WaitReason
from worker.errors import Trouble
from worker.settings import Settings
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.ledger import issues
from worker.transport.shaping import parse_rates

STALL_S = 30.0
ALIVE_S = 10.0
"""A worker beats every second; one not seen for this long is not working."""

LATER_TRIES = "only later tries are left"
NO_WORKER = "no worker is running; start one with: corranto worker"

_SHORT_S, _LONG_S = 10.0, 120.0


@dataclass(frozen=True)
class Progress:
    """One look. `rate_now` is mails a second over the last 10 s; the finish range spans the 10 s and the 2 min rate."""

    issue: Issue
    totals: Totals
    counting: bool
    """The audience is still being written: its number grows."""
    rate_now: float
    rate_limit: str
    eta_low_s: float | None
    eta_high_s: float | None
    last_progress_s: float | None
    cause: str | None
    """Why nothing moved for half a minute, or None."""
    wait_reason: str
    """Why nothing may be sent at this moment (the relay is away, no worker runs), known at once; or ""."""
    workers: int
    seen: tuple[tuple[float, int], ...]
    """(monotonic seconds, copies done) of earlier looks: pass the previous Progress to get rates."""

    @property
    def done(self) -> int:
        totals = self.totals
        return totals.audience - totals.waiting - totals.sending - totals.deferred


def observe(database: Database, settings: Settings, issue_id: int, previous: Progress | None = None) -> Progress:
    """Look once; touches kept counters only."""
    with database.read() as conn:
        issue = issues.get(conn, issue_id)
        totals = issues.totals(conn, issue_id)
        rows = workers.list_workers(conn)
        now = database.now(conn)
    mono = clock.monotonic()
    done = totals.audience - totals.waiting - totals.sending - totals.deferred
    earlier = previous.seen if previous else ()
    seen = (*(look for look in earlier if mono - look[0] <= _LONG_S), (mono, done))
    rates = [rate for rate in (_rate(seen, _SHORT_S), _rate(seen, _LONG_S)) if rate > 0]
    left = totals.waiting + totals.sending
    etas = sorted(left / rate for rate in rates) if left else []
    alive = [row for row in rows if row.state != "lost" and (now - row.seen_at).total_seconds() <= ALIVE_S]
    idle_s = None if issue.last_progress_at is None else (now - issue.last_progress_at).total_seconds()
    wait_reason = spell_wait(issue)
    waits = _waits_for(issue, wait_reason, now, has_workers=bool(alive))
    cause = None
    if issue.state is IssueState.SENDING and idle_s is not None and idle_s >= STALL_S:
        notes = [spell_note(row.note) for row in alive if row.note]
        cause = _cause(alive_count=len(alive), draining=all(row.state == "draining" for row in alive), notes=notes)
        if not cause and wait_reason and issue.nudge_at is not None:
            cause = f"{wait_reason} (until {issue.nudge_at:%H:%M:%S} UTC)"
        cause = cause or wait_reason or (LATER_TRIES if not left else "no cause found; try: doctor")
    return Progress(
        issue=issue,
        totals=totals,
        counting=issue.plan_cursor is not None and issue.state in (IssueState.SENDING, IssueState.PAUSED),
        rate_now=_rate(seen, _SHORT_S),
        rate_limit=str(parse_rates(settings.rate)),
        eta_low_s=etas[0] if etas else None,
        eta_high_s=etas[-1] if etas else None,
        last_progress_s=idle_s,
        cause=cause,
        wait_reason=waits,
        workers=len(alive),
        seen=seen,
    )


def spell_wait(issue: Issue) -> str:
    """Why nothing of an issue may be sent before its nudge_at, or ""."""
    if issue.wait_reason is WaitReason.LATER_TRIES:
        return LATER_TRIES
    if issue.wait_reason is WaitReason.OWN_FAULT:
        return "a fault of our own: see the workers' log"
    return f"rate limit {issue.wait_detail}" if issue.wait_reason is WaitReason.RATE_LIMIT else issue.wait_detail


def spell_note(note: Trouble | None) -> str:
    """What a worker waits for, or ""."""
    return "" if note is None else str(note.fields.get("text", note))


def _waits_for(issue: Issue, reason: str, now: datetime, *, has_workers: bool) -> str:
    if not has_workers:
        return NO_WORKER if issue.state in (IssueState.HOLDING, IssueState.SENDING) else ""
    if issue.state is not IssueState.SENDING or reason == LATER_TRIES:
        return ""
    left_s = 0.0 if issue.nudge_at is None else (issue.nudge_at - now).total_seconds()
    return f"{reason}; looks again in {left_s:.0f} s" if reason and left_s >= 1 else reason


def _cause(*, alive_count: int, draining: bool, notes: list[str]) -> str | None:
    if not alive_count:
        return NO_WORKER
    if draining:
        return "all workers are stopping; start one with: corranto worker"
    return notes[0] if notes else None


def _rate(seen: tuple[tuple[float, int], ...], window_s: float) -> float:
    recent = [look for look in seen if seen[-1][0] - look[0] <= window_s]
    span = recent[-1][0] - recent[0][0]
    return (recent[-1][1] - recent[0][1]) / span if span > 0 else 0.0
