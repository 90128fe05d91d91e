"""Copies tried again, in doubt, reopened or cancelled: nobody gets two, nobody is forgotten. On both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy import select, update

from tests.support.ledgers import FINGERPRINT, add_publication, assert_books_add_up, planned_issue, send
from tests.support.ledgers import settle as settle_all
from worker.dispatch.reconcile import repeat_never_miss
from worker.domain.delivery import DeliveryState, DoubtReason
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries, issues, settlements
from worker.storage.ledger.claims import Claim
from worker.storage.ledger.settlements import Result
from worker.storage.schema import claim, delivery, issue, reply, subscriber, subscription, suppression

PAST = datetime(2026, 1, 2, tzinfo=UTC)
WAITING, DEFERRED = DeliveryState.WAITING, DeliveryState.DEFERRED


def deferred(_: int) -> dict[str, Any]:
    return {"state": DEFERRED, "next_try": PAST, "first_try": PAST, "code": 451, "text": "451 later"}


def in_doubt(_: int) -> dict[str, Any]:
    return {"state": DeliveryState.IN_DOUBT, "reason": "line_broke", "fingerprint": FINGERPRINT}


def failed(_: int) -> dict[str, Any]:
    return {"state": DeliveryState.FAILED, "reason": "too_big"}


def take(database: Database, issue_id: int, size: int = 10) -> Claim:
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", size)
    assert held is not None
    return held


def take_due(database: Database, issue_id: int, size: int = 10) -> Claim:
    with database.write() as conn:
        held = claims.claim_retry(conn, issue_id, "w1", size)
    assert held is not None
    return held


def row(database: Database, n: int) -> Any:
    with database.read() as conn:
        return conn.execute(select(delivery).where(delivery.c.n == n)).one()


def states(database: Database) -> list[str]:
    with database.read() as conn:
        return list(conn.execute(select(delivery.c.state).order_by(delivery.c.n)).scalars())


def change(database: Database, **columns: Any) -> None:
    with database.write() as conn:
        conn.execute(update(issue).values(**columns))


# What a second settlement may not do.


@pytest.mark.parametrize("kind", ["first", "retry"])
def test_a_settlement_sent_twice_in_ignorance_overwrites_no_result(database: Database, kind: str) -> None:
    # Given: the commit of the first was never confirmed to us, and we do not know that
    issue_id = planned_issue(database, 4)
    if kind == "retry":
        send(database, issue_id, deferred)
    held = take(database, issue_id) if kind == "first" else take_due(database, issue_id)
    results = [Result(1, held.of_state, DeliveryState.ACCEPTED, code=250), Result(2, held.of_state, **deferred(2))]
    settle_all(database, held, results)
    before = [row(database, n) for n in (1, 2, 3, 4)]

    # When: it is written again, or with another result, beside a new one
    for again in (results, [Result(n, held.of_state, DeliveryState.EXPIRED) for n in (1, 2)]):
        with pytest.raises(AssertionError, match="1 of 3 rows"), database.write() as conn:
            settlements.settle(conn, held, "w1", [*again, replace(results[0], n=3)])

    # Then
    assert [row(database, n) for n in (1, 2, 3, 4)] == before
    assert_books_add_up(database)


def test_only_the_owner_of_a_claim_writes_its_results(database: Database) -> None:
    held = take(database, planned_issue(database, 2))
    with database.write() as conn:
        assert settlements.settle(conn, held, "w2", [Result(1, WAITING, DeliveryState.ACCEPTED)]) is None
    assert states(database) == ["waiting", "waiting"]


# Claims given back with results.


def test_a_range_given_back_half_done_is_taken_again_for_the_rest_only(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 10)
    held = take(database, issue_id)
    settle_all(database, held, [Result(n, WAITING, DeliveryState.ACCEPTED) for n in (1, 2, 9)])
    with database.write() as conn:
        assert claims.release(conn, held, "w1")
        assert conn.execute(select(claim.c.left, claim.c.owner)).one() == (7, None)
        assert issues.totals(conn, issue_id).sending == claims.count_owned(conn, issue_id) == 0

    # When
    again = take(database, issue_id)

    # Then
    assert (again.from_n, again.to_n, again.left) == (1, 10, 7)
    with database.read() as conn:
        assert [due.recipient.n for due in deliveries.read_due(conn, again)] == [3, 4, 5, 6, 7, 8, 10]
        assert issues.totals(conn, issue_id).sending == 7
    assert_books_add_up(database)


def test_a_range_taken_exactly_whole_leaves_no_empty_claim_behind(database: Database) -> None:
    issue_id = planned_issue(database, 8)
    held = take(database, issue_id, size=5)
    with database.write() as conn:
        claims.release(conn, held, "w1")
    take(database, issue_id, size=5)
    rest = take(database, issue_id, size=5)
    assert (rest.from_n, rest.to_n, rest.left) == (6, 8, 3)
    with database.read() as conn:
        assert len(conn.execute(select(claim.c.id)).all()) == 2


def test_a_range_in_which_everybody_was_skipped_ends_when_given_back(database: Database) -> None:
    # Given: a cancelled row stands for any row that needs no mail
    issue_id = planned_issue(database, 4)
    with database.write() as conn:
        conn.execute(update(delivery).where(delivery.c.n <= 2).values(state="cancelled", at=PAST))
        claims.move_counts(conn, issue_id, 0, {(WAITING, DeliveryState.CANCELLED): 2})
    held = take(database, issue_id, size=2)
    assert held.left == 0

    # When / Then
    with database.write() as conn:
        assert not claims.release(conn, held, "w1")
        assert conn.execute(select(claim.c.id)).all() == []


def test_later_tries_given_back_after_a_cancel_are_cancelled(database: Database) -> None:
    issue_id = planned_issue(database, 3)
    send(database, issue_id, deferred)
    held = take_due(database, issue_id)
    change(database, state="cancelled")
    with database.write() as conn:
        assert not claims.release(conn, held, "w1")
    assert states(database) == ["cancelled"] * 3
    assert row(database, 1).claim is None
    assert_books_add_up(database)


def test_a_cancel_leaves_later_tries_that_are_being_sent(database: Database) -> None:
    issue_id = planned_issue(database, 4)
    send(database, issue_id, deferred)
    take_due(database, issue_id, size=2)
    change(database, state="cancelled")
    with database.write() as conn:
        assert deliveries.cancel_open(conn, issue_id) == 2
    assert states(database) == ["deferred", "deferred", "cancelled", "cancelled"]
    assert_books_add_up(database)


def test_who_waits_longest_is_tried_first(database: Database) -> None:
    issue_id = planned_issue(database, 6, shard_size=2)
    for _ in range(3):
        send(database, issue_id, deferred)
    with database.write() as conn:
        conn.execute(update(delivery).where(delivery.c.n == 3).values(next_try=PAST - timedelta(days=1)))
    assert take_due(database, issue_id).from_n == 3


def test_an_issue_knows_its_next_try_while_another_copy_is_being_tried(database: Database) -> None:
    # Given: one copy is tried at this moment, the others in an hour and in two
    issue_id = planned_issue(database, 3)
    send(database, issue_id, deferred)
    now = datetime.now(UTC)
    with database.write() as conn:
        for n, hours in ((2, 2), (3, 1)):
            due_at = now + timedelta(hours=hours)
            conn.execute(update(delivery).where(delivery.c.n == n).values(next_try=due_at))
    assert take_due(database, issue_id).left == 1

    # Then: what it waits for can be said
    with database.read() as conn:
        wait_s = deliveries.next_try_in(conn, issue_id)
    assert wait_s is not None
    assert 3_000 < wait_s <= 3_600


def test_a_listing_shows_the_last_words_and_nothing_given_back_as_sending(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 2)
    send(database, issue_id, deferred)
    again = [replace(Result(n, DEFERRED, **deferred(n)), text="452 still") for n in (1, 2)]
    settle_all(database, take_due(database, issue_id), again)
    held = take_due(database, issue_id)

    # When / Then
    with database.read() as conn:
        shown = [(each.state, each.reply_text) for each in deliveries.list_by_state(conn, issue_id)]
        assert deliveries.list_by_state(conn, issue_id, "deferred") == []
        assert list(conn.execute(select(reply.c.try_no).where(reply.c.n == 1).order_by(reply.c.id)).scalars()) == [1, 2]
    assert shown == [("sending", "452 still")] * 2
    with database.write() as conn:
        claims.release(conn, held, "w1")
    with database.read() as conn:
        assert [each.state for each in deliveries.list_by_state(conn, issue_id)] == ["deferred"] * 2


def test_a_range_given_back_is_shown_as_waiting(database: Database) -> None:
    issue_id = planned_issue(database, 2)
    held = take(database, issue_id)
    with database.write() as conn:
        claims.release(conn, held, "w1")
        assert [each.state for each in deliveries.list_by_state(conn, issue_id)] == ["waiting"] * 2


def test_who_is_suppressed_after_planning_gets_nothing_more(database: Database) -> None:
    issue_id = planned_issue(database, 2)
    held = take(database, issue_id)
    with database.write() as conn:
        key = conn.execute(select(subscriber.c.address_hash).where(subscriber.c.id == 2)).scalar_one()
        conn.execute(suppression.insert().values(address_hash=key, reason="manual", evidence="", created_at=PAST))
    with database.read() as conn:
        assert [due.skip for due in deliveries.read_due(conn, held)] == [None, "suppressed"]
        assert deliveries.read_stops(conn, held, "w1") == (True, {2: "suppressed"})


# Doubts and reopening.


def test_a_copy_in_doubt_is_repeated_once_and_never_again(database: Database) -> None:
    # Given: four copies in doubt, one without a fingerprint, one that would differ, one too young
    issue_id = planned_issue(database, 4)
    first = take(database, issue_id)
    settle_all(database, first, [Result(n, WAITING, **in_doubt(n)) for n in (1, 2, 3, 4)])
    with database.write() as conn:
        conn.execute(update(delivery).where(delivery.c.n <= 3).values(at=PAST))
        conn.execute(update(delivery).where(delivery.c.n == 2).values(fingerprint=None))
        conn.execute(update(delivery).where(delivery.c.n == 3).values(reason="not_the_same"))

    # When
    with database.write() as conn:
        assert deliveries.repeat_doubts(conn, issue_id, settle_s=900) == 1
    again = take_due(database, issue_id)
    with database.write() as conn:
        assert claims.lose(conn, again, DoubtReason.WORKER_LOST) == 1
        conn.execute(update(delivery).where(delivery.c.n == 1).values(at=PAST))

    # Then: lost once more it stays in doubt, dated as the copy that may have arrived
    with database.write() as conn:
        assert deliveries.repeat_doubts(conn, issue_id, settle_s=900) == 0
    kept = row(database, 1)
    assert (kept.state, kept.doubts, kept.tries, kept.claimed_at) == ("in_doubt", 2, 2, first.claimed_at)
    assert kept.claim == again.id
    assert_books_add_up(database)


def test_an_editors_retry_is_a_new_mail_with_a_new_life(database: Database) -> None:
    # Given: a copy in doubt that had been put off before, in the second shard
    issue_id = planned_issue(database, 4, shard_size=2)
    for _ in range(2):
        send(database, issue_id, deferred, size=2)
    for _ in range(2):
        held = take_due(database, issue_id)
        results = [Result(n, DEFERRED, first_try=PAST, **in_doubt(n)) for n in range(held.from_n, held.to_n + 1)]
        settle_all(database, held, results)

    # When
    with database.write() as conn:
        assert deliveries.reopen(conn, issue_id, [DeliveryState.IN_DOUBT]) == 4

    # Then
    assert_books_add_up(database)
    for n in (1, 4):
        reopened = row(database, n)
        assert (reopened.claimed_at, reopened.fingerprint, reopened.first_try, reopened.claim) == (None,) * 4
    assert {take_due(database, issue_id).left for _ in range(2)} == {2}


def test_a_repeat_keeps_what_makes_it_the_same_mail(database: Database) -> None:
    issue_id = planned_issue(database, 1)
    held = take(database, issue_id)
    settle_all(database, held, [Result(1, WAITING, **in_doubt(1))])
    with database.write() as conn:
        deliveries.repeat_doubts(conn, issue_id, settle_s=-60)
    with database.read() as conn:
        (due,) = deliveries.read_due(conn, take_due(database, issue_id))
    assert (due.claimed_at, bytes(due.fingerprint or b"")) == (held.claimed_at, FINGERPRINT)


@pytest.mark.parametrize("state", ["cancelled", "draft"])
def test_nothing_is_set_waiting_in_an_issue_that_will_never_be_sent(database: Database, state: str) -> None:
    # Given: an order or the tick has looked, and the issue was cancelled since
    issue_id = planned_issue(database, 2)
    held = take(database, issue_id)
    settle_all(database, held, [Result(1, WAITING, **in_doubt(1)), Result(2, WAITING, **failed(2))])
    change(database, state=state)

    # When / Then
    with database.write() as conn:
        assert deliveries.reopen(conn, issue_id, [DeliveryState.FAILED, DeliveryState.IN_DOUBT]) == 0
        assert deliveries.repeat_doubts(conn, issue_id, settle_s=-60) == 0
    assert states(database) == ["in_doubt", "failed"]


def test_an_issue_cancelled_while_the_tick_looks_for_doubts_stays_cancelled(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 1)
    send(database, issue_id, in_doubt)
    change(database, doubt="never-miss")

    class Meanwhile:
        """The database, in which somebody cancels between the tick's list and its write."""

        read = staticmethod(database.read)

        def write(self) -> Any:
            change(database, state="cancelled")
            return database.write()

    # When
    assert repeat_never_miss(cast("Database", Meanwhile()), settle_s=-60) == 0

    # Then
    assert states(database) == ["in_doubt"]


