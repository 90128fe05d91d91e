"""Addresses that get nothing, whatever list they stand on. Kept as a keyed hash, so that the no outlives an erasure.

Adding one here does not wait for copies on their way; `consent.optout` does that.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, select
from sqlalchemy.dialects import postgresql, sqlite

from worker.domain.address import Address
from worker.domain.suppression import Suppression, SuppressionReason
from worker.errors import NotFoundError
from worker.storage import acts
from worker.storage.engine import Instance, database_now
from worker.storage.schema import suppression as table
from worker.tokens import instance_hash

PAGE = 5_000


def find(conn: Connection, instance: Instance, address: Address) -> Suppression | None:
    """Why this address gets nothing, or None when it may."""
    hashed = instance_hash(instance.pepper, address.key)
    row = conn.execute(_columns().where(table.c.address_hash == hashed)).one_or_none()
    return None if row is None else _suppression(row._mapping)


def exists(conn: Connection, instance: Instance, address: Address) -> bool:
    """Whether nothing may be sent to this address."""
    return find(conn, instance, address) is not None


def add(
    conn: Connection, instance: Instance, address: Address, reason: SuppressionReason, evidence: str, *, actor: str
) -> bool:
    """Suppress one address; False when it was already, whose reason and date then stay."""
    return add_many(conn, instance, [address], reason, evidence, actor=actor) == 1


def add_many(
    conn: Connection,
    instance: Instance,
    addresses: Iterable[Address],
    reason: SuppressionReason,
    evidence: str,
    *,
    actor: str,
) -> int:
    """Suppress a page of addresses (at most PAGE at a time) and return how many were not yet."""
    wanted = {instance_hash(instance.pepper, address.key): address.addr_spec for address in addresses}
    if len(wanted) > PAGE:
        raise ValueError(f"a page holds at most {PAGE} addresses")
    known = {bytes(row[0]) for row in conn.execute(_hashes(list(wanted)))}
    # In the order of the unique key, so that two processes adding the same addresses never wait for each other.
    new = [{"address_hash": hashed, "address": wanted[hashed]} for hashed in sorted(wanted) if hashed not in known]
    if new:
        insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
        common = {"reason": str(reason), "evidence": evidence, "created_at": database_now()}
        statement = insert(table).values(**common).on_conflict_do_nothing(index_elements=["address_hash"])
        conn.execute(statement, new)
    acts.record(conn, actor, "suppression.add", f"suppression:{reason}", {"added": len(new)})
    return len(new)


def remove(conn: Connection, instance: Instance, address: Address, *, actor: str) -> Suppression:
    """Lift a suppression and return what it was. Ended subscriptions stay ended. Raises NotFoundError."""
    lifted = find(conn, instance, address)
    if lifted is None:
        raise NotFoundError("suppression.not_there")
    conn.execute(table.delete().where(table.c.id == lifted.id))
    acts.record(conn, actor, "suppression.remove", f"suppression:{lifted.id}", {"removed": 1})
    return lifted


def list_suppressions(
    conn: Connection, *, reason: SuppressionReason | None = None, after_id: int = 0, limit: int = 100
) -> list[Suppression]:
    """A page of them in the order they were added; the next begins after the last id."""
    query = _columns().where(table.c.id > after_id).order_by(table.c.id).limit(limit)
    if reason is not None:
        query = query.where(table.c.reason == str(reason))
    return [_suppression(row._mapping) for row in conn.execute(query)]


def _columns() -> Select[Any]:
    return select(table.c.id, table.c.address, table.c.reason, table.c.evidence, table.c.created_at)


def _hashes(wanted: list[bytes]) -> Select[Any]:
    return select(table.c.address_hash).where(table.c.address_hash.in_(wanted))


def _suppression(row: RowMapping) -> Suppression:
    return Suppression(**{**row, "reason": SuppressionReason(row["reason"])})
