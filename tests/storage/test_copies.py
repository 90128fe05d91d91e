"""Copies of a database: what they are called when they fail, and where they may lie."""

from pathlib import Path

import pytest

from tests.support.words import refuses
from worker.errors import UnreachableError
from worker.operations.backup import back_up
from worker.storage import copies
from worker.storage.engine import Database, open_database
from worker.storage.migrations.upgrade import upgrade


@pytest.mark.parametrize("name", ["100%41", "no#1", "a b"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    # Given
    (tmp_path / name).mkdir()
    url = f"sqlite:///{tmp_path / name / 'corranto.sqlite3'}"
    upgrade(url)
    database = open_database(url)

    # When
    copies.dump(database, url, tmp_path / "copy")
    database.close()

    # Then
    copy = open_database(f"sqlite:///{tmp_path / 'copy'}")
    assert copies.is_filled(copy)
    copy.close()


def test_a_copy_that_cannot_be_written_is_no_fault_of_ours(
    sqlite_url: str, sqlite_database: Database, tmp_path: Path
) -> None:
    with refuses(UnreachableError, "SQLite failed: unable to open database file"):
        copies.dump(sqlite_database, sqlite_url, tmp_path)


def test_half_a_backup_is_taken_away_so_that_the_same_command_works_again(
    sqlite_url: str, sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: a disk that gets full
    def fill(database: Database, url: str, target: Path) -> None:
        target.write_bytes(b"half")
        (target.parent / "more").mkdir()
        raise OSError(28, "No space left on device", "source", None, str(target))

    folder = tmp_path / "backup"
    with monkeypatch.context() as patched:
        patched.setattr("worker.storage.copies.dump", fill)
        with refuses(UnreachableError, "corranto.sqlite3: No space left"):
            back_up(sqlite_database, sqlite_url, tmp_path, folder)

    # When / Then
    assert list(folder.iterdir()) == []
    assert back_up(sqlite_database, sqlite_url, tmp_path, folder).kind == "sqlite"
