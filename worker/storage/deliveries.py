"""The ledger: planning it, reading what a claim must send, writing what became of it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    text,
    update,
)

from worker.domain.delivery import DeliveryState, SkipReason
from worker.domain.issue import AudienceKind, IssueState
from worker.domain.subscriber import Recipient
from worker.domain.subscription import SubscriptionState
from worker.storage import claims
from worker.storage.claims import Claim
from worker.storage.engine import database_now
from worker.storage.schema import claim, delivery, issue, reply, shard, subscriber, subscription, suppression

REST_STATES = (DeliveryState.CANCELLED, DeliveryState.FAILED, DeliveryState.EXPIRED)
"""Copies that certainly never left: whom `--to-rest-of` reaches."""


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
        )
    )


def plan_page(conn: Connection, issue_id: int, page: int, shard_size: int) -> tuple[int, bool] | None:
    """Write the next up to `page` ledger rows and their shards, and move plan_cursor with them.

    Returns (rows written, complete), or None when another process plans this issue now or it is no longer being sent.
    """
    row = conn.execute(
        select(issue)
        .where(issue.c.id == issue_id, issue.c.plan_cursor.is_not(None), issue.c.state == IssueState.SENDING)
        .with_for_update(skip_locked=True)
    ).first()
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
    ids = source.with_only_columns(subscription.c.id).subquery()
    count, last = conn.execute(select(func.count(), func.max(ids.c.id))).one()
    if count:
        _insert_rows(conn, issue_id, row.audience, source.subquery())
        _insert_shards(conn, issue_id, row.audience, int(count), shard_size)
    complete = count < page
    conn.execute(
        update(issue)
        .where(issue.c.id == issue_id)
        .values(
            plan_cursor=None if complete else last,
            plan_until=until,
            audience=issue.c.audience + count,
            last_progress_at=database_now(),
        )
    )
    return int(count), complete


def _insert_rows(conn: Connection, issue_id: int, before: int, source: Any) -> None:  # noqa: ANN401 - a Subquery
    number = func.row_number().over(order_by=source.c.subscription_id) + before
    state = case(
        (source.c.reason.is_(None), literal(str(DeliveryState.WAITING))), else_=literal(str(DeliveryState.SKIPPED))
    )
    at = case((source.c.reason.is_(None), null()), else_=database_now())
    conn.execute(
        delivery.insert().from_select(
            ["issue_id", "n", "subscriber_id", "state", "reason", "at", "tries", "doubts"],
            select(
                literal(issue_id), number, source.c.subscriber_id, state, source.c.reason, at, literal(0), literal(0)
            ),
            include_defaults=False,
        )
    )


def _insert_shards(conn: Connection, issue_id: int, before: int, count: int, shard_size: int) -> None:
    highest = conn.execute(select(func.max(shard.c.no)).where(shard.c.issue_id == issue_id)).scalar()
    first_no = 0 if highest is None else highest + 1
    rows = []
    for number, start in enumerate(range(before + 1, before + count + 1, shard_size), first_no):
        end = min(start + shard_size - 1, before + count)
        skipped = conn.execute(
            select(func.count())
            .select_from(delivery)
            .where(
                delivery.c.issue_id == issue_id,
                delivery.c.n.between(start, end),
                delivery.c.state == DeliveryState.SKIPPED,
            )
        ).scalar_one()
        rows.append(
            {
                "issue_id": issue_id,
                "no": number,
                "from_n": start,
                "to_n": end,
                "next_n": start,
                "waiting": end - start + 1 - skipped,
                "skipped": skipped,
            }
        )
    conn.execute(shard.insert(), rows)


@dataclass(frozen=True, slots=True)
class Due:
    """One row a claim must send, with what the ledger knows of it; `skip` names why it must not be sent after all."""

    recipient: Recipient
    state: DeliveryState
    tries: int
    first_try: datetime | None
    skip: str | None
    fingerprint: bytes | None
    claimed_at: datetime | None
    """Set on a row that repeats a copy in doubt: its Date and fingerprint must come out the same."""


def read_due(conn: Connection, held: Claim) -> list[Due]:
    """The rows of a claim, joined with who they are for. The query must begin after the claim was committed."""
    rows = conn.execute(
        select(
            delivery.c.n,
            delivery.c.state,
            delivery.c.tries,
            delivery.c.first_try,
            delivery.c.fingerprint,
            delivery.c.claimed_at,
            subscriber.c.id.label("subscriber_id"),
            subscriber.c.address,
            subscriber.c.name,
            subscriber.c.language,
            subscriber.c.attributes,
            subscription.c.id.label("subscription_id"),
            subscription.c.generation,
            subscription.c.consent_at,
            skip_reason().label("skip"),
        )
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
        .order_by(delivery.c.n)
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
            row.skip,
            row.fingerprint,
            row.claimed_at,
        )
        for row in rows
    ]


def read_stops(conn: Connection, held: Claim) -> tuple[bool, dict[int, str]]:
    """(issue still sending, {n: skip reason}) of a claim's rows: the look that precedes every arming."""
    sending = conn.execute(select(issue.c.state).where(issue.c.id == held.issue_id)).scalar() == IssueState.SENDING
    reason = skip_reason()
    rows = conn.execute(
        select(delivery.c.n, reason)
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
        .where(claims.rows_of(held), reason.is_not(None))
    )
    return sending, {row[0]: row[1] for row in rows}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one row: the state to store, and the columns that state requires."""

    n: int
    old: DeliveryState
    state: DeliveryState
    reason: str | None = None
    code: int | None = None
    enhanced: str | None = None
    provider: str | None = None
    next_try: datetime | None = None
    first_try: datetime | None = None
    tried: int = 1
    """How much `tries` grows: 0 for a row that never was handed over (skipped)."""
    fingerprint: bytes | None = None
    phase: str = ""
    text: str = ""
    """The relay's words, escaped; kept for non-2xx."""


