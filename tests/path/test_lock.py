"""A database that goes back, or is copied, under workers that live, or beside which some live: nothing leaves."""

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import update

from tests.path.test_restore import backup_of, begin, empty_url, state_of
from tests.support.lists import Newsroom, newsroom
from tests.support.words import refuses
from worker.dispatch import lock, orders
from worker.dispatch.lock import Others
from worker.dispatch.nudger import Nudger, open_broker
from worker.domain.issue import IssueState
from worker.domain.process import WorkerState
from worker.errors import RefusedError, Trouble, UnreachableError
from worker.operations import unlock
from worker.operations.backup import restore
from worker.storage import copies, schema, workers


def test_a_beat_counted_lower_than_the_last_is_an_older_databases(desk: Newsroom) -> None:
    # Given: a worker whose last claim was counted
    desk.readers(400)
    desk.queue()
    begin(desk)
    with desk.hand(claim_size="200") as hand:
        hand.tick()
        hand.work(most=1)
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

        # When: a failover lost them
        part.give_back()

        # Then: the claim stays where it is, and the machine is locked
        assert desk.totals().sending == 200
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


def test_nothing_is_restored_beside_living_workers(desk: Newsroom) -> None:
    folder = backup_of(desk)
    with desk.hand() as hand, empty_url(desk) as url:
        with refuses(RefusedError, "1 worker still at work"):
            restore(folder, url, state_of(desk), desk.folder / "keys")
        hand.die()
        restore(folder, url, state_of(desk), desk.folder / "keys")
