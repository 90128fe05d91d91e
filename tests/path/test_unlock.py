"""Unlocking beside other machines, of other installations, and by whoever comes second."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support.lists import Hand, Newsroom, newsroom
from tests.support.readers import KEY, Killed, WatchedDatabase
from tests.support.restores import (
    READERS,
    backup_of,
    begin,
    leave,
    planned,
    restored,
    resume_and_send,
    state_of,
    states_of_readers,
)
from tests.support.words import refuses
from worker.clock import utcnow
from worker.consent import optout_log
from worker.dispatch import lock, orders
from worker.domain.address import read_address
from worker.domain.issue import IssueState
from worker.errors import RefusedError
from worker.journal import marks, memory
from worker.operations import unlock
from worker.operations.backup import back_up, restore
from worker.storage import schema
from worker.storage.engine import Database, open_database
from worker.storage.migrations.upgrade import upgrade
from worker.storage.people import subscribers


def test_each_machine_is_asked_what_it_had_begun(both_desks: Newsroom, tmp_path: Path) -> None:
    # Given: two machines that send since the backup
    desk, there = both_desks, tmp_path / "there"
    desk.readers(READERS)
    desk.queue()
    begin(desk)
    with desk.hand(claim_size="200") as here:
        assert lock.begin(desk.database, there, "test") is None
        here.tick()
        here.work(most=1)
        folder = backup_of(desk)
        with desk.hand(claim_size="200", state_dir=str(there)) as other:
            other.submitted(other.slice())
            other.die()
        here.submitted(here.slice())
        lock.watch(desk.database, state_of(desk), None)
        here.die()

    # When the first one is unlocked
    with restored(desk, folder) as old:
        unlock.unlock(old.database, state_of(desk), "an operator")

        # Then the other is locked still, and once it is unlocked nobody gets a second copy
        assert begin(old) is None
        found = lock.begin(old.database, there, "test")
        assert found is not None
        assert found.code == "lock.older"
        unlock.unlock(old.database, there, "an operator")
        assert lock.begin(old.database, there, "test") is None
        assert begin(old) is None
        resume_and_send(old)
        assert set(old.copies().values()) == {1}
        assert old.states() == {"in_doubt": 400, "accepted": 200}
        old.assert_books_add_up()


def test_a_range_that_waited_in_the_backup_and_left_since_stops_nobody(both_desks: Newsroom) -> None:
    # Given: a range was given back before the backup, and sent after it
    desk = both_desks
    with planned(desk) as hand:
        part = hand.slice()
        batch = part.claim()
        assert batch is not None
        part.give_back()
        folder = backup_of(desk)
        part = hand.slice()
        hand.submitted(part)
        hand.die()

    # When
    with restored(desk, folder) as old:
        unlock.unlock(old.database, state_of(desk), "an operator")

        # Then the books add up at once, and smaller claims than that range go on
        old.assert_books_add_up()
        assert begin(old) is None
        with old.hand(relay_rate="50/s") as hand:
            orders.resume(old.database, hand.nudges, "spring", "an editor")
            hand.send()
        assert old.states() == {"in_doubt": 200, "accepted": 400}
        assert set(old.copies().values()) == {1}
        old.assert_books_add_up()


def test_an_unlock_that_dies_anywhere_stays_locked_and_is_given_again(both_desks: Newsroom) -> None:
    # Given: one issue in its middle, one that waited for its time, two readers who left since
    desk = both_desks
    desk.readers(READERS)
    set_confirmed(desk.database, 100, None)
    desk.queue()
    begin(desk)
    with desk.hand(claim_size="200") as hand:
        hand.tick()
        hand.work(most=1)
        desk.queue("summer")
        folder = backup_of(desk)
        set_confirmed(desk.database, 100, utcnow())
        leave(desk, "reader599@example.org")
        leave(desk, "reader600@example.org")
        hand.tick()
        # How much a slice sends is the machine's pace: on until the second issue is in its middle too.
        for _ in range(20):
            hand.work(most=1)
            if desk.copies().total() > READERS:
                break
        hand.die()
    sent = desk.copies()
    assert sent.total() > READERS

    # When: the order dies before its first commit, its second, and so on, each time a little later
    with restored(desk, folder) as old:
        set_confirmed(old.database, 100, utcnow())
        for step in range(60):
            left = step

            def die(_: str) -> None:
                nonlocal left
                if not left:
                    raise Killed
                left -= 1

            try:
                unlock.unlock(WatchedDatabase(old.database, die), state_of(desk), "an operator")
            except Killed:
                assert lock.compare(old.database, state_of(desk)).lock is not None
            else:
                break

        # Then
        assert begin(old) is None
        resume_and_send(old)
        resume_and_send(old, "summer")
        twice = {address for address, count in old.copies().items() if count > 2}
        assert not twice
        assert not {"reader599@example.org", "reader600@example.org"} & (set(old.copies()) - set(sent))
        for slug in ("spring", "summer"):
            assert old.totals(slug).adds_up
        old.assert_books_add_up()


def test_an_issue_whose_time_comes_waits_for_the_other_machine(both_desks: Newsroom, tmp_path: Path) -> None:
    # Given: another machine sent all of it since the backup
    desk, there = both_desks, tmp_path / "there"
    desk.readers(3)
    begin(desk)
    desk.queue()
    folder = backup_of(desk)
    with desk.hand(state_dir=str(there)) as other:
        other.send()
    lock.watch(desk.database, state_of(desk), None)

    # When this machine is unlocked, and works
    with restored(desk, folder) as old:
        seen = unlock.survey(old.database, state_of(desk))
        assert seen.foreign_claims == 1
        unlock.unlock(old.database, state_of(desk), "an operator")
        with old.hand() as hand:
            hand.send()

        # Then it waits for an editor
        assert set(old.copies().values()) == {1}
        assert old.issue().state is IssueState.PAUSED


def set_confirmed(database: Database, number: int, at: datetime | None) -> None:
    with database.write() as conn:
        here = update(schema.subscription).where(schema.subscription.c.id == number)
        conn.execute(here.values(state="pending" if at is None else "confirmed", confirmed_at=at))


@pytest.mark.parametrize("confirms", ["before the issue was planned", "after the restore", "after the first unlock"])
def test_numbers_given_out_after_the_backup_may_belong_to_others(
    both_desks: Newsroom, tmp_path: Path, confirms: str
) -> None:
    # Given: an issue that waits for its time, and a reader among the first who has not confirmed yet
    desk, there = both_desks, tmp_path / "there"
    desk.readers(READERS)
    set_confirmed(desk.database, 100, None)
    desk.queue()
    begin(desk)
    folder = backup_of(desk)

    # And: it is sent by two machines since, whose claims leave numbers between them
    if confirms == "before the issue was planned":
        set_confirmed(desk.database, 100, utcnow())
    with desk.hand(claim_size="200", shard_size="200") as here:
        assert lock.begin(desk.database, there, "test") is None
        here.tick()
        here.work(most=1)
        with desk.database.write() as conn:
            first = update(schema.shard).where(schema.shard.c.no == 0)
            conn.execute(first.values(next_n=201))
        with desk.hand(claim_size="200", state_dir=str(there)) as other:
            other.submitted(other.slice())
            lock.watch(desk.database, there, None)
            other.die()
        with desk.database.write() as conn:
            conn.execute(first.values(next_n=1))
        here.die()

    # When
    with restored(desk, folder) as old:
        if confirms == "after the restore":
            set_confirmed(old.database, 100, utcnow())
        unlock.unlock(old.database, state_of(desk), "an operator")
        if confirms == "after the first unlock":
            set_confirmed(old.database, 100, utcnow())
        assert lock.begin(old.database, there, "test") is not None
        unlock.unlock(old.database, there, "an operator")
        assert begin(old) is None
        resume_and_send(old)

        # Then
        assert set(old.copies().values()) == {1}
        assert old.totals().in_doubt >= 200
        old.assert_books_add_up()


def test_a_new_reader_does_not_inherit_the_no_of_one_who_was_lost(both_desks: Newsroom) -> None:
    # Given: somebody joined and left, and another was erased, all since the backup
    desk = both_desks
    desk.readers(2)
    begin(desk)
    folder = backup_of(desk)
    desk.join("lost3@example.org", "lost4@example.org")
    leave(desk, "lost3@example.org")
    optout_log.append_erased(state_of(desk), 4)

    # When others join after the restore
    with restored(desk, folder) as old:
        unlock.unlock(old.database, state_of(desk), "an operator")
        old.join("new3@example.org", "new4@example.org")

        # Then nobody's number is theirs
        assert begin(old) is None
        assert states_of_readers(old.database) == ["confirmed"] * 4
        with old.database.read() as conn:
            address = read_address("new4@example.org")
            assert subscribers.find(conn, old.database.instance(), address) is not None


@pytest.fixture
def two_desks(tmp_path: Path, desk: Newsroom) -> Iterator[tuple[Newsroom, Newsroom]]:
    """Two installations with one state directory."""
    url = f"sqlite:///{tmp_path / 'second.sqlite3'}"
    upgrade(url, [KEY])
    with newsroom(tmp_path, url, with_relay=False, smtp_url=desk.given["smtp_url"]) as second:
        yield desk, second


def test_the_log_of_another_installation_ends_and_erases_nobody(two_desks: tuple[Newsroom, Newsroom]) -> None:
    # Given: a state directory in which readers left, and one was erased
    first, second = two_desks
    first.readers(4)
    assert begin(first) is None
    leave(first, "reader1@example.org")
    optout_log.append_erased(state_of(first), 2)
    claimed = marks.ClaimLog(state_of(first))
    claimed.note(7, 1, (1, 3))
    claimed.close()

    # When another database is used with it, as after beginning anew
    second.readers(4)
    second.queue(hold_s=3_600)
    assert begin(second) == "lock.other_database"
    assert unlock.survey(second.database, state_of(second)).left == 0
    unlock.unlock(second.database, state_of(second), "an operator")

    # Then it is as it was, and when the first comes back, so is what it knew
    assert begin(second) is None
    assert states_of_readers(second.database) == ["confirmed"] * 4
    assert second.issue().state is IssueState.HOLDING
    leave(second, "reader4@example.org")
    assert begin(first) == "lock.other_database"
    unlock.unlock(first.database, state_of(first), "an operator")
    assert states_of_readers(first.database) == ["ended", "ended", "confirmed", "confirmed"]
    assert marks.read_marks(state_of(first)).begun == {1: ((1, 3),)}
    assert begin(first) is None


def test_who_unlocks_second_changes_nothing(desk: Newsroom) -> None:
    # Given: locked, unlocked by somebody, resumed and under way
    with planned(desk) as hand:
        hand.submitted(hand.slice())

        # When the second operator, who saw it locked, says yes
        unlock.unlock(desk.database, state_of(desk), "another operator")

        # Then
        assert desk.issue().state is IssueState.SENDING
        assert desk.totals().sending == 200
        assert desk.totals().in_doubt == 0


def test_nothing_is_unlocked_under_workers_that_send(desk: Newsroom) -> None:
    # Given: this machine forgot, while its worker sends
    with planned(desk) as hand:
        hand.submitted(hand.slice())
        (state_of(desk) / memory.FILE_NAME).unlink()
        assert begin(desk) == "lock.no_memory"

        # When / Then
        with refuses(RefusedError, "test:1"):
            unlock.unlock(desk.database, state_of(desk), "an operator")
        assert desk.totals().in_doubt == 0


def test_a_restored_copy_of_another_installation_takes_over_no_log(
    two_desks: tuple[Newsroom, Newsroom], tmp_path: Path
) -> None:
    first, second = two_desks
    first.readers(3)
    second.readers(3)
    begin(first)
    leave(first, "reader1@example.org")
    folder = tmp_path / "backup"
    back_up(second.database, second.given["database_url"], tmp_path / "its own", folder)
    url = f"sqlite:///{tmp_path / 'third' / 'corranto.sqlite3'}"
    restore(folder, url, state_of(first), tmp_path / "keys")
    copy = open_database(url, [KEY])
    unlock.unlock(copy, state_of(first), "an operator")
    assert states_of_readers(copy) == ["confirmed"] * 3
    copy.close()


@contextmanager
def half_sent(desk: Newsroom) -> Iterator[Hand]:
    """An issue in its middle, and the worker that sends it."""
    desk.readers(READERS)
    begin(desk)
    desk.queue()
    with desk.hand(claim_size="200") as hand:
        hand.tick()
        hand.work(most=1)
        yield hand


def go_on(desk: Newsroom, state_dir: Path) -> None:
    with desk.hand(state_dir=str(state_dir)) as hand:
        orders.resume(desk.database, hand.nudges, "spring", "an editor")
        hand.send()


def test_a_copy_of_a_working_installation_mails_nobody_twice_on_a_new_machine(
    both_desks: Newsroom, tmp_path: Path
) -> None:
    # Given: a backup in mid-issue, and what left since is known to nobody who is left
    desk, there = both_desks, tmp_path / "there"
    with half_sent(desk) as hand:
        folder = backup_of(desk)
        hand.send()
    assert len(desk.copies()) == READERS

    # When
    with restored(desk, folder) as old:
        with old.database.write() as conn:
            conn.execute(update(schema.worker).values(seen_at=utcnow() - timedelta(hours=1)))
        open_ones = old.totals().waiting + old.totals().sending
        seen = unlock.survey(old.database, there)
        unlock.unlock(old.database, there, "an operator")

        # Then: it is said, by name, and nobody gets a second copy when the issue is resumed
        assert seen.is_unrecorded
        assert seen.under_way[0].begun == open_ones > 0
        assert old.totals().in_doubt == open_ones
        go_on(old, there)
        assert set(old.copies().values()) == {1}
        old.assert_books_add_up()


def test_an_installation_that_was_stopped_goes_on_on_a_new_machine(both_desks: Newsroom, tmp_path: Path) -> None:
    # Given: a backup in mid-issue, after every worker had ended
    desk, there = both_desks, tmp_path / "there"
    with half_sent(desk):
        pass
    folder = backup_of(desk)
    assert desk.totals().waiting

    # When
    with restored(desk, folder) as old:
        assert not unlock.survey(old.database, there).is_unrecorded
        unlock.unlock(old.database, there, "an operator")
        go_on(old, there)

        # Then
        assert old.states() == {"accepted": READERS}
        assert set(old.copies().values()) == {1}
