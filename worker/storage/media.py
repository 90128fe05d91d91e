"""Pictures and files that mails point to, named by their content; kept here so that any web process serves them."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text
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


@dataclass(frozen=True)
class MediaFacts:
    """A file without its content; `size` in octets."""

    sha256: str
    ext: str
    content_type: str
    title: str
    size: int

    @property
    def file_name(self) -> str:
        """`{sha256}.{ext}`, as in its URL."""
        return f"{self.sha256}.{self.ext}"


def put(conn: Connection, row: MediaRow) -> None:
    """Keep a file; the same content twice is one row, the first."""
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    values = {column: getattr(row, column) for column in row.__dataclass_fields__}
    conn.execute(insert(table).values(**values, created_at=database_now()).on_conflict_do_nothing())


def find(conn: Connection, sha256: str) -> MediaFacts | None:
    """What is known about the file with this digest, without reading it; or None."""
    size = func.octet_length(table.c.data) if conn.dialect.name == "postgresql" else func.length(table.c.data)
    columns = (table.c.sha256, table.c.ext, table.c.content_type, table.c.title, size.label("size"))
    row = conn.execute(select(*columns).where(table.c.sha256 == sha256)).one_or_none()
    return None if row is None else MediaFacts(**row._mapping)


def read_piece(conn: Connection, sha256: str, first: int, octets: int) -> bytes:
    """At most `octets` of a file from `first` on; empty when there is no such file or it ends before.

    The database never hands over, and SQLite never holds, more than the piece: files are many megabytes.
    """
    if conn.dialect.name == "postgresql":
        piece = conn.scalar(select(func.substring(table.c.data, first + 1, octets)).where(table.c.sha256 == sha256))
        return b"" if piece is None else bytes(piece)
    row = conn.scalar(select(text("rowid")).select_from(table).where(table.c.sha256 == sha256))
    raw = conn.connection.dbapi_connection
    assert raw is not None
    if row is None:
        return b""
    with raw.blobopen(table.name, table.c.data.name, row, readonly=True) as blob:
        blob.seek(min(first, len(blob)))
        return bytes(blob.read(octets))
