"""The ledger's rows: what a claim must send, what is shown, what an order or a doubt reopens, what a cancel ends."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from worker.domain.delivery import DeliveryState, DoubtReason, SkipReason
from worker.domain.issue import IssueState
from worker.domain.subscriber import Recipient
from worker.storage.engine import database_now
from worker.storage.ledger import claims
from worker.storage.ledger.audiences import skip_reason
from worker.storage.ledger.claims import Claim
from worker.storage.schema import claim, delivery, issue, reply, shard, subscriber, subscription, suppression

LONGEST_WAIT_S = 6 * 3600
"""No copy and no issue is ever made to wait for longer by us (`transport.retry`); a time beyond it was set by a clock
that stood wrong."""


@dataclass(frozen=True, slots=True)
class Due:
    """One row a claim must send, as the ledger had it when it was read."""

    recipient: Recipient
    state: DeliveryState
    """The stored one, to which a release returns it."""
    tries: int
    """Hand-overs before this one."""
    first_try: datetime | None
    """When it was first put off; None before that. The time to try counts from here."""
    skip: SkipReason | None
    """Why it must not be sent after all."""
    fingerprint: bytes | None
    """8 octets over what the copy in doubt was built from; None on a row that repeats none."""
    claimed_at: datetime | None
    """Set on a row that repeats a copy in doubt: its Date and fingerprint must come out the same."""


def read_due(conn: Connection, held: Claim) -> list[Due]:
    """The rows of a claim, joined with who they are for. The query must begin after the claim was committed."""
    query = _with_readers(
        held,
        *(delivery.c[name] for name in ("n", "state", "tries", "first_try", "fingerprint", "claimed_at")),
        *(subscriber.c[name] for name in ("address", "name", "language", "attributes")),
        subscriber.c.id.label("subscriber_id"),
        subscription.c.id.label("subscription_id"),
        subscription.c.generation,
        subscription.c.consent_at,
        skip_reason().label("skip"),
    )
    return [
        Due(
            Recipient(
                n=row.n,
                subscriber_id=row.subscriber_id,
                subscription_id=row.subscription_id,
                generation=row.generation,
                address=row.address or "",
                name=row.name,
                language=row.language or "",
                consent_date=row.consent_at.date().isoformat() if row.consent_at else "",
                attributes=row.attributes,
            ),
            DeliveryState(row.state),
            row.tries,
            row.first_try,
            SkipReason(row.skip) if row.skip else None,
            row.fingerprint,
            row.claimed_at,
        )
        for row in conn.execute(query.order_by(delivery.c.n))
    ]


def numbers_of(conn: Connection, held: Claim) -> list[int]:
    """The numbers of a claim's rows without a result, in order."""
    return list(conn.execute(select(delivery.c.n).where(claims.rows_of(held)).order_by(delivery.c.n)).scalars())


def read_stops(conn: Connection, held: Claim, owner: str) -> tuple[bool, dict[int, SkipReason]]:
    """(claim still ours and issue still sending, {n: skip reason}): the recheck that precedes every arming."""
    reason = skip_reason()
    rows = conn.execute(_with_readers(held, delivery.c.n, reason).where(reason.is_not(None)))
    stops = {n: SkipReason(why) for n, why in rows}
    return is_live(conn, held, owner), stops


def _with_readers(held: Claim, *columns: ColumnElement[Any]) -> Select[Any]:
    """Columns of a claim's rows, and of whom they are for: issue, subscriber, subscription, suppression if any."""
    return (
        select(*columns)
        .select_from(delivery)
        .join(issue, issue.c.id == delivery.c.issue_id)
        .join(subscriber, subscriber.c.id == delivery.c.subscriber_id)
        .join(
            subscription,
            and_(
                subscription.c.subscriber_id == delivery.c.subscriber_id,
                subscription.c.publication_id == issue.c.publication_id,
            ),
        )
        .outerjoin(suppression, suppression.c.address_hash == subscriber.c.address_hash)
        .where(claims.rows_of(held))
    )


def is_live(conn: Connection, held: Claim, owner: str) -> bool:
    """Whether the issue still is being sent and the claim still is ours."""
    state = conn.execute(select(issue.c.state).where(issue.c.id == held.issue_id)).scalar()
    return state == IssueState.SENDING and claims.is_owned(conn, held, owner)


