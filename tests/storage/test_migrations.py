"""The migrations and `storage.schema` describe the same database, down to each CHECK."""

import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

import worker.storage.migrations
from worker.storage import migrations, schema
from worker.storage.engine import Database, open_database
from worker.storage.sqlite import create_file

_POSTGRESQL_SHAPE = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace AND conrelid <> 0",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT relname, reloptions::text, obj_description(oid, 'pg_class') FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    "SELECT table_name, column_name, ordinal_position, data_type, character_maximum_length, is_nullable,"
    " column_default, col_description(format('%I', table_name)::regclass, ordinal_position::int)"
    " FROM information_schema.columns WHERE table_schema = 'public'",
)


def shape(conn: Connection) -> list[object]:
    """Everything the database knows about its tables, in an order that does not depend on how they were made."""
    if conn.dialect.name == "postgresql":
        rows = [tuple(row) for query in _POSTGRESQL_SHAPE for row in conn.execute(text(query))]
        return sorted((row for row in rows if "alembic_version" not in str(row)), key=str)
    rows = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql <> ''"))
    return sorted(
        # SQLite writes a column that was added later behind the last one, on the same line.
        (name, sorted(line.strip().rstrip(",") for line in re.split(r"\n|, (?=[a-z_]+ [A-Z]+)", sql)))
        for name, sql in rows
        if name != "alembic_version" and not name.startswith("sqlite_")
    )


@pytest.fixture
def created(empty_url: str, tmp_path: Path) -> Database:
    """A database made straight from the metadata."""
    if empty_url.startswith("sqlite"):
        create_file(tmp_path / "new" / "corranto.sqlite3")
    database = open_database(empty_url)
    with database.write() as conn:
        schema.metadata.create_all(conn)
    return database


@pytest.fixture
def migrated(created: Database, request: pytest.FixtureRequest) -> Database:
    """A migrated database of the same kind."""
    return open_database(request.getfixturevalue(f"{created.dialect}_url"))


def test_migrated_schema_is_the_metadata(created: Database, migrated: Database) -> None:
    # When
    with created.read() as conn:
        wanted = shape(conn)
    with migrated.read() as conn:
        made = shape(conn)
    created.close()
    migrated.close()

    # Then
    assert made == wanted


def test_autogenerate_finds_nothing_to_add(database: Database) -> None:
    with database.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_versions_are_the_scripts_in_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(worker.storage.migrations.__file__).parent))
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(scripts)) == migrations.VERSIONS