_SETTLE_POSTGRESQL = text(
    """
    UPDATE delivery AS d SET
      state = v.state, reason = v.reason, code = v.code, enhanced = v.enhanced, provider = v.provider,
      next_try = v.next_try, first_try = v.first_try, fingerprint = v.fingerprint, at = now(),
      tries = d.tries + v.tried,
      claim = CASE WHEN v.state = 'in_doubt' THEN CAST(:claim AS bigint) END,
      claimed_at = CASE WHEN v.state = 'in_doubt' THEN COALESCE(d.claimed_at, CAST(:claimed_at AS timestamptz)) END,
      doubts = d.doubts + CASE WHEN v.state = 'in_doubt' THEN 1 ELSE 0 END
    FROM unnest(CAST(:n AS int[]), CAST(:old AS text[]), CAST(:state AS text[]), CAST(:reason AS text[]),
                CAST(:code AS smallint[]), CAST(:enhanced AS text[]), CAST(:provider AS text[]),
                CAST(:next_try AS timestamptz[]), CAST(:first_try AS timestamptz[]), CAST(:fingerprint AS bytea[]),
                CAST(:tried AS smallint[]))
      AS v(n, old, state, reason, code, enhanced, provider, next_try, first_try, fingerprint, tried)
    WHERE d.issue_id = :issue_id AND d.n = v.n AND d.state = v.old
      AND (CASE WHEN CAST(:kind AS text) = 'first' THEN d.claim IS NULL AND d.next_try IS NULL
                ELSE d.claim = :claim END)
    """
)


def settle(conn: Connection, held: Claim, owner: str, results: Sequence[Result]) -> int:
    """Write the results of one claim: rows that still are its own, its `left`, the shard's counters.

    Returns rows written: 0 when the claim is not ours any more (we were taken for dead, and must not settle).
    """
    mine = conn.execute(
        select(claim.c.left).where(claim.c.id == held.id, claim.c.owner == owner).with_for_update()
    ).scalar()
    if mine is None or not results:
        return 0
    if conn.dialect.name == "postgresql":
        written = _settle_postgresql(conn, held, results)
    else:
        written = _settle_each(conn, held, results)
    if written != len(results):
        raise AssertionError(f"claim {held.id}: {written} of {len(results)} rows were still its own")
    moves: dict[tuple[DeliveryState, DeliveryState], int] = defaultdict(int)
    for result in results:
        moves[result.old, result.state] += 1
    if mine == written:
        conn.execute(delete(claim).where(claim.c.id == held.id))
    else:
        conn.execute(update(claim).where(claim.c.id == held.id).values(left=claim.c.left - written))
    _keep_replies(conn, held, results)
    claims.move_counts(conn, held.issue_id, held.shard_no, dict(moves))
    return written


