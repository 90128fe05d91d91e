"""An editor's orders: pause answers when it holds, cancel ends for good, undo loses nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.lists import Hand, Newsroom
from tests.support.words import refuses
from worker.dispatch import orders
from worker.dispatch.send import Slice
from worker.domain.issue import IssueState
from worker.errors import RefusedError
from worker.storage.ledger import deliveries

READERS = 600
AT_ONCE = -10.0
"""A margin that makes an order answer without waiting for workers."""


@contextmanager
def in_the_middle(desk: Newsroom) -> Iterator[None]:
    """A worker is handing over an issue, with most of it still to come."""
    desk.readers([f"slow+0.03.reader{n}@example.org" for n in range(READERS)])
    with desk.worker():
        desk.queue()
        desk.until(lambda: desk.totals().accepted > 20, "mails leave")
        yield


def test_pause_answers_when_it_holds_and_resume_sends_the_rest(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    with in_the_middle(desk):
        # When
        stopped = orders.pause(desk.database, desk.settings, "spring", "editor")
        at_once = desk.copies()

    # Then: what it said is what the relay has, and nothing came after
    assert stopped.issue.state is IssueState.PAUSED
    assert stopped.in_flight == 0
    assert stopped.totals.accepted == len(at_once) < READERS
    assert stopped.totals.waiting == READERS - len(at_once)
    assert desk.copies() == at_once
    desk.assert_books_add_up()

    # When
    with desk.hand() as hand:
        orders.resume(desk.database, hand.nudges, "spring", "editor")
        hand.send()

    # Then
    assert desk.issue().state is IssueState.FINISHED
    assert len(desk.copies()) == READERS
    assert set(desk.copies().values()) == {1}
    desk.assert_books_add_up()


def test_cancel_ends_for_good(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    with in_the_middle(desk):
        # When
        stopped = orders.cancel(desk.database, desk.settings, "spring", "editor")

    # Then
    assert stopped.issue.state is IssueState.CANCELLED
    assert stopped.in_flight == 0
    assert stopped.totals.cancelled + stopped.totals.accepted == READERS
    assert stopped.totals.accepted == len(desk.copies())
    assert desk.states() == {"accepted": len(desk.copies()), "cancelled": READERS - len(desk.copies())}
    with refuses(RefusedError, "nothing to cancel"):
        orders.cancel(desk.database, desk.settings, "spring", "editor")
    desk.assert_books_add_up()


def _claimed(hand: Hand) -> Slice:
    hand.tick()
    hand.work(most=1)
    part = hand.slice()
    assert part.claim() is not None
    return part


def test_what_comes_back_after_a_cancel_is_cancelled_too(both_desks: Newsroom) -> None:
    # Given: an issue cancelled while a worker holds its rows and does not answer in time
    desk = both_desks
    desk.readers(["defer-451.anna@example.org", "berta@example.org", "carla@example.org"])
    desk.queue()
    with desk.hand() as hand:
        part = _claimed(hand)
        (batch,) = part.batches
        part.hand_over(batch)
        desk.until(lambda: not batch.flying, "every mail was answered")
        stopped = orders.cancel(desk.database, desk.settings, "spring", "editor", margin_s=AT_ONCE)
        assert stopped.in_flight == 3

        # When
        part.give_back()
        hand.tick()
        with desk.database.read() as conn:
            assert deliveries.next_try_in(conn, 1) is None

    # Then: a copy put off will not be tried again
    assert desk.states() == {"accepted": 2, "cancelled": 1}
    desk.assert_books_add_up()


def test_a_claim_of_a_worker_that_died_is_swept_after_a_cancel(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(300)
    desk.queue()
    with desk.hand(claim_size="200") as dying, desk.hand() as other:
        _claimed(dying)
        assert orders.cancel(desk.database, desk.settings, "spring", "editor", margin_s=AT_ONCE).in_flight == 200
        other.tick()

        # When
        dying.die()
        desk.bury()
        other.tick()

    # Then
    assert desk.states() == {"cancelled": 300}
    desk.assert_books_add_up()


def test_undo_takes_a_held_issue_back_and_it_can_be_queued_again(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(3)
    desk.queue(hold_s=600)

    # When
    undone = orders.undo(desk.database, "spring", "editor")

    # Then
    assert undone.state is IssueState.DRAFT
    with desk.hand() as hand:
        hand.send()
        assert desk.rows() == {}

        # When
        desk.queue()
        hand.send()
    assert desk.issue().state is IssueState.FINISHED
    assert len(desk.copies()) == 3


def test_undo_is_refused_once_sending_began(desk: Newsroom) -> None:
    desk.readers(3)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        with refuses(RefusedError, r"only an issue that has not begun can be undone; .* issue pause spring"):
            orders.undo(desk.database, "spring", "editor")
        hand.work()
        hand.tick()
    with refuses(RefusedError, r"spring is finished: .* issue report spring"):
        orders.undo(desk.database, "spring", "editor")
    assert len(desk.copies()) == 3


def test_the_same_file_is_not_queued_twice(desk: Newsroom) -> None:
    desk.readers(3)
    desk.queue(hold_s=600)
    with refuses(RefusedError, "spring was already queued"):
        desk.queue()


def test_editing_the_file_after_queueing_changes_nothing(desk: Newsroom) -> None:
    # Given
    desk.readers(1)
    file = desk.write("spring", body="As it was queued.")
    desk.queue(file=file)

    # When
    desk.write("spring", body="As it was changed.")
    with desk.hand() as hand:
        hand.send()

    # Then
    assert desk.relay is not None
    mailbox = desk.relay.mailbox
    (entry,) = mailbox.page().entries
    raw = mailbox.raw(entry)
    assert raw is not None
    assert b"As it was queued." in raw
    assert b"changed" not in raw


def test_orders_that_make_no_sense_are_refused(desk: Newsroom) -> None:
    desk.readers(1)
    desk.queue(hold_s=600)
    with desk.hand() as hand:
        with refuses(RefusedError, r"only an issue that is being sent can be paused; .* issue undo spring"):
            orders.pause(desk.database, desk.settings, "spring", "editor")
        with refuses(RefusedError, r"only a paused issue can be resumed; .* issue undo spring"):
            orders.resume(desk.database, hand.nudges, "spring", "editor")
    stopped = orders.cancel(desk.database, desk.settings, "spring", "editor")
    assert stopped.issue.state is IssueState.CANCELLED
    assert stopped.totals.audience == 0
