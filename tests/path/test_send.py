"""From queueing to the last row, with real workers, a real relay, and everything in between lost or stopped."""

import signal

import pytest
import redis

from tests.support.issues import MEMBERS
from tests.support.lists import Newsroom
from worker.domain.issue import IssueState


def one_copy_each(desk: Newsroom, slug: str = "spring") -> None:
    totals = desk.totals(slug)
    assert totals.adds_up
    assert (totals.accepted, totals.in_doubt) == (totals.audience, 0)
    assert set(desk.copies().values()) == {1}
    desk.assert_books_add_up()


@pytest.mark.needs("postgresql", "redis")
def test_each_reader_gets_one_copy_when_workers_come_and_go(big_desk: Newsroom) -> None:
    # Given
    big_desk.readers(3_000, publication="ring-news")
    slug = "2026-11-members"
    with big_desk.worker() as first:
        # When: the shipped sample is on its way, two more join, the first is told to stop
        big_desk.queue(slug, file=MEMBERS)
        big_desk.until(lambda: big_desk.totals(slug).accepted > 100, "mails leave")
        with big_desk.worker(), big_desk.worker():
            big_desk.until(lambda: big_desk.totals(slug).accepted > 500, "more mails leave")
            code = first.end(signal.SIGTERM)
            big_desk.until_state(IssueState.FINISHED, slug)

    # Then
    assert code == 0, first.said
    assert big_desk.totals(slug).audience == 3_000
    assert len(big_desk.copies()) == 3_000
    one_copy_each(big_desk, slug)


def test_two_workers_share_one_issue_on_sqlite(desk: Newsroom) -> None:
    # Given
    desk.readers(3_000)
    with desk.worker() as one, desk.worker() as two:
        # When
        desk.queue()
        desk.until_state(IssueState.FINISHED)
        codes = one.end(), two.end()

    # Then
    assert codes == (0, 0)
    assert len(desk.copies()) == 3_000
    one_copy_each(desk)
    with desk.database.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM worker").scalar() == 0


@pytest.mark.needs("postgresql", "redis")
def test_nothing_is_lost_when_redis_is_flushed_again_and_again(big_desk: Newsroom) -> None:
    # Given
    big_desk.readers(1_500)
    client = redis.Redis.from_url(big_desk.given["broker_url"])
    with big_desk.worker(), big_desk.worker():
        # When
        big_desk.queue()
        for share in (1, 400, 800):
            big_desk.until(lambda share=share: big_desk.totals().accepted >= share, f"{share} mails left")
            client.flushdb()
        big_desk.until_state(IssueState.FINISHED)
    client.close()

    # Then
    assert len(big_desk.copies()) == 1_500
    one_copy_each(big_desk)


def test_two_issues_share_the_workers(desk: Newsroom) -> None:
    # Given: mails that take a while, twice as many as leave in one slice
    desk.readers([f"slow+0.2.reader{n}@example.org" for n in range(150)], publication="rivers")
    desk.readers([f"slow+0.2.walker{n}@example.org" for n in range(150)], publication="walks")
    desk.queue("long", publication="rivers")
    desk.queue("short", publication="walks")

    # When
    with desk.worker():
        desk.until_state(IssueState.FINISHED, "long")
        desk.until_state(IssueState.FINISHED, "short")

    # Then: neither waited for the other's end
    assert desk.relay is not None
    order = ["walker" in mail["rcpt"][0] for mail in desk.relay.accepted()]
    assert order.index(True) < len(order) - 1 - order[::-1].index(False)
    assert order.index(False) < len(order) - 1 - order[::-1].index(True)
    one_copy_each(desk, "long")
    one_copy_each(desk, "short")