def _settle_postgresql(conn: Connection, held: Claim, results: Sequence[Result]) -> int:
    columns = ("n", "code", "enhanced", "provider", "next_try", "first_try", "fingerprint", "tried", "reason")
    values: dict[str, Any] = {name: [getattr(result, name) for result in results] for name in columns}
    values["old"] = [str(result.old) for result in results]
    values["state"] = [str(result.state) for result in results]
    done = conn.execute(
        _SETTLE_POSTGRESQL,
        {
            **values,
            "issue_id": held.issue_id,
            "claim": held.id,
            "claimed_at": held.claimed_at,
            "kind": held.kind,
        },
    )
    return done.rowcount


def _settle_each(conn: Connection, held: Claim, results: Sequence[Result]) -> int:
    guard = [
        delivery.c.issue_id == held.issue_id,
        delivery.c.n == bindparam("b_n"),
        delivery.c.state == bindparam("b_old"),
    ]
    if held.kind == "first":
        guard += [delivery.c.claim.is_(None), delivery.c.next_try.is_(None)]
    else:
        guard.append(delivery.c.claim == held.id)
    names = ("state", "reason", "code", "enhanced", "provider", "next_try", "first_try", "fingerprint")
    written = 0
    for doubtful in (False, True):
        batch = [r for r in results if (r.state is DeliveryState.IN_DOUBT) is doubtful]
        if not batch:
            continue
        extra: dict[str, Any] = {"claim": None, "claimed_at": None}
        if doubtful:
            claimed_at = func.coalesce(delivery.c.claimed_at, literal(held.claimed_at, delivery.c.claimed_at.type))
            extra = {"claim": held.id, "claimed_at": claimed_at, "doubts": delivery.c.doubts + 1}
        statement = (
            update(delivery)
            .where(*guard)
            .values(
                **{name: bindparam(f"b_{name}", type_=delivery.c[name].type) for name in names},
                at=database_now(),
                tries=delivery.c.tries + bindparam("b_tried"),
                **extra,
            )
        )
        rows = [
            {"b_n": r.n, "b_old": str(r.old), "b_tried": r.tried, **{f"b_{name}": getattr(r, name) for name in names}}
            for r in batch
        ]
        written += conn.execute(statement, rows).rowcount
    return written


def _keep_replies(conn: Connection, held: Claim, results: Iterable[Result]) -> None:
    rows = [
        {
            "issue_id": held.issue_id,
            "n": result.n,
            "b_n": result.n,
            "phase": result.phase[:12],
            "code": result.code,
            "enhanced": result.enhanced,
            "text": result.text,
        }
        for result in results
        if result.text and result.state is not DeliveryState.ACCEPTED
    ]
    if not rows:
        return
    tries = (
        select(delivery.c.tries)
        .where(delivery.c.issue_id == held.issue_id, delivery.c.n == bindparam("b_n"))
        .scalar_subquery()
    )
    conn.execute(reply.insert().values(at=database_now(), try_no=tries), rows)


@dataclass(frozen=True)
class DeliveryRow:
    """One line of `issue deliveries`. `state` is the shown one: an owned row reads sending."""

    n: int
    address: str
    name: str
    state: str
    reason: str | None
    code: int | None
    enhanced: str | None
    provider: str | None
    tries: int
    at: datetime | None
    next_try: datetime | None
    reply_text: str


