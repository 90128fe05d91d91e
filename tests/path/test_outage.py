"""Relay, database and broker go away and come back; the journal's disk refuses. Nothing is lost, nobody gets two."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import update

from tests.support import postgresql
from tests.support.lists import Newsroom, newsroom
from tests.support.programs import find_program, free_port
from tests.support.sink import sink_process
from worker.dispatch.claim import release_unknown
from worker.domain.issue import IssueState
from worker.errors import UnreachableError
from worker.operations import status
from worker.screen.sentences import word
from worker.storage import schema, workers
from worker.storage.ledger import claims, settlements


def test_an_issue_waits_for_a_relay_that_is_down_and_says_why(tmp_path: Path, sqlite_url: str) -> None:
    # Given
    port = free_port()
    with newsroom(tmp_path, sqlite_url, with_relay=False, smtp_url=f"smtp://127.0.0.1:{port}") as desk:
        desk.readers(100)
        with desk.worker() as worker:
            # When
            desk.queue()

            # Then
            desk.until(lambda: f"127.0.0.1:{port}" in desk.wait_reason(), "it says why it waits")
            desk.until(lambda: worker.said.count("nothing can be handed over") == 1, "its log says so once")
            desk.until(lambda: status.collect(desk.settings, desk.database).troubles, "status names it as trouble")
            assert f"127.0.0.1:{port}" in word(status.collect(desk.settings, desk.database).troubles[0])
            assert desk.totals().accepted == 0
            assert desk.issue().state is IssueState.SENDING
            desk.until(lambda: desk.totals().sending == 0, "nothing is held meanwhile")

            # When
            with sink_process(tmp_path / "sink", port=port) as sink:
                desk.relay = sink
                desk.until_state(IssueState.FINISHED)
            desk.until(lambda: worker.said.count("the relay takes mail again") == 1, "its log says that it is over")
            assert worker.said.count("nothing can be handed over") == 1
        assert len(desk.copies()) == 100
        assert set(desk.copies().values()) == {1}
        desk.assert_books_add_up()


def test_a_relay_that_stops_in_the_middle_costs_at_most_what_was_on_the_wire(tmp_path: Path, sqlite_url: str) -> None:
    # Given
    port = free_port()
    with newsroom(tmp_path, sqlite_url, with_relay=False, smtp_url=f"smtp://127.0.0.1:{port}") as desk:
        desk.readers([f"slow+0.03.reader{n}@example.org" for n in range(600)])
        with desk.worker():
            with sink_process(tmp_path / "sink", port=port) as sink:
                desk.relay = sink
                desk.queue()
                desk.until(lambda: desk.totals().accepted > 50, "mails leave")
            desk.until(desk.wait_reason, "it says why it waits")

            # When
            with sink_process(tmp_path / "sink", port=port) as sink:
                desk.relay = sink
                desk.until_state(IssueState.FINISHED)

        # Then
        totals = desk.totals()
        assert totals.accepted + totals.in_doubt == 600
        assert totals.in_doubt <= 10
        assert max(desk.copies().values()) == 1
        desk.assert_books_add_up()


@pytest.fixture
def cluster(run_folder: Path, tmp_path: Path) -> Iterator[postgresql.Cluster]:
    # Below the run's folder: the server has dropped root, and pytest's own folders are closed to others.
    made = postgresql.Cluster(run_folder / f"own{tmp_path.name}")
    yield made
    subprocess.run(made.kill_command, check=False, capture_output=True)


@pytest.mark.needs("postgresql")
def test_postgresql_may_be_restarted_while_sending(tmp_path: Path, cluster: postgresql.Cluster) -> None:
    # Given
    with newsroom(tmp_path, cluster.url) as desk:
        desk.readers([f"slow+0.02.reader{n}@example.org" for n in range(800)])
        with desk.worker(claim_size="200") as worker:
            desk.queue()
            desk.until(lambda: desk.totals().accepted > 100, "mails leave")

            # When: down in the middle, up again after the workers have noticed
            cluster.stop()
            desk.until(lambda: "until the database answers" in worker.said, "the worker says that it keeps results")
            cluster.start()
            desk.database.engine.dispose()
            desk.until_state(IssueState.FINISHED)
            assert worker.end() == 0

        # Then: results were kept, nobody is in doubt
        assert desk.states() == {"accepted": 800}
        assert len(desk.copies()) == 800
        assert set(desk.copies().values()) == {1}
        desk.assert_books_add_up()


@pytest.mark.needs("postgresql")
def test_an_idle_worker_takes_back_that_the_database_was_away(tmp_path: Path, cluster: postgresql.Cluster) -> None:
    with newsroom(tmp_path, cluster.url) as desk, desk.worker() as worker:
        # Given
        cluster.stop()
        desk.until(lambda: "database unreachable" in worker.said, "the worker notices")

        # When
        cluster.start()
        desk.database.engine.dispose()
        before = _workers(desk)[0].beat
        desk.until(lambda: _workers(desk)[0].beat > before + 3, "it beats again")

        # Then
        assert _workers(desk)[0].note is None


def _workers(desk: Newsroom) -> list[workers.WorkerRow]:
    with desk.database.read() as conn:
        return workers.list_workers(conn)


@contextmanager
def _redis(home: Path, port: int) -> Iterator[None]:
    program = find_program("redis-server")
    assert program
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 200)) as client:
            client.ping()
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.needs("redis")
def test_redis_may_stop_and_start_again(tmp_path: Path, sqlite_url: str) -> None:
    # Given
    port = free_port()
    with newsroom(tmp_path, sqlite_url, broker_url=f"redis://127.0.0.1:{port}/1") as desk:
        desk.readers([f"slow+0.02.reader{n}@example.org" for n in range(600)])
        with desk.worker() as worker:
            desk.until(lambda: worker.said.count("broker unreachable") == 1, "the worker says that the broker is away")

            # When: it comes, goes in the middle, and comes back empty
            with _redis(tmp_path, port):
                desk.queue()
                desk.until(lambda: desk.totals().accepted > 20, "mails leave")
            desk.until(lambda: "broker answers again" in worker.said, "the worker said that it was back")
            with _redis(tmp_path, port):
                desk.until_state(IssueState.FINISHED)
                assert worker.end() == 0

        # Then
        assert desk.states() == {"accepted": 600}
        assert set(desk.copies().values()) == {1}
        desk.assert_books_add_up()


def test_without_a_journal_nothing_is_sent(desk: Newsroom) -> None:
    # Given: a state directory that cannot be one
    desk.readers(1)
    (desk.folder / "full").write_text("a file")

    # When
    with desk.worker(state_dir=str(desk.folder / "full" / "state")) as worker:
        code = worker.process.wait(60)

    # Then
    assert code != 0
    assert "the journal cannot be kept in" in worker.said
    assert "CORRANTO_STATE_DIR" in worker.said


def test_a_worker_whose_journal_was_removed_claims_nothing(desk: Newsroom) -> None:
    desk.readers(3)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.journal.path.unlink()
        hand.work()
        assert desk.states() == {"waiting": 3}
        assert hand.sender.note is not None
        assert "the journal's file is gone" in word(hand.sender.note)
    assert desk.copies() == {}


class Breaking:
    """Makes one storage function commit and then look as if the line had broken before the answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.calls = 0
        self._usual = getattr(module, name)
        monkeypatch.setattr(module, name, self._run)

    def _run(self, conn: Any, *args: Any, **kw: Any) -> Any:
        self.calls += 1
        answer = self._usual(conn, *args, **kw)
        if self.calls == 1:
            conn.commit()
            raise UnreachableError("the line broke before the answer came")
        return answer


