"""The one door to the database: connections, transactions, its clock, its version.

In: the database's URL. Out: connections inside a transaction. A crash inside `write` leaves nothing of it.
A connection that breaks surfaces as UnreachableError; a wrong statement stays an exception.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from worker.errors import Remedy, SchemaError, SettingsError, Trouble, UnreachableError, UsageError
from worker.storage import address_key, migrations, schema, sqlite
from worker.storage.driver_errors import explain
from worker.storage.schema import UtcDateTime

CONNECT_TIMEOUT_S = 5  # for PostgreSQL; below web.health.READY_WITHIN_S, so that the cause is told
POOL_SIZE = 8  # connections kept open in each process between two uses
POOL_OVERFLOW = 40
"""More threads than 32 never work in one process; connections over POOL_SIZE are closed again after use."""

POOL_TIMEOUT_S = 15.0  # all 48 are in use for this long: an error says so, instead of a thread that waits for ever


class database_now(FunctionElement[datetime]):
    """The database's clock in a statement: `database_now()`, or `database_now(60)` for 60 seconds later.

    PostgreSQL: the time the transaction began. SQLite: the time of the statement, the same for all its rows.
    """

    type = UtcDateTime()
    inherit_cache = True


@compiles(database_now, "postgresql")
def _now_on_postgresql(element: Any, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401 - SQLAlchemy's hook
    if not len(element.clauses):
        return "now()"
    return f"(now() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"


@compiles(database_now, "sqlite")
def _now_on_sqlite(element: Any, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401 - SQLAlchemy's hook
    return f"(SELECT corranto_now({compiler.process(element.clauses, **kw) if len(element.clauses) else ''}))"


@dataclass(frozen=True)
class Instance:
    """Who this installation is: made once by the first migrations, never changed. `pepper` keys Message-IDs."""

    uuid: str
    pepper: bytes
    key: bytes | None
    """Of address hashes; None while no secret was given that opens it."""

    @property
    def address_key(self) -> bytes:
        """What `tokens.instance_hash` wants. Raises SettingsError without CORRANTO_SECRET_KEYS."""
        if self.key is None:
            raise SettingsError([Trouble("settings.no_key")])
        return self.pepper + self.key


class Database:
    """An open database; one per process. Safe to share between threads, not across a fork."""

    def __init__(self, engine: Engine, path: Path | None, place: str, secrets: Sequence[str] = ()) -> None:
        self.engine = engine
        self.dialect: Literal["sqlite", "postgresql"] = "postgresql" if path is None else "sqlite"
        self.place = place
        """The database in words, without user or password, for sentences."""
        self._path, self._secrets = path, tuple(secrets)
        self._password = engine.url.password
        self._instance: Instance | None = None
        self._instance_guard = threading.Lock()

    @property
    def folder(self) -> Path | None:
        """Of an SQLite file; None on PostgreSQL."""
        return None if self._path is None else self._path.parent

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that cannot write. SQLite: one snapshot; PostgreSQL: READ COMMITTED, each statement its own."""
        with self._trouble(), self.engine.connect() as plain:
            conn = plain.execution_options(corranto_read=True, **self._options(postgresql_readonly=True))
            with conn.begin():
                yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at exit. SQLite: begins by taking the file's one writer lock."""
        with self._trouble(), self._writer(), self.engine.connect() as plain:
            conn = plain.execution_options(corranto_write=True)
            with conn.begin():
                yield conn

    @contextmanager
    def write_durably(self) -> Iterator[Connection]:
        """Like `write`, and on disk when it returns, whatever the server's or file's usual setting: for opt-outs."""
        with self._trouble(), self._writer(), self.engine.connect() as plain:
            conn = plain.execution_options(corranto_write=True, corranto_durable=True)
            with conn.begin():
                if self.dialect == "postgresql":
                    conn.exec_driver_sql("SET LOCAL synchronous_commit = on")
                yield conn

    def now(self, conn: Connection) -> datetime:
        """The database's clock, aware UTC."""
        now: datetime = conn.execute(select(database_now())).scalar_one()
        return now

    def check(self) -> None:
        """Prove that the database answers, has exactly this version's schema and belongs to our secrets.

        Raises UnreachableError when it does not answer, SchemaError when its tables are older or newer, SettingsError
        when its addresses were hashed with other secrets.
        """
        if self._path is not None and not self._path.exists():
            raise SchemaError("database.file_missing", place=self.place)
        self.refuse_bad_place()
        with self.read() as conn:
            present = version(conn)
        if present == migrations.HEAD:
            self._keep_address_key()
            return
        if present is None:
            raise SchemaError("database.empty", place=self.place)
        if present in migrations.VERSIONS:
            raise SchemaError("database.older", place=self.place, version=present, needed=migrations.HEAD)
        raise SchemaError("database.newer", place=self.place, version=present, known=migrations.HEAD)

    def has_other_version(self) -> bool:
        """Whether somebody gave the database another schema since `check`. Raises UnreachableError.

        False while no version can be read: a restore that is under way fills its tables in any order.
        """
        with self.read() as conn:
            return version(conn) not in (None, migrations.HEAD)

    def instance(self) -> Instance:
        """Who this installation is; read once. Raises SchemaError when no migration has run."""
        with self._instance_guard:
            if self._instance is None:
                with self.read() as conn:
                    table = schema.instance
                    row = None
                    if version(conn) is not None:
                        row = conn.execute(select(table).where(table.c.id == 1)).one_or_none()
                if row is None:
                    raise SchemaError("database.empty", place=self.place)
                key = address_key.open_key(row.wrapped_keys, self._secrets, self.place)
                self._instance = Instance(row.uuid, bytes(row.pepper), key)
            return self._instance

    def _keep_address_key(self) -> None:
        """A new secret gets its copy of the key of address hashes; a database that was never used gets the key."""
        with self.read() as conn:
            wrapped = conn.execute(select(schema.instance.c.wrapped_keys).where(schema.instance.c.id == 1)).scalar_one()
        key = address_key.open_key(wrapped, self._secrets, self.place)
        if address_key.lacks_copy(wrapped, key, self._secrets):
            # What only reads works without: on a standby or a full disk the next process that can write does it.
            with suppress(UnreachableError), self.write() as conn:
                address_key.keep_key(conn, self._secrets, self.place)

    def refuse_bad_place(self) -> None:
        """Raises UnreachableError when an SQLite file lies where WAL cannot work."""
        if self._path is not None:
            mounts = Path("/proc/self/mounts")
            if mounts.exists():
                sqlite.refuse_network_file_system(self._path, mounts.read_text(errors="replace"))

    def checkpoint(self) -> None:
        """Move SQLite's write-ahead log into the file and cut it short, as far as readers allow; else nothing."""
        if self.dialect == "sqlite":
            with self._trouble(), self._writer(), self.engine.connect() as conn:
                raw = conn.connection.dbapi_connection
                assert raw is not None
                # Without waiting: a reader that is not done would else keep every writer out for the whole time-out.
                raw.execute("PRAGMA busy_timeout = 0")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                raw.execute(f"PRAGMA busy_timeout = {int(sqlite.BUSY_TIMEOUT_S * 1000)}")

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()

    def _writer(self) -> Any:  # noqa: ANN401 - a lock or nothing, both context managers
        return nullcontext() if self._path is None else sqlite.writer_lock(self._path)

    def _options(self, **for_postgresql: bool) -> dict[str, bool]:
        return for_postgresql if self.dialect == "postgresql" else {}

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except UnreachableError:
            raise
        except Exception as error:
            # Whatever is not the database's own trouble passes through unchanged.
            trouble = explain(error, self.place, self._password)
            if trouble is None:
                raise
            raise trouble from error


