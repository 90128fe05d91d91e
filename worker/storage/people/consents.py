"""How one subscription begins: by evidence, never over a reader's no. `subscriptions` tells how it ends."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.domain.subscription import Channel, ConsentEvent, SubscriptionState
from worker.log import scrub
from worker.storage.engine import database_now
from worker.storage.schema import consent_log, subscription


def start(
    conn: Connection, subscriber_id: int, publication_id: int, evidence: str, consented: datetime | None
) -> int | None:
    """Confirm a subscription that is new, pending, or ended by undoing an import, with its consent line.

    Returns the subscription's id; None when it is confirmed already or the reader ended it, which nothing here lifts.
    `consented` is when the reader asked, None when the evidence has no date.
    """
    insert_ = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    values = {
        "state": SubscriptionState.CONFIRMED,
        "confirmed_at": database_now(),
        "consent_at": consented,
        "consent_source": evidence,
        "import_id": None,
    }
    row = conn.execute(
        insert_(subscription)
        .values(subscriber_id=subscriber_id, publication_id=publication_id, generation=1, **values)
        .on_conflict_do_nothing(index_elements=["subscriber_id", "publication_id"])
        .returning(subscription.c.id, subscription.c.generation)
    ).one_or_none()
    mine = (subscription.c.subscriber_id == subscriber_id, subscription.c.publication_id == publication_id)
    if row is None:
        pending = subscription.c.state == str(SubscriptionState.PENDING)
        row = _move(conn, values, *mine, pending)
    if row is None:
        undone = (subscription.c.state == str(SubscriptionState.ENDED), subscription.c.ended_by == str(Channel.IMPORT))
        again = {"generation": subscription.c.generation + 1, "ended_at": None, "ended_by": None}
        row = _move(conn, {**values, **again, "ended_issue_id": None}, *mine, *undone)
    if row is None:
        return None
    line = {"event": ConsentEvent.ADDED, "channel": Channel.CLI, "evidence": scrub(evidence)}
    conn.execute(
        insert(consent_log).values(subscription_id=row.id, generation=row.generation, at=database_now(), **line)
    )
    subscription_id: int = row.id
    return subscription_id


def _move(conn: Connection, values: dict[str, Any], *expected: ColumnElement[bool]) -> Row[Any] | None:
    return conn.execute(
        update(subscription).where(*expected).values(**values).returning(subscription.c.id, subscription.c.generation)
    ).one_or_none()
