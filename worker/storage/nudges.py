"""The table behind the SQL broker. Rows are worth nothing: taking one is deleting it, and old ones may vanish."""

from sqlalchemy import Connection, delete, func, select

from worker.storage.engine import database_now
from worker.storage.schema import nudge

MOST_WAITING = 10_000
"""With no worker for days, every tick adds a nudge; older ones than these say nothing new."""


def put(conn: Connection, queue: str, body: bytes) -> None:
    """Add one at the queue's end, and forget what lies too far before it."""
    added = conn.execute(
        nudge.insert().values(queue=queue, body=body, created_at=database_now()).returning(nudge.c.id)
    ).scalar_one()
    conn.execute(delete(nudge).where(nudge.c.queue == queue, nudge.c.id <= added - MOST_WAITING))


def is_waiting(conn: Connection, queue: str) -> bool:
    """Whether a take would find something: asked first, so that an idle process never writes."""
    return conn.scalar(select(nudge.c.id).where(nudge.c.queue == queue).limit(1)) is not None


def take(conn: Connection, queue: str) -> bytes | None:
    """Delete the oldest that nobody else is deleting, and return its body."""
    oldest = (
        select(nudge.c.id)
        .where(nudge.c.queue == queue)
        .order_by(nudge.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    body = conn.execute(delete(nudge).where(nudge.c.id == oldest).returning(nudge.c.body)).scalar_one_or_none()
    return None if body is None else bytes(body)


def count(conn: Connection, queue: str) -> int:
    return conn.scalar(select(func.count()).select_from(nudge).where(nudge.c.queue == queue)) or 0


def purge(conn: Connection, queue: str) -> None:
    conn.execute(delete(nudge).where(nudge.c.queue == queue))
