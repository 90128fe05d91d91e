"""How an issue gets on, in numbers that add up, and the first true cause when it does not. Values, no sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker import clock
from worker.domain.delivery import Totals
from worker.domain.issue import Issue, IssueState, WaitReason
from worker.domain.process import WorkerState, is_alive
from worker.errors import Trouble
from worker.settings import Settings
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.ledger import deliveries, issues
from worker.storage.workers import WorkerRow
from worker.transport.shaping import parse_rates

STALL_S = 30.0
"""Without progress for this long, the cause is looked for."""

RELAY_FAULT = "relay.fault"
"""The code of a worker's note while its relay lets nobody in."""

_SHORT_S, _LONG_S = 10.0, 120.0


@dataclass(frozen=True)
class Progress:
    """What was seen once. `rate_now` is mails a second over the last 10 s; the finish lies between what the rates of
    the last 10 s and of the last 2 min make of it."""

    issue: Issue
    totals: Totals
    counting: bool
    """The audience is still being written: its number grows."""
    rate_now: float
    rate_limit: str
    eta_low_s: float | None
    eta_high_s: float | None
    last_progress_s: float | None
    cause: Trouble | None
    """Why nothing moved for half a minute, or None."""
    wait: Trouble | None
    """Why nothing may be sent at this moment (the relay is away, no worker runs), known at once; or None."""
    workers: int
    seen: tuple[tuple[float, int], ...]
    """(monotonic seconds, copies done) seen earlier: pass the previous Progress to get rates."""

    @property
    def done(self) -> int:
        return _done(self.totals)

    @property
    def only_later_tries(self) -> bool:
        """Everything was tried; what is left are copies that a relay put off, for minutes or days."""
        totals = self.totals
        going = self.issue.state is IssueState.SENDING and not self.counting
        return going and totals.deferred > 0 and not (totals.waiting or totals.sending)


@dataclass(frozen=True)
class LaterTries:
    """What is left of an issue of which only later tries are left."""

    copies: int
    next_at: datetime
    """When the first of them is due."""
    last_at: datetime
    """No copy is tried after this; then it is `expired`."""


def later_tries(database: Database, settings: Settings, issue_id: int) -> LaterTries | None:
    """The copies put off by the relay; None when no later try is due."""
    with database.read() as conn:
        next_at, first_at = deliveries.later_tries(conn, issue_id)
        copies = issues.totals(conn, issue_id).deferred
    if next_at is None or first_at is None:
        return None
    return LaterTries(copies, next_at, first_at + timedelta(seconds=settings.retry_life_s))


def observe(database: Database, settings: Settings, issue_id: int, previous: Progress | None = None) -> Progress:
    """See how it gets on; touches kept counters only."""
    with database.read() as conn:
        issue = issues.get(conn, issue_id)
        totals = issues.totals(conn, issue_id)
        now = database.now(conn)
        alive = living(workers.list_workers(conn), now)
    why = explain_wait(issue.wait_reason, issue.wait_detail)
    mono = clock.monotonic()
    earlier = previous.seen if previous else ()
    seen = (*(one for one in earlier if mono - one[0] <= _LONG_S), (mono, _done(totals)))
    rates = [rate for rate in (_rate(seen, _SHORT_S), _rate(seen, _LONG_S)) if rate > 0]
    left = totals.waiting + totals.sending
    etas = sorted(left / rate for rate in rates) if left else []
    idle_s = None if issue.last_progress_at is None else (now - issue.last_progress_at).total_seconds()
    stands = issue.state is IssueState.SENDING and idle_s is not None and idle_s >= STALL_S
    return Progress(
        issue=issue,
        totals=totals,
        counting=issue.plan_cursor is not None and issue.state in (IssueState.SENDING, IssueState.PAUSED),
        rate_now=_rate(seen, _SHORT_S),
        rate_limit=_limits(settings, alive),
        eta_low_s=etas[0] if etas else None,
        eta_high_s=etas[-1] if etas else None,
        last_progress_s=idle_s,
        cause=_find_cause(issue, why, alive, left) if stands else None,
        wait=find_wait(issue, None if issue.wait_reason is WaitReason.LATER_TRIES else why, now, alive),
        workers=len(alive),
        seen=seen,
    )


def count_workers(database: Database) -> int:
    """How many worker processes can be counted on now."""
    with database.read() as conn:
        return len(living(workers.list_workers(conn), database.now(conn)))


def living(rows: Sequence[WorkerRow], now: datetime) -> list[WorkerRow]:
    """Those of the worker processes that can be counted on; `now` is the database's."""
    return [row for row in rows if is_alive(row.state, (now - row.seen_at).total_seconds())]


def explain_wait(reason: WaitReason, detail: str) -> Trouble | None:
    """Why nothing of an issue may leave now, as a value; None when nothing keeps it."""
    match reason:
        case WaitReason.NONE:
            return None
        case WaitReason.LATER_TRIES:
            return Trouble("wait.later_tries")
        case WaitReason.RATE_LIMIT:
            return Trouble("wait.rate_limit", limits=detail)
        case WaitReason.RELAY:
            return Trouble("wait.relay", cause=detail)
        case WaitReason.OWN_FAULT:
            return Trouble("wait.own_fault")


def find_wait(issue: Issue, why: Trouble | None, now: datetime, alive: Sequence[WorkerRow]) -> Trouble | None:
    """What keeps it at this moment: that nobody sends, what it waits for (`why`), or the relay's door; or None.

    `now` is the database's.
    """
    if not alive:
        return Trouble("wait.no_worker") if issue.state in (IssueState.HOLDING, IssueState.SENDING) else None
    if issue.state is not IssueState.SENDING:
        return None
    if why is None:
        # While a worker tries again the issue itself waits for nothing; the relay's door is closed all the same.
        return next((row.note for row in alive if row.note and row.note.code == RELAY_FAULT), None)
    left_s = 0.0 if issue.nudge_at is None else (issue.nudge_at - now).total_seconds()
    return Trouble("wait.again_in", cause=why, seconds=left_s) if left_s >= 1 else why


def _find_cause(issue: Issue, why: Trouble | None, alive: Sequence[WorkerRow], left: int) -> Trouble:
    """The first true cause: workers, then what they say, then what the issue waits for."""
    if not alive:
        return Trouble("wait.no_worker")
    if all(row.state == WorkerState.DRAINING for row in alive):
        return Trouble("wait.workers_stop")
    for row in alive:
        if row.note:
            return row.note
    if why is not None:
        return why if issue.nudge_at is None else Trouble("wait.until", cause=why, at=issue.nudge_at)
    return Trouble("wait.unknown") if left else Trouble("wait.later_tries")


def _limits(settings: Settings, alive: Sequence[WorkerRow]) -> str:
    """The rate windows of those who send; who only watches may have other settings."""
    told = {str(row.outfit.limits or "none") for row in alive if row.outfit}
    return " or ".join(sorted(told)) or str(parse_rates(settings.rate))


def _done(totals: Totals) -> int:
    return totals.audience - totals.waiting - totals.sending - totals.deferred


def _rate(seen: tuple[tuple[float, int], ...], window_s: float) -> float:
    recent = [one for one in seen if seen[-1][0] - one[0] <= window_s]
    span = recent[-1][0] - recent[0][0]
    return (recent[-1][1] - recent[0][1]) / span if span > 0 else 0.0
