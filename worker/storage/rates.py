"""Rate leases: one row per relay, so that all workers and restarts share the same windows."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.storage.engine import database_now
from worker.storage.schema import rate

Buckets = tuple[tuple[int, int], ...]
T = TypeVar("T")


def lease_slots(conn: Connection, relay: str, decide: Callable[[float, Buckets, float], tuple[float, Buckets, T]]) -> T:
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
    now = epoch(conn)
    next_slot_at, buckets, answer = decide(
        float(row.next_slot_at), tuple((int(start), int(count)) for start, count in row.buckets), now
    )
    conn.execute(
        update(rate)
        .where(rate.c.relay == relay)
        .values(next_slot_at=next_slot_at, buckets=[list(bucket) for bucket in buckets])
    )
    return answer


def _insert_missing(conn: Connection, relay: str) -> None:
    """Two first users at once must not fail each other."""
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    conn.execute(
        insert(rate).values(relay=relay, next_slot_at=0.0, buckets=[]).on_conflict_do_nothing(index_elements=["relay"])
    )


def epoch(conn: Connection) -> float:
    """The database's clock at this statement, in epoch seconds: now() stands still in a waiting transaction."""
    if conn.dialect.name == "postgresql":
        return float(conn.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())
    return float(conn.execute(select(database_now())).scalar_one().timestamp())
