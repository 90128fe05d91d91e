"""Worker processes as rows: who lives, by a counter that observers watch change; and leases that save work."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.domain.process import Outfit, WorkerState
from worker.errors import Trouble
from worker.storage.engine import database_now
from worker.storage.schema import lease, worker


@dataclass(frozen=True)
class WorkerRow:
    """One worker process. `beat` only means something by changing."""

    id: str
    """A uuid of the process's own making: the owner in its claims, the name of its journal."""
    host_id: str
    """Boot id and uuid of the state directory: who shares it can see the journal's lock."""
    label: str
    """Host name and process id, for people."""
    state: WorkerState
    """The process itself says ready and draining; whoever finds it dead says lost."""
    beat: int
    """Grows by one a second while the process lives."""
    started_at: datetime
    seen_at: datetime
    """Its last heartbeat, by the database's clock."""
    note: Trouble | None
    """What it waits for; it writes that with each heartbeat."""
    outfit: Outfit | None = None
    """What it works with; None when it does not say."""


def register(conn: Connection, worker_id: str, host_id: str, label: str, outfit: Outfit | None = None) -> None:
    conn.execute(
        worker.insert().values(
            id=worker_id,
            host_id=host_id,
            label=label,
            state=WorkerState.READY,
            beat=0,
            started_at=database_now(),
            seen_at=database_now(),
            outfit=outfit.to_json() if outfit else None,
        )
    )


def beat(conn: Connection, worker_id: str, state: WorkerState, note: Trouble | None) -> int | None:
    """Count one heartbeat: its number. None when the row is gone: we were taken for dead and must not go on."""
    said = "" if note is None else note.to_json()
    return _count(conn, worker_id, seen_at=database_now(), state=state, note=said)


def count_claim(conn: Connection, worker_id: str) -> int | None:
    """Count a claim like a heartbeat, in its transaction: a database that lost it counts the next one too low."""
    return _count(conn, worker_id)


def _count(conn: Connection, worker_id: str, **values: Any) -> int | None:  # noqa: ANN401 - columns of the row
    alive = (worker.c.id == worker_id, worker.c.state != WorkerState.LOST)
    counted = update(worker).where(*alive).values(beat=worker.c.beat + 1, **values).returning(worker.c.beat)
    return conn.execute(counted).scalar()


def unlocked(conn: Connection, silent_s: float) -> list[WorkerRow]:
    """Processes that were heard in the last so many seconds and may send."""
    return [row for row in heard(conn, silent_s) if row.note is None or not row.note.code.startswith("lock.")]


def count_alive(conn: Connection, silent_s: float) -> int:
    """Processes that were heard in the last so many seconds."""
    heard = (worker.c.state != WorkerState.LOST, worker.c.seen_at >= database_now(-silent_s))
    return int(conn.execute(select(func.count()).select_from(worker).where(*heard)).scalar_one())


def heard(conn: Connection, silent_s: float) -> list[WorkerRow]:
    """Processes that were heard in the last so many seconds."""
    since = conn.execute(select(database_now(-silent_s))).scalar_one()
    return [row for row in list_workers(conn) if row.state != WorkerState.LOST and row.seen_at >= since]


MOST_NOTE_CHARS = 2_000
"""Of a note that is read back: whatever stands there, nobody's screen fills with it."""


def list_workers(conn: Connection) -> list[WorkerRow]:
    rows = conn.execute(select(worker).order_by(worker.c.started_at)).mappings()
    return [
        WorkerRow(
            **{
                **row,
                "state": WorkerState(row["state"]),
                "note": _note(row["note"]),
                "outfit": Outfit.from_json(row["outfit"]),
            }
        )
        for row in rows
    ]


def _note(stored: str) -> Trouble | None:
    try:
        return Trouble.from_json(stored[:MOST_NOTE_CHARS])
    except (ValueError, RecursionError):  # a sentence of an older worker that still runs
        return Trouble("process.note", text=stored[:MOST_NOTE_CHARS])


def mark_lost(conn: Connection, worker_ids: Iterable[str]) -> None:
    conn.execute(update(worker).where(worker.c.id.in_(list(worker_ids))).values(state=WorkerState.LOST, note=""))


def remove(conn: Connection, worker_id: str) -> None:
    """A process that ended in order, or a lost one whose claims were all dealt with."""
    conn.execute(delete(worker).where(worker.c.id == worker_id))


def forget_lost(conn: Connection, older: timedelta) -> list[str]:
    """Lost rows stay a while, so that `status` can say what happened. Returns the labels of those that go."""
    before = conn.execute(select(database_now())).scalar_one() - older
    gone = delete(worker).where(worker.c.state == WorkerState.LOST, worker.c.seen_at < before)
    return list(conn.execute(gone.returning(worker.c.label)).scalars())


def take_lease(conn: Connection, name: str, owner: str, seconds: float) -> bool:
    """Whether this process may do the named work for a while. Saves work; nothing is correct because of it."""
    now: datetime = conn.execute(select(database_now())).scalar_one()
    until = now + timedelta(seconds=seconds)
    row = conn.execute(select(lease.c.owner, lease.c.until).where(lease.c.name == name)).first()
    # Further ahead than any lease lasts: taken before the clock was set back, so its holder may long be dead.
    if row is not None and row.owner != owner and now < row.until <= until + timedelta(seconds=seconds):
        return False
    if row is None:
        # Two first takers at once must not fail each other.
        insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
        taken = insert(lease).values(name=name, owner=owner, until=until)
        mine = taken.on_conflict_do_nothing(index_elements=["name"]).returning(lease.c.name)
        return conn.execute(mine).first() is not None
    done = conn.execute(
        update(lease)
        .where(lease.c.name == name, lease.c.owner == row.owner, lease.c.until == row.until)
        .values(owner=owner, until=until)
    )
    return done.rowcount == 1
