"""Pictures and files that mails point to, named by their content; kept here so that any web process serves them."""

from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from worker.storage.engine import database_now
from worker.storage.schema import media as table


@dataclass(frozen=True)
class MediaRow:
    """One immutable file. `sha256` is the hex digest of `data`; sizes in pixels, None for what is no picture."""

    sha256: str
    ext: str
    content_type: str
    width: int | None
    height: int | None
    title: str
    data: bytes

    @property
    def file_name(self) -> str:
        """`{sha256}.{ext}`, as in its URL."""
        return f"{self.sha256}.{self.ext}"


def put(conn: Connection, row: MediaRow) -> None:
    """Keep a file; the same content twice is one row, the first."""
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    values = {column: getattr(row, column) for column in row.__dataclass_fields__}
    conn.execute(insert(table).values(**values, created_at=database_now()).on_conflict_do_nothing())


def get(conn: Connection, sha256: str) -> MediaRow | None:
    """The file with this digest, or None."""
    columns = [table.c[name] for name in MediaRow.__dataclass_fields__]
    row = conn.execute(select(*columns).where(table.c.sha256 == sha256)).one_or_none()
    return None if row is None else MediaRow(**{**row._mapping, "data": bytes(row.data)})
