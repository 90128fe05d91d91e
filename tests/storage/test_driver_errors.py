"""What people are told when the database is in trouble: one sentence with place and remedy."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from tests.support.words import refuses
from worker.errors import UnreachableError, UsageError
from worker.screen.sentences import word
from worker.storage import sqlite
from worker.storage.driver_errors import explain
from worker.storage.engine import Database, open_database
from worker.storage.migrations.upgrade import upgrade

PLACE = "the database"


def raised(statement: str, path: Path, mode: str = "rw") -> sqlite3.Error:
    """What SQLite really says, from a connection that does not wait."""
    connection = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=0, isolation_level=None)
    try:
        connection.execute(statement)
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("nothing was raised")


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_read_only_file_is_told(sqlite_url: str) -> None:
    sentence = explain(raised("DELETE FROM lease", path_of(sqlite_url), "ro"), PLACE)
    assert isinstance(sentence, UnreachableError)
    assert "read-only" in word(sentence)


def test_file_locked_by_another_process_is_told(sqlite_url: str, sqlite_database: Database) -> None:
    with sqlite_database.write():
        sentence = explain(raised("BEGIN IMMEDIATE", path_of(sqlite_url)), PLACE)
    assert sentence is not None
    assert "locked by another process" in word(sentence)


def test_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 100)
    with refuses(UnreachableError, match="not an SQLite database"):
        open_database(f"sqlite:///{path}").check()
    with refuses(UnreachableError, match="not an SQLite database"):
        upgrade(f"sqlite:///{path}")


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refuses(UnreachableError, match="cannot be made"):
        upgrade(f"sqlite:///{tmp_path}/file/corranto.sqlite3")


def test_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path}/corranto.sqlite3")
    assert (tmp_path / "corranto.sqlite3").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("mounts", "refused"),
    [
        ("/dev/sda1 / ext4 rw 0 0\n", False),
        ("/dev/sda1 / ext4 rw 0 0\nserver:/data /srv nfs4 rw 0 0\n", True),
        ("server:/ / nfs rw 0 0\n/dev/sda1 /srv ext4 rw 0 0\n", False),
        ("//host/share /srv/news cifs rw 0 0\n", True),
        ("//host/share /srv/newspapers cifs rw 0 0\n", False),
        ("", False),
    ],
)
def test_network_file_system_is_refused(mounts: str, refused: bool) -> None:
    path = Path("/srv/news/corranto.sqlite3")
    if not refused:
        sqlite.refuse_network_file_system(path, mounts)
        return
    with refuses(UnreachableError, match="network file system"):
        sqlite.refuse_network_file_system(path, mounts)


def test_fault_of_ours_is_not_explained_away(sqlite_url: str) -> None:
    assert explain(raised("SELECT * FROM nowhere", path_of(sqlite_url)), PLACE) is None
    assert explain(raised("INSERT INTO lease (name) VALUES ('x')", path_of(sqlite_url)), PLACE) is None
    assert explain(ValueError("locked"), PLACE) is None


def test_a_database_that_was_emptied_is_told(sqlite_url: str) -> None:
    with closing(sqlite3.connect(path_of(sqlite_url))) as conn:
        conn.execute("DROP TABLE lease")
    with refuses(UnreachableError, match="db restore"), open_database(sqlite_url).read() as conn:
        conn.exec_driver_sql("SELECT * FROM lease")


@pytest.mark.needs("postgresql")
def test_an_empty_postgresql_database_is_told_and_a_table_of_nobody_is_not(empty_postgresql_url: str) -> None:
    database = open_database(empty_postgresql_url)
    with refuses(UnreachableError, match="db restore"), database.read() as conn:
        conn.exec_driver_sql("SELECT * FROM lease")
    with pytest.raises(ProgrammingError), database.read() as conn:
        conn.exec_driver_sql("SELECT * FROM nowhere")
    database.close()


def test_password_never_stands_in_the_sentence() -> None:
    origin = psycopg.OperationalError("connection failed: password hunter22 is wrong\nmore")
    sentence = explain(OperationalError("SELECT 1", {}, origin), PLACE, "hunter22")
    assert sentence is not None
    for text in (str(sentence), word(sentence)):
        assert "hunter22" not in text
        assert "\n" not in text


@pytest.mark.needs("postgresql")
def test_missing_postgresql_database_names_createdb(postgresql_server: str) -> None:
    with refuses(UnreachableError, match="create it \\(createdb\\)"):
        open_database(f"{postgresql_server}/nowhere").check()


@pytest.mark.needs("postgresql")
def test_a_role_that_does_not_exist_is_a_refusal_and_no_silence(postgresql_url: str) -> None:
    with refuses(UnreachableError, match=r"refuses us \(.*nobody.* does not exist"):
        open_database(postgresql_url.replace("corranto@", "nobody@")).check()


@pytest.mark.needs("postgresql")
def test_role_without_rights_is_told(postgresql_url: str) -> None:
    # Given
    with psycopg.connect(postgresql_url, autocommit=True) as conn:
        conn.execute("DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")

    # When / Then
    stranger = open_database(postgresql_url.replace("corranto@", "stranger@"))
    with refuses(UnreachableError, match="lacks a privilege"), stranger.write() as conn:
        conn.exec_driver_sql("DELETE FROM lease")
    stranger.close()


@pytest.mark.needs("postgresql")
def test_read_only_postgresql_is_told(postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database = open_database(postgresql_url)
    with refuses(UnreachableError, match="read-only"), database.write() as conn:
        conn.exec_driver_sql("DELETE FROM lease")
    database.close()


@pytest.mark.needs("postgresql")
def test_deadlock_is_told_as_something_to_try_again(postgresql_url: str) -> None:
    database = open_database(postgresql_url)
    with refuses(UnreachableError, match="try again"), database.write() as conn:
        conn.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'deadlock_detected'; END $$")
    database.close()


def test_wrong_url_repeats_no_password() -> None:
    with pytest.raises(UsageError) as caught:
        open_database("postgresql://reader:hunter22@host:port/x")
    assert "hunter22" not in str(caught.value)
    assert "hunter22" not in word(caught.value)


@pytest.mark.needs("postgresql")
def test_a_pooler_that_shares_connections_is_answered_with_the_setting_that_helps(postgresql_url: str) -> None:
    # Given a connection whose prepared statements somebody else threw away, as a pooler between transactions does
    def run_often(url: str) -> bool:
        database = open_database(url)
        with database.read() as conn:
            for _ in range(8):
                conn.exec_driver_sql("DEALLOCATE ALL")
                conn.exec_driver_sql("SELECT 1 AS again")
        database.close()
        return True

    # When / Then
    with refuses(UnreachableError, match="prepare=off"):
        run_often(postgresql_url)
    assert run_often(f"{postgresql_url}?prepare=off")
