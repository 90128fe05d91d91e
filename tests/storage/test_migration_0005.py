"""From a filled 0002 to 0005: workers keep their rows, and those of older versions say nothing of their outfit."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.engine import make_url

import worker.storage.migrations
from worker.domain.process import Outfit
from worker.storage import workers
from worker.storage.engine import Database, open_database, sqlite_path
from worker.storage.migrations.upgrade import upgrade
from worker.storage.sqlite import create_file

OUTFIT = Outfit("relay.example.org:587", "20/s", "sql", "0a1b2c3d")
_ADD = (
    "INSERT INTO worker (id, host_id, label, state, beat, started_at, seen_at, note)"
    " VALUES ('w1', 'h1', 'host 4711', 'ready', 7, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, '')"
)


@pytest.fixture
def earlier(empty_url: str) -> Database:
    """Schema 0002 with a worker that runs."""
    if empty_url.startswith("sqlite"):
        create_file(sqlite_path(make_url(empty_url)))
    database = open_database(empty_url)
    with database.write() as conn:
        config = Config()
        config.set_main_option("script_location", str(Path(worker.storage.migrations.__file__).parent))
        config.attributes["connection"] = conn
        command.upgrade(config, "0002")
        conn.execute(text(_ADD))
    return database


def test_a_worker_of_before_is_kept_and_a_new_one_says_what_it_works_with(earlier: Database, empty_url: str) -> None:
    # When
    upgrade(empty_url)
    with earlier.write() as conn:
        workers.register(conn, "w2", "h1", "host 4712", OUTFIT)
        rows = {row.id: row for row in workers.list_workers(conn)}

    # Then
    assert (rows["w1"].label, rows["w1"].beat, rows["w1"].outfit) == ("host 4711", 7, None)
    assert rows["w2"].outfit == OUTFIT
    earlier.close()


@pytest.mark.parametrize("stored", ["", "nonsense", "[]", "7", '{"relay": "x"}', '{"later": "versions"}'])
def test_an_outfit_that_another_version_wrote_is_unknown(stored: str) -> None:
    assert Outfit.from_json(stored) is None
