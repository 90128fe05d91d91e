"""Processes that hold no claims say that they live, after what was noted on their host is in the ledger."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.consent.test_noted import away, wish
from tests.support.lists import Newsroom
from tests.support.readers import Readers
from tests.support.words import refuses
from worker.consent.attendance import Attendance
from worker.consent.noted import has_any, note
from worker.dispatch import lock
from worker.dispatch.wishes import NotedWishes
from worker.domain.process import Role
from worker.errors import Trouble, UnreachableError
from worker.operations.status import collect
from worker.storage import epochs, presences, schema
from worker.storage.engine import Database

AWAY = Trouble("database.silent", place="there", reason="away")


def age(database: Database, by: timedelta) -> None:
    """As if whoever is there had last been heard earlier."""
    with database.write() as conn:
        conn.execute(update(schema.presence).values(seen_at=database.now(conn) - by))


def test_a_process_is_heard_only_after_what_its_host_noted_is_fulfilled(
    database: Database, readers: Readers, tmp_path: Path
) -> None:
    here, *_ = readers.reader("jane@example.org", readers.publication("newsline"))
    assert note(tmp_path, wish(here))
    Attendance(away(database), tmp_path, Role.WEB).attend()
    with database.read() as conn:
        assert presences.list_presences(conn) == []
    attendance = Attendance(database, tmp_path, Role.WEB)
    attendance.attend()
    assert readers.state(here)[0] == "ended"
    assert not has_any(tmp_path)
    with database.read() as conn:
        assert [each.role for each in presences.list_presences(conn)] == [Role.WEB]
    attendance.end()
    with database.read() as conn:
        assert presences.list_presences(conn) == []


def test_a_new_process_takes_the_place_of_a_silent_one_of_its_host(database: Database, tmp_path: Path) -> None:
    for role in (Role.WEB, Role.SCHEDULER):
        Attendance(database, tmp_path, role).attend()
    Attendance(database, tmp_path / "other", Role.WEB).attend()
    age(database, timedelta(seconds=11))
    Attendance(database, tmp_path, Role.WEB).attend()
    with database.read() as conn:
        found = [
            (each.role, each.seen_at > database.now(conn) - timedelta(seconds=5))
            for each in presences.list_presences(conn)
        ]
    assert sorted(found) == [(Role.SCHEDULER, False), (Role.WEB, False), (Role.WEB, True)]


def test_after_an_outage_nothing_is_asked_before_other_hosts_fulfilled(database: Database, tmp_path: Path) -> None:
    # Given a web process on another host, heard shortly before
    elsewhere = Attendance(database, tmp_path / "elsewhere", Role.WEB)
    elsewhere.attend()
    wishes = NotedWishes(database, tmp_path / "here")
    assert wishes.missing() is None
    age(database, timedelta(seconds=3))

    # When
    wishes.note(AWAY)

    # Then
    assert str(wishes.missing()).startswith("wishes.elsewhere")
    with pytest.raises(UnreachableError):
        wishes.fulfil()
    elsewhere.attend()
    assert wishes.missing() is None
    age(database, timedelta(seconds=3))
    assert wishes.missing() is None  # no outage since


@pytest.mark.parametrize(("seconds", "waits"), [(600, True), (1, False)])
def test_a_worker_that_begins_after_an_outage_waits_for_other_hosts_too(
    database: Database, tmp_path: Path, seconds: int, *, waits: bool
) -> None:
    # Given: the database heard nobody for a while, or everybody a moment ago
    elsewhere = Attendance(database, tmp_path / "elsewhere", Role.WEB)
    elsewhere.attend()
    Attendance(database, tmp_path / "here", Role.WEB).attend()
    age(database, timedelta(seconds=seconds))
    wishes = NotedWishes(database, tmp_path / "here")

    # When
    wishes.look_back()

    # Then
    assert (wishes.missing() is not None) is waits
    elsewhere.attend()
    assert wishes.missing() is None


def test_after_an_outage_the_database_is_compared_once_while_others_are_waited_for(
    database: Database, tmp_path: Path
) -> None:
    # Given an outage, a silent web process elsewhere, and a database that fits
    Attendance(database, tmp_path / "elsewhere", Role.WEB).attend()
    age(database, timedelta(seconds=3))
    wishes = NotedWishes(database, tmp_path / "here")
    wishes.note(AWAY)
    assert str(wishes.missing()).startswith("wishes.elsewhere")

    # When something comes to light here that a comparison would find
    with database.read() as conn:
        lock.insist(tmp_path / "here", epochs.read_progress(conn))

    # Then it is left to the heartbeat until the next outage
    assert str(wishes.missing()).startswith("wishes.elsewhere")
    wishes.note(AWAY)
    with refuses(UnreachableError, "older state"):
        wishes.missing()


def test_who_begins_after_an_outage_has_compared_the_database_before(database: Database, tmp_path: Path) -> None:
    Attendance(database, tmp_path / "elsewhere", Role.WEB).attend()
    age(database, timedelta(seconds=600))
    with database.read() as conn:
        lock.insist(tmp_path / "here", epochs.read_progress(conn))
    wishes = NotedWishes(database, tmp_path / "here")
    wishes.look_back()
    assert str(wishes.missing()).startswith("wishes.elsewhere")


def test_this_machine_before_its_reboot_is_not_waited_for(database: Database, tmp_path: Path) -> None:
    Attendance(database, tmp_path, Role.WEB).attend()
    with database.write() as conn:
        (there,) = presences.list_presences(conn)
        before = f"another boot.{there.host_id.rpartition('.')[2]}"
        conn.execute(update(schema.presence).values(host_id=before))
    age(database, timedelta(seconds=600))
    wishes = NotedWishes(database, tmp_path)
    wishes.look_back()
    assert wishes.missing() is None


@pytest.mark.parametrize("seconds", [40, 4000])
def test_a_web_process_that_was_silent_before_the_outage_is_not_waited_for(
    database: Database, tmp_path: Path, seconds: int
) -> None:
    Attendance(database, tmp_path / "elsewhere", Role.WEB).attend()
    age(database, timedelta(seconds=seconds))
    wishes = NotedWishes(database, tmp_path / "here")
    wishes.note(AWAY)
    assert wishes.missing() is None


def test_this_host_and_schedulers_are_not_waited_for(database: Database, tmp_path: Path) -> None:
    Attendance(database, tmp_path, Role.WEB).attend()
    Attendance(database, tmp_path / "elsewhere", Role.SCHEDULER).attend()
    age(database, timedelta(seconds=3))
    wishes = NotedWishes(database, tmp_path)
    wishes.note(AWAY)
    assert wishes.missing() is None


def test_a_web_process_that_never_comes_back_is_given_up_after_a_minute(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Attendance(database, tmp_path / "elsewhere", Role.WEB).attend()
    age(database, timedelta(seconds=3))
    wishes = NotedWishes(database, tmp_path / "here")
    now = [100.0]
    monkeypatch.setattr("worker.dispatch.wishes.clock.monotonic", lambda: now[0])
    wishes.note(AWAY)
    assert wishes.missing() is not None
    now[0] += 59.0
    assert wishes.missing() is not None
    now[0] += 2.0
    assert wishes.missing() is None


def test_an_outage_began_when_the_database_first_failed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a web process that was heard just before an outage of a minute and a half, noticed all the while
    Attendance(database, tmp_path / "elsewhere", Role.WEB).attend()
    age(database, timedelta(seconds=100))
    wishes = NotedWishes(database, tmp_path / "here")
    now = [100.0]
    monkeypatch.setattr("worker.dispatch.wishes.clock.monotonic", lambda: now[0])
    wishes.note(AWAY)
    now[0] += 90.0
    wishes.note(AWAY)

    # When / Then what it noted in the outage is waited for
    assert str(wishes.missing()).startswith("wishes.elsewhere")


def test_a_worker_sends_nothing_while_another_host_may_know_who_left(desk: Newsroom) -> None:
    # Given an issue to be sent, and an outage in which another host's web process took a wish
    desk.readers(5)
    desk.queue()
    elsewhere = Attendance(desk.database, desk.folder / "elsewhere", Role.WEB)
    elsewhere.attend()
    age(desk.database, timedelta(seconds=3))
    assert note(desk.folder / "elsewhere", wish(1))
    with desk.hand() as hand:
        hand.sender.note_away(AWAY)

        # When
        hand.tick()
        hand.work(most=3)

        # Then
        assert desk.copies().total() == 0
        assert str(hand.sender.note).startswith("wishes.elsewhere")
        elsewhere.attend()
        hand.send()
    assert desk.copies().total() == 4
    assert desk.copies()["reader1@example.org"] == 0


def test_a_stopped_scheduler_is_named_and_takes_nobodys_place(desk: Newsroom) -> None:
    Attendance(desk.database, desk.folder / "state", Role.SCHEDULER).attend()
    assert [each.role for each in collect(desk.settings, desk.database).processes] == ["scheduler"]
    age(desk.database, timedelta(seconds=11))
    [silent] = [each for each in collect(desk.settings, desk.database).troubles if each.code == "status.silent"]
    assert silent.fields["role"] == "scheduler"
    desk.readers(1)
    desk.queue()
    assert "status.nobody_will_send" in [each.code for each in collect(desk.settings, desk.database).troubles]
