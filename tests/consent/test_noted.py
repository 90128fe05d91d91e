"""Wishes to leave that came while the database was away: on disk first, fulfilled before anything leaves."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lists import Newsroom
from tests.support.readers import Killed, Readers, WatchedDatabase
from worker.consent import noted
from worker.consent.noted import FILE_NAME, fulfil, has_any, note
from worker.consent.optout import Wish
from worker.domain.issue import IssueState
from worker.domain.subscription import Channel, Scope
from worker.errors import UnreachableError
from worker.storage.engine import Database
from worker.storage.people import subscriptions


def wish(subscription_id: int, **more: object) -> Wish:
    return Wish(subscription_id, **{"channel": Channel.ONE_CLICK, "actor": "reader", **more})  # type: ignore[arg-type]


def away(database: Database, is_away: Callable[[], bool] = lambda: True) -> Database:
    """The same database, which does not answer."""

    def refuse(*_: object) -> None:
        if is_away():
            raise UnreachableError("database.silent", place="there", reason="away")

    return WatchedDatabase(database, refuse, refuse)


def test_a_noted_wish_is_on_disk_and_is_fulfilled_once(database: Database, readers: Readers, tmp_path: Path) -> None:
    # Given
    synced: list[int] = []
    here, other = readers.reader("jane@example.org", readers.publication("newsline"), readers.publication("magazine"))

    # When
    assert note(tmp_path, wish(here), sync=synced.append)
    assert has_any(tmp_path)

    # Then file and folder are on disk, and nobody's address is
    assert len(synced) == 2
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0
    assert "jane" not in (tmp_path / FILE_NAME).read_text()
    with pytest.raises(UnreachableError):
        fulfil(away(database), tmp_path)
    assert has_any(tmp_path)
    assert fulfil(database, tmp_path) == 1
    assert not has_any(tmp_path)
    assert fulfil(database, tmp_path) == 0
    assert readers.state(here)[0] == "ended"
    assert readers.state(other)[0] == "confirmed"
    assert f"{here}:1" in (tmp_path / "optouts.log").read_text()
    with database.read() as conn:
        ended = subscriptions.find(conn, here)
    assert ended is not None
    assert (ended.ended_by, ended.ended_issue_id) == (Channel.ONE_CLICK, None)


def test_a_wish_for_all_ends_no_more_than_its_link_may(database: Database, readers: Readers, tmp_path: Path) -> None:
    here, other = readers.reader("jane@example.org", readers.publication("newsline"), readers.publication("magazine"))
    note(tmp_path, wish(here, channel=Channel.PAGE, scope=Scope.ALL))
    assert fulfil(database, tmp_path) == 1
    assert (readers.state(here)[0], readers.state(other)[0]) == ("ended", "confirmed")


def test_a_wish_for_all_by_a_link_whose_button_was_pressed_ends_all(
    database: Database, readers: Readers, tmp_path: Path
) -> None:
    newsline = readers.publication("newsline")
    readers.reader("joe@example.org", newsline)
    here, other = readers.reader("jane@example.org", newsline, readers.publication("magazine"))
    issue = readers.issue(newsline, [here])
    note(tmp_path, wish(here, issue_id=issue))
    note(tmp_path, wish(here, channel=Channel.PAGE, scope=Scope.ALL, issue_id=issue))
    assert fulfil(database, tmp_path) == 2
    assert (readers.state(here)[0], readers.state(other)[0]) == ("ended", "ended")


def test_what_is_noted_meanwhile_stays_and_what_cannot_be_read_is_left_out(
    database: Database, readers: Readers, tmp_path: Path
) -> None:
    # Given a torn line, and a wish that comes while the first is fulfilled
    newsline = readers.publication("newsline")
    (first,), (second,) = readers.reader("jane@example.org", newsline), readers.reader("joe@example.org", newsline)
    (tmp_path / FILE_NAME).write_text("2026-11-27T10:00 what is this\n")
    note(tmp_path, wish(first))
    came: list[bool] = []

    def another(_: str) -> None:
        if not came:
            came.append(note(tmp_path, wish(second)))

    # When / Then
    assert fulfil(WatchedDatabase(database, another), tmp_path) == 1
    assert (readers.state(first)[0], readers.state(second)[0]) == ("ended", "confirmed")
    assert fulfil(database, tmp_path) == 1
    assert readers.state(second)[0] == "ended"


def test_a_torn_wish_does_not_swallow_the_next(database: Database, readers: Readers, tmp_path: Path) -> None:
    # Given: a full disk took the end of one line, whose reader was answered nothing; then there was room again
    newsline = readers.publication("newsline")
    theirs = [readers.reader(f"reader{n}@example.org", newsline)[0] for n in range(11)]
    (tmp_path / FILE_NAME).write_text(f"2026-11-27T10:00:00+00:00 {theirs[0]}")
    assert note(tmp_path, wish(theirs[1]))
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write(f"2026-11-27T10:00:00+00:00 {theirs[2]} page one 1")
    assert note(tmp_path, wish(theirs[3]))

    # When / Then
    assert fulfil(database, tmp_path) == 2
    assert [readers.state(each)[0] for each in theirs[:4]] == ["confirmed", "ended", "confirmed", "ended"]


@pytest.mark.parametrize("number", [str(10**30), "-7", "0"])
def test_a_number_that_names_nobody_holds_up_nobody(
    database: Database, readers: Readers, tmp_path: Path, number: str
) -> None:
    (here,) = readers.reader("jane@example.org", readers.publication("newsline"))
    (tmp_path / FILE_NAME).write_text(
        f"2026-11-27T10:00:00+00:00 {number} page one 0\n2026-11-27T10:00:00+00:00 {here} page one {number}\n"
    )
    note(tmp_path, wish(here))
    fulfil(database, tmp_path)
    assert readers.state(here)[0] == "ended"
    assert not has_any(tmp_path)


def test_a_process_that_dies_over_it_leaves_it_to_the_next(
    database: Database, readers: Readers, tmp_path: Path
) -> None:
    (here,) = readers.reader("jane@example.org", readers.publication("newsline"))
    note(tmp_path, wish(here))

    def die(_: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        fulfil(WatchedDatabase(database, die), tmp_path)
    assert fulfil(database, tmp_path) == 1
    assert readers.state(here)[0] == "ended"


def test_processes_that_fulfil_at_once_lose_nothing(database: Database, readers: Readers, tmp_path: Path) -> None:
    newsline = readers.publication("newsline")
    theirs = [readers.reader(f"reader{n}@example.org", newsline)[0] for n in range(12)]
    gate = threading.Barrier(3)

    def work(mine: list[int]) -> None:
        gate.wait(20)
        for each in mine:
            note(tmp_path, wish(each))
            fulfil(database, tmp_path)

    threads = [threading.Thread(target=work, args=(theirs[at::3],)) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    fulfil(database, tmp_path)
    assert {readers.state(each)[0] for each in theirs} == {"ended"}


def test_a_disk_that_refuses_promises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    assert not note(tmp_path, wish(1), sync=full)
    monkeypatch.setattr(noted, "MOST_OCTETS", 10)
    assert not note(tmp_path, wish(1), sync=os.fsync)


def test_nothing_leaves_to_a_reader_whose_wish_was_noted(both_desks: Newsroom) -> None:
    # Given: the wish is noted, and no process has fulfilled it yet
    desk = both_desks
    desk.readers(3)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        note(desk.folder / "state", wish(2))

        # When
        hand.send()

    # Then
    assert desk.states() == {"accepted": 2, "skipped": 1}
    assert desk.issue().state is IssueState.FINISHED
    assert not has_any(desk.folder / "state")
    desk.assert_books_add_up()
