"""The ledger's rows: the transition table, the CHECKs and each UPDATE say the same. On both databases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, exc, select, update

from tests.support.ledgers import FINGERPRINT, add_worker, assert_books_add_up, planned_issue
from worker.domain.delivery import TRANSITIONS, DeliveryState
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries, issues
from worker.storage.schema import delivery, issue, shard, subscriber, subscription

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)

LEGAL: dict[DeliveryState, dict[str, Any]] = {
    DeliveryState.WAITING: {},
    DeliveryState.ACCEPTED: {"at": NOW, "tries": 1},
    DeliveryState.BOUNCED: {"at": NOW, "tries": 1, "reason": "at_handover"},
    DeliveryState.DEFERRED: {"at": NOW, "next_try": NOW, "first_try": NOW},
    DeliveryState.IN_DOUBT: {
        "at": NOW, "reason": "line_broke", "claim": 7, "claimed_at": NOW, "doubts": 1, "fingerprint": FINGERPRINT,
    },
    DeliveryState.FAILED: {"at": NOW, "reason": "too_big"},
    DeliveryState.SKIPPED: {"at": NOW, "reason": "opted_out"},
    DeliveryState.CANCELLED: {"at": NOW},
    DeliveryState.EXPIRED: {"at": NOW},
}  # fmt: skip
"""The columns each state requires, and no more."""

BLANK = {
    "reason": None, "at": None, "next_try": None, "first_try": None, "claim": None, "claimed_at": None, "doubts": 0,
    "tries": 0, "fingerprint": None,
}  # fmt: skip


def put(conn: Connection, state: DeliveryState, **columns: Any) -> None:
    """Row 1 in a state, as if it always had been there."""
    values = {**BLANK, **LEGAL[state], **columns}
    conn.execute(update(delivery).where(delivery.c.n == 1).values(state=str(state), **values))


def state_of(database: Database) -> str:
    with database.read() as conn:
        return str(conn.execute(select(delivery.c.state).where(delivery.c.n == 1)).scalar_one())


@pytest.fixture
def ledger(database: Database) -> Database:
    """One issue with one row."""
    planned_issue(database, 1)
    return database


def in_state(database: Database, state: DeliveryState) -> None:
    """Row 1 in a state, with the shard's counters; every row was reached by a claim."""
    with database.write() as conn:
        put(conn, state)
        counters = {str(each): int(each is state) for each in DeliveryState}
        conn.execute(update(shard).values(**counters, next_n=2))


@pytest.mark.parametrize("old", TRANSITIONS)
def test_every_allowed_move_passes_the_checks(ledger: Database, old: DeliveryState) -> None:
    for new in TRANSITIONS[old]:
        with ledger.write() as conn:
            put(conn, old)
            put(conn, new)


REQUIRED = [(state, column) for state, columns in LEGAL.items() for column in columns if column != "fingerprint"]


@pytest.mark.parametrize(("state", "column"), REQUIRED, ids=[f"{state}-{column}" for state, column in REQUIRED])
def test_a_row_without_a_column_its_state_requires_is_refused(
    ledger: Database, state: DeliveryState, column: str
) -> None:
    with pytest.raises(exc.IntegrityError), ledger.write() as conn:
        put(conn, state, **{column: BLANK[column]})


@pytest.mark.parametrize(
    ("state", "columns"),
    [
        (DeliveryState.ACCEPTED, {"reason": "too_big"}),
        (DeliveryState.ACCEPTED, {"next_try": NOW}),
        (DeliveryState.ACCEPTED, {"claim": 7}),
        (DeliveryState.WAITING, {"reason": "opted_out"}),
        (DeliveryState.SKIPPED, {"reason": "too_big"}),
        (DeliveryState.SKIPPED, {"reason": "because"}),
        (DeliveryState.BOUNCED, {"reason": "opted_out"}),
        (DeliveryState.FAILED, {"reason": "line_broke"}),
        (DeliveryState.IN_DOUBT, {"reason": "too_big"}),
        (DeliveryState.EXPIRED, {"next_try": NOW}),
    ],
)
def test_a_row_with_what_its_state_excludes_is_refused(
    ledger: Database, state: DeliveryState, columns: dict[str, Any]
) -> None:
    with pytest.raises(exc.IntegrityError), ledger.write() as conn:
        put(conn, state, **columns)


def test_an_unknown_state_is_refused(ledger: Database) -> None:
    with pytest.raises(exc.IntegrityError), ledger.write() as conn:
        conn.execute(update(delivery).values(state="sending", at=NOW))


def reopen(conn: Connection) -> None:
    deliveries.reopen(conn, 1, [DeliveryState.FAILED, DeliveryState.BOUNCED, DeliveryState.IN_DOUBT])


def repeat(conn: Connection) -> None:
    deliveries.repeat_doubts(conn, 1, settle_s=0)


def cancel(conn: Connection) -> None:
    deliveries.cancel_open(conn, 1)


def lose_a_retry(conn: Connection) -> None:
    held = claims.claim_retry(conn, 1, "w1", 10)
    if held is not None:
        claims.lose(conn, held, "worker_lost")


def lose_a_range(conn: Connection) -> None:
    conn.execute(update(shard).values(next_n=1))
    held = claims.claim_first(conn, 1, "w1", 10)
    assert held is not None
    claims.lose(conn, held, "worker_lost")


