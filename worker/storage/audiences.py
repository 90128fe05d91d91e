"""Looking at an audience before it is frozen."""

from sqlalchemy import Connection, func, select, text

from worker.domain.delivery import SkipReason
from worker.domain.issue import AudienceKind
from worker.domain.subscription import SubscriptionState
from worker.storage.deliveries import audience_query
from worker.storage.schema import subscription


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
