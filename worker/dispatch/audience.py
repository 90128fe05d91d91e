"""Whom an issue would reach if it were planned now, and who would be left out."""

from dataclasses import dataclass

from worker.domain.issue import AudienceKind
from worker.storage.engine import Database
from worker.storage.ledger import audiences


@dataclass(frozen=True)
class AudienceSummary:
    """Counts of subscriptions now; people who join or leave before planning starts are counted then."""

    will_get: int
    unconfirmed: int
    suppressed: int
    paused: int
    opted_out: int


def summarise(database: Database, publication_id: int, kind: AudienceKind, of: int | None) -> AudienceSummary:
    """Count once; a second or so per million subscriptions."""
    with database.read() as conn:
        counts = audiences.count(conn, publication_id, kind, of)
    return AudienceSummary(**counts)