def open_database(url: str, secrets: Sequence[str] = ()) -> Database:
    """Prepare a database for use; connects when first used. Raises UsageError for a URL that cannot be one.

    `secrets` open the key of its address hashes; without them no address can be looked up.
    `sqlite:///relative.sqlite3`, `sqlite:////absolute.sqlite3` or `postgresql://user:password@host:port/name`.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        path = sqlite_path(parsed)
        engine = create_engine(
            "sqlite://",
            hide_parameters=True,
            creator=lambda: sqlite.connect(path),
            poolclass=QueuePool,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_TIMEOUT_S,
        )
        event.listen(engine, "begin", _begin_on_sqlite)
        event.listen(engine.pool, "reset", _reset_on_sqlite)
        event.listen(engine.pool, "connect", partial(_remember_file, path))
        event.listen(engine.pool, "checkout", partial(_refuse_replaced_file, path))
        return Database(engine, path, f"the database file {path}", secrets)
    # Behind a pooler that shares connections between transactions a prepared statement is somebody else's or gone.
    unprepared = {"prepare_threshold": None} if parsed.query.get("prepare") == "off" else {}
    engine = create_engine(
        parsed.difference_update_query(["prepare"]),
        hide_parameters=True,  # names and addresses have no place in a traceback
        isolation_level="READ COMMITTED",
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "corranto",
            # A host that vanished is noticed within half a minute instead of hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 4,
            **unprepared,
        },
    )
    host = parsed.host or parsed.query.get("host") or "local socket"
    where = host if parsed.port is None else f"{host}:{parsed.port}"
    named = f"the PostgreSQL database {parsed.database or parsed.username or ''} at {where}"
    return Database(engine, None, named, secrets)


def version(conn: Connection) -> str | None:
    """The schema version the database says it has; None without one."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    number: str | None = conn.scalar(text("SELECT version_num FROM alembic_version"))
    return number


