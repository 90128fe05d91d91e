"""The ledger's tables, as `db upgrade` and `db check` speak of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.storage import migrations
from worker.storage.engine import open_database
from worker.storage.migrations.upgrade import upgrade


@dataclass(frozen=True)
class SchemaState:
    """A database in words, its version now, and the one it had before; None without tables."""

    place: str
    version: str
    before: str | None
    made_folder: Path | None = None
    """Of an SQLite file, when it was not there."""

    def as_dict(self) -> dict[str, object]:
        """The shape of `db check --json`."""
        return {"database": self.place, "version": self.version, "ok": True}


def upgrade_schema(url: str, secrets: Sequence[str] = ()) -> SchemaState:
    """Bring the database to this version's schema; safe to repeat. Raises UsageError, UnreachableError, SchemaError.

    `secrets` are those of CORRANTO_SECRET_KEYS; a database that holds addresses needs them.
    """
    database = open_database(url)
    folder = database.folder
    missing = folder if folder is not None and not folder.exists() else None
    before, _ = upgrade(url, secrets)
    return SchemaState(database.place, migrations.HEAD, before, missing)


def check_schema(url: str, secrets: Sequence[str] = ()) -> SchemaState:
    """Prove that the database answers and has exactly this version's schema. Raises UnreachableError, SchemaError."""
    database = open_database(url, secrets)
    database.check()
    return SchemaState(database.place, migrations.HEAD, migrations.HEAD)
