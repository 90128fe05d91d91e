"""A database that goes back, or is copied, under workers that live, or beside which some live: nothing leaves."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import update

from tests.support.lists import Newsroom, newsroom
from tests.support.readers import KEY, settings_for
from tests.support.restores import (
    backup_of,
    begin,
    empty_url,
    leave,
    planned,
    put_back,
    restored,
    resume_and_send,
    state_of,
    states_of_readers,
)
from tests.support.words import refuses
from worker.broker.build import build_broker
from worker.consent.replay import Missing
from worker.dispatch import lock, orders
from worker.dispatch.lock import LINES_OF_A_CRASH, Comparison, Others
from worker.dispatch.nudger import Nudger, open_broker
from worker.dispatch.process import SendingProcess
from worker.domain.issue import IssueState
from worker.domain.process import WorkerState
from worker.errors import RefusedError, Trouble, UnreachableError
from worker.journal import marks, memory
from worker.journal.marks import Marks
from worker.journal.memory import Memory
from worker.operations import unlock
from worker.operations.backup import DUMP
from worker.storage import copies, epochs, schema, workers
from worker.storage.engine import open_database
from worker.storage.epochs import Progress, Unlock

HERE = Progress("mine", epoch=5, highest_claim=100)
KNOWN = Memory("mine", epoch=5, highest_claim=100)
FITTING = Comparison(HERE, KNOWN, Marks(100), Missing(), others_alive=0)
UNLOCKED = replace(HERE, epoch=6, unlocks=(Unlock(6, lost_after=90, lost_to=95),))


@pytest.mark.parametrize(
    ("compared", "lock"),
    [
        (FITTING, None),
        # Nothing is known here: only the first of all, and who joins the living.
        (replace(FITTING, memory=None, marks=Marks(0)), Trouble("lock.no_memory")),
        (replace(FITTING, memory=None, marks=Marks(0), others_alive=1), None),
        (replace(FITTING, memory=None, marks=Marks(1), others_alive=1), Trouble("lock.no_memory")),
        (replace(FITTING, memory=None, marks=Marks(0), database=replace(HERE, epoch=0)), None),
        (replace(FITTING, memory=None, marks=Marks(0), database=replace(HERE, epoch=1)), Trouble("lock.no_memory")),
        (replace(FITTING, database=replace(HERE, instance="other")), Trouble("lock.other_database")),
        # Either side's number proves it, and how many claims are lost is said.
        (replace(FITTING, database=replace(HERE, epoch=6, highest_claim=101)), None),
        (replace(FITTING, database=replace(HERE, epoch=4)), Trouble("lock.older", claims=0)),
        (replace(FITTING, database=replace(HERE, highest_claim=99)), Trouble("lock.older", claims=1)),
        (replace(FITTING, marks=Marks(103)), Trouble("lock.older", claims=3)),
        (replace(FITTING, memory=replace(KNOWN, highest_claim=104)), Trouble("lock.older", claims=4)),
        (replace(FITTING, is_behind=True), Trouble("lock.older", claims=0)),
        # An unlock elsewhere asks this machine for what it began of the lost claims, both ends as they are named.
        (replace(FITTING, database=UNLOCKED), None),
        (replace(FITTING, database=UNLOCKED, marks=Marks(100, {90: 1, 96: 1})), None),
        (replace(FITTING, database=UNLOCKED, marks=Marks(100, {91: 1})), Trouble("lock.older", claims=0)),
        (replace(FITTING, database=UNLOCKED, marks=Marks(100, {95: 1})), Trouble("lock.older", claims=0)),
        (replace(FITTING, database=UNLOCKED, marks=Marks(100, {95: 1}), memory=replace(KNOWN, epoch=6)), None),
        # Lines that the database never had are of a crash while they are few.
        (replace(FITTING, missing=Missing((1, 2), lines=LINES_OF_A_CRASH)), None),
        (
            replace(FITTING, missing=Missing((1, 2), (3,), 4, lines=LINES_OF_A_CRASH + 1)),
            Trouble("lock.older_than_log", count=7),
        ),
        (replace(FITTING, missing=Missing((1,), lines=2 * LINES_OF_A_CRASH), webs=2), None),
        (
            replace(FITTING, missing=Missing((1,), lines=2 * LINES_OF_A_CRASH + 1), webs=2),
            Trouble("lock.older_than_log", count=1),
        ),
        (replace(FITTING, missing=Missing((1,), lines=1, known=1)), Trouble("lock.older_than_log", count=1)),
    ],
)
def test_what_is_known_here_decides_whether_the_database_is_older(compared: Comparison, lock: Trouble | None) -> None:
    assert compared.lock == lock


def test_whoever_only_looks_is_told_why_nothing_may_be_sent(desk: Newsroom) -> None:
    # Given a worker that began, and a state directory that knows of more than the database
    state = state_of(desk)
    assert begin(desk) is None
    lock.refuse_locked(desk.database, state)
    assert lock.find_lock(desk.database, state) is None
    with desk.database.read() as conn:
        lock.insist(state, epochs.read_progress(conn))

    # When / Then
    why = Trouble("lock.older", claims=0)
    assert lock.find_lock(desk.database, state) == why
    with pytest.raises(RefusedError) as refused:
        lock.refuse_locked(desk.database, state)
    assert refused.value.trouble == Trouble("lock.locked", why=why)


@pytest.mark.parametrize(
    ("before", "goes_on", "remembered"),
    [
        ({}, True, None),
        ({"highest_claim": -1}, True, (0, 0)),
        ({"highest_act": -1}, True, None),
        ({"epoch": -1}, True, None),
        # An older copy of it stays locked, whatever its numbers come to.
        ({"highest_claim": 1}, False, (1, 0)),
        ({"epoch": 3}, False, (4, 0)),
        # One that was unlocked, or is another, or lost only acts, is looked at anew.
        ({"unlocks": (Unlock(1, 2, 3),)}, False, None),
        ({"instance": "other", "highest_claim": 1}, False, None),
        ({"highest_act": 1}, False, None),
    ],
)
def test_a_worker_at_work_sees_that_a_database_is_not_the_one_it_was(
    desk: Newsroom, tmp_path: Path, before: dict[str, Any], goes_on: bool, remembered: tuple[int, int] | None
) -> None:
    # Given what was seen a second ago: numbers so much above or below those of now
    with desk.database.read() as conn:
        now = epochs.read_progress(conn)
    numbers = {name: getattr(now, name) + by for name, by in before.items() if isinstance(by, int)}
    seen = replace(now, **{**before, **numbers})

    # When / Then it goes on or stops, and what other processes have to know stands in the state directory
    folder = tmp_path / "seen"
    assert lock.watch(desk.database, folder, seen) == (now if goes_on else None)
    known = memory.recall(folder)
    expected = remembered and Memory(now.instance, now.epoch + remembered[0], now.highest_claim + remembered[1])
    assert known == expected


@pytest.mark.parametrize(
    ("begun", "is_behind"),
    [
        # Of 600 copies a claim took the first 200. What began is told by the ends of its ranges.
        ("", False),
        ("1-200", False),
        ("200-201", True),
        ("201", True),
        ("1-5,20-30,201-210", True),
        ("600", True),
        ("600-700", True),
    ],
)
def test_a_ledger_that_never_gave_out_what_began_here_is_behind(
    desk: Newsroom, tmp_path: Path, begun: str, is_behind: bool
) -> None:
    (tmp_path / marks.FILE_NAME).write_text(f"1 1 {begun}\n")
    with planned(desk) as hand:
        assert hand.slice().claim() is not None
        assert lock.compare(desk.database, tmp_path).is_behind is is_behind


@pytest.mark.parametrize(
    ("state", "plan_cursor", "begun", "is_behind"),
    [
        (IssueState.SENDING, None, "1-200", False),
        (IssueState.PAUSED, None, "1-200", False),
        # Nothing can have begun of an issue that was not sent yet.
        (IssueState.HOLDING, None, "1-200", True),
        # Nor of readers that are not planned yet.
        (IssueState.SENDING, 7, "1-5,10-20,190-200", False),
        (IssueState.SENDING, 7, "1-5,10-20,190-201", True),
    ],
)
def test_a_ledger_whose_every_copy_was_claimed_is_behind_by_its_issue(
    desk: Newsroom, tmp_path: Path, state: IssueState, plan_cursor: int | None, begun: str, is_behind: bool
) -> None:
    (tmp_path / marks.FILE_NAME).write_text(f"1 1 {begun}\n")
    with planned(desk, 200) as hand:
        assert hand.slice().claim() is not None
        with desk.database.write() as conn:
            conn.execute(update(schema.issue).values(state=state, plan_cursor=plan_cursor))
        assert lock.compare(desk.database, tmp_path).is_behind is is_behind


@pytest.mark.parametrize(
    ("known", "now", "epoch", "remembered"),
    [
        (None, Progress("mine", 0, 0), {}, Memory("mine", 1, 0)),
        (None, Progress("mine", 5, 7), {"epoch": 12}, Memory("mine", 13, 7)),
        (Memory("mine", 9, 50), Progress("mine", 5, 7), {"epoch": 3}, Memory("mine", 10, 50)),
        (Memory("mine", 2, 6), Progress("mine", 5, 7), {"epoch": 3}, Memory("mine", 6, 7)),
    ],
)
def test_what_is_insisted_on_is_above_all_that_was_seen(
    tmp_path: Path, known: Memory | None, now: Progress, epoch: dict[str, int], remembered: Memory
) -> None:
    if known is not None:
        memory.remember(tmp_path, known)
    lock.insist(tmp_path, now, **epoch)
    assert memory.recall(tmp_path) == remembered


def test_a_beat_counted_lower_than_the_last_is_an_older_databases(desk: Newsroom) -> None:
    # Given: a worker whose last claim was counted
    with planned(desk, 400) as hand:
        part = hand.slice()
        assert part.claim() is not None

        # When: a failover loses as much as a second, and its numbers of claims run ahead
        with desk.database.write() as conn:
            conn.execute(update(schema.worker).values(beat=0))

        # Then: nothing is claimed, and the machine stays locked
        assert part.claim() is None
        assert hand.sender.lock == Trouble("lock.older", claims=0)
        assert begin(desk) == "lock.older"


def test_who_was_taken_for_dead_claims_nothing(desk: Newsroom) -> None:
    desk.readers(200)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        with desk.database.write() as conn:
            workers.mark_lost(conn, [hand.id])
        assert hand.slice().claim() is None
        assert desk.totals().sending == 0


def test_results_that_the_database_forgot_are_not_sent_again(desk: Newsroom) -> None:
    # Given: a claim of which five results were committed, says the process
    desk.readers(200)
    desk.queue()
    begin(desk)
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice()
        batch = part.claim()
        assert batch is not None
        batch.settled = 5
        nudge_no = desk.issue().nudge_no

        # When: a failover lost them
        part.give_back()

        # Then: the claim stays where it is, and the machine is locked
        assert desk.totals().sending == 200
        assert desk.issue().nudge_no == nudge_no  # nothing came back that others could send
        assert hand.sender.lock is not None
        assert begin(desk) == "lock.older"
        unlock.unlock(desk.database, state_of(desk), "an operator")
        assert desk.states() == {"in_doubt": 200}


def test_after_an_outage_the_opt_out_log_is_asked_too(desk: Newsroom) -> None:
    # Given: no claim since the backup, so that only the log knows
    desk.readers(3)
    begin(desk)
    with desk.hand() as hand:
        hand.sender.wishes.fulfil()
        (state_of(desk) / "optouts.log").write_text(
            "2026-11-27T10:00:00+00:00 out 1:1\n2026-11-27T10:00:00+00:00 did 1:1\n"
        )
        assert hand.sender.wishes.are_known

        # When
        hand.sender.note_away(Trouble("database.silent", place="the database", reason="gone"))

        # Then
        with refuses(UnreachableError, "older copy"):
            hand.sender.wishes.fulfil()
        assert not hand.sender.wishes.are_known


@pytest.mark.needs("postgresql")
def test_a_worker_lives_through_a_restore_and_mails_nobody_twice(tmp_path: Path, postgresql_url: str) -> None:
    with newsroom(tmp_path, postgresql_url) as desk:
        # Given: a backup in mid-issue
        desk.readers([f"slow+0.02.reader{n}@example.org" for n in range(600)])
        with desk.worker(claim_size="200") as worker:
            desk.queue()
            desk.until(lambda: desk.totals().accepted > 50, "mails leave")
            folder = backup_of(desk)
            desk.until(lambda: desk.totals().accepted > 250, "more leave")

            # When: dropped, made anew and filled, by PostgreSQL's own programs
            desk.database.close()
            server, _, name = postgresql_url.rpartition("/")
            with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
                conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
                conn.execute(f"CREATE DATABASE {name} TEMPLATE template0")
            copies.load(desk.database, postgresql_url, folder / "corranto.dump")

            # Then
            desk.until(lambda: "nothing is sent" in worker.said, "the worker says that it is locked")
            unlock.unlock(desk.database, state_of(desk), "an operator")
            desk.until(lambda: "the database may be sent from" in worker.said, "it says that it is unlocked")
            orders.resume(desk.database, Nudger(open_broker(desk.database, desk.settings)), "spring", "an editor")
            desk.until_state(IssueState.FINISHED)
            assert worker.end() == 0
        assert set(desk.copies().values()) == {1}
        assert len(desk.copies()) + desk.totals().in_doubt >= 600
        desk.assert_books_add_up()


def beat(desk: Newsroom, worker_id: str, note: Trouble | None = None) -> None:
    with desk.database.write() as conn:
        workers.beat(conn, worker_id, WorkerState.READY, note)


def test_a_machine_that_joins_a_living_installation_is_let_in(both_desks: Newsroom, tmp_path: Path) -> None:
    desk, others = both_desks, Others()
    begin(desk)
    with desk.hand() as hand:
        for _ in range(2):  # nobody was heard since
            assert lock.begin(desk.database, tmp_path / "joins", "test", others) is not None
        beat(desk, hand.id)
        assert lock.begin(desk.database, tmp_path / "joins", "test", others) is None


def test_a_copy_is_not_vouched_for_by_rows_that_were_copied_nor_by_who_is_locked(
    both_desks: Newsroom, tmp_path: Path
) -> None:
    # Given: the row of a worker that beat a moment ago, elsewhere, and a worker of the copy itself
    desk, others = both_desks, Others()
    begin(desk)
    with desk.hand(), desk.database.write() as conn:
        workers.register(conn, "w2", "another", "staging:1", None)

    # When / Then
    for _ in range(3):
        found = lock.begin(desk.database, tmp_path / "copied", "test", others)
        assert found == Trouble("lock.no_memory")
        beat(desk, "w2", found)


@pytest.mark.needs("postgresql")
def test_a_worker_on_a_copied_database_does_not_unlock_itself(tmp_path: Path, postgresql_url: str) -> None:
    # Given: a staging machine with a copy of the middle of an issue
    with newsroom(tmp_path, postgresql_url) as desk:
        desk.readers(20)
        desk.queue()
        begin(desk)
        with desk.hand() as hand:
            hand.tick()
            hand.work(most=1)
            with desk.worker(state_dir=str(tmp_path / "staging")) as worker:
                # When: it had its say several times
                desk.until(lambda: "lock.no_memory" in worker.said, "it says that it is locked")
                desk.until(lambda: beats_of(desk, but=hand.id) > 3, "it beats")

                # Then
                assert desk.totals().waiting == 20
                assert "the database may be sent from" not in worker.said
        assert desk.copies() == {}


def beats_of(desk: Newsroom, but: str) -> int:
    with desk.database.read() as conn:
        return max((each.beat for each in workers.list_workers(conn) if each.id != but), default=0)


def acts_of(process: SendingProcess) -> int:
    return process.seen.highest_act if process.seen else 0


def test_a_copy_made_a_moment_ago_is_locked(both_desks: Newsroom, tmp_path: Path) -> None:
    # Given: a worker that lives when the backup is made, and another place where nothing is known
    desk, there = both_desks, tmp_path / "there"
    desk.readers(3)
    desk.queue()
    begin(desk)
    broker = build_broker("sql", database=lambda: desk.database, secret=b"secret", namespace="test")
    with desk.hand():
        folder = backup_of(desk)

        # When the copy is used at once, without the command that restores
        with empty_url(desk) as url:
            copy = open_database(url, [KEY])
            copies.load(copy, url, folder / DUMP[copy.dialect])
            settings = settings_for(url=url, state_dir=there)
            process = SendingProcess(copy, settings, broker)
            process.start()
            try:
                # Then
                assert process.sender.lock is not None
                assert process.sender.lock.code == "lock.no_memory"
            finally:
                process.stop()
                copy.close()

    # And a machine that joins a living installation is not locked
    settings = desk.settings.model_copy(update={"state_dir": there})
    first, second = (SendingProcess(desk.database, each, broker) for each in (desk.settings, settings))
    first.start()
    try:
        second.start()
        desk.until(lambda: second.sender.lock is None, "it joins")
        second.stop()
    finally:
        first.stop()


def test_workers_that_are_the_first_together_are_not_locked(desk: Newsroom) -> None:
    gate = threading.Barrier(4)
    found: list[str | None] = []

    def first() -> None:
        gate.wait(20)
        found.append(begin(desk))

    threads = [threading.Thread(target=first) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [None] * 4


def test_a_ledger_behind_the_marks_is_an_older_one_whatever_its_numbers(both_desks: Newsroom) -> None:
    # Given: a dump's sequences are younger than its rows
    desk = both_desks
    with planned(desk) as hand:
        folder = backup_of(desk)
        hand.submitted(hand.slice())
        hand.die()

    # When
    with restored(desk, folder) as old:
        with old.database.write() as conn:
            lock.epochs.skip_numbers(conn, claim=100)
            for _ in range(9):
                lock.epochs.begin_epoch(conn)
        # Then
        assert begin(old) == "lock.older"


def test_a_worker_that_lives_through_a_restore_sends_nothing_of_it(both_desks: Newsroom) -> None:
    # Given: a worker with two claims since the backup
    desk = both_desks
    with planned(desk) as hand:
        folder = backup_of(desk)
        part = hand.slice()
        hand.submitted(part)
        part.give_back()

        # When the database is put back under it
        put_back(desk, folder)
        hand.nudges.waiting.clear()
        desk.age_nudges()
        hand.send()

        # Then
        assert set(desk.copies().values()) == {1}
        assert len(desk.copies()) == 200
        assert hand.sender.lock is not None
        assert hand.sender.lock.code == "lock.older"
        hand.die()
    unlock.unlock(desk.database, state_of(desk), "an operator")
    assert begin(desk) is None
    resume_and_send(desk)
    assert set(desk.copies().values()) == {1}
    assert desk.states() == {"in_doubt": 200, "accepted": 400}


def test_what_one_process_saw_the_others_of_its_machine_know(desk: Newsroom) -> None:
    # Given: two processes that look each second, of which one saw a claim that is gone since
    begin(desk)
    first = lock.watch(desk.database, state_of(desk), None)
    assert first is not None
    memory.remember(state_of(desk), memory.Memory(first.instance, first.epoch, first.highest_claim + 1))

    # When / Then: neither one that has looked before nor one that begins takes it back
    assert lock.watch(desk.database, state_of(desk), first) is None
    assert lock.watch(desk.database, state_of(desk), None) is None
    assert begin(desk) == "lock.older"


def test_a_living_worker_notices_what_readers_lost(both_desks: Newsroom) -> None:
    # Given: nothing was claimed since the backup, and somebody left
    desk = both_desks
    desk.readers(3)
    begin(desk)
    broker = build_broker("sql", database=lambda: desk.database, secret=b"secret", namespace="test")
    process = SendingProcess(desk.database, desk.settings, broker)
    process.start()
    try:
        desk.until(lambda: process.seen is not None, "the worker has looked")
        folder, before = backup_of(desk), acts_of(process)
        leave(desk, "reader2@example.org")
        desk.until(lambda: acts_of(process) > before, "the worker has looked again")

        # When
        put_back(desk, folder)

        # Then
        desk.until(lambda: str(process.sender.lock or "").startswith("lock.older"), "the worker noticed")
        unlock.unlock(desk.database, state_of(desk), "an operator")
        desk.until(lambda: process.sender.lock is None, "the worker goes on")
        assert states_of_readers(desk.database) == ["confirmed", "ended", "confirmed"]
    finally:
        process.stop()


def test_marks_that_cannot_be_read_are_not_none(desk: Newsroom) -> None:
    begin(desk)
    (state_of(desk) / marks.FILE_NAME).unlink(missing_ok=True)
    (state_of(desk) / marks.FILE_NAME).mkdir()
    with refuses(UnreachableError, "cannot be read"):
        begin(desk)


@pytest.mark.parametrize("harm", ["unlink", "rename"])
def test_a_claim_log_that_was_taken_away_is_begun_anew(tmp_path: Path, harm: str) -> None:
    log = marks.ClaimLog(tmp_path)
    log.note(1, 1, (1, 5))
    path = tmp_path / marks.FILE_NAME
    path.unlink() if harm == "unlink" else path.rename(tmp_path / "aside")
    log.note(2, 1, (6, 9))
    assert marks.read_marks(tmp_path).begun == {1: ((6, 9),)}
    log.close()


def test_a_database_that_goes_on_while_it_is_compared_is_not_older(
    desk: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: a worker that claims and another that begins, between the looks of a third
    with planned(desk) as hand:
        read = lock.epochs.read_progress

        def slow(*given):  # type: ignore[no-untyped-def]
            found = read(*given)
            monkeypatch.undo()
            hand.slice().claim()
            lock._begin(desk.database, state_of(desk), "another machine", None)
            return found

        monkeypatch.setattr(lock.epochs, "read_progress", slow)
        assert begin(desk) is None