def give_back_a_range(conn: Connection) -> None:
    conn.execute(update(shard).values(next_n=1))
    held = claims.claim_first(conn, 1, "w1", 10)
    assert held is not None
    claims.release(conn, held, "w1")


def give_back_after_a_cancel(conn: Connection) -> None:
    conn.execute(update(shard).values(next_n=1))
    held = claims.claim_first(conn, 1, "w1", 10)
    assert held is not None
    conn.execute(update(issue).values(state="cancelled"))
    claims.release(conn, held, "w1")


UPDATES: list[tuple[Callable[[Connection], None], dict[DeliveryState, DeliveryState]]] = [
    (
        reopen,
        dict.fromkeys((DeliveryState.FAILED, DeliveryState.BOUNCED, DeliveryState.IN_DOUBT), DeliveryState.WAITING),
    ),
    (repeat, {DeliveryState.IN_DOUBT: DeliveryState.WAITING}),
    (cancel, dict.fromkeys((DeliveryState.WAITING, DeliveryState.DEFERRED), DeliveryState.CANCELLED)),
    (lose_a_retry, {DeliveryState.DEFERRED: DeliveryState.IN_DOUBT}),
    (lose_a_range, {DeliveryState.WAITING: DeliveryState.IN_DOUBT}),
    (give_back_a_range, {}),
    (give_back_after_a_cancel, {DeliveryState.WAITING: DeliveryState.CANCELLED}),
]


@pytest.mark.parametrize("state", list(DeliveryState))
@pytest.mark.parametrize(("step", "moves"), UPDATES, ids=[step.__name__ for step, _ in UPDATES])
def test_each_update_moves_only_rows_in_the_states_it_names(
    ledger: Database,
    step: Callable[[Connection], None],
    moves: dict[DeliveryState, DeliveryState],
    state: DeliveryState,
) -> None:
    # Given
    in_state(ledger, state)

    # When
    with ledger.write() as conn:
        step(conn)

    # Then
    assert state_of(ledger) == moves.get(state, state)
    assert state not in moves or moves[state] in TRANSITIONS[state]
    with ledger.read() as conn:
        assert issues.totals(conn, 1).adds_up


def test_a_claim_reads_whom_its_rows_are_for_and_who_must_not_get_them(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 4)
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", 10)
        conn.execute(update(subscription).where(subscription.c.id == 2).values(paused_until=NOW + timedelta(days=9999)))
        conn.execute(
            update(subscriber).where(subscriber.c.id == 3).values(address=None, address_hash=None, erased_at=NOW)
        )
        conn.execute(update(subscription).where(subscription.c.id == 4).values(consent_at=NOW, generation=3))
    assert held is not None

    # When
    with database.read() as conn:
        due = deliveries.read_due(conn, held)
        sending, stops = deliveries.read_stops(conn, held, "w1")

    # Then
    assert [each.skip for each in due] == [None, "paused", "erased", None]
    assert (sending, stops) == (True, {2: "paused", 3: "erased"})
    assert due[0].recipient.address == "reader1@example.org"
    assert (due[3].recipient.generation, due[3].recipient.consent_date) == (3, "2026-11-02")


def test_a_look_says_when_the_issue_or_the_claim_is_no_longer_ours(database: Database) -> None:
    issue_id = planned_issue(database, 4)
    with database.write() as conn:
        add_worker(conn, "w2")
        held = claims.claim_first(conn, issue_id, "w1", 10)
    assert held is not None
    with database.read() as conn:
        assert deliveries.read_stops(conn, held, "w2")[0] is False
    with database.write() as conn:
        conn.execute(update(issue).values(state="paused"))
        assert deliveries.read_stops(conn, held, "w1")[0] is False
        conn.execute(update(issue).values(state="sending"))
        claims.lose(conn, held, "host_lost")
        assert deliveries.read_stops(conn, held, "w1")[0] is False


def test_a_listing_shows_what_is_being_sent(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 6)
    with database.write() as conn:
        claims.claim_first(conn, issue_id, "w1", 2)

    # When
    with database.read() as conn:
        everything = deliveries.list_by_state(conn, issue_id)
        sending = deliveries.list_by_state(conn, issue_id, "sending")
        page = deliveries.list_by_state(conn, issue_id, "waiting", after_n=4)

    # Then
    assert [each.state for each in everything] == ["sending"] * 2 + ["waiting"] * 4
    assert [each.n for each in sending] == [1, 2]
    assert [each.n for each in page] == [5, 6]
    assert_books_add_up(database)


def test_a_cancel_leaves_what_is_being_sent(database: Database) -> None:
    # Given: one range held, one given back, the rest not begun
    issue_id = planned_issue(database, 30, shard_size=12)
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", 5)
        other = claims.claim_first(conn, issue_id, "w1", 5)
        assert held is not None
        assert other is not None
        claims.release(conn, other, "w1")

    # When
    with database.write() as conn:
        conn.execute(update(issue).values(state="cancelled"))
        assert deliveries.cancel_open(conn, issue_id) == 25
        assert deliveries.cancel_open(conn, issue_id) == 0
        assert claims.never_claimed(conn, issue_id) == []

    # Then
    with database.read() as conn:
        totals = issues.totals(conn, issue_id)
    assert (totals.cancelled, totals.sending, totals.waiting) == (25, 5, 0)
    assert_books_add_up(database)
