"""A reader leaves while an issue is held, planned, being sent: from then on nothing is handed over to them."""

import math
from collections.abc import Callable

import pytest
from sqlalchemy import event, select, update

from tests.support.ledgers import LONG_AGO
from tests.support.lists import Newsroom
from worker.consent import optout
from worker.consent.optout import Wish
from worker.domain.address import parse_address
from worker.domain.issue import IssueState
from worker.domain.subscription import Channel
from worker.domain.suppression import SuppressionReason
from worker.operations.deliveries import list_copies
from worker.operations.report import build
from worker.screen.deliveries import spell_why
from worker.screen.report import render_report
from worker.storage import schema
from worker.storage.engine import open_database

Way = Callable[[Newsroom, str], None]


def leaves(desk: Newsroom, address: str) -> None:
    """The link of a mail."""
    with desk.database.read() as conn:
        found = conn.execute(
            select(schema.subscription.c.id)
            .join(schema.subscriber, schema.subscriber.c.id == schema.subscription.c.subscriber_id)
            .where(schema.subscriber.c.address == address)
        ).scalar_one()
    optout.opt_out(desk.database, Wish(found, Channel.ONE_CLICK, "reader"), desk.folder / "state", 0)


def is_suppressed(desk: Newsroom, address: str) -> None:
    """An operator's list."""
    optout.suppress(
        desk.database,
        [parse_address(address)],
        reason=SuppressionReason.MANUAL,
        evidence="asked by phone",
        state_dir=desk.folder / "state",
        actor="operator",
        wait_s=0,
    )


def test_progress_is_noted_before_what_was_handed_over_can_be_seen(desk: Newsroom) -> None:
    # Given an issue of which nothing was handed over for long; an opt-out looks only at those that moved lately
    desk.readers(1)
    desk.queue()
    seen = open_database(desk.given["database_url"])
    unnoted = []

    def look(_: object) -> None:
        with seen.read() as conn:
            noted = conn.execute(select(schema.issue.c.last_progress_at)).scalar_one()
            if conn.execute(select(schema.delivery.c.n).where(schema.delivery.c.state == "accepted")).first():
                unnoted.append(noted == LONG_AGO)

    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        with desk.database.write() as conn:
            conn.execute(update(schema.issue).values(last_progress_at=LONG_AGO))

        # When its copy is settled, and somebody looks between any two transactions
        event.listen(desk.database.engine, "begin", look)
        hand.work()
        event.remove(desk.database.engine, "begin", look)
    seen.close()

    # Then nobody saw the copy without the note
    assert unnoted
    assert not any(unnoted)


WAYS = [pytest.param(leaves, "opted_out", id="leaves"), pytest.param(is_suppressed, "suppressed", id="is_suppressed")]


@pytest.mark.parametrize(("way", "reason"), WAYS)
def test_who_goes_while_an_issue_is_held_is_skipped(both_desks: Newsroom, way: Way, reason: str) -> None:
    # Given
    desk = both_desks
    desk.readers(3)
    desk.queue(hold_s=0)

    # When
    way(desk, "reader2@example.org")
    with desk.hand() as hand:
        hand.send()

    # Then
    row = desk.rows()["reader2@example.org"]
    assert (row.state, row.reason, row.tries) == ("skipped", reason, 0)
    assert set(desk.copies()) == {"reader1@example.org", "reader3@example.org"}
    desk.assert_books_add_up()

    # When: an issue is queued later
    desk.queue("summer")
    with desk.hand() as hand:
        hand.send()

    # Then
    later = desk.rows("summer")
    assert ("reader2@example.org" in later) == (reason == "suppressed")
    assert desk.totals("summer").accepted == 2


@pytest.mark.parametrize(("way", "reason"), WAYS)
def test_who_goes_after_planning_is_skipped_at_the_claim(both_desks: Newsroom, way: Way, reason: str) -> None:
    # Given
    desk = both_desks
    desk.readers(3)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        assert desk.states() == {"waiting": 3}

        # When
        way(desk, "reader2@example.org")
        hand.work()
        hand.tick()

    # Then
    row = desk.rows()["reader2@example.org"]
    assert (row.state, row.reason) == ("skipped", reason)
    assert "reader2@example.org" not in desk.copies()
    assert desk.issue().state is IssueState.FINISHED
    desk.assert_books_add_up()


