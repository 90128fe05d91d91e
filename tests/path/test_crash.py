"""A worker dies between any two steps: every recipient ends in a known state, and no guess makes a second copy."""

import signal
from collections.abc import Callable

import pytest

from tests.support.lists import Hand, Newsroom
from worker.dispatch.batches import Batch
from worker.dispatch.plan import Pages
from worker.dispatch.send import Slice
from worker.domain.issue import IssueState
from worker.storage import workers
from worker.storage.ledger import claims, deliveries

READERS, CLAIMED = 300, 200
"""One claim takes 200, so 100 are left for another worker."""


def claimed(hand: Hand, _slice: Slice) -> None:
    """The claim is committed, and known to nobody."""
    with hand.database.write() as conn:
        assert claims.claim_first(conn, 1, hand.id, CLAIMED)


def read(hand: Hand, part: Slice) -> None:
    """The claim's rows were read."""
    batch = part.claim()
    assert batch is not None
    with hand.database.read() as conn:
        assert len(deliveries.read_due(conn, batch.claim)) == CLAIMED


def on_the_wire(hand: Hand, part: Slice) -> None:
    """Three bodies were being written; of one more the relay could not take anything."""
    batch = part.claim()
    assert batch is not None
    for n in (1, 2, 3, 4):
        assert hand.journal.arm((batch.claim.id, n), 2525, 0.0, b"12345678")
    hand.journal.disarm((batch.claim.id, 4))


def answered(hand: Hand, part: Slice) -> Batch:
    """The relay has all of them, the journal too, the ledger none."""
    return hand.submitted(part)


