"""What a worker may still let leave of a claim, and the register of its claims."""

import itertools
import threading
from datetime import UTC, datetime

import pytest

from worker.dispatch.batches import Batch, Batches, Recheck
from worker.domain.delivery import ClaimKind, DeliveryState
from worker.storage.ledger.claims import Claim
from worker.transport.replies import Outcome, Permanence, Phase, Scope

FRESH_S = 2.0
ASKED_AT = 100.0


def batch(claim_id: int = 1, issue_id: int = 7) -> Batch:
    claimed_at = datetime(2026, 11, 2, tzinfo=UTC)
    claim = Claim(claim_id, issue_id, 0, ClaimKind.FIRST, 1, 3, 3, DeliveryState.WAITING, claimed_at)
    return Batch(claim, threading.Event(), recheck=Recheck(ASKED_AT, True, {2: "opted_out"}))


def test_a_mail_leaves_while_its_batch_is_live_fresh_and_its_reader_stays() -> None:
    assert batch().may_leave(1, ASKED_AT + FRESH_S, FRESH_S)


@pytest.mark.parametrize(
    ("n", "later_s"), [(2, 0.0), (1, FRESH_S + 0.001)], ids=["the reader left", "the recheck is too old"]
)
def test_a_mail_stays_when_its_reader_left_or_the_answer_is_old(n: int, later_s: float) -> None:
    assert not batch().may_leave(n, ASKED_AT + later_s, FRESH_S)


@pytest.mark.parametrize(("is_ours", "is_stopped", "is_sending"), list(itertools.product((True, False), repeat=3)))
def test_one_reason_to_stop_is_enough(is_ours: bool, is_stopped: bool, is_sending: bool) -> None:
    # Given
    held = batch()
    held.is_ours, held.recheck = is_ours, Recheck(ASKED_AT, is_sending)
    if is_stopped:
        held.stop()

    # Then
    wanted = is_ours and is_sending and not is_stopped
    assert (held.is_live, held.may_leave(1, ASKED_AT, FRESH_S)) == (wanted, wanted)


def test_a_batch_that_was_never_rechecked_lets_nothing_leave() -> None:
    claim = batch().claim
    assert not Batch(claim, threading.Event()).may_leave(1, 0.0, FRESH_S)


def test_a_stop_wakes_the_slice_and_outlives_every_recheck() -> None:
    held = batch()
    held.stop()
    held.recheck = Recheck(ASKED_AT + 1, True)
    assert held.wake.is_set()
    assert not held.is_live


def test_a_stopped_issue_stops_its_batches_and_no_others() -> None:
    # Given
    batches = Batches()
    mine, also_mine, other = batch(1), batch(2), batch(3, issue_id=8)
    for each in (mine, also_mine, other):
        batches.add(each)

    # When
    stopped = batches.stop_issue(7, "safety stop")

    # Then
    assert stopped == {1, 2}
    assert (mine.is_live, also_mine.is_live, other.is_live) == (False, False, True)
    assert (batches.stop_reason(7), batches.stop_reason(8)) == ("safety stop", None)


def test_claims_made_between_the_stop_and_its_writing_are_stopped_when_it_is_written() -> None:
    # Given: one more batch came after the breaker, before the ledger knew
    batches = Batches()
    batches.stop_issue(7, "safety stop")
    late = batch()
    batches.add(late)

    # When
    batches.note_stop_written(7)

    # Then: a resume right after it starts from new claims only
    assert not late.is_live
    assert batches.stop_reason(7) is None


def test_a_removed_batch_is_known_no_more() -> None:
    batches, held = Batches(), batch()
    batches.add(held)
    assert batches.get(1) is held
    batches.remove(held)
    batches.remove(held)
    assert batches.get(1) is None


def test_breakers_count_for_each_issue_by_itself() -> None:
    batches = Batches()
    refused = Outcome(Permanence.PERMANENT, Scope.SENDER, Phase.MAIL, 550, None, "not from you")
    said = [batches.breaker(n % 2).feed(refused) for n in range(18)]
    assert set(said) == {None}
    assert batches.breaker(1).feed(refused) is not None
