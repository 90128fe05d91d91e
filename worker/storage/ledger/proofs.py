"""What `verify` counts: every kept number against the rows it stands for, and every row against what it names.

Read only. Each function is one statement, so that it sees settled transactions whole while workers go on settling.
Each returns what is wrong and nothing else: an empty list is the proof.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import CheckConstraint, ColumnElement, Connection, Select, and_, case, exists, func, not_, or_, select
from sqlalchemy import text as sql_text

from worker.domain.delivery import OPEN, ClaimKind, DeliveryState
from worker.domain.issue import IssueState
from worker.domain.subscription import ConsentEvent
from worker.quantities import count
from worker.storage.schema import (
    claim,
    compiled_issue,
    consent_log,
    delivery,
    figure,
    issue,
    media,
    metadata,
    reply,
    shard,
    subscriber,
    subscription,
    worker,
)

_Query = TypeVar("_Query", bound=Select[*tuple[Any, ...]])
_OPEN = [str(state) for state in OPEN]


@dataclass(frozen=True)
class Discrepancy:
    """One thing that is not as it must be. `where` names the rows by ids, `what` says how they differ."""

    where: str
    what: str


def count_rows(conn: Connection, issue_id: int | None = None) -> tuple[int, int]:
    """(issues with a ledger, ledger rows) that a proof covers."""
    query = select(func.count(func.distinct(delivery.c.issue_id)), func.count()).select_from(delivery)
    issues, rows = conn.execute(_of(query, delivery.c.issue_id, issue_id)).one()
    return int(issues), int(rows)


def shard_counters(conn: Connection, issue_id: int | None = None) -> list[Discrepancy]:
    """Each shard's kept counter of each state against its rows."""
    rows = conn.execute(
        _of(
            select(
                shard.c.issue_id,
                shard.c.no,
                *(func.max(shard.c[state]).label(f"kept_{state}") for state in DeliveryState),
                *(func.sum(_one_if(delivery.c.state == state)).label(f"counted_{state}") for state in DeliveryState),
            )
            .select_from(shard)
            .outerjoin(delivery, _in_shard())
            .group_by(shard.c.issue_id, shard.c.no),
            shard.c.issue_id,
            issue_id,
        )
    ).mappings()
    return [
        Discrepancy(
            f"issue {row['issue_id']}, shard {row['no']}",
            f"counts {row[f'kept_{state}']} {state}, has {row[f'counted_{state}']} such rows",
        )
        for row in rows
        for state in DeliveryState
        if row[f"kept_{state}"] != row[f"counted_{state}"]
    ]


def audiences(conn: Connection, issue_id: int | None = None) -> list[Discrepancy]:
    """Each issue's audience against its rows, their numbers 1..N, and what its shards cover."""
    rows_of = select(func.count()).where(delivery.c.issue_id == issue.c.id).scalar_subquery()
    lowest = select(func.coalesce(func.min(delivery.c.n), 1)).where(delivery.c.issue_id == issue.c.id)
    highest = select(func.coalesce(func.max(delivery.c.n), 0)).where(delivery.c.issue_id == issue.c.id)
    covered = select(func.coalesce(func.sum(shard.c.to_n - shard.c.from_n + 1), 0)).where(
        shard.c.issue_id == issue.c.id
    )
    query = select(
        issue.c.id,
        issue.c.audience,
        rows_of.label("rows"),
        lowest.scalar_subquery().label("lowest"),
        highest.scalar_subquery().label("highest"),
        covered.scalar_subquery().label("covered"),
    )
    wrong = []
    for row in conn.execute(_of(query, issue.c.id, issue_id)):
        where = f"issue {row.id}"
        if row.audience != row.rows:
            wrong.append(Discrepancy(where, f"has an audience of {row.audience} and {count(row.rows, 'row')}"))
        if (row.lowest, row.highest) != (1, row.rows):
            wrong.append(
                Discrepancy(
                    where, f"numbers its {count(row.rows, 'row')} {row.lowest} to {row.highest}, not 1 to {row.rows}"
                )
            )
        if row.covered != row.rows:
            wrong.append(Discrepancy(where, f"has {count(row.rows, 'row')}, and shards for {row.covered}"))
    return wrong


