"""The door to the database, on both kinds."""

import contextlib
import shutil
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from tests.support.readers import KEY
from tests.support.words import refuses
from worker import clock
from worker.errors import SchemaError, UnreachableError, UsageError
from worker.screen.sentences import word
from worker.storage import migrations, schema
from worker.storage.engine import Database, database_now, open_database
from worker.storage.migrations.upgrade import current, head, upgrade


def add_act(conn: Connection, name: str = "publication.create") -> None:
    conn.execute(schema.act.insert().values(at=database_now(), actor="test", act=name, object="x", counts={}))


def fail_after_adding(database: Database) -> None:
    with database.write() as conn:
        add_act(conn)
        raise ZeroDivisionError


def count_acts(database: Database) -> int:
    with database.read() as conn:
        return conn.execute(select(func.count()).select_from(schema.act)).scalar_one()


def test_write_commits_at_its_end(database: Database) -> None:
    # When
    with database.write() as conn:
        add_act(conn)

    # Then
    assert count_acts(database) == 1


def test_write_leaves_nothing_when_it_raises(database: Database) -> None:
    # When
    with pytest.raises(ZeroDivisionError):
        fail_after_adding(database)

    # Then
    assert count_acts(database) == 0


def test_read_cannot_write(database: Database) -> None:
    # When
    with pytest.raises(UnreachableError), database.read() as conn:
        add_act(conn)

    # Then: and the connection can be used for writing again
    with database.write() as conn:
        add_act(conn)
    assert count_acts(database) == 1


def test_durable_write_asks_for_the_disk_and_gives_the_setting_back(database: Database) -> None:
    # Given
    question = "PRAGMA synchronous" if database.dialect == "sqlite" else "SHOW synchronous_commit"
    full = 2 if database.dialect == "sqlite" else "on"

    # When
    with database.write_durably() as conn:
        inside = conn.exec_driver_sql(question).scalar()
    with database.write() as conn:
        after = conn.exec_driver_sql(question).scalar()

    # Then
    assert inside == full
    assert after == (1 if database.dialect == "sqlite" else "on")


def test_database_clock_is_aware_and_near_ours(database: Database) -> None:
    # When
    with database.read() as conn:
        now = database.now(conn)
        later = conn.execute(select(database_now(90))).scalar_one()

    # Then
    assert abs(now - clock.utcnow()) < timedelta(minutes=1)
    assert timedelta(seconds=89) < later - now < timedelta(seconds=95)


def test_database_clock_compares_with_stored_times(database: Database) -> None:
    # Given
    with database.write() as conn:
        for seconds in (-60, 60):
            row = {"at": database_now(seconds), "actor": "a", "act": str(seconds), "object": "", "counts": {}}
            conn.execute(schema.act.insert().values(row))

    # When
    with database.read() as conn:
        due = conn.scalars(select(schema.act.c.act).where(schema.act.c.at <= database_now())).all()

    # Then
    assert due == ["-60"]


@pytest.mark.parametrize("table", schema.APPEND_ONLY, ids=lambda table: table.name)
def test_append_only_tables_refuse_update_and_delete(database: Database, table: object) -> None:
    # Given
    with database.write() as conn:
        add_act(conn)
        line = {"subscription_id": 1, "generation": 1, "event": "added", "channel": "cli", "evidence": "a paper form"}
        conn.execute(schema.consent_log.insert().values(at=database_now(), **line))

    # When / Then
    first = next(column for column in table.c if column.name in ("actor", "evidence"))
    with pytest.raises(IntegrityError, match="append-only"), database.write() as conn:
        conn.execute(table.update().values({first: "other"}))
    with pytest.raises(IntegrityError, match="append-only"), database.write() as conn:
        conn.execute(table.delete())


def test_check_accepts_the_present_schema(database: Database) -> None:
    database.check()


def test_check_names_upgrade_when_there_are_no_tables(empty_url: str) -> None:
    with refuses(SchemaError, match="corranto db upgrade"):
        open_database(empty_url).check()