@dataclass(frozen=True)
class DeliveryRow:
    """One line of `issue deliveries`: a copy as people see it."""

    n: int
    """Its number in the issue."""
    address: str | None
    """None after erasure."""
    name: str
    state: str
    """The shown one: a row that an owned claim holds reads sending."""
    reason: str | None
    code: int | None
    """Last reply's three digits (RFC 5321 4.2)."""
    enhanced: str | None
    """Its status code (RFC 3463)."""
    provider: str | None
    tries: int
    """Times it was handed over, or may have been."""
    at: datetime | None
    """When its state became known, aware UTC; None before the first try."""
    next_try: datetime | None
    """When it may be claimed again, aware UTC."""
    reply_text: str
    """The relay's last words about it, cut and escaped; or ""."""
    left_at: datetime | None = None
    """When its reader left, of a copy that was withheld for that; aware UTC."""
    message_id: str = ""
    """Of every copy that was handed over or may have been, in its brackets: what a relay's log knows it by."""


def list_by_state(
    conn: Connection, issue_id: int, state: str | None = None, after_n: int = 0, limit: int = 1000
) -> list[DeliveryRow]:
    """Rows after number `after_n`, in order; `state` is a shown state (sending included) or None for all."""
    owned = exists().where(claim.c.owner.is_not(None), claims.holds_row())
    shown = case((owned, literal("sending")), else_=delivery.c.state)
    left_at = (
        select(subscription.c.ended_at)
        .join(issue, issue.c.publication_id == subscription.c.publication_id)
        .where(
            issue.c.id == delivery.c.issue_id,
            subscription.c.subscriber_id == delivery.c.subscriber_id,
            delivery.c.reason == SkipReason.OPTED_OUT,
        )
        .scalar_subquery()
    )
    query = (
        select(
            *(delivery.c[name] for name in ("n", "reason", "code", "enhanced", "provider", "tries", "at", "next_try")),
            *(subscriber.c[name] for name in ("address", "name")),
            shown.label("state"),
            last_words().label("reply_text"),
            left_at.label("left_at"),
        )
        .join(subscriber, subscriber.c.id == delivery.c.subscriber_id)
        .where(delivery.c.issue_id == issue_id, delivery.c.n > after_n)
        .order_by(delivery.c.n)
        .limit(limit)
    )
    if state is not None:
        query = query.where(shown == state)
    return [DeliveryRow(**{**row, "reply_text": row["reply_text"] or ""}) for row in conn.execute(query).mappings()]