def claims_left(conn: Connection, issue_id: int | None = None) -> list[Discrepancy]:
    """Each claim's `left` against its rows that have no result.

    Which rows those are is written out again on purpose: a proof that asked `claims.holds_row` would share its faults.
    """
    open_rows = and_(
        delivery.c.issue_id == claim.c.issue_id,
        delivery.c.n.between(claim.c.from_n, claim.c.to_n),
        delivery.c.state == claim.c.of_state,
        or_(
            and_(claim.c.kind == ClaimKind.FIRST, delivery.c.next_try.is_(None), delivery.c.claim.is_(None)),
            and_(claim.c.kind == ClaimKind.RETRY, delivery.c.claim == claim.c.id),
        ),
    )
    counted = select(func.count()).select_from(delivery).where(open_rows).scalar_subquery().label("counted")
    query = select(claim.c.id, claim.c.issue_id, claim.c.left, counted)
    return [
        Discrepancy(f"issue {row.issue_id}, claim {row.id}", f"says {count(row.left, 'row')} left, has {row.counted}")
        for row in conn.execute(_of(query, claim.c.issue_id, issue_id))
        if row.left != row.counted
    ]


def overlapping_claims(conn: Connection, issue_id: int | None = None) -> list[Discrepancy]:
    """Two range claims over the same numbers: two copies of one mail."""
    other = claim.alias()
    query = select(claim.c.issue_id, claim.c.id, other.c.id.label("other")).where(
        claim.c.issue_id == other.c.issue_id,
        claim.c.id < other.c.id,
        claim.c.kind == ClaimKind.FIRST,
        other.c.kind == ClaimKind.FIRST,
        claim.c.from_n <= other.c.to_n,
        other.c.from_n <= claim.c.to_n,
    )
    return [
        Discrepancy(f"issue {row.issue_id}", f"claims {row.id} and {row.other} hold the same rows")
        for row in conn.execute(_of(query, claim.c.issue_id, issue_id))
    ]


def stranded_rows(conn: Connection, issue_id: int | None = None) -> list[Discrepancy]:
    """Open rows that no claim could ever reach again: readers who would be forgotten."""
    covered = exists().where(
        claim.c.issue_id == delivery.c.issue_id,
        claim.c.kind == ClaimKind.FIRST,
        delivery.c.n.between(claim.c.from_n, claim.c.to_n),
    )
    passed_over = and_(delivery.c.next_try.is_(None), delivery.c.n < shard.c.next_n, not_(covered))
    claim_gone = not_(exists().where(claim.c.id == delivery.c.claim))
    query = (
        select(delivery.c.issue_id, delivery.c.claim, func.count().label("rows"), func.min(delivery.c.n).label("n"))
        .select_from(delivery)
        .join(shard, _in_shard())
        .where(
            delivery.c.state.in_(_OPEN),
            or_(and_(delivery.c.claim.is_(None), passed_over), and_(delivery.c.claim.is_not(None), claim_gone)),
        )
        .group_by(delivery.c.issue_id, delivery.c.claim)
    )
    return [
        Discrepancy(
            f"issue {row.issue_id}, from row {row.n}",
            f"{count(row.rows, 'open row belongs', 'open rows belong')} to "
            + ("no claim, behind the next number" if row.claim is None else f"claim {row.claim}, which is gone"),
        )
        for row in conn.execute(_of(query, delivery.c.issue_id, issue_id))
    ]


def rows_ahead(conn: Connection, issue_id: int | None = None) -> list[Discrepancy]:
    """Rows with a result that no claim has reached yet."""
    untouched = [str(state) for state in (DeliveryState.WAITING, DeliveryState.SKIPPED, DeliveryState.CANCELLED)]
    query = (
        select(delivery.c.issue_id, func.count().label("rows"), func.min(delivery.c.n).label("n"))
        .select_from(delivery)
        .join(shard, _in_shard())
        .where(delivery.c.n >= shard.c.next_n, delivery.c.state.not_in([*untouched, str(DeliveryState.EXPIRED)]))
        .group_by(delivery.c.issue_id)
    )
    return [
        Discrepancy(
            f"issue {row.issue_id}, from row {row.n}", f"{count(row.rows, 'row')} with a result and without a claim"
        )
        for row in conn.execute(_of(query, delivery.c.issue_id, issue_id))
    ]


def ended_with_open_rows(conn: Connection, issue_id: int | None = None) -> list[Discrepancy]:
    """Finished issues with a copy that may still leave, and cancelled ones with one that nobody holds."""
    held = exists().where(claim.c.issue_id == issue.c.id)
    query = (
        select(issue.c.id, issue.c.state, func.count().label("rows"))
        .join(delivery, and_(delivery.c.issue_id == issue.c.id, delivery.c.state.in_(_OPEN)))
        .where(
            or_(
                issue.c.state == IssueState.FINISHED,
                and_(issue.c.state == IssueState.CANCELLED, not_(held)),
            )
        )
        .group_by(issue.c.id, issue.c.state)
    )
    return [
        Discrepancy(f"issue {row.id}", f"is {row.state} and has {count(row.rows, 'open row')}")
        for row in conn.execute(_of(query, issue.c.id, issue_id))
    ]