def test_a_copy_of_a_careful_issue_in_doubt_does_not_keep_it_from_finishing(database: Database) -> None:
    issue_id = planned_issue(database, 1)
    send(database, issue_id, in_doubt)
    change(database, nudge_at=PAST, wait_reason="relay", wait_detail="silent")
    with database.write() as conn:
        assert issues.finish_done(conn) == [issue_id]
        finished = issues.get(conn, issue_id)
    assert (finished.nudge_at, finished.wait_reason, finished.wait_detail) == (None, "", "")


def test_a_listing_tells_when_a_withheld_copys_reader_left_this_publication(database: Database) -> None:
    # Given: 2 left before the copy did, 1 left after it, and 2 left another publication at another time
    issue_id = planned_issue(database, 3)
    skipped: dict[str, Any] = {"state": DeliveryState.SKIPPED, "reason": "opted_out", "tried": 0}
    send(database, issue_id, lambda n: skipped if n == 2 else {"state": DeliveryState.ACCEPTED, "code": 250})
    left = datetime(2026, 2, 3, tzinfo=UTC)
    with database.write() as conn:
        for reader, day in ((1, 0), (2, 1)):
            conn.execute(
                update(subscription)
                .where(subscription.c.subscriber_id == reader)
                .values(state="ended", ended_at=left + timedelta(days=day), ended_by="page")
            )
        conn.execute(
            subscription.insert().values(
                subscriber_id=2, publication_id=add_publication(conn, "walks"), state="ended", consent_source="",
                ended_at=left + timedelta(days=9), ended_by="page",
            )
        )  # fmt: skip

    # Then
    with database.read() as conn:
        assert [each.left_at for each in deliveries.list_by_state(conn, issue_id)] == [
            None, left + timedelta(days=1), None,
        ]  # fmt: skip


def test_an_issue_tells_when_its_next_copy_is_due_and_when_its_last_was_put_off(database: Database) -> None:
    # Given: 4 is taken, and was never put off
    issue_id = planned_issue(database, 4)
    day = datetime(2099, 1, 1, tzinfo=UTC)
    with database.read() as conn:
        assert deliveries.later_tries(conn, issue_id) == (None, None)

    def put_off(n: int) -> dict[str, Any]:
        if n == 4:
            return {"state": DeliveryState.ACCEPTED, "code": 250}
        return {"state": DeliveryState.DEFERRED, "next_try": day + timedelta(days=n),
                "first_try": day - timedelta(days=n)}  # fmt: skip

    # When
    send(database, issue_id, put_off)

    # Then
    with database.read() as conn:
        assert deliveries.later_tries(conn, issue_id) == (day + timedelta(days=1), day - timedelta(days=1))
