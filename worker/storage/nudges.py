"""The table behind the SQL broker. Rows are worth nothing: taking one is deleting it, and old ones may vanish."""

from sqlalchemy import Connection, case, delete, func, select

from worker.storage.engine import database_now
from worker.storage.schema import nudge

MOST_WAITING = 10_000
"""With no worker for days, every tick adds a nudge; older ones than these say nothing new."""


MOST_FORGOTTEN = 20_000
"""Rows that one put deletes: millions that somebody put there must not hold SQLite's one writer lock for long."""

MOST_OCTETS = 4096
"""A longer body is no nudge; its length is asked of the database, so that no process ever loads it."""


def put(conn: Connection, queue: str, body: bytes) -> None:
    """Add one at the queue's end, and forget what lies too far before it, a part at a time."""
    added = conn.execute(
        nudge.insert().values(queue=queue, body=body, created_at=database_now()).returning(nudge.c.id)
    ).scalar_one()
    old = select(nudge.c.id).where(nudge.c.queue == queue, nudge.c.id <= added - MOST_WAITING).order_by(nudge.c.id)
    conn.execute(delete(nudge).where(nudge.c.id.in_(old.limit(MOST_FORGOTTEN))))


def is_waiting(conn: Connection, queue: str) -> bool:
    """Whether a take would find something: asked first, so that an idle process never writes."""
    return conn.scalar(select(nudge.c.id).where(nudge.c.queue == queue).limit(1)) is not None


def take(conn: Connection, queue: str) -> bytes | None:
    """Delete the oldest that nobody else is deleting, and return its body; b"" for one too large to be a nudge."""
    oldest = (
        select(nudge.c.id)
        .where(nudge.c.queue == queue)
        .order_by(nudge.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    body = case((func.length(nudge.c.body) <= MOST_OCTETS, nudge.c.body))
    row = conn.execute(
        delete(nudge).where(nudge.c.id == oldest).returning(nudge.c.id, body.label("body"))
    ).one_or_none()
    return None if row is None else bytes(row.body or b"")


def count(conn: Connection, queue: str) -> int:
    return conn.scalar(select(func.count()).select_from(nudge).where(nudge.c.queue == queue)) or 0


def purge(conn: Connection, queue: str) -> None:
    conn.execute(delete(nudge).where(nudge.c.queue == queue))
