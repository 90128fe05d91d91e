"""Rate leases: one row per relay, so that all workers and restarts share the same windows."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, func, select, update

from worker.storage.engine import database_now
from worker.storage.schema import rate

Buckets = tuple[tuple[int, int], ...]
T = TypeVar("T")


def lease_slots(
    conn: Connection, relay: str, decide: Callable[[float, Buckets, float], tuple[float, Buckets, T]]
) -> T:
    """Run `decide(next_slot_at, buckets, now)` under the relay's row lock and keep what it returns first.

    Times are the database's, in epoch seconds. On SQLite the caller's BEGIN IMMEDIATE is the lock.
    """
    row = conn.execute(
        select(rate.c.next_slot_at, rate.c.buckets).where(rate.c.relay == relay).with_for_update()
    ).first()
    if row is None:
        _insert_missing(conn, relay)
        row = conn.execute(
            select(rate.c.next_slot_at, rate.c.buckets).where(rate.c.relay == relay).with_for_update()
        ).one()
    now = conn.execute(select(_statement_time(conn))).scalar_one()
    next_slot_at, buckets, answer = decide(
        float(row.next_slot_at), tuple((int(start), int(count)) for start, count in row.buckets), float(now)
    )
    conn.execute(
        update(rate)
        .where(rate.c.relay == relay)
        .values(next_slot_at=next_slot_at, buckets=[list(bucket) for bucket in buckets])
    )
    return answer


def _insert_missing(conn: Connection, relay: str) -> None:
    """Two first users at once must not fail each other."""
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    conn.execute(
        insert(rate).values(relay=relay, next_slot_at=0.0, buckets=[]).on_conflict_do_nothing(index_elements=["relay"])
    )


def _statement_time(conn: Connection):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """The clock at this statement: now() stands still in a transaction that waited for the row's lock."""
    if conn.dialect.name == "postgresql":
        return func.extract("epoch", func.clock_timestamp())
    return (func.julianday(database_now()) - 2440587.5) * 86400.0
