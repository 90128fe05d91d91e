"""Audiences: who an issue is for, counted before it is frozen, and frozen into numbered ledger rows page by page."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    text,
    true,
    update,
)

from worker.domain.delivery import DeliveryState, SkipReason
from worker.domain.issue import AudienceKind, IssueState
from worker.domain.subscription import SubscriptionState
from worker.storage.engine import database_now
from worker.storage.schema import delivery, issue, shard, subscriber, subscription, suppression

REST_STATES = (DeliveryState.CANCELLED, DeliveryState.FAILED, DeliveryState.EXPIRED)
"""Copies that certainly never left: whom `--to-rest-of` reaches."""


class StoppedMeanwhileError(Exception):
    """Raised when an issue is no longer being sent at the end of a page: the page is not written."""


def skip_reason() -> ColumnElement[str | None]:
    """Why a subscription gets nothing now, or NULL; needs subscription ⨝ subscriber ⟕ suppression."""
    return case(
        (subscriber.c.erased_at.is_not(None), literal(str(SkipReason.ERASED))),
        (suppression.c.id.is_not(None), literal(str(SkipReason.SUPPRESSED))),
        (subscription.c.state != SubscriptionState.CONFIRMED, literal(str(SkipReason.OPTED_OUT))),
        (subscription.c.paused_until > database_now(), literal(str(SkipReason.PAUSED))),
        else_=null(),
    )


def audience_query(publication_id: int, kind: AudienceKind, of: int | None, queued_at: datetime | None) -> Select[Any]:
    """subscription_id, subscriber_id and skip reason of everyone an issue is for.

    Confirmed and not ended, plus (with `queued_at`) those active then who ended since: they get their row, skipped.
    """
    active: ColumnElement[bool] = subscription.c.state == SubscriptionState.CONFIRMED
    if queued_at is not None:
        ended_since = and_(
            subscription.c.state == SubscriptionState.ENDED,
            subscription.c.confirmed_at <= queued_at,
            subscription.c.ended_at >= queued_at,
        )
        active = or_(active, ended_since)
    query = (
        select(
            subscription.c.id.label("subscription_id"),
            subscription.c.subscriber_id.label("subscriber_id"),
            skip_reason().label("reason"),
        )
        .join(subscriber, subscriber.c.id == subscription.c.subscriber_id)
        .outerjoin(suppression, suppression.c.address_hash == subscriber.c.address_hash)
        .where(subscription.c.publication_id == publication_id, active)
    )
    if kind is AudienceKind.ALL:
        return query
    states = REST_STATES if kind is AudienceKind.REST_OF else (DeliveryState.ACCEPTED,)
    before = delivery.alias("before")
    return query.where(
        exists().where(
            before.c.issue_id == of,
            before.c.subscriber_id == subscription.c.subscriber_id,
            before.c.state.in_([str(state) for state in states]),
            # A repeat that was cancelled, failed or expired says nothing about the first copy, which may have arrived.
            before.c.doubts == 0 if kind is AudienceKind.REST_OF else true(),
        )
    )


def confirmed_since_queued(conn: Connection, issue_id: int) -> int:
    """How many of its publication's readers confirmed since an issue was queued: whether each has a row depends on
    when it was planned."""
    query = (
        select(func.count())
        .select_from(subscription)
        .join(issue, issue.c.publication_id == subscription.c.publication_id)
        .where(issue.c.id == issue_id, subscription.c.confirmed_at >= issue.c.queued_at)
    )
    return int(conn.execute(query).scalar_one())


def plan_page(conn: Connection, issue_id: int, page: int, shard_size: int) -> tuple[int, bool] | None:
    """Write the next up to `page` ledger rows and their shards, and move plan_cursor with them.

    Returns (rows written, complete), or None when another process plans this issue now or it is no longer being sent:
    whoever plans it goes on, so the caller's chain may end. Raises StoppedMeanwhileError, and nothing stays
    written, when the issue was paused or cancelled meanwhile.

    1. Become the one planner, or leave; the first page fixes plan_until, so that the audience ends somewhere.
    2. Write rows and shards for the subscriptions beyond the cursor.
    3. Move the cursor to the page's last one, or end it after a page that is not full. Only now the issue's row is
       locked: all who send this issue note their progress there, and would wait for the page.
    """
    if not _is_only_planner(conn, issue_id):
        return None
    to_plan = (issue.c.id == issue_id, issue.c.plan_cursor.is_not(None), issue.c.state == IssueState.SENDING)
    row = conn.execute(select(issue).where(*to_plan)).first()
    if row is None:
        return None
    until = row.plan_until
    if until is None:
        until = conn.execute(
            select(func.coalesce(func.max(subscription.c.id), 0)).where(
                subscription.c.publication_id == row.publication_id
            )
        ).scalar_one()
    source = (
        audience_query(row.publication_id, AudienceKind(row.audience_kind), row.audience_of, row.queued_at)
        .where(subscription.c.id > row.plan_cursor, subscription.c.id <= until)
        .order_by(subscription.c.id)
        .limit(page)
    )
    # One statement finds and writes the page; counted apart, a reader confirmed in between would shift it.
    count = _insert_rows(conn, issue_id, row.audience, source.subquery())
    last = row.plan_cursor
    if count:
        _insert_shards(conn, issue_id, row.audience, count, shard_size)
        last = _subscription_of(conn, issue_id, row.publication_id, row.audience + count)
    complete = count < page
    moved = conn.execute(
        update(issue)
        .where(*to_plan, issue.c.plan_cursor == row.plan_cursor)
        .values(
            plan_cursor=None if complete else last,
            plan_until=until,
            audience=issue.c.audience + count,
            last_progress_at=database_now(),
        )
    ).rowcount
    if not moved:
        raise StoppedMeanwhileError(issue_id)
    return count, complete


_PLANNER = 7_301
"""First half of the PostgreSQL advisory lock's number, the issue is the second."""


