"""Subscriptions: who stands where with which publication, how one ends and comes back, and what is leaving just now.

A subscription ends or returns only by an UPDATE that names the state it expects; the consent log gets a line in the
same transaction. Nothing here ever turns an ended subscription back except `restore`, the reader's own undo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, exists, func, insert, or_, select, update

from worker.domain.delivery import DeliveryState
from worker.domain.subscription import Channel, ConsentEvent, Subscription, SubscriptionState
from worker.storage.engine import database_now
from worker.storage.ledger import claims
from worker.storage.schema import (
    claim,
    consent_log,
    delivery,
    issue,
    publication,
    subscriber,
    subscription,
    suppression,
)

UNDO_DAYS = 30
"""How long an opt-out can be taken back by its link: an old mail that was passed on must not sign a reader up again."""

MOST_UNDOS = 3
"""Within UNDO_DAYS: whoever holds a link that was passed on cannot switch a reader on and off for ever."""

_MAY_HAVE_LEFT = (DeliveryState.ACCEPTED, DeliveryState.IN_DOUBT)

_LINKS = tuple(str(channel) for channel in Channel if channel.is_a_link)

# From a subscription to its publication's issues, and on to the copies of its reader.
_OF_PUBLICATION = issue.c.publication_id == subscription.c.publication_id
_TO_READER = and_(delivery.c.issue_id == issue.c.id, delivery.c.subscriber_id == subscription.c.subscriber_id)


@dataclass(frozen=True)
class Changed:
    """A subscription that an UPDATE really moved, with the generation it has now."""

    id: int
    generation: int


@dataclass(frozen=True)
class LateCopy:
    """A copy that an opt-out came too late for, or may have: `open` while a worker still holds it."""

    issue_id: int
    subject: str
    open: bool


def find(conn: Connection, subscription_id: int) -> Subscription | None:
    """One subscription. None when there is no such row (any more)."""
    return _first(conn, _subscriptions().where(subscription.c.id == subscription_id))


def of_reader(conn: Connection, subscriber_id: int) -> list[Subscription]:
    """Everything one reader subscribes to or left, in the publications' order."""
    mine = _subscriptions().where(subscription.c.subscriber_id == subscriber_id)
    return [_subscription(row) for row in conn.execute(mine.order_by(publication.c.id))]


def of_pair(conn: Connection, subscriber_id: int, publication_id: int) -> Subscription | None:
    """One reader's subscription to one publication. None when that is new to them."""
    pair = (subscription.c.subscriber_id == subscriber_id, subscription.c.publication_id == publication_id)
    return _first(conn, _subscriptions().where(*pair))


def going_on(conn: Connection, ended: Mapping[int, int], page: int) -> list[int]:
    """Which of these subscriptions, said to be ended in that generation, go on here in it or an earlier one."""
    found: list[int] = []
    ids = sorted(ended)
    for at in range(0, len(ids), page):
        rows = conn.execute(
            select(subscription.c.id, subscription.c.generation).where(
                subscription.c.id.in_(ids[at : at + page]), subscription.c.state != SubscriptionState.ENDED
            )
        )
        found += sorted(number for number, generation in rows if generation <= ended[number])
    return found


def of_delivery(conn: Connection, issue_id: int, n: int) -> Subscription | None:
    """The subscription behind one copy. None when it is gone."""
    copy = _subscriptions().join(issue, _OF_PUBLICATION).join(delivery, _TO_READER)
    return _first(conn, copy.where(delivery.c.issue_id == issue_id, delivery.c.n == n))


def consent_times(
    conn: Connection, publication_id: int, subscriber_ids: Sequence[int]
) -> Mapping[int, datetime | None]:
    """When each of these readers, a page of them, asked for the publication; None without dated evidence."""
    mine = (subscription.c.publication_id == publication_id, subscription.c.subscriber_id.in_(subscriber_ids))
    query = select(subscription.c.subscriber_id, subscription.c.consent_at).where(*mine)
    return {row.subscriber_id: row.consent_at for row in conn.execute(query)}


def end(
    conn: Connection, ids: Sequence[int], *, channel: Channel, issue_id: int | None, evidence: str
) -> list[Changed]:
    """End those of `ids` that their reader has not ended yet, with a consent line each. Returns what this call ended.

    The end that undoing an import put there is nobody's wish, and a later import may lift it: the reader's own no
    takes its place.
    """
    no_no_yet = or_(subscription.c.state != SubscriptionState.ENDED, subscription.c.ended_by == Channel.IMPORT)
    left = {"state": SubscriptionState.ENDED, "ended_at": database_now(), "ended_by": channel}
    line = {"event": ConsentEvent.ENDED, "channel": channel, "issue_id": issue_id, "evidence": evidence}
    return move(conn, ids, no_no_yet, {**left, "ended_issue_id": issue_id}, line)


def harden(conn: Connection, ids: Sequence[int], *, channel: Channel, evidence: str) -> list[Changed]:
    """Put another channel's no over the end that a link gave those of `ids`: from then on no link takes it back.

    The time of the end stays. Returns those whose end was a link's.
    """
    by_link = (subscription.c.state == SubscriptionState.ENDED, subscription.c.ended_by.in_(_LINKS))
    line = {"event": ConsentEvent.ENDED, "channel": channel, "issue_id": None, "evidence": evidence}
    return move(conn, ids, and_(*by_link), {"ended_by": channel, "ended_issue_id": None}, line)