def list_by_state(
    conn: Connection, issue_id: int, state: str | None = None, after_n: int = 0, limit: int = 1000
) -> list[DeliveryRow]:
    """Rows after number `after_n`, in order; `state` is a shown state (sending included) or None for all."""
    owned = exists().where(
        claim.c.issue_id == delivery.c.issue_id,
        claim.c.owner.is_not(None),
        or_(
            and_(
                claim.c.kind == "first",
                delivery.c.n.between(claim.c.from_n, claim.c.to_n),
                delivery.c.next_try.is_(None),
            ),
            claim.c.id == delivery.c.claim,
        ),
    )
    is_open = delivery.c.state.in_([str(DeliveryState.WAITING), str(DeliveryState.DEFERRED)])
    shown = case((and_(is_open, owned), literal("sending")), else_=delivery.c.state)
    last = (
        select(reply.c.text)
        .where(reply.c.issue_id == delivery.c.issue_id, reply.c.n == delivery.c.n)
        .order_by(reply.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(
            delivery.c.n,
            subscriber.c.address,
            subscriber.c.name,
            shown.label("state"),
            delivery.c.reason,
            delivery.c.code,
            delivery.c.enhanced,
            delivery.c.provider,
            delivery.c.tries,
            delivery.c.at,
            delivery.c.next_try,
            last.label("reply_text"),
        )
        .join(subscriber, subscriber.c.id == delivery.c.subscriber_id)
        .where(delivery.c.issue_id == issue_id, delivery.c.n > after_n)
        .order_by(delivery.c.n)
        .limit(limit)
    )
    if state is not None:
        query = query.where(shown == state)
    return [
        DeliveryRow(**{**row, "address": row["address"] or "(erased)", "reply_text": row["reply_text"] or ""})
        for row in conn.execute(query).mappings()
    ]


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


def reopen(conn: Connection, issue_id: int, states: Iterable[DeliveryState]) -> int:
    """An editor's order: rows in the given states become waiting again, due now, as new mails. Returns how many."""
    return sum(
        _reopen(conn, issue_id, state, delivery.c.state == state, claimed_at=None, fingerprint=None) for state in states
    )


def _awaits_repeat(settle_s: float) -> ColumnElement[bool]:
    """A copy in its first doubt whose fingerprint is known, so that a repeat can be proven to be the same message."""
    return and_(
        delivery.c.state == DeliveryState.IN_DOUBT,
        delivery.c.doubts == 1,
        delivery.c.fingerprint.is_not(None),
        delivery.c.reason != "not_the_same",
        delivery.c.at <= database_now(-settle_s),
    )


def repeat_doubts(conn: Connection, issue_id: int, settle_s: float) -> int:
    """never-miss: copies in doubt for `settle_s` become waiting again, once, keeping Date and fingerprint."""
    return _reopen(conn, issue_id, DeliveryState.IN_DOUBT, _awaits_repeat(settle_s))


def _reopen(
    conn: Connection,
    issue_id: int,
    state: DeliveryState,
    which: ColumnElement[bool],
    **columns: Any,  # noqa: ANN401
) -> int:
    total = 0
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
    # Shards first: a claim being made holds its shard, and is then seen among the owned ones.
    shards = conn.execute(
        select(shard.c.no, shard.c.from_n, shard.c.to_n)
        .where(shard.c.issue_id == issue_id)
        .order_by(shard.c.no)
        .with_for_update()
    ).all()
    conn.execute(delete(claim).where(claim.c.issue_id == issue_id, claim.c.owner.is_(None)))
    owned = [
        row._mapping
        for row in conn.execute(select(claim).where(claim.c.issue_id == issue_id, claim.c.owner.is_not(None)))
    ]
    total = 0
    for no, from_n, to_n in shards:
        conn.execute(update(shard).where(shard.c.issue_id == issue_id, shard.c.no == no).values(next_n=to_n + 1))
        kept = [
            and_(delivery.c.n.between(c["from_n"], c["to_n"]), delivery.c.next_try.is_(None))
            for c in owned
            if c["kind"] == "first" and c["shard_no"] == no
        ]
        for state in (DeliveryState.WAITING, DeliveryState.DEFERRED):
            done = conn.execute(
                update(delivery)
                .where(
                    delivery.c.issue_id == issue_id,
                    delivery.c.n.between(from_n, to_n),
                    delivery.c.state == state,
                    delivery.c.claim.is_(None),
                    *(~part for part in kept),
                )
                .values(state=DeliveryState.CANCELLED, at=database_now(), next_try=None)
            ).rowcount
            claims.move_counts(conn, issue_id, no, {(state, DeliveryState.CANCELLED): done})
            total += done
    return total