@pytest.mark.parametrize(("way", "reason"), WAYS)
def test_who_goes_while_a_retry_waits_is_skipped(both_desks: Newsroom, way: Way, reason: str) -> None:
    # Given
    desk = both_desks
    desk.readers(["defer-451+1.anna@example.org"])
    desk.queue()
    with desk.hand() as hand:
        hand.send()

        # When
        way(desk, "defer-451+1.anna@example.org")
        desk.bring_forward()
        hand.send()

    # Then
    row = desk.rows()["defer-451+1.anna@example.org"]
    assert (row.state, row.reason, row.tries) == ("skipped", reason, 1)
    assert desk.copies() == {}
    assert desk.issue().state is IssueState.FINISHED
    desk.assert_books_add_up()


@pytest.mark.parametrize(("way", "reason"), WAYS)
def test_a_held_row_is_rechecked_before_its_body_leaves(both_desks: Newsroom, way: Way, reason: str) -> None:
    # Given: ten connections are busy with two slow readers each, the last reader's turn is to come
    desk = both_desks
    desk.readers([*(f"slow+0.5.reader{n}@example.org" for n in range(30)), "last@example.org"])
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice(recheck_s=0.0)
        batch = part.claim()
        assert batch is not None
        part.hand_over(batch)

        # When
        way(desk, "last@example.org")
        part.recheck()
        part.drain(math.inf)
        part.give_back()

        # Then: given back as it was, and skipped at the next claim
        assert desk.copies()["last@example.org"] == 0
        assert desk.rows()["last@example.org"].state == "waiting"
        hand.work()
        hand.tick()
    row = desk.rows()["last@example.org"]
    assert (row.state, row.reason) == ("skipped", reason)
    assert len(desk.copies()) == 30
    desk.assert_books_add_up()


def test_nothing_leaves_whose_last_recheck_is_too_old(desk: Newsroom) -> None:
    # Given: a worker that does not ask again
    desk.readers([f"slow+0.8.reader{n}@example.org" for n in range(20)])
    desk.queue()
    with desk.hand(optout_fresh_s="0.5") as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice(recheck_s=math.inf)
        batch = part.claim()
        assert batch is not None

        # When
        part.hand_over(batch)
        part.drain(math.inf)
        part.give_back()

    # Then: what was begun at once has gone, the second on each connection was kept back
    totals = desk.totals()
    assert totals.accepted + totals.waiting == 20
    assert totals.waiting >= 10
    assert len(desk.copies()) == totals.accepted


def test_readers_who_leave_while_their_issue_is_sent_by_a_process_are_left_alone(desk: Newsroom) -> None:
    # Given
    desk.readers([*(f"slow+0.1.reader{n}@example.org" for n in range(200)), "last@example.org"])
    with desk.worker():
        desk.queue()
        desk.until(lambda: desk.totals().accepted > 5, "mails leave")

        # When
        leaves(desk, "last@example.org")
        desk.until_state(IssueState.FINISHED)

    # Then
    assert desk.rows()["last@example.org"].reason == "opted_out"
    assert desk.copies()["last@example.org"] == 0
    assert desk.totals().accepted == 200
    desk.assert_books_add_up()


def test_screens_say_when_somebody_left_and_what_became_of_the_copy(both_desks: Newsroom) -> None:
    # Given: one leaves while the issue is sent and is left out, one whose copy is on its way
    desk = both_desks
    desk.readers(3)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        leaves(desk, "reader2@example.org")
        part = hand.slice()
        batch = part.claim()
        assert batch is not None
        part.hand_over(batch)
        leaves(desk, "reader3@example.org")
        part.give_back()
        hand.send()

    # When
    report = build(desk.database, "spring")
    with desk.database.read() as conn:
        [row] = [row for row in list_copies(desk.database, report.issue.id) if row.state == "skipped"]
        ended = conn.execute(select(schema.subscription.c.ended_at).where(schema.subscription.c.id == 2)).scalar_one()

    # Then
    assert row.address == "reader2@example.org"
    assert spell_why(row) == f"opted out at {ended:%H:%M:%S} UTC"
    assert report.silence.withheld == 1
    assert report.silence.late <= 1
    assert (report.silence.longest_s > 0) is (report.silence.late == 1)
    lines = " ".join(line.text for line in render_report(report))
    assert "1 copy did not leave any more" in lines