def last_words() -> ScalarSelect[str]:
    """The newest text about a `delivery` row of the query it stands in: the relay's words, or ours; else null."""
    return (
        select(reply.c.text)
        .where(reply.c.issue_id == delivery.c.issue_id, reply.c.n == delivery.c.n)
        .order_by(reply.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def next_try_in(conn: Connection, issue_id: int) -> float | None:
    """Seconds until the earliest unclaimed next_try of an issue; 0 or less when it is due; None without any."""
    at = conn.execute(
        select(func.min(delivery.c.next_try)).where(
            delivery.c.issue_id == issue_id, delivery.c.next_try.is_not(None), delivery.c.claim.is_(None)
        )
    ).scalar()
    if at is None:
        return None
    now: datetime = conn.execute(select(database_now())).scalar_one()
    return float((at - now).total_seconds())


def bring_back(conn: Connection, issue_id: int) -> int:
    """Copies that wait for a time no try is ever set to become due: a clock stood wrong when it was set. How many."""
    return conn.execute(update(delivery).where(_waits_far(issue_id)).values(next_try=database_now())).rowcount


def has_far(conn: Connection, issue_id: int) -> bool:
    """Whether `bring_back` has anything to do."""
    return conn.execute(select(delivery.c.n).where(_waits_far(issue_id)).limit(1)).first() is not None


def _waits_far(issue_id: int) -> ColumnElement[bool]:
    far = delivery.c.next_try > database_now(LONGEST_WAIT_S)
    return and_(delivery.c.issue_id == issue_id, far, delivery.c.claim.is_(None))


_REOPENABLE = (IssueState.SENDING, IssueState.PAUSED, IssueState.FINISHED)


def later_tries(conn: Connection, issue_id: int) -> tuple[datetime | None, datetime | None]:
    """When the next deferred copy of an issue is due, and when the last one was first tried; None without any."""
    query = select(func.min(delivery.c.next_try), func.max(delivery.c.first_try)).where(
        delivery.c.issue_id == issue_id, delivery.c.next_try.is_not(None)
    )
    next_at, first_at = conn.execute(query).one()
    return next_at, first_at


def reopen(conn: Connection, issue_id: int, states: Iterable[DeliveryState]) -> int:
    """An editor's order: rows in the given states become waiting again, due now, as new mails. Returns how many."""
    # All shards by number before the first is written: state after state would go over them again from the start.
    conn.execute(select(shard.c.no).where(shard.c.issue_id == issue_id).order_by(shard.c.no).with_for_update())
    return sum(
        _reopen(conn, issue_id, state, delivery.c.state == state, claimed_at=None, fingerprint=None) for state in states
    )


def awaits_repeat() -> ColumnElement[bool]:
    """A copy in its first doubt whose fingerprint is known, so that a repeat can be proven to be the same message."""
    return and_(
        delivery.c.state == DeliveryState.IN_DOUBT,
        delivery.c.doubts == 1,
        delivery.c.fingerprint.is_not(None),
        delivery.c.reason != DoubtReason.NOT_THE_SAME,
    )


def repeat_doubts(conn: Connection, issue_id: int, settle_s: float) -> int:
    """never-miss: copies in doubt for `settle_s` become waiting again, once, keeping Date and fingerprint."""
    settled = or_(delivery.c.at <= database_now(-settle_s), delivery.c.at > database_now(LONGEST_WAIT_S))
    return _reopen(conn, issue_id, DeliveryState.IN_DOUBT, and_(awaits_repeat(), settled))


def _reopen(
    conn: Connection,
    issue_id: int,
    state: DeliveryState,
    which: ColumnElement[bool],
    **columns: Any,  # noqa: ANN401
) -> int:
    total = 0
    stands = conn.execute(select(issue.c.state).where(issue.c.id == issue_id).with_for_update()).scalar()
    if stands not in _REOPENABLE:
        return 0  # cancelled since the caller looked: a waiting row of it would be waiting for ever
    shards = conn.execute(
        select(shard.c.no, shard.c.from_n, shard.c.to_n)
        .where(shard.c.issue_id == issue_id, shard.c[str(state)] > 0)
        .order_by(shard.c.no)
    ).all()
    for no, from_n, to_n in shards:
        done = conn.execute(
            update(delivery)
            .where(delivery.c.issue_id == issue_id, delivery.c.n.between(from_n, to_n), which)
            .values(
                state=DeliveryState.WAITING,
                reason=None,
                claim=None,
                next_try=database_now(),
                at=database_now(),
                first_try=None,
                **columns,
            )
        ).rowcount
        claims.move_counts(conn, issue_id, no, {(state, DeliveryState.WAITING): done})
        total += done
    return total


def cancel_open(conn: Connection, issue_id: int) -> int:
    """Every row that is not being sent becomes cancelled; released ranges end. Returns how many."""
    # Shards first, and then it waits for nobody who needs one: rows of owned claims are left alone. A new range being
    # claimed holds its shard, and is then seen among the owned ones.
    shards = conn.execute(
        select(shard.c.no, shard.c.from_n, shard.c.to_n)
        .where(shard.c.issue_id == issue_id)
        .order_by(shard.c.no)
        .with_for_update()
    ).all()
    conn.execute(delete(claim).where(claim.c.issue_id == issue_id, claim.c.owner.is_(None)))
    # A single row claimed at this moment is not seen among the claims yet: its own column keeps it.
    is_held = or_(delivery.c.claim.is_not(None), exists().where(claim.c.owner.is_not(None), claims.holds_row()))
    total = 0
    for no, from_n, to_n in shards:
        conn.execute(update(shard).where(shard.c.issue_id == issue_id, shard.c.no == no).values(next_n=to_n + 1))
        for state in (DeliveryState.WAITING, DeliveryState.DEFERRED):
            done = conn.execute(
                update(delivery)
                .where(
                    delivery.c.issue_id == issue_id,
                    delivery.c.n.between(from_n, to_n),
                    delivery.c.state == state,
                    ~is_held,
                )
                .values(state=DeliveryState.CANCELLED, at=database_now(), next_try=None)
            ).rowcount
            claims.move_counts(conn, issue_id, no, {(state, DeliveryState.CANCELLED): done})
            total += done
    return total
