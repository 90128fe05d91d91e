"""Processes that hold no claims, as rows: who runs where, and up to when its host has fulfilled what it noted."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from worker.domain.process import SILENT_AFTER_S, Role
from worker.storage.engine import database_now
from worker.storage.schema import presence, worker


@dataclass(frozen=True)
class Presence:
    """One process. Times are the database's."""

    id: str
    role: Role
    host_id: str
    label: str
    started_at: datetime
    seen_at: datetime
    """When it was last heard; no wish to leave that its host had noted before was still unfulfilled then."""


def beat(conn: Connection, presence_id: str, role: Role, host_id: str, label: str) -> None:
    """It lives. The first beat also takes the place of silent ones of its role on its host."""
    heard = update(presence).where(presence.c.id == presence_id).values(seen_at=database_now())
    if conn.execute(heard).rowcount:
        return
    silent = presence.c.seen_at < database_now(-SILENT_AFTER_S)
    conn.execute(delete(presence).where(presence.c.role == role, presence.c.host_id == host_id, silent))
    now = database_now()
    row = {"id": presence_id, "role": role, "host_id": host_id, "label": label, "started_at": now, "seen_at": now}
    conn.execute(presence.insert().values(**row))


def remove(conn: Connection, presence_id: str) -> None:
    """A process that ended in order."""
    conn.execute(delete(presence).where(presence.c.id == presence_id))


def list_presences(conn: Connection) -> list[Presence]:
    rows = conn.execute(select(presence).order_by(presence.c.started_at)).mappings()
    return [Presence(**{**row, "role": Role(row["role"])}) for row in rows]


def count(conn: Connection, role: Role) -> int:
    """Rows of a role, silent ones too."""
    return int(conn.execute(select(func.count()).select_from(presence).where(presence.c.role == role)).scalar_one())


def last_heard(conn: Connection) -> datetime | None:
    """When any process was heard last, by the database's clock; None when there is none."""
    seen = [conn.execute(select(func.max(table.c.seen_at))).scalar() for table in (presence, worker)]
    return max((at for at in seen if at is not None), default=None)


def not_heard_since(conn: Connection, moment: datetime, *, alive_s: float, but_host: str) -> list[str]:
    """Labels of web processes of other hosts that were heard in the `alive_s` seconds before a moment, not since."""
    folder = but_host.rpartition(".")[2]  # before a reboot it noted into the very file we read
    where = (presence.c.role == Role.WEB, ~presence.c.host_id.endswith(f".{folder}"), presence.c.seen_at < moment)
    found = conn.execute(select(presence.c.label, presence.c.seen_at).where(*where))
    return [row.label for row in found if (moment - row.seen_at).total_seconds() <= alive_s]
