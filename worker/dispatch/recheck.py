"""Recheck a claim's rows: who left, and whether the issue is still being sent. Nothing leaves without it.

Only a query that began after the claim's commit counts, and its age counts from before it was sent: an opt-out that
was committed before the question is in the answer, one committed later waits for what is on the wire.
"""

from collections.abc import Iterable

from worker import clock
from worker.dispatch.batches import Batch, Recheck
from worker.storage.engine import Database
from worker.storage.ledger import deliveries

RECHECK_S = 1.0
"""How often held rows are rechecked while mails of theirs wait for a connection."""


def read_batch(database: Database, batch: Batch, owner: str) -> None:
    """The first recheck, which also reads whom the rows are for. Raises UnreachableError."""
    asked_at = clock.monotonic()
    with database.read() as conn:
        rows = deliveries.read_due(conn, batch.claim)
        is_live = deliveries.is_live(conn, batch.claim, owner)
    batch.due = {row.recipient.n: row for row in rows}
    batch.recheck = Recheck(asked_at, is_live, {row.recipient.n: row.skip for row in rows if row.skip})


def recheck_batches(database: Database, batches: Iterable[Batch], owner: str, every_s: float = RECHECK_S) -> None:
    """Ask again about what is on its way. Raises UnreachableError; then the last answer grows old by itself."""
    for batch in batches:
        before = batch.recheck
        asked_at = clock.monotonic()
        if not (batch.flying or batch.is_building) or asked_at - before.asked_at < every_s:
            continue
        with database.read() as conn:
            is_live, skips = deliveries.read_stops(conn, batch.claim, owner)
        batch.recheck = Recheck(asked_at, before.is_live and is_live, {**before.skips, **skips})
