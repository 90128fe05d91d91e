"""Bring a database to this version's schema, or say which one it has.

All or nothing: one transaction holds every script, so a kill in between changes nothing.
"""

from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.engine import make_url

from worker.errors import SchemaError
from worker.storage import address_key, migrations, sqlite
from worker.storage.engine import open_database, sqlite_path, version

_LOCK = 7_094_530_112
"""Number of the PostgreSQL advisory lock held while migrating, so that two upgrades never mix."""


def upgrade(url: str, secrets: Sequence[str] = ()) -> tuple[str | None, str]:
    """Create or migrate the schema; returns (version before, version now). An SQLite file is created.

    `secrets` are those of CORRANTO_SECRET_KEYS: they close the key of address hashes, and only they open it then.
    Raises UnreachableError when the database does not answer, SchemaError when it is newer than this
    Corranto, SettingsError when its addresses need secrets that were not given.
    """
    database = open_database(url, secrets)
    try:
        if database.dialect == "sqlite":
            database.refuse_bad_place()
            sqlite.create_file(sqlite_path(make_url(url)))
        with database.write() as conn:
            if database.dialect == "postgresql":
                conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            before = version(conn)
            if before is not None and before not in migrations.VERSIONS:
                raise SchemaError("database.newer", place=database.place, version=before, known=migrations.HEAD)
            if before != migrations.HEAD:
                config = Config()
                config.set_main_option("script_location", str(Path(__file__).parent))
                config.attributes["connection"] = conn
                config.attributes["secrets"], config.attributes["place"] = tuple(secrets), database.place
                command.upgrade(config, "head")
            elif secrets:
                address_key.keep_key(conn, secrets, database.place, drop_others=True)
        return before, migrations.HEAD
    finally:
        database.close()


def current(url: str) -> str | None:
    """The schema version the database has; None without one. Raises UnreachableError."""
    database = open_database(url)
    try:
        with database.read() as conn:
            return version(conn)
    finally:
        database.close()


def head() -> str:
    """The schema version this Corranto works with."""
    return migrations.HEAD
