"""Settlements: what became of a claim's rows, written once under its id with the counters. On both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.ledgers import FINGERPRINT, assert_books_add_up, numbers, planned_issue
from worker.domain.delivery import DeliveryState
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries, issues, settlements
from worker.storage.ledger.claims import Claim
from worker.storage.ledger.settlements import Result
from worker.storage.schema import claim, delivery, reply

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
WAITING = DeliveryState.WAITING

ACCEPTED = Result(0, WAITING, DeliveryState.ACCEPTED, code=250, enhanced="2.0.0", provider="gmail")
BOUNCED = Result(
    0, WAITING, DeliveryState.BOUNCED, "at_handover", code=550, enhanced="5.1.1", phase="rcpt", text="550 who?"
)
DEFERRED = Result(
    0, WAITING, DeliveryState.DEFERRED, code=451, next_try=NOW + timedelta(minutes=5), first_try=NOW, text="451 later"
)
IN_DOUBT = Result(0, WAITING, DeliveryState.IN_DOUBT, "line_broke", fingerprint=FINGERPRINT, phase="body", text="broke")
FAILED = Result(0, WAITING, DeliveryState.FAILED, "too_big", phase="local", text="too large")
SKIPPED = Result(0, WAITING, DeliveryState.SKIPPED, "opted_out", tried=0)
EXPIRED = Result(0, WAITING, DeliveryState.EXPIRED, code=451, first_try=NOW)
EVERY = (ACCEPTED, BOUNCED, DEFERRED, IN_DOUBT, FAILED, SKIPPED, EXPIRED)


@pytest.fixture
def held(database: Database) -> Claim:
    """A claim of ten rows."""
    issue_id = planned_issue(database, 30, shard_size=12)
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", 10)
    assert held is not None
    return held


def settle(database: Database, held: Claim, results: list[Result], **kw: Any) -> int | None:
    with database.write() as conn:
        return settlements.settle(conn, held, "w1", results, **kw)


def row(database: Database, n: int) -> Any:
    with database.read() as conn:
        return conn.execute(select(delivery).where(delivery.c.n == n)).one()


def left(database: Database, held: Claim) -> int | None:
    with database.read() as conn:
        return conn.execute(select(claim.c.left).where(claim.c.id == held.id)).scalar()


def test_each_result_leaves_its_row_with_the_columns_its_state_requires(database: Database, held: Claim) -> None:
    # When: all kinds in one settlement
    assert settle(database, held, [replace(result, n=n) for n, result in enumerate(EVERY, 1)]) == len(EVERY)

    # Then
    for n, result in enumerate(EVERY, 1):
        stored = row(database, n)
        assert (stored.state, stored.reason, stored.code, stored.enhanced) == (
            result.state, result.reason, result.code, result.enhanced,
        )  # fmt: skip
        assert (stored.next_try, stored.first_try, stored.tries) == (result.next_try, result.first_try, result.tried)
        assert stored.at is not None
    doubt = row(database, 4)
    assert (doubt.claim, doubt.claimed_at, doubt.doubts) == (held.id, held.claimed_at, 1)
    assert bytes(doubt.fingerprint) == FINGERPRINT
    assert row(database, 1).claim is None
    assert left(database, held) == 3
    with database.read() as conn:
        totals = issues.totals(conn, held.issue_id)
    assert (totals.accepted, totals.deferred, totals.sending, totals.waiting) == (1, 1, 3, 20)
    assert_books_add_up(database)


def test_the_relays_words_are_kept_for_all_but_the_accepted(database: Database, held: Claim) -> None:
    settle(database, held, [replace(result, n=n) for n, result in enumerate(EVERY, 1)])
    with database.read() as conn:
        kept = conn.execute(select(reply.c.n, reply.c.text, reply.c.try_no).order_by(reply.c.n)).all()
    assert [tuple(each) for each in kept] == [
        (2, "550 who?", 1), (3, "451 later", 1), (4, "broke", 1), (5, "too large", 1),
    ]  # fmt: skip


def test_the_last_result_ends_the_claim(database: Database, held: Claim) -> None:
    settle(database, held, [replace(ACCEPTED, n=n) for n in numbers(held)])
    assert left(database, held) is None
    with database.read() as conn:
        assert claims.count_owned(conn, held.issue_id) == 0
    assert_books_add_up(database)


def test_a_result_is_written_only_under_a_claim_that_is_ours(database: Database, held: Claim) -> None:
    # Given: we were taken for dead
    with database.write() as conn:
        claims.lose(conn, held, "host_lost")

    # When
    assert settle(database, held, [replace(ACCEPTED, n=1)]) is None

    # Then
    assert row(database, 1).state == "in_doubt"
    assert_books_add_up(database)


def test_a_result_for_a_row_of_somebody_else_changes_nothing(database: Database, held: Claim) -> None:
    with pytest.raises(AssertionError, match="1 of 2 rows"):
        settle(database, held, [replace(ACCEPTED, n=1), replace(ACCEPTED, n=25, old=DeliveryState.DEFERRED)])
    assert row(database, 1).state == "waiting"
    assert left(database, held) == 10


def test_a_result_for_a_row_that_was_in_another_state_changes_nothing(database: Database, held: Claim) -> None:
    with pytest.raises(AssertionError, match="1 of 2 rows"):
        settle(database, held, [replace(ACCEPTED, n=1), replace(ACCEPTED, n=2, old=DeliveryState.DEFERRED)])
    assert row(database, 2).state == "waiting"
    assert left(database, held) == 10


def test_a_settlement_tried_again_leaves_out_what_it_had_written(database: Database, held: Claim) -> None:
    # Given: a commit whose answer never came
    results = [replace(EVERY[n % len(EVERY)], n=n) for n in range(1, 6)]
    settle(database, held, results)

    # When
    assert settle(database, held, [*results, replace(ACCEPTED, n=6)], again=True) == 1
    assert settle(database, held, results, again=True) == 0

    # Then
    assert left(database, held) == 4
    assert [row(database, n).tries for n in range(1, 7)] == [result.tried for result in [*results, ACCEPTED]]
    assert_books_add_up(database)


def test_a_retry_is_settled_row_by_row_under_its_claim(database: Database, held: Claim) -> None:
    # Given
    settle(database, held, [replace(DEFERRED, n=n, next_try=NOW) for n in numbers(held)])
    with database.write() as conn:
        again = claims.claim_retry(conn, held.issue_id, "w1", 10)
    assert again is not None

    # When
    with database.read() as conn:
        due = deliveries.read_due(conn, again)
    results = [Result(each.recipient.n, each.state, DeliveryState.ACCEPTED, code=250) for each in due]
    settle(database, again, results[:4])
    assert left(database, again) == 6
    settle(database, again, results[4:])

    # Then
    assert {row(database, n).tries for n in numbers(held)} == {2}
    assert {row(database, n).claim for n in numbers(held)} == {None}
    assert_books_add_up(database)


def test_a_repeat_keeps_its_date_and_fingerprint_until_it_is_accepted(database: Database, held: Claim) -> None:
    # Given: a copy in doubt, reopened
    settle(database, held, [replace(IN_DOUBT, n=1)])
    with database.write() as conn:
        assert deliveries.repeat_doubts(conn, held.issue_id, settle_s=-1) == 1
        first = claims.claim_retry(conn, held.issue_id, "w1", 10)
    assert first is not None

    # When: it is put off
    settle(database, first, [replace(DEFERRED, n=1, next_try=NOW)])

    # Then
    stored = row(database, 1)
    assert (stored.claimed_at, bytes(stored.fingerprint)) == (held.claimed_at, FINGERPRINT)
    with database.write() as conn:
        second = claims.claim_retry(conn, held.issue_id, "w1", 10)
    assert second is not None
    with database.read() as conn:
        (due,) = deliveries.read_due(conn, second)
    assert due.claimed_at == held.claimed_at

    # When: it is lost once more
    settle(database, second, [replace(IN_DOUBT, n=1, old=DeliveryState.DEFERRED)])

    # Then: dated as the first copy
    stored = row(database, 1)
    assert (stored.claimed_at, stored.claim, stored.doubts) == (held.claimed_at, second.id, 2)


def test_a_deferred_row_that_was_never_in_doubt_gets_no_date(database: Database, held: Claim) -> None:
    settle(database, held, [replace(DEFERRED, n=1)])
    assert row(database, 1).claimed_at is None
    assert row(database, 1).fingerprint is None


def test_an_empty_settlement_of_our_claim_is_no_loss(database: Database, held: Claim) -> None:
    assert settle(database, held, []) == 0
    with database.write() as conn:
        conn.execute(update(claim).values(owner="w2"))
    assert settle(database, held, []) is None


def test_a_refusal_keeps_where_in_the_dialogue_it_came(database: Database, held: Claim) -> None:
    settle(database, held, [replace(BOUNCED, n=1, phase="handshaking, longer than the column")])
    with database.read() as conn:
        assert conn.execute(select(reply.c.phase)).scalar_one() == "handshaking,"