def test_check_names_a_newer_corranto_when_the_schema_is_unknown(database: Database) -> None:
    # Given
    with database.write() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    # When / Then
    with refuses(SchemaError, match="newer"):
        database.check()


def test_upgrade_refuses_a_newer_schema(database: Database, database_url: str) -> None:
    # Given
    with database.write() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    # When / Then
    with refuses(SchemaError, match="newer"):
        upgrade(database_url)


def test_upgrade_twice_at_once_makes_one_schema(empty_url: str) -> None:
    # When
    upgrades: list[tuple[str | None, str]] = []
    threads = [threading.Thread(target=lambda: upgrades.append(upgrade(empty_url))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Then
    assert sorted(upgrades, key=str) == [(migrations.HEAD, migrations.HEAD), (None, migrations.HEAD)]
    assert current(empty_url) == head() == migrations.HEAD


def test_instance_is_made_once_and_kept(database: Database, database_url: str) -> None:
    # When
    again = open_database(database_url, [KEY])

    # Then
    assert again.instance() == database.instance()
    assert len(database.instance().pepper) == 32
    again.close()


def test_unreachable_server_is_one_sentence_without_password() -> None:
    with pytest.raises(UnreachableError) as caught:
        open_database("postgresql://reader:hunter22@127.0.0.1:1/letters").check()
    for said in (str(caught.value), word(caught.value)):
        assert "\n" not in said
        assert "hunter22" not in said
        assert "127.0.0.1:1" in said


@pytest.mark.parametrize("url", ["", "letters", "mysql://h/x", "sqlite://", "sqlite:///:memory:", "postgresql://h:p/x"])
def test_url_that_names_no_database_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError):
        open_database(url)


@pytest.mark.needs("postgresql")
def test_connection_cut_by_the_server_is_unreachable_and_the_next_one_works(postgresql_url: str) -> None:
    # Given
    database = open_database(postgresql_url)

    # When
    with pytest.raises(UnreachableError), database.write() as conn:
        conn.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    # Then
    with database.write() as conn:
        add_act(conn)
    database.close()


def test_write_inside_write_is_refused_instead_of_waiting_for_itself(sqlite_database: Database) -> None:
    with pytest.raises(RuntimeError, match="inside another"), sqlite_database.write(), sqlite_database.write():
        pass


def test_checkpoint_gives_up_beside_a_reader_and_shortens_the_log_without_one(
    sqlite_database: Database, sqlite_url: str
) -> None:
    # Given
    log = Path(sqlite_url.removeprefix("sqlite:///") + "-wal")
    with sqlite_database.read() as reading:
        reading.execute(select(func.count()).select_from(schema.act)).scalar_one()
        with sqlite_database.write() as conn:
            add_act(conn)

        # When
        sqlite_database.checkpoint()
        kept = log.stat().st_size
    sqlite_database.checkpoint()

    # Then
    assert kept > 0
    assert log.stat().st_size == 0


def test_a_file_that_was_replaced_is_not_used_any_more(
    sqlite_url: str, sqlite_database: Database, tmp_path: Path
) -> None:
    # Given: a process that has it open, as a web process has while somebody restores a copy
    path = Path(make_url(sqlite_url).database or "")
    shutil.copy(path, tmp_path / "copy")
    with sqlite_database.write() as conn:
        conn.execute(text("UPDATE instance SET epoch = 5"))

    # When
    for beside in ("-wal", "-shm"):
        Path(f"{path}{beside}").unlink(missing_ok=True)
    (tmp_path / "copy").rename(path)

    # Then: what it reads and writes is in the file that others see
    with sqlite_database.write() as conn:
        assert conn.execute(text("SELECT epoch FROM instance")).scalar() == 0
        conn.execute(text("UPDATE instance SET epoch = 7"))
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT epoch FROM instance").fetchone() == (7,)
    path.unlink()
    with pytest.raises(UnreachableError), sqlite_database.write_durably():
        pytest.fail("nobody would ever see this")