def restore(
    conn: Connection, ids: Sequence[int], *, channel: Channel, issue_id: int | None, evidence: str
) -> list[Changed]:
    """Take back the end of those of `ids` that this issue's link gave them, one generation on, a consent line each.

    One that was never confirmed returns as pending. What may not come back (see Subscription.undoable) stays ended.
    """
    before = case((subscription.c.confirmed_at.is_(None), SubscriptionState.PENDING), else_=SubscriptionState.CONFIRMED)
    again = {"state": before, "generation": subscription.c.generation + 1}
    line = {"event": ConsentEvent.UNDONE, "channel": channel, "issue_id": issue_id, "evidence": evidence}
    own = and_(_undoable(), subscription.c.ended_issue_id.is_not_distinct_from(issue_id))
    return move(conn, ids, own, {**again, "ended_at": None, "ended_by": None, "ended_issue_id": None}, line)


def move(
    conn: Connection,
    ids: Sequence[int],
    expected: ColumnElement[bool],
    values: Mapping[str, Any],
    line: Mapping[str, Any],
) -> list[Changed]:
    """Give new values to those of `ids` that stand as expected, with this consent line each. Returns which did."""
    rows = conn.execute(
        update(subscription)
        .where(subscription.c.id.in_(ids), expected)
        .values(**values)
        .returning(subscription.c.id, subscription.c.generation)
    )
    changed = [Changed(*row) for row in rows]
    if changed:
        lines = [{"subscription_id": one.id, "generation": one.generation, **line} for one in changed]
        conn.execute(insert(consent_log).values(at=database_now()), lines)
    return changed


def copies_leaving(conn: Connection, ids: Sequence[int], since: datetime) -> list[LateCopy]:
    """Copies to these subscriptions that are `sending` now, or were handed over at `since` or later.

    The query starts from issues that hold owned claims or moved lately, so it stays a few index probes while a million
    rows wait.
    """
    sending = exists().where(_covers())
    left = and_(delivery.c.state.in_([str(state) for state in _MAY_HAVE_LEFT]), delivery.c.at >= since)
    lately = or_(
        exists().where(claim.c.issue_id == issue.c.id, claim.c.owner.is_not(None)),
        # Noted at most once a second, in a transaction before the settlement's own, which may have to wait.
        issue.c.last_progress_at >= since - timedelta(seconds=10),
        issue.c.finished_at >= since,
    )
    rows = conn.execute(
        select(issue.c.id, issue.c.subject, sending.label("open"))
        .select_from(subscription)
        .join(issue, _OF_PUBLICATION)
        .join(delivery, _TO_READER)
        .where(subscription.c.id.in_(ids), lately, or_(sending, left))
        .order_by(issue.c.id)
    )
    return [LateCopy(issue_id, subject, bool(is_open)) for issue_id, subject, is_open in rows]


def suppressed_leaving(conn: Connection, since: datetime) -> int:
    """How many copies are `sending` to an address that was suppressed at `since` or later, whatever the issue.

    Looks at the rows of owned claims only: some thousands at most, however long the batch or the ledger is.
    """
    suppressed = (
        exists()
        .where(subscriber.c.id == delivery.c.subscriber_id)
        .where(suppression.c.address_hash == subscriber.c.address_hash, suppression.c.created_at >= since)
    )
    count = 0
    owned = select(claim.c.id, claim.c.issue_id, claim.c.from_n, claim.c.to_n).where(claim.c.owner.is_not(None))
    for held in conn.execute(owned).all():
        # The range as values, so that every planner walks it by the primary key.
        place = and_(delivery.c.issue_id == held.issue_id, delivery.c.n.between(held.from_n, held.to_n))
        covered = exists().where(claim.c.id == held.id, _covers())
        rows = select(func.count()).select_from(delivery).where(place, covered, suppressed)
        count += int(conn.execute(rows).scalar_one())
    return count


def _covers() -> ColumnElement[bool]:
    """Whether an owned claim holds a row: the row is `sending`."""
    return and_(claim.c.owner.is_not(None), claims.holds_row())


def _subscriptions() -> Select[Any]:
    own = ("id", "subscriber_id", "publication_id", "generation", "state", "ended_at", "ended_by", "ended_issue_id")
    shown = ("title", "language", "contact", "promise")
    return (
        select(
            *(subscription.c[name] for name in own),
            *(publication.c[name] for name in shown),
            subscriber.c.address,
            _undoable().label("undoable"),
        )
        .join(subscriber, subscriber.c.id == subscription.c.subscriber_id)
        .join(publication, publication.c.id == subscription.c.publication_id)
    )


def _first(conn: Connection, query: Select[Any]) -> Subscription | None:
    row = conn.execute(query).first()
    return None if row is None else _subscription(row)


def _subscription(row: Row[Any]) -> Subscription:
    values = row._asdict()
    values["state"] = SubscriptionState(values["state"])
    values["undoable"] = bool(values["undoable"])
    return Subscription(**values)


def _undoable() -> ColumnElement[bool]:
    """The WHERE of Subscription.undoable; stands alone, so that an UPDATE of `subscription` can use it."""
    reader = subscriber.alias("reader")
    reachable = exists().where(
        reader.c.id == subscription.c.subscriber_id,
        reader.c.erased_at.is_(None),
        ~exists().where(suppression.c.address_hash == reader.c.address_hash),
    )
    lately = database_now(-UNDO_DAYS * 86_400)
    undone = (
        select(func.count())
        .select_from(consent_log)
        .where(
            consent_log.c.subscription_id == subscription.c.id,
            consent_log.c.event == ConsentEvent.UNDONE,
            consent_log.c.at > lately,
        )
    )
    return and_(
        subscription.c.state == SubscriptionState.ENDED,
        # Not what an operator, a mail or a complaint ended: an old link knows nothing of that.
        subscription.c.ended_by.in_(_LINKS),
        subscription.c.ended_at > lately,
        undone.scalar_subquery() < MOST_UNDOS,
        reachable,
    )
