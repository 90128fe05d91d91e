"""A reader who was told *done* stays out, whatever happens to the machine or to the database afterwards."""

import os
import re
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.support.readers import Killed, Readers, WatchedDatabase
from worker.consent import optout, optout_log, replay, suppressions
from worker.consent.optout import OptOut, Wish
from worker.domain.address import read_address
from worker.domain.subscription import Channel
from worker.domain.suppression import SuppressionReason
from worker.storage.engine import Database
from worker.storage.people.subscriptions import Changed
from worker.storage.people.suppressions import PAGE, hash_of
from worker.storage.schema import suppression as table

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


def test_an_address_on_the_do_not_mail_list_is_in_the_log_before_the_database_has_it(
    database: Database, tmp_path: Path
) -> None:
    # Given a database that shows what is in the log when it commits
    at_commit: list[list[str]] = []
    watched = WatchedDatabase(database, lambda _: at_commit.append(words(tmp_path)))

    # When an operator suppresses two addresses, one of them twice, and lifts one
    for addresses in ([JANE, "joe@example.org"], [JANE]):
        suppressions.suppress_addresses(
            watched, addresses, evidence="letter", actor="editor", state_dir=tmp_path, wait_s=0
        )
    suppressions.lift_suppression(watched, JANE, actor="editor", state_dir=tmp_path)

    # Then hashes stand there first, the lift only afterwards, and no address ever does
    hashes = {
        hash_of(database.instance(), read_address(address)).hex(): address for address in (JANE, "joe@example.org")
    }
    said = re.sub(r"[0-9a-f]{32}", lambda found: hashes[found[0]], "\n".join(words(tmp_path))).splitlines()
    both = " ".join(sorted((JANE, "joe@example.org"), key={one: each for each, one in hashes.items()}.__getitem__))
    assert said == [f"suppressed:manual {both}", f"lifted {JANE}"]
    assert [len(lines) for lines in at_commit] == [1, 1, 1]
    first = both.split()[0]
    log = (tmp_path / optout_log.LOG_NAME).read_text()
    assert [hashes[each] for each in re.findall(r" did (.*)", log)] == [first]
    assert "@" not in (tmp_path / optout_log.LOG_NAME).read_text()


def suppress(database: Database, folder: Path, *addresses: str) -> None:
    suppressions.suppress_addresses(database, addresses, evidence="letter", actor="editor", state_dir=folder, wait_s=0)


def forget(database: Database, *addresses: str) -> None:
    """The database as it was before it knew of them."""
    with database.write() as conn:
        for address in addresses:
            conn.execute(table.delete().where(table.c.address == address))


def test_a_restored_list_is_made_whole_from_the_log_and_a_lift_stays_one(database: Database, tmp_path: Path) -> None:
    # Given three addresses on the list, one of them lifted, and one lifted and put there again
    suppress(database, tmp_path, JANE, "joe@example.org")
    suppress(database, tmp_path, "ann@example.org")
    for address in (JANE, "joe@example.org"):
        suppressions.lift_suppression(database, address, actor="editor", state_dir=tmp_path)
    suppress(database, tmp_path, "joe@example.org")
    assert replay.missing(database, tmp_path) == replay.Missing()

    # When an older copy of the database takes its place
    forget(database, "joe@example.org", "ann@example.org")
    found = replay.missing(database, tmp_path)
    replay.replay(database, tmp_path, found, "an operator")

    # Then it is known for one, and afterwards those two are on the list again, by their hashes alone
    assert (found.suppressed, found.lines, found.known, found.count) == (2, 2, 2, 2)
    assert replay.missing(database, tmp_path) == replay.Missing()
    listed = suppressions.list_suppressions(database)
    assert [(one.address, one.reason, one.evidence) for one in listed] == [
        (None, SuppressionReason.MANUAL, "put back from the opt-out log")
    ] * 2
    for address, is_out in ((JANE, False), ("joe@example.org", True), ("ann@example.org", True)):
        assert (suppressions.find_suppression(database, address) is not None) == is_out


def test_a_crash_before_the_list_is_committed_leaves_a_line_that_the_next_start_makes_true(
    database: Database, tmp_path: Path
) -> None:
    def die(kind: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        suppress(WatchedDatabase(database, die), tmp_path, JANE)
    found = replay.missing(database, tmp_path)
    assert (found.suppressed, found.lines, found.known) == (1, 1, 0)
    replay.replay(database, tmp_path, found, "a worker")
    assert suppressions.find_suppression(database, JANE) is not None


def test_a_long_list_is_put_back_page_by_page_and_torn_or_foreign_lines_move_nobody(
    database: Database, tmp_path: Path
) -> None:
    # Given a list longer than a query may ask for, one by one and at once, and a log that somebody mangled
    many = [f"r{n}@example.org" for n in range(PAGE + 20)]
    suppress(database, tmp_path, *many)
    for n in range(30):
        suppress(database, tmp_path, f"s{n}@example.org")
    with (tmp_path / optout_log.LOG_NAME).open("a") as log:
        log.write("2026-11-27T10:00:00+00:00 suppressed:manual abc\n2026-11-27T10:00:00+00:00 suppressed:rumour ")
        log.write("0" * 32 + "\n2026-11-27T10:00:00+00:00 suppressed:manual \n\x00\xff\n2026 lifted 12\n")

    # When an older copy takes the place
    with database.write() as conn:
        conn.execute(table.delete())
    found = replay.missing(database, tmp_path)
    replay.replay(database, tmp_path, found, "an operator")

    # Then
    assert (found.suppressed, found.lines, found.known) == (PAGE + 50, 32, 32)
    with database.read() as conn:
        assert conn.execute(select(func.count()).select_from(table)).scalar_one() == PAGE + 50
