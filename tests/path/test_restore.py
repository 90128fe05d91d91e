"""A database that is older than what this machine knows: nothing is sent, and after unlocking nobody gets two."""

from pathlib import Path

import pytest
from sqlalchemy import select

from tests.support.lists import Newsroom
from tests.support.readers import KEY
from tests.support.restores import (
    READERS,
    backup_of,
    begin,
    empty_url,
    leave,
    planned,
    restored,
    resume_and_send,
    state_of,
    subscribe,
)
from worker.consent.attendance import Attendance
from worker.consent.optout import Wish, opt_out
from worker.consent.suppressions import lift_suppression, suppress_addresses
from worker.dispatch import lock
from worker.domain.issue import IssueState
from worker.domain.process import Role
from worker.domain.subscription import Channel
from worker.operations import unlock
from worker.operations.backup import restore
from worker.storage import schema
from worker.storage.engine import open_database


def test_a_restore_in_mid_issue_mails_nobody_twice_and_nobody_who_left(both_desks: Newsroom) -> None:
    # Given: a backup while a third is sent, a third on the wire and a third waiting; then all is sent, and three leave
    desk = both_desks
    with planned(desk) as hand:
        part = hand.slice()
        hand.submitted(part)
        part.settle()
        hand.submitted(part)
        folder = backup_of(desk)
        part.give_back()
        late = hand.slice()
        for n in range(500, 550):
            leave(desk, f"reader{n}@example.org")
        hand.submitted(late)
        late.give_back()
    sent = desk.copies()
    assert len(sent) == READERS - 50

    # When the backup is put in place of it
    with restored(desk, folder) as old:
        # Then nothing is sent
        assert begin(old) == "lock.older"
        seen = unlock.survey(old.database, state_of(desk))
        assert seen.lock is not None
        assert (seen.left, seen.foreign_claims, seen.unknown_issues) == (50, 0, 0)
        assert [(each.slug, each.would_get, each.begun) for each in seen.under_way] == [("spring", 400, 400)]

        # And when it is unlocked and an editor resumes it, nobody gets a second copy
        for _ in range(2):
            unlock.unlock(old.database, state_of(desk), "an operator")
        assert begin(old) is None
        assert old.issue().state is IssueState.PAUSED
        resume_and_send(old)
        assert old.copies() == sent
        assert old.totals().in_doubt == 400
        assert old.totals().adds_up
        old.assert_books_add_up()


def test_numbers_that_had_not_begun_go_on_after_a_restore(both_desks: Newsroom) -> None:
    # Given: a backup right after planning, and one claim since
    desk = both_desks
    with planned(desk) as hand:
        folder = backup_of(desk)
        part = hand.slice()
        hand.submitted(part)
        hand.die()

    # When
    with restored(desk, folder) as old:
        assert begin(old) == "lock.older"
        unlock.unlock(old.database, state_of(desk), "an operator")
        resume_and_send(old)

        # Then
        assert old.states() == {"in_doubt": 200, "accepted": 400}
        assert set(old.copies().values()) == {1}
        assert len(old.copies()) == READERS
        assert old.issue().state is IssueState.FINISHED
        old.assert_books_add_up()


def test_an_issue_that_had_not_begun_in_the_backup_keeps_its_numbers(both_desks: Newsroom) -> None:
    # Given: a backup before anything was planned
    desk = both_desks
    desk.readers(300)
    desk.queue()
    begin(desk)
    folder = backup_of(desk)
    with desk.hand(claim_size="200") as hand:
        hand.tick()
        hand.work(most=1)
        hand.submitted(hand.slice())
        hand.die()

    # When
    with restored(desk, folder) as old:
        begin(old)
        unlock.unlock(old.database, state_of(desk), "an operator")
        resume_and_send(old)

        # Then
        assert old.states() == {"in_doubt": 200, "accepted": 100}
        assert set(old.copies().values()) == {1}
        old.assert_books_add_up()


def test_numbers_of_claims_and_issues_are_never_given_out_again(both_desks: Newsroom) -> None:
    # Given: an issue that the backup does not know
    desk = both_desks
    desk.readers(3)
    begin(desk)
    folder = backup_of(desk)
    desk.queue()
    with desk.hand() as hand:
        hand.send()

    # When
    with restored(desk, folder) as old:
        begin(old)
        assert unlock.survey(old.database, state_of(desk)).unknown_issues == 1
        unlock.unlock(old.database, state_of(desk), "an operator")
        old.queue()

        # Then it is another issue, with Message-IDs of its own
        assert old.issue().id == 2
        with old.hand() as hand:
            hand.tick()
            hand.work(most=1)
            batch = hand.slice().claim()
            assert batch is not None
            assert batch.claim.id == 2


def test_numbers_of_readers_are_never_given_out_again(both_desks: Newsroom) -> None:
    # Given a reader who came after the backup and left again, by a link that names their number
    desk = both_desks
    desk.readers(2)
    begin(desk)
    folder = backup_of(desk)
    subscribe(desk, "late@example.org")
    leave(desk, "late@example.org")

    # When it is put back, somebody else joins, and the old link is pressed
    with restored(desk, folder) as old:
        begin(old)
        unlock.unlock(old.database, state_of(desk), "an operator")
        subscribe(old, "new@example.org")
        begin(old)
        late = opt_out(old.database, Wish(3, Channel.ONE_CLICK, "reader"), state_of(desk), 0.0)

        # Then neither the log nor the link ends the newcomer's subscription
        assert late.changed == ()
        with old.database.read() as conn:
            states = conn.execute(select(schema.subscription.c.state)).scalars()
            assert list(states) == ["confirmed"] * 3


