"""A reader who was told *done* stays out, whatever happens to the machine or to the database afterwards."""

import os
import re
from pathlib import Path

import pytest

from tests.support.readers import Killed, Readers, WatchedDatabase
from worker.consent import optout, optout_log
from worker.consent.optout import OptOut, Wish
from worker.domain.subscription import Channel
from worker.storage.engine import Database
from worker.storage.people.subscriptions import Changed

JANE = "jane@example.org"


def leave(database: Database, folder: Path, subscription_id: int) -> OptOut:
    return optout.opt_out(database, Wish(subscription_id, Channel.PAGE, "reader"), folder, 0)


def words(folder: Path) -> list[str]:
    log = folder / optout_log.LOG_NAME
    said = [line.split(" ", 1)[1] for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in said if not line.startswith("did ")]


def test_a_reader_is_in_the_log_before_the_database_has_it(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader, and a database that shows what is in the log when it commits
    (here,) = readers.reader(JANE, newsline)
    at_commit: list[tuple[str, list[str]]] = []
    watched = WatchedDatabase(database, lambda kind: at_commit.append((kind, words(tmp_path))))

    # When the reader leaves
    leave(watched, tmp_path, here)

    # Then a restore of yesterday's database finds the line, and the commit itself is a durable one
    assert at_commit == [("durable", [f"out {here}:1"])]


def test_the_log_says_once_the_database_has_it(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    (here,) = readers.reader(JANE, newsline)
    leave(database, tmp_path, here)
    said = (tmp_path / optout_log.LOG_NAME).read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in said] == [f"out {here}:1", f"did {here}:1"]


def test_a_crash_between_log_and_commit_leaves_a_line_and_a_reader_who_can_press_again(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a process that dies before its commit
    (here,) = readers.reader(JANE, newsline)

    def die(kind: str) -> None:
        raise Killed

    # When the reader leaves, gets no answer, and presses again
    with pytest.raises(Killed):
        leave(WatchedDatabase(database, die), tmp_path, here)
    between = readers.state(here)
    again = leave(database, tmp_path, here)

    # Then the second press ends it
    assert between == ("confirmed", 1)
    assert again.changed == ("Newsline",)
    assert readers.state(here) == ("ended", 1)


def test_a_reader_who_comes_back_is_in_the_log_only_after_the_database_has_it(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left
    (here,) = readers.reader(JANE, newsline)
    leave(database, tmp_path, here)
    at_commit: list[tuple[str, list[str]]] = []
    watched = WatchedDatabase(database, lambda kind: at_commit.append((kind, words(tmp_path))))

    # When they take it back
    optout.undo(watched, Wish(here, Channel.PAGE, "reader"), tmp_path)

    # Then a crash at the commit would leave them out, in the log as in the database
    assert at_commit == [("durable", [f"out {here}:1"])]
    assert words(tmp_path) == [f"out {here}:1", f"undo {here}:2"]


def test_a_second_press_leaves_no_second_line(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left
    (here,) = readers.reader(JANE, newsline)
    leave(database, tmp_path, here)

    # When they press again
    leave(database, tmp_path, here)

    # Then the log says what happened, once
    assert words(tmp_path) == [f"out {here}:1"]


def test_a_power_cut_right_after_done_takes_neither_the_line_nor_its_file(tmp_path: Path) -> None:
    # Given a disk that tells what it has put down, and when
    folder = tmp_path / "new" / "state"
    put_down: list[tuple[int, list[str]]] = []

    # When a wish is logged
    optout_log.append(
        folder,
        "out",
        [Changed(7, 1), Changed(9, 3)],
        sync=lambda descriptor: put_down.append((os.fstat(descriptor).st_ino, words(folder))),
    )

    # Then the whole line was there when its file was synced, and the folder that names the file followed
    line = ["out 7:1 9:3"]
    assert put_down == [((folder / optout_log.LOG_NAME).stat().st_ino, line), (folder.stat().st_ino, line)]
    assert re.match(r"20\d\d-\d\d-\d\dT\S+\+00:00 out ", (folder / optout_log.LOG_NAME).read_text())


def test_the_log_is_for_its_owner_only_and_keeps_what_is_there(tmp_path: Path) -> None:
    # When two wishes are logged, and one of nobody
    optout_log.append(tmp_path, "out", [Changed(1, 1)])
    optout_log.append(tmp_path, "undo", [Changed(1, 2)])
    optout_log.append(tmp_path, "out", [])

    # Then
    assert words(tmp_path) == ["out 1:1", "undo 1:2"]
    assert (tmp_path / optout_log.LOG_NAME).stat().st_mode & 0o077 == 0


def test_a_line_that_a_full_disk_tore_off_does_not_swallow_the_next(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    (here,) = readers.reader(JANE, newsline)
    (tmp_path / optout_log.LOG_NAME).write_text("2026-11-27T10:00:00+00:00 out 7:1\n2026-11-27T10:00:01+00:00 out 8")
    leave(database, tmp_path, here)
    assert words(tmp_path) == ["out 7:1", "out 8 torn", f"out {here}:1"]
