"""No sliding interval ever holds more mails than a rate window allows: four workers, one of them restarted."""

from pathlib import Path

import pytest

from tests.support.lists import Newsroom, newsroom
from tests.support.sink import sink_process
from worker.domain.issue import IssueState


def most_within(times: list[float], seconds: float) -> int:
    """The fullest sliding interval."""
    times = sorted(times)
    return max(sum(1 for late in times[at:] if late - early < seconds) for at, early in enumerate(times))


def handed_over(desk: Newsroom) -> list[float]:
    assert desk.relay is not None
    return [mail["monotonic"] for mail in desk.relay.accepted()]


@pytest.mark.needs("postgresql", "redis")
def test_four_workers_keep_both_windows_across_a_restart(tmp_path: Path, postgresql_url: str, redis_url: str) -> None:
    # Given: the longer window is used up after three seconds
    with newsroom(
        tmp_path, postgresql_url, broker_url=redis_url, relay_rate="40/s, 100/min", worker_threads="2"
    ) as desk:
        desk.readers(130)
        with desk.worker(), desk.worker(), desk.worker():
            with desk.worker() as fourth:
                desk.queue()
                desk.until(lambda: len(handed_over(desk)) >= 30, "mails leave")
                assert fourth.end() == 0
            with desk.worker():
                # When: nothing more may leave
                desk.until(lambda: "100/min" in desk.wait_reason(), "it waits for the longer window")
                desk.until(lambda: desk.totals().sending == 0, "what was leased has left")

    # Then: more left after the restart; leases that a worker took to its grave, or came too late for, are spent
    times = handed_over(desk)
    assert 30 < len(times) <= 100
    assert most_within(times, 1.0) <= 40
    assert set(desk.copies().values()) == {1}
    assert desk.totals().waiting == 130 - len(times)


@pytest.mark.parametrize("without", ["", "CHUNKING", "PIPELINING,CHUNKING"])
def test_a_rate_costs_no_connection_its_good_name(tmp_path: Path, sqlite_url: str, without: str) -> None:
    # Given: a relay that is told DATA, from which there is no way back but its end
    with sink_process(tmp_path / "sink", without=without) as sink:
        given = {"smtp_url": sink.url, "relay_rate": "60/s"}
        with newsroom(tmp_path, sqlite_url, with_relay=False, **given) as desk:
            desk.relay = sink
            desk.readers(150)
            desk.queue()

            # When
            with desk.worker(worker_threads="2") as worker:
                desk.until_state(IssueState.FINISHED)
                said = worker.said

    # Then
    assert "breaks every connection" not in said
    assert set(desk.copies().values()) == {1}
    assert len(desk.copies()) == 150


def test_a_range_claimed_widely_is_taken_in_parts_under_a_rate(desk: Newsroom) -> None:
    # Given: 300 rows given back by a worker without a limit
    desk.readers(300)
    desk.queue()
    with desk.hand() as wide:
        wide.tick()
        wide.work(most=1)
        part = wide.slice()
        batch = part.claim()
        assert batch is not None
        part.release(batch)

    # When
    with desk.hand(relay_rate="20/s") as narrow:
        part = narrow.slice()
        batch = part.claim()
        assert batch is not None

        # Then: as many rows as there were slots
        assert batch.claim.left <= 21
        assert desk.totals().adds_up
        desk.assert_books_add_up()
        part.release(batch)
    desk.assert_books_add_up()