@pytest.mark.parametrize("readers", [100, 300])
def test_a_settlement_committed_without_an_answer_is_not_written_twice(
    both_desks: Newsroom, monkeypatch: pytest.MonkeyPatch, readers: int
) -> None:
    # Given
    desk = both_desks
    desk.readers(readers)
    desk.queue()
    breaking = Breaking(monkeypatch, settlements, "settle")
    with desk.hand(claim_size="200") as hand:
        # When
        hand.send()

    # Then
    assert breaking.calls > 1
    assert desk.totals().accepted == readers
    assert desk.issue().state is IssueState.FINISHED
    assert set(desk.copies().values()) == {1}
    desk.assert_books_add_up()


def test_a_settlement_committed_without_an_answer_keeps_no_slot(
    desk: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    desk.readers(100)
    desk.queue()
    Breaking(monkeypatch, settlements, "settle")
    with desk.hand(claim_size="200") as hand:
        free = len(hand.journal._free)

        # When
        hand.send()

        # Then: a flapping line would else fill the journal, and nothing could be sent
        assert desk.totals().accepted == 100
        assert len(hand.journal._free) == free


def test_a_claim_committed_without_an_answer_is_found_again(
    both_desks: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    desk = both_desks
    desk.readers(30)
    desk.queue()
    Breaking(monkeypatch, claims, "claim_first")
    with desk.hand() as hand:
        hand.tick()
        with pytest.raises(UnreachableError):
            hand.work()
        assert desk.totals().sending == 30

        # When
        release_unknown(desk.database, hand.sender.batches, hand.id)
        assert desk.totals().sending == 0
        desk.age_nudges()
        hand.send()

    # Then
    assert desk.totals().accepted == 30
    assert set(desk.copies().values()) == {1}
    desk.assert_books_add_up()


@pytest.mark.parametrize("step", ["read_due", "is_live"])
def test_a_database_that_leaves_right_after_the_claim_strands_nothing(
    both_desks: Newsroom, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    # Given
    desk = both_desks
    desk.readers(30)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        with monkeypatch.context() as broken:

            def leave(*_: Any) -> None:
                raise UnreachableError("the database does not answer")

            broken.setattr(f"worker.storage.ledger.deliveries.{step}", leave)
            with pytest.raises(UnreachableError):
                hand.work()
        assert desk.totals().waiting == 30

        # When
        hand.work()
        hand.tick()

    # Then
    assert desk.totals().accepted == 30
    assert set(desk.copies().values()) == {1}


def test_results_of_a_paused_issue_outlive_an_outage(both_desks: Newsroom, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: all mails have left, the issue was paused, and only then the database goes away
    desk = both_desks
    desk.readers(30)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice(again_s=0.0)
        hand.submitted(part).stop()
        away = [3]
        usual = settlements.settle

        def settle(*args: Any, **kw: Any) -> int | None:
            away[0] -= 1
            if away[0] >= 0:
                raise UnreachableError("the database does not answer")
            return usual(*args, **kw)

        monkeypatch.setattr(settlements, "settle", settle)

        # When
        part.give_back()

    # Then
    assert desk.states() == {"accepted": 30}
    desk.assert_books_add_up()


def test_a_stored_text_nobody_can_read_pauses_the_issue_instead_of_spinning(desk: Newsroom) -> None:
    # Given: a stored text that no builder of this version can read
    desk.readers(30)
    desk.queue()
    with desk.database.write() as conn:
        conn.execute(update(schema.compiled_issue).values(body="{}"))
    with desk.hand() as hand:
        hand.tick()
        hand.work()

        # Then
        assert desk.states() == {"waiting": 30}
        assert desk.totals().sending == 0
        assert desk.issue().state is IssueState.PAUSED
        assert "its text cannot be read" in desk.issue().stopped_reason