def unknown_owners(conn: Connection, issue_id: int | None = None) -> list[Discrepancy]:
    """Claims owned by a process that has no row: nobody would ever notice that it died."""
    query = select(claim.c.id, claim.c.issue_id, claim.c.owner).where(
        claim.c.owner.is_not(None), not_(exists().where(worker.c.id == claim.c.owner))
    )
    return [
        Discrepancy(f"issue {row.issue_id}, claim {row.id}", f"belongs to worker {row.owner}, which is not known")
        for row in conn.execute(_of(query, claim.c.issue_id, issue_id))
    ]


def claim_owners(conn: Connection, host_id: str) -> list[tuple[int, str]]:
    """(claim, worker) of claims owned by processes of one host."""
    query = select(claim.c.id, claim.c.owner).join(worker, worker.c.id == claim.c.owner)
    return [(int(row.id), str(row.owner)) for row in conn.execute(query.where(worker.c.host_id == host_id))]


def states_of(conn: Connection, issue_id: int, numbers: Sequence[int]) -> dict[int, str]:
    """States of an issue's copies by number, at most 500; without those that wait because somebody reopened them."""
    query = select(delivery.c.n, delivery.c.state).where(delivery.c.issue_id == issue_id, delivery.c.n.in_(numbers))
    reopened = and_(delivery.c.state == DeliveryState.WAITING, delivery.c.next_try.is_not(None))
    return {int(n): str(state) for n, state in conn.execute(query.where(not_(reopened)))}


def orphans(conn: Connection) -> Iterator[Discrepancy]:
    """Rows that name another row which is not there, table by table."""
    lost: list[tuple[Any, str, str, ColumnElement[bool]]] = [
        (delivery, "name", "an issue", exists().where(issue.c.id == delivery.c.issue_id)),
        (delivery, "name", "a subscriber", exists().where(subscriber.c.id == delivery.c.subscriber_id)),
        (
            reply,
            "name",
            "a delivery",
            exists().where(delivery.c.issue_id == reply.c.issue_id, delivery.c.n == reply.c.n),
        ),
        (claim, "name", "an issue", exists().where(issue.c.id == claim.c.issue_id)),
        (consent_log, "name", "a subscription", exists().where(subscription.c.id == consent_log.c.subscription_id)),
        (figure, "name", "a picture", exists().where(media.c.sha256 == func.substr(figure.c.media, 1, 64))),
        (
            issue,
            "need",
            "a compiled text",
            or_(issue.c.state == IssueState.DRAFT, exists().where(compiled_issue.c.issue_id == issue.c.id)),
        ),
        (
            subscription,
            "need",
            "a line of the consent log about their end",
            or_(
                subscription.c.ended_at.is_(None),
                exists().where(
                    consent_log.c.subscription_id == subscription.c.id,
                    consent_log.c.event.in_([ConsentEvent.ENDED, ConsentEvent.IMPORT_UNDONE, ConsentEvent.ERASED]),
                ),
            ),
        ),
    ]
    for table, verb, what, there in lost:
        number = conn.execute(select(func.count()).select_from(table).where(not_(there))).scalar_one()
        if number:
            missing = count(number, f"row {verb}s", f"rows {verb}")
            yield Discrepancy(f"table {table.name}", f"{missing} {what} that is not there")


def broken_checks(conn: Connection) -> Iterator[Discrepancy]:
    """Every CHECK of the schema, tried again on the rows: a restored copy may have lost its constraints."""
    for table in metadata.sorted_tables:
        checks = sorted((c for c in table.constraints if isinstance(c, CheckConstraint)), key=lambda c: str(c.name))
        if not checks:
            continue
        broken = [func.coalesce(func.sum(_one_if(sql_text(f"NOT ({check.sqltext})"))), 0) for check in checks]
        numbers = conn.execute(select(*broken).select_from(table)).one()
        for check, number in zip(checks, numbers, strict=True):
            if number:
                yield Discrepancy(f"table {table.name}", f"{count(number, 'row')} against the rule {check.name}")


def _in_shard() -> ColumnElement[bool]:
    return and_(delivery.c.issue_id == shard.c.issue_id, delivery.c.n.between(shard.c.from_n, shard.c.to_n))


def _one_if(condition: Any) -> Any:  # noqa: ANN401 - any boolean clause; an integer clause
    return case((condition, 1), else_=0)


def _of(query: _Query, column: ColumnElement[Any], issue_id: int | None) -> _Query:
    return query if issue_id is None else query.where(column == issue_id)
