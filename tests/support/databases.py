"""Migrated databases, new for each test, on SQLite and PostgreSQL."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.programs import only_one
from tests.support.readers import KEY
from worker.storage.engine import Database, open_database
from worker.storage.migrations.upgrade import upgrade

BOTH = ("sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql")))


@pytest.fixture(scope="session")
def sqlite_template(run_folder: Path) -> Path:
    """A migrated file to copy from."""
    path = run_folder / "template.sqlite3"
    with only_one(run_folder, "sqlite"):
        if not path.exists():
            upgrade(f"sqlite:///{path}", [KEY])
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated, empty SQLite database."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'corranto.sqlite3')}"


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database: the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open, migrated, empty database: the test runs once on each kind."""
    opened = open_database(database_url, [KEY])
    yield opened
    opened.close()


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    """An open, migrated, empty SQLite database, for tests whose subject is not the database."""
    opened = open_database(sqlite_url, [KEY])
    yield opened
    opened.close()


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table; on SQLite not even a file."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/corranto.sqlite3"
    url: str = request.getfixturevalue("empty_postgresql_url")
    return url


def give_version(database: Database, number: str) -> None:
    """As if another version of Corranto had upgraded it."""
    with database.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = :number"), {"number": number})
