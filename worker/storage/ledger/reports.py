"""What a report counts: outcomes by provider, the relay's reasons, times, leaving, and the copies in doubt.

Read only, and after the fact: these read an issue's rows, where progress reads kept counters only.
"""

from sqlalchemy import Connection, and_, func, select

from worker.domain.delivery import DeliveryState, DoubtReason, SkipReason
from worker.domain.provider import Provider
from worker.domain.report import TRIED, Doubt, Leavers, Refusal, Silence, Span
from worker.domain.subscription import ConsentEvent
from worker.storage.ledger.deliveries import last_words
from worker.storage.schema import consent_log, delivery, issue, reply, subscriber, subscription


def by_provider(conn: Connection, issue_id: int) -> dict[str, dict[DeliveryState, int]]:
    """Provider → state → rows, of the rows that met the relay."""
    name = func.coalesce(delivery.c.provider, Provider.OTHER)
    query = (
        select(name.label("provider"), delivery.c.state, func.count().label("rows"))
        .where(delivery.c.issue_id == issue_id, delivery.c.state.in_([str(state) for state in TRIED]))
        .group_by(name, delivery.c.state)
    )
    providers: dict[str, dict[DeliveryState, int]] = {}
    for row in conn.execute(query):
        providers.setdefault(row.provider, {})[DeliveryState(row.state)] = int(row.rows)
    return providers


def by_reason(conn: Connection, issue_id: int) -> list[tuple[DeliveryState, str, int]]:
    """(state, our reason, rows) of the rows that carry one, most first."""
    number = func.count().label("rows")
    query = (
        select(delivery.c.state, delivery.c.reason, number)
        .where(delivery.c.issue_id == issue_id, delivery.c.reason.is_not(None))
        .group_by(delivery.c.state, delivery.c.reason)
        .order_by(number.desc(), delivery.c.reason)
    )
    return [(DeliveryState(row.state), str(row.reason), int(row.rows)) for row in conn.execute(query)]


def refusals(conn: Connection, issue_id: int, limit: int = 20) -> list[Refusal]:
    """The commonest last replies of rows that were not accepted, by code."""
    last = select(func.max(reply.c.id)).where(reply.c.issue_id == issue_id).group_by(reply.c.n)
    number = func.count().label("rows")
    query = (
        select(delivery.c.state, reply.c.code, reply.c.enhanced, number, func.min(reply.c.text).label("example"))
        .join(reply, and_(reply.c.issue_id == delivery.c.issue_id, reply.c.n == delivery.c.n))
        .where(delivery.c.issue_id == issue_id, delivery.c.state != DeliveryState.ACCEPTED, reply.c.id.in_(last))
        .group_by(delivery.c.state, reply.c.code, reply.c.enhanced)
        .order_by(number.desc(), reply.c.code)
        .limit(limit)
    )
    return [
        Refusal(DeliveryState(row.state), row.code, row.enhanced, int(row.rows), str(row.example))
        for row in conn.execute(query)
    ]


def span(conn: Connection, issue_id: int, state: DeliveryState) -> Span:
    """When the first and the last row of a state became known."""
    query = select(func.min(delivery.c.at), func.max(delivery.c.at)).where(
        delivery.c.issue_id == issue_id, delivery.c.state == state
    )
    first, last = conn.execute(query).one()
    return Span(first, last)


def leavers(conn: Connection, issue_id: int) -> Leavers:
    """Who left through an issue: people once, however many subscriptions one press ended."""
    people = func.count(func.distinct(subscription.c.subscriber_id))
    ended = func.count(func.distinct(consent_log.c.subscription_id))
    query = (
        select(consent_log.c.event, people.label("people"), ended.label("subscriptions"))
        .join(subscription, subscription.c.id == consent_log.c.subscription_id)
        .where(
            consent_log.c.issue_id == issue_id,
            consent_log.c.event.in_([ConsentEvent.ENDED, ConsentEvent.UNDONE]),
        )
    )
    totals = {row.event: row for row in conn.execute(query.group_by(consent_log.c.event))}
    left, back = totals.get(ConsentEvent.ENDED), totals.get(ConsentEvent.UNDONE)
    by_channel = conn.execute(
        query.add_columns(consent_log.c.channel)
        .where(consent_log.c.event == ConsentEvent.ENDED)
        .group_by(consent_log.c.event, consent_log.c.channel)
    )
    return Leavers(
        people=int(left.people) if left else 0,
        subscriptions=int(left.subscriptions) if left else 0,
        by_channel={row.channel: int(row.people) for row in by_channel},
        came_back=int(back.people) if back else 0,
    )


def silence(conn: Connection, issue_id: int) -> Silence:
    """How soon nothing left any more to those who left meanwhile."""
    query = (
        select(delivery.c.state, delivery.c.reason, delivery.c.at, subscription.c.ended_at)
        .join(issue, issue.c.id == delivery.c.issue_id)
        .join(
            subscription,
            (subscription.c.subscriber_id == delivery.c.subscriber_id)
            & (subscription.c.publication_id == issue.c.publication_id),
        )
        .where(delivery.c.issue_id == issue_id, subscription.c.ended_at >= issue.c.started_at)
    )
    withheld, late = 0, []
    for row in conn.execute(query):
        withheld += row.reason == SkipReason.OPTED_OUT
        if row.state == DeliveryState.ACCEPTED and row.at > row.ended_at:
            late.append((row.at - row.ended_at).total_seconds())
    return Silence(withheld, len(late), max(late, default=0.0))


def doubts(conn: Connection, issue_id: int, limit: int) -> list[Doubt]:
    """The copies in doubt, by number; at most `limit`. Their Message-IDs are left to who knows the key."""
    query = (
        select(delivery.c.n, subscriber.c.address, delivery.c.reason, delivery.c.at, last_words().label("words"))
        .join(subscriber, subscriber.c.id == delivery.c.subscriber_id)
        .where(delivery.c.issue_id == issue_id, delivery.c.state == DeliveryState.IN_DOUBT)
        .order_by(delivery.c.n)
        .limit(limit)
    )
    return [
        Doubt(int(row.n), row.address, DoubtReason(row.reason), row.at, row.words or "") for row in conn.execute(query)
    ]
