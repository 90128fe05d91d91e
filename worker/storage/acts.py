"""Who did what, when: an append-only list. One line for every command and page that changes something.

Objects are named by kind and id (`subscriber:12`, `publication:briefing`), never by address: a line can not be erased.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from worker.storage.engine import database_now
from worker.storage.schema import act as acts


@dataclass(frozen=True)
class Act:
    """One line of the list; `counts` says how many of what it touched."""

    id: int
    at: datetime
    actor: str
    act: str
    object: str
    counts: Mapping[str, int]


def record(conn: Connection, actor: str, act: str, object: str, counts: Mapping[str, int] | None = None) -> None:
    """Add a line in the transaction that does what it tells, so that neither exists without the other.

    `act` is `noun.verb`, at most 40 characters. Texts are cut to one line: actors come from the environment.
    """
    row = {"actor": _one_line(actor), "act": act, "object": _one_line(object), "counts": dict(counts or {})}
    conn.execute(acts.insert().values(at=database_now(), **row))


def latest(conn: Connection, limit: int = 50, *, object: str | None = None) -> list[Act]:
    """The newest lines first, all or those about one object."""
    query = select(acts).order_by(acts.c.id.desc()).limit(limit)
    if object is not None:
        query = query.where(acts.c.object == object)
    return [Act(**row._mapping) for row in conn.execute(query)]


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in text)[:200]
