"""The ledger's gauges, from kept counters only: a scrape costs the same with ten readers and with a million."""

from sqlalchemy import Connection, exists, func, or_, select

from worker.domain.delivery import DeliveryState
from worker.domain.issue import IssueState
from worker.domain.process import WorkerState
from worker.metrics import LedgerReading
from worker.storage.engine import database_now
from worker.storage.schema import claim, delivery, issue, shard, worker

_DONE = (str(IssueState.FINISHED), str(IssueState.CANCELLED))


def read_gauges(conn: Connection) -> LedgerReading:
    """Every state is present, with 0 where there is nothing, so that no series comes and goes."""
    issues = {str(state): 0 for state in IssueState}
    for state, number in conn.execute(select(issue.c.state, func.count()).group_by(issue.c.state)):
        issues[state] = int(number)
    workers = {str(state): 0 for state in WorkerState}
    for state, number in conn.execute(select(worker.c.state, func.count()).group_by(worker.c.state)):
        workers[state] = int(number)
    return LedgerReading(issues, _deliveries(conn), workers, _oldest_waiting_s(conn), _discrepancy(conn))


def _deliveries(conn: Connection) -> dict[str, int]:
    open_issues = select(issue.c.id).where(issue.c.state.not_in(_DONE))
    sums = conn.execute(
        select(*(func.coalesce(func.sum(shard.c[str(state)]), 0) for state in DeliveryState)).where(
            shard.c.issue_id.in_(open_issues)
        )
    ).one()
    counts = {str(state): int(value) for state, value in zip(DeliveryState, sums, strict=True)}
    counts["sending"] = 0
    is_open = claim.c.issue_id.in_(open_issues)
    claimed = (
        select(claim.c.of_state, is_open, func.sum(claim.c.left))
        .where(claim.c.owner.is_not(None))
        .group_by(claim.c.of_state, is_open)
    )
    for state, counted, number in conn.execute(claimed):
        counts["sending"] += int(number)
        if counted:
            # As issue totals say it: what is being sent is taken out of the stored state it will return to. A
            # settlement between the two questions must not make it less than nothing.
            counts[state] = max(0, counts[state] - int(number))
    return counts


def _oldest_waiting_s(conn: Connection) -> float:
    # A deferred copy whose time has not come is waited for on purpose and must alarm nobody.
    waits = exists().where(shard.c.issue_id == issue.c.id, shard.c.waiting > 0)
    due = exists().where(delivery.c.issue_id == issue.c.id, delivery.c.next_try <= database_now())
    moved = func.coalesce(issue.c.last_progress_at, issue.c.started_at, type_=issue.c.started_at.type)
    row = conn.execute(
        select(func.min(moved, type_=issue.c.started_at.type), database_now()).where(
            issue.c.state == IssueState.SENDING, or_(waits, due)
        )
    ).one()
    oldest, now = row
    return 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())


def _discrepancy(conn: Connection) -> int:
    """Audiences against the numbers their shards cover; that each shard adds up is a CHECK."""
    covered = (
        select(func.coalesce(func.sum(shard.c.to_n - shard.c.from_n + 1), 0))
        .where(shard.c.issue_id == issue.c.id)
        .scalar_subquery()
    )
    planned = issue.c.started_at.is_not(None) & issue.c.plan_cursor.is_(None)
    return int(
        conn.execute(
            select(func.coalesce(func.sum(func.abs(issue.c.audience - covered)), 0)).where(planned)
        ).scalar_one()
    )