def sqlite_path(url: URL) -> Path:
    """The absolute path behind an SQLite URL. Raises UsageError for a database in memory."""
    if not url.database or url.database == ":memory:":
        raise UsageError("database.in_memory", remedy=Remedy.CONFIGURE)
    return Path(url.database).expanduser().absolute()


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        # The text is not repeated: it may hold a password.
        raise UsageError("database.no_url", remedy=Remedy.CONFIGURE) from None
    if backend not in ("sqlite", "postgresql"):
        raise UsageError("database.other_kind", kind=backend, remedy=Remedy.CONFIGURE)
    return parsed.set(drivername="sqlite" if backend == "sqlite" else "postgresql+psycopg")


def _begin_on_sqlite(conn: Connection) -> None:
    options = conn.get_execution_options()
    if options.get("corranto_durable"):
        conn.exec_driver_sql("PRAGMA synchronous = FULL")
    if options.get("corranto_read"):
        conn.exec_driver_sql("PRAGMA query_only = ON")
    conn.exec_driver_sql("BEGIN IMMEDIATE" if options.get("corranto_write") else "BEGIN")


def _remember_file(path: Path, _dbapi_connection: Any, record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's hook
    record.info["file"] = _file_at(path)


def _refuse_replaced_file(path: Path, _dbapi_connection: Any, record: Any, _proxy: object) -> None:  # noqa: ANN401 - SQLAlchemy's hook
    """What is written to a file that lost its name is lost with this process: the pool opens the one in its place."""
    if record.info["file"] != _file_at(path):
        raise DisconnectionError(f"{path.name} was replaced")


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _reset_on_sqlite(dbapi_connection: Any, _record: object, state: Any) -> None:  # noqa: ANN401 - SQLAlchemy's hook
    """Back to the pool: no open transaction, and the pragmas a transaction changed are as before."""
    if state.terminate_only:
        return
    if dbapi_connection.in_transaction:
        dbapi_connection.rollback()
    dbapi_connection.execute("PRAGMA query_only = OFF")
    dbapi_connection.execute("PRAGMA synchronous = NORMAL")
