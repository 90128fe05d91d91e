"""Addresses that get nothing, whatever list they stand on. Kept as a keyed hash, so that the no outlives an erasure.

Adding one here does not wait for copies on their way; `consent.optout` does that.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, Select, select
from sqlalchemy.dialects import postgresql, sqlite

from worker.domain.address import Address
from worker.domain.suppression import Suppression, SuppressionReason
from worker.errors import NotFoundError
from worker.storage import acts
from worker.storage.engine import Instance, database_now
from worker.storage.schema import suppression as table
from worker.tokens import instance_hash

PAGE = 5_000  # addresses in one IN list, far below SQLite's 32,766 parameters, and in one transaction


def find(conn: Connection, instance: Instance, address: Address) -> Suppression | None:
    """Why this address gets nothing, or None when it may."""
    row = conn.execute(_columns().where(table.c.address_hash == hash_of(instance, address))).one_or_none()
    return None if row is None else _suppression(row)


def hash_of(instance: Instance, address: Address) -> bytes:
    """What stands for an address on the list, also when the address itself is erased."""
    return instance_hash(instance.address_key, address.key)


def hashes_of(instance: Instance, addresses: Iterable[Address]) -> dict[bytes, str | None]:
    """A page as `add` takes it; one person in several spellings stands there once."""
    return {hash_of(instance, address): address.addr_spec for address in addresses}


def not_listed(conn: Connection, hashes: Iterable[bytes]) -> list[bytes]:
    """Which of these (at most PAGE) are not on the list, each once.

    In the order of the unique key, so that two processes adding the same addresses never wait for each other.
    """
    wanted = set(hashes)
    if len(wanted) > PAGE:
        raise ValueError(f"a page holds at most {PAGE} addresses")
    stored = select(table.c.address_hash).where(table.c.address_hash.in_(list(wanted)))
    return sorted(wanted - {bytes(hashed) for hashed in conn.scalars(stored)})


def add(
    conn: Connection,
    wanted: Mapping[bytes, str | None],
    reason: SuppressionReason,
    evidence: str,
    *,
    actor: str,
) -> int:
    """Suppress a page of addresses, by `hash_of`; None where only that is known. How many were not on the list yet.

    One that was suppressed already keeps its reason and date.
    """
    new = [{"address_hash": hashed, "address": wanted[hashed]} for hashed in not_listed(conn, wanted)]
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
    return [_suppression(row) for row in conn.execute(query)]


def _columns() -> Select[Any]:
    return select(table.c.id, table.c.address, table.c.reason, table.c.evidence, table.c.created_at)


def _suppression(row: Row[Any]) -> Suppression:
    return Suppression(**{**row._mapping, "reason": SuppressionReason(row.reason)})