def partly_settled(hand: Hand, part: Slice) -> None:
    """Half of the results are written, the claim is still there."""
    batch = hand.submitted(part)
    kept = [batch.outcomes.pop() for _ in range(CLAIMED // 2)]
    part.settle()
    batch.outcomes.extend(kept)


def settled(hand: Hand, part: Slice) -> None:
    """All results are written, and with the last the claim went."""
    hand.submitted(part)
    part.settle()


def released(hand: Hand, part: Slice) -> None:
    """The claim was given back unsent."""
    batch = part.claim()
    assert batch is not None
    part.release(batch)


STEPS: list[tuple[Callable[[Hand, Slice], object], int]] = [
    (claimed, 0),
    (read, 0),
    (on_the_wire, 3),
    (answered, 0),
    (partly_settled, 0),
    (settled, 0),
    (released, 0),
]


@pytest.mark.parametrize(("step", "doubts"), STEPS, ids=[step.__name__ for step, _ in STEPS])
def test_a_worker_that_dies_leaves_known_states(
    both_desks: Newsroom, step: Callable[[Hand, Slice], object], doubts: int
) -> None:
    # Given
    desk = both_desks
    desk.readers(READERS)
    desk.queue()
    with desk.hand(claim_size=str(CLAIMED)) as dying, desk.hand(claim_size=str(CLAIMED)) as other:
        dying.tick()
        dying.work(most=1)

        # When
        step(dying, dying.slice())
        assert desk.totals().adds_up
        dying.die()
        buried = desk.bury()
        other.nudges.waiting.append(("send", {"issue_id": 1, "nudge_no": desk.issue().nudge_no}))
        other.send()

    # Then
    assert buried == doubts
    rows = desk.rows().values()
    lost = [row for row in rows if row.state == "in_doubt"]
    assert {row.reason for row in lost} <= {"worker_lost"}
    assert (len(lost), len(desk.states())) == (doubts, 1 + bool(doubts))
    assert desk.totals().accepted == READERS - doubts
    assert desk.issue().state is IssueState.FINISHED
    with desk.database.read() as conn:
        words = [row.reply_text for row in deliveries.list_by_state(conn, 1, "in_doubt")]
    assert all("it left from our port 2525 at 00:00:00 UTC to 127.0.0.1" in text for text in words)
    copies = desk.copies()
    assert max(copies.values()) == 1
    assert all(copies[address] == 1 for address, row in desk.rows().items() if row.state == "accepted")
    desk.assert_books_add_up()
    assert desk.bury() == 0


def test_a_worker_that_dies_with_retries_gives_back_what_had_not_begun(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(["defer-451.anna@example.org", "berta@example.org"])
    desk.queue()
    with desk.hand() as dying:
        dying.send()
        desk.bring_forward()

        # When
        with desk.database.write() as conn:
            held = claims.claim_retry(conn, 1, dying.id, 100)
        assert held is not None
        assert desk.totals().sending == 1
        dying.die()

        # Then
        assert desk.bury() == 0
        assert desk.states() == {"accepted": 1, "deferred": 1}
        assert desk.totals().sending == 0
    desk.assert_books_add_up()


def test_a_planner_that_dies_after_a_page_is_followed_by_another(both_desks: Newsroom) -> None:
    # Given: pages of 100
    desk = both_desks
    desk.readers(250)
    desk.queue()
    with desk.hand() as dying, desk.hand() as other:
        dying.pages = other.pages = Pages(100, 100, 100)
        dying.tick()
        dying.work(most=1)
        dying.die()
        assert desk.issue().audience == 100
        assert desk.issue().state is IssueState.SENDING

        # When: its nudges are lost, and time passes
        desk.age_nudges()
        other.send()

    # Then
    assert desk.totals().accepted == 250
    assert desk.issue().state is IssueState.FINISHED
    assert set(desk.copies().values()) == {1}
    desk.assert_books_add_up()


def test_a_worker_taken_for_dead_can_neither_arm_nor_settle(both_desks: Newsroom) -> None:
    # Given: a worker that slept while others gave it up
    desk = both_desks
    desk.readers(READERS)
    desk.queue()
    with desk.hand(claim_size=str(CLAIMED)) as sleeper, desk.hand() as other:
        sleeper.tick()
        sleeper.work(most=1)
        part = sleeper.slice()
        batch = sleeper.submitted(part)
        unsent = part.claim()
        assert unsent is not None
        (desk.folder / "state" / sleeper.journal.host_id / f"{sleeper.id}.journal").unlink()
        assert desk.bury() == READERS

        # When: it wakes up with results in its hands
        part.settle()
        part.hand_over(unsent)
        part.drain(0.0)
        part.give_back()
        other.send()

    # Then
    assert not batch.is_ours
    assert desk.totals().in_doubt == READERS
    assert len(desk.copies()) == CLAIMED
    desk.assert_books_add_up()


def test_a_killed_worker_leaves_only_what_was_on_the_wire_in_doubt(desk: Newsroom) -> None:
    # Given: mails slow enough that some are always on the wire
    desk.readers([f"slow+0.03.reader{n}@example.org" for n in range(1_500)])
    with desk.worker(claim_size="200") as victim, desk.worker(claim_size="200"):
        desk.queue()
        desk.until(lambda: desk.totals().accepted > 100, "mails leave")

        # When
        victim.end(signal.SIGKILL)
        desk.until_state(IssueState.FINISHED)

    # Then
    totals = desk.totals()
    assert totals.adds_up
    assert totals.accepted + totals.in_doubt == 1_500
    assert totals.in_doubt <= 10, "no more than there were connections"
    rows, copies = desk.rows(), desk.copies()
    assert max(copies.values()) == 1
    assert all(copies[address] == 1 for address, row in rows.items() if row.state == "accepted")
    assert {row.reason for row in rows.values() if row.state == "in_doubt"} <= {"worker_lost"}
    desk.assert_books_add_up()


def test_a_claim_whose_owner_nobody_knows_is_not_held_for_ever(desk: Newsroom) -> None:
    # Given: a process whose row is gone, as after a restored copy of the database
    desk.readers(3)
    desk.queue()
    with desk.hand() as gone:
        gone.tick()
        gone.work(most=1)
        assert gone.slice().claim() is not None
        with desk.database.write() as conn:
            workers.remove(conn, gone.id)
        gone.die()

        # When / Then: its journal says that nothing had begun
        assert desk.bury() == 0
    assert desk.states() == {"waiting": 3}
    desk.assert_books_add_up()
