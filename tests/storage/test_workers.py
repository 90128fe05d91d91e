"""Worker rows and leases: who lives, by a counter that changes. On both databases."""

import threading
from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from tests.support.ledgers import add_worker
from worker.dispatch.bury import DEAD_HOST_S, MAX_GAP_S, Observer
from worker.domain.process import WorkerState
from worker.errors import Trouble
from worker.screen.sentences import word
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.schema import lease, worker
from worker.storage.workers import WorkerRow


def test_a_beat_grows_the_counter_and_keeps_the_note(database: Database) -> None:
    with database.write() as conn:
        add_worker(conn)
        silent = Trouble("relay.silent", place="relay.example.org:25", cause=Trouble("relay.slow", seconds=30))
        assert workers.beat(conn, "w1", WorkerState.DRAINING, silent)
        (row,) = workers.list_workers(conn)
    assert (row.beat, row.state, row.note) == (1, WorkerState.DRAINING, silent)


def test_a_note_of_an_older_worker_is_read_as_it_was_written(database: Database) -> None:
    with database.write() as conn:
        add_worker(conn)
        conn.execute(update(worker).values(note="the relay does not answer"))
        (row,) = workers.list_workers(conn)
    assert row.note is not None
    assert word(row.note) == "the relay does not answer"


def test_a_lost_or_removed_worker_learns_it_from_its_beat(database: Database) -> None:
    with database.write() as conn:
        add_worker(conn)
        add_worker(conn, "w2")
        workers.mark_lost(conn, ["w1"])
        workers.remove(conn, "w2")
        assert not workers.beat(conn, "w1", WorkerState.READY, None)
        assert not workers.beat(conn, "w2", WorkerState.READY, None)


def test_lost_rows_are_forgotten_after_a_while(database: Database) -> None:
    with database.write() as conn:
        for name in ("w1", "w2", "w3"):
            add_worker(conn, name)
        workers.mark_lost(conn, ["w1", "w2"])
        old = datetime.now(UTC) - timedelta(days=2)
        conn.execute(update(worker).where(worker.c.id.in_(["w1", "w3"])).values(seen_at=old))
        workers.forget_lost(conn, timedelta(days=1))
        assert {row.id for row in workers.list_workers(conn)} == {"w2", "w3"}


def test_a_lease_keeps_others_out_until_it_is_over(database: Database) -> None:
    with database.write() as conn:
        assert workers.take_lease(conn, "tick", "w1", 60)
        assert workers.take_lease(conn, "tick", "w1", 60)
        assert not workers.take_lease(conn, "tick", "w2", 60)
        assert workers.take_lease(conn, "other", "w2", 60)
        conn.execute(update(lease).values(until=datetime.now(UTC) - timedelta(seconds=1)))
        assert workers.take_lease(conn, "tick", "w2", 60)


def test_two_first_takers_at_once_do_not_fail_each_other(database: Database) -> None:
    # Given
    together = threading.Barrier(4)
    taken: list[bool] = []

    def take(owner: str) -> None:
        together.wait(20)
        with database.write() as conn:
            taken.append(workers.take_lease(conn, "tick", owner, 60))

    # When
    threads = [threading.Thread(target=take, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    # Then
    assert sorted(taken) == [False, False, False, True]


class Watch:
    """An observer with a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.observer = Observer()

    def look(self, *beats: int, after_s: float = 5.0, host: str = "far") -> set[str]:
        self.now += after_s
        some = datetime(2026, 11, 2, tzinfo=UTC)
        rows = [
            WorkerRow(f"w{n}", host, "far 1", WorkerState.READY, beat, some, some, None) for n, beat in enumerate(beats)
        ]
        return self.observer.silent_hosts(rows, "near", self.now)


def test_a_host_is_silent_after_a_minute_of_watching() -> None:
    watch = Watch()
    looks = [watch.look(7, 7) for _ in range(int(DEAD_HOST_S / 5) + 2)]
    assert looks[:-2] == [set()] * (len(looks) - 2)
    assert looks[-1] == {"far"}


def test_one_process_that_beats_speaks_for_its_host() -> None:
    watch = Watch()
    assert all(watch.look(7, beat) == set() for beat in range(50))


def test_an_observer_that_slept_has_not_watched() -> None:
    # Given: it stood still for an hour
    watch = Watch()
    watch.look(7)
    assert watch.look(7, after_s=3_600) == set()

    # Then: that counts as one short gap
    needed = int((DEAD_HOST_S - MAX_GAP_S) / 5)
    assert [watch.look(7) for _ in range(needed)][-1] == {"far"}


def test_ones_own_host_is_not_judged_by_its_beats() -> None:
    watch = Watch()
    assert [watch.look(7, host="near") for _ in range(50)][-1] == set()
