"""How far the database has come: starts of workers, and the highest numbers it ever gave out.

An older copy has lower ones, which is how it is known; numbers are raised above all that were given out since, so that
none is used twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Table, case, select, text, update

from worker.storage import acts
from worker.storage.schema import act, claim, instance, metadata, subscriber, subscription

_UNLOCK, _OBJECT = "database.unlock", "database"


@dataclass(frozen=True)
class Progress:
    """As it stands in the database."""

    instance: str
    epoch: int
    highest_claim: int
    highest_act: int = 0
    unlocks: tuple["Unlock", ...] = ()


@dataclass(frozen=True)
class Unlock:
    """An older copy was made fit to send: which claims it did not know then, and the epoch that began with it."""

    epoch: int
    lost_after: int
    lost_to: int
    """Both of claims: those above the first, up to the last."""


def read_progress(conn: Connection) -> Progress:
    row = conn.execute(select(instance.c.uuid, instance.c.epoch)).one()
    return Progress(row.uuid, row.epoch, _highest(conn, claim), _highest(conn, act), _unlocks(conn))


def note_unlock(conn: Connection, actor: str, unlock: Unlock, counts: Mapping[str, int]) -> None:
    """Say so in the list of acts: every other machine that began one of the lost claims has to tell of it."""
    numbers = {"epoch": unlock.epoch, "lost_after": unlock.lost_after, "lost_to": unlock.lost_to}
    acts.record(conn, actor, _UNLOCK, _OBJECT, {**counts, **numbers})


def _unlocks(conn: Connection) -> tuple[Unlock, ...]:
    found = conn.execute(select(act.c.counts).where(act.c.object == _OBJECT, act.c.act == _UNLOCK).order_by(act.c.id))
    each = [counts for counts in found.scalars() if "epoch" in counts]
    return tuple(Unlock(counts["epoch"], counts["lost_after"], counts["lost_to"]) for counts in each)


def begin_epoch(conn: Connection, at_least: int = 0) -> int:
    """The next one, above `at_least`: a worker starts."""
    highest = case((instance.c.epoch < at_least, at_least), else_=instance.c.epoch)
    conn.execute(update(instance).values(epoch=highest + 1))
    return int(conn.execute(select(instance.c.epoch)).scalar_one())


READERS_SKIPPED = 10_000_000
"""More readers and subscriptions than can have come between a copy of the database and its return. Their numbers stand
in links and in the opt-out log: given out again, somebody's old link would end another reader's subscription."""


def skip_numbers(conn: Connection, **least_of: int) -> None:
    """Rows made from now on get higher numbers than these, named by their table; readers what nobody was ever told."""
    for table in (subscriber, subscription):
        least_of[table.name] = _highest(conn, table) + READERS_SKIPPED
    for name, least in least_of.items():
        table = metadata.tables[name]
        if _highest(conn, table) >= least:
            continue
        if conn.dialect.name == "postgresql":
            sequence = text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :least)")
            conn.execute(sequence, {"table": table.name, "least": least})
        else:
            given = {"table": table.name, "least": least}
            conn.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), given)
            conn.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :least)"), given)


def _highest(conn: Connection, table: Table) -> int:
    """The highest number that was ever given out, also when its row is gone."""
    if conn.dialect.name == "postgresql":
        name = conn.execute(text("SELECT pg_get_serial_sequence(:table, 'id')"), {"table": table.name}).scalar_one()
        row = conn.execute(text(f"SELECT last_value, is_called FROM {name}")).one()  # noqa: S608 - our own table's
        return int(row.last_value) if row.is_called else 0
    found = conn.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :table"), {"table": table.name}).scalar()
    return int(found or 0)