def _is_only_planner(conn: Connection, issue_id: int) -> bool:
    """Until this transaction ends. SQLite has one writer anyway."""
    if conn.dialect.name != "postgresql":
        return True
    lock = text("SELECT pg_try_advisory_xact_lock(:planner, :issue)")
    return bool(conn.execute(lock, {"planner": _PLANNER, "issue": issue_id}).scalar_one())


def _subscription_of(conn: Connection, issue_id: int, publication_id: int, n: int) -> int:
    """The subscription behind a ledger row: the last of a page says where the next begins."""
    return int(
        conn.execute(
            select(subscription.c.id)
            .join(delivery, delivery.c.subscriber_id == subscription.c.subscriber_id)
            .where(subscription.c.publication_id == publication_id, delivery.c.issue_id == issue_id, delivery.c.n == n)
        ).scalar_one()
    )


def _insert_rows(conn: Connection, issue_id: int, before: int, source: Any) -> int:  # noqa: ANN401 - a Subquery
    number = func.row_number().over(order_by=source.c.subscription_id) + before
    state = case(
        (source.c.reason.is_(None), literal(str(DeliveryState.WAITING))), else_=literal(str(DeliveryState.SKIPPED))
    )
    at = case((source.c.reason.is_(None), null()), else_=database_now())
    return conn.execute(
        delivery.insert().from_select(
            ["issue_id", "n", "subscriber_id", "state", "reason", "at", "tries", "doubts"],
            select(
                literal(issue_id), number, source.c.subscriber_id, state, source.c.reason, at, literal(0), literal(0)
            ),
            include_defaults=False,
        ),
        execution_options={"preserve_rowcount": True},
    ).rowcount


def _insert_shards(conn: Connection, issue_id: int, before: int, count: int, shard_size: int) -> None:
    highest = conn.execute(select(func.max(shard.c.no)).where(shard.c.issue_id == issue_id)).scalar()
    first_no = 0 if highest is None else highest + 1
    place = ((delivery.c.n - (before + 1)) // shard_size).label("place")
    here = (delivery.c.issue_id == issue_id, delivery.c.n.between(before + 1, before + count))
    left_out = select(place, func.count()).where(*here, delivery.c.state == DeliveryState.SKIPPED).group_by(place)
    skipped = {int(row[0]): int(row[1]) for row in conn.execute(left_out)}
    rows = []
    for at, start in enumerate(range(before + 1, before + count + 1, shard_size)):
        end = min(start + shard_size - 1, before + count)
        rows.append(
            {
                "issue_id": issue_id,
                "no": first_no + at,
                "from_n": start,
                "to_n": end,
                "next_n": start,
                "waiting": end - start + 1 - skipped.get(at, 0),
                "skipped": skipped.get(at, 0),
            }
        )
    conn.execute(shard.insert(), rows)


def count(conn: Connection, publication_id: int, kind: AudienceKind, of: int | None) -> dict[str, int]:
    """will_get, suppressed, paused, unconfirmed and opted_out of one publication, as of now."""
    source = audience_query(publication_id, kind, of, None).subquery()
    by_reason = {
        row[0]: int(row[1]) for row in conn.execute(select(source.c.reason, func.count()).group_by(source.c.reason))
    }
    by_state = {
        row[0]: int(row[1])
        for row in conn.execute(
            select(subscription.c.state, func.count())
            .where(subscription.c.publication_id == publication_id)
            .group_by(subscription.c.state)
        )
    }
    return {
        "will_get": by_reason.get(None, 0),
        "suppressed": by_reason.get(str(SkipReason.SUPPRESSED), 0),
        "paused": by_reason.get(str(SkipReason.PAUSED), 0),
        "unconfirmed": by_state.get(str(SubscriptionState.PENDING), 0),
        "opted_out": by_state.get(str(SubscriptionState.ENDED), 0),
    }


_ATTRIBUTES = {
    "postgresql": "SELECT DISTINCT k FROM subscription s JOIN subscriber p ON p.id = s.subscriber_id"
    " CROSS JOIN LATERAL json_object_keys(p.attributes) AS k WHERE s.publication_id = :publication",
    "sqlite": "SELECT DISTINCT a.key FROM subscription s JOIN subscriber p ON p.id = s.subscriber_id,"
    " json_each(p.attributes) a WHERE s.publication_id = :publication",
}


def attribute_names(conn: Connection, publication_id: int) -> frozenset[str]:
    """Columns that readers of a publication have beside name and language."""
    rows = conn.execute(text(_ATTRIBUTES[conn.dialect.name]), {"publication": publication_id})
    return frozenset(str(row[0]) for row in rows)