def test_whom_an_operator_suppressed_since_the_backup_gets_nothing_after_it(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(4)
    begin(desk)
    by_hand = {"evidence": "letter", "actor": "an operator", "state_dir": state_of(desk), "wait_s": 0.0}
    suppress_addresses(desk.database, ["reader1@example.org", "reader2@example.org"], **by_hand)
    folder = backup_of(desk)
    suppress_addresses(desk.database, ["reader3@example.org"], **by_hand)
    lift_suppression(desk.database, "reader2@example.org", actor="an operator", state_dir=state_of(desk))

    # When
    with restored(desk, folder) as old:
        assert begin(old) == "lock.older"
        assert unlock.survey(old.database, state_of(desk)).left == 1
        unlock.unlock(old.database, state_of(desk), "an operator")
        assert begin(old) is None
        old.queue()
        with old.hand() as hand:
            hand.send()

        # Then: what an operator lifted since is lost with the database, and only a no is put back
        assert set(old.copies()) == {"reader4@example.org"}


def test_a_copied_installation_is_locked(both_desks: Newsroom, tmp_path: Path) -> None:
    # Given
    desk = both_desks
    desk.readers(3)
    begin(desk)
    folder = backup_of(desk)

    # When its database runs beside another state directory
    with empty_url(desk) as url:
        restore(folder, url, tmp_path / "elsewhere", tmp_path / "keys")
        (tmp_path / "elsewhere" / "instance.json").unlink()
        copy = open_database(url, [KEY])
        assert lock.begin(copy, tmp_path / "elsewhere", "test") == lock.compare(copy, tmp_path / "elsewhere").lock
        found = lock.compare(copy, tmp_path / "elsewhere").lock
        copy.close()
    assert found is not None
    assert found.code == "lock.no_memory"


def test_a_machine_that_joins_a_living_installation_is_not_locked(both_desks: Newsroom, tmp_path: Path) -> None:
    desk = both_desks
    begin(desk)
    with desk.hand():
        assert lock.begin(desk.database, tmp_path / "joins", "test") is None


def test_one_line_too_many_in_the_log_is_made_true(desk: Newsroom) -> None:
    # Given: a process that died between the line and its commit
    desk.readers(2)
    begin(desk)
    (state_of(desk) / "optouts.log").write_text("2026-11-27T10:00:00+00:00 out 1:1\n2026-11-27T10:00:00+00:00 out 2")

    # When / Then
    assert begin(desk) is None
    with desk.database.read() as conn:
        states = conn.execute(select(schema.subscription.c.state).order_by(schema.subscription.c.id)).scalars().all()
    assert states == ["ended", "confirmed"]


@pytest.mark.parametrize(
    ("log", "locked"),
    [
        ([f"out {n}:1" for n in range(1, 17)], None),  # a web process that died with all its places taken
        (["out 1:1 2:1 3:1"], None),  # one press that ended all
        ([f"out {n}:1" for n in range(1, 18)], "lock.older_than_log"),
        (["out 1:1", "did 1:1"], "lock.older_than_log"),
        (["erased 1", "did 1"], "lock.older_than_log"),
        (["out 1:1", "did 1:1", "undo 1:2"], None),
    ],
)
def test_a_crash_is_told_from_an_older_database(desk: Newsroom, log: list[str], locked: str | None) -> None:
    desk.readers(20)
    begin(desk)
    lines = "".join(f"2026-11-27T10:00:00+00:00 {line}\n" for line in log)
    (state_of(desk) / "optouts.log").write_text(lines)
    assert begin(desk) == locked


def test_two_web_processes_that_die_together_are_no_restore(desk: Newsroom) -> None:
    desk.readers(40)
    begin(desk)
    for _ in range(2):
        Attendance(desk.database, state_of(desk), Role.WEB).attend()
    lines = [f"2026-11-27T10:00:00+00:00 out {n}:1\n" for n in range(1, 34)]
    log = state_of(desk) / "optouts.log"
    log.write_text("".join(lines))
    assert begin(desk) == "lock.older_than_log"
    log.write_text("".join(lines[:32]))
    assert begin(desk) is None


def test_one_opt_out_since_the_backup_is_enough_to_know_it(desk: Newsroom) -> None:
    desk.readers(3)
    assert begin(desk) is None
    folder = backup_of(desk)
    leave(desk, "reader2@example.org")
    with restored(desk, folder) as old:
        assert begin(old) == "lock.older"
        unlock.unlock(old.database, state_of(desk), "an operator")
        assert begin(old) is None
        with old.database.read() as conn:
            states = conn.execute(select(schema.subscription.c.state).order_by(schema.subscription.c.id)).scalars()
            assert list(states) == ["confirmed", "ended", "confirmed"]
