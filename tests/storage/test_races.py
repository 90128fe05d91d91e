"""Two processes in one moment, on PostgreSQL: SQLite's one writer lock keeps them apart by itself."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from tests.support.ledgers import assert_books_add_up, planned_issue, send
from worker.domain.delivery import DeliveryState
from worker.storage import workers
from worker.storage.engine import Database, open_database
from worker.storage.ledger import claims, deliveries, issues
from worker.storage.schema import delivery, issue, lease, shard

pytestmark = pytest.mark.needs("postgresql")

PAST = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    opened = open_database(postgresql_url)
    yield opened
    opened.close()


def deferred(_: int) -> dict[str, Any]:
    return {"state": DeliveryState.DEFERRED, "next_try": PAST, "first_try": PAST}


def cancel(database: Database, issue_id: int) -> None:
    with database.write() as conn:
        conn.execute(update(issue).where(issue.c.id == issue_id).values(state="cancelled", **issues.TO_SWEEP))
        deliveries.cancel_open(conn, issue_id)


def meets_a_lock(database: Database, work: Callable[[], None]) -> threading.Thread:
    """Start `work` in a thread; returns once it waits for a lock that somebody holds, or is done."""
    thread = threading.Thread(target=work)
    thread.start()
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while thread.is_alive():
        with database.read() as conn:
            if conn.execute(waiting).scalar_one():
                break
    return thread


@pytest.mark.parametrize("kind", ["first", "again", "retry"])
def test_a_cancel_lets_a_claim_that_is_being_made_end_as_it_will(database: Database, kind: str) -> None:
    # Given: a worker has claimed and not committed yet: new numbers, a range given back, or later tries
    issue_id = planned_issue(database, 6)
    if kind == "retry":
        send(database, issue_id, deferred, size=4)
    if kind == "again":
        with database.write() as conn:
            given_back = claims.claim_first(conn, issue_id, "w1", 4)
            assert given_back is not None
            claims.release(conn, given_back, "w1")
    claim = claims.claim_retry if kind == "retry" else claims.claim_first

    # When: an editor cancels in this moment
    with database.write() as conn:
        held = claim(conn, issue_id, "w1", 2)
        assert held is not None
        thread = meets_a_lock(database, lambda: cancel(database, issue_id))
    thread.join(20)

    # Then: what the claim holds is still its own, and nothing else is left
    with database.read() as conn:
        rows = conn.execute(select(delivery.c.n).where(claims.rows_of(held)).order_by(delivery.c.n)).scalars()
        assert list(rows) == [1, 2]
        totals = issues.totals(conn, issue_id)
    assert (totals.sending, totals.cancelled) == (2, 4)
    assert_books_add_up(database)
    with database.write() as conn:
        assert not claims.release(conn, held, "w1")
    with database.read() as conn:
        assert issues.totals(conn, issue_id).cancelled == 6


def test_an_issue_with_rows_opened_while_the_tick_looks_is_not_finished(database: Database) -> None:
    # Given: everything is sent
    issue_id = planned_issue(database, 1)
    send(database, issue_id, lambda _: {"state": DeliveryState.FAILED, "reason": "too_big"})
    opened: list[int] = []

    def open_a_row(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE issue") and not opened:
            opened.append(1)
            with database.write() as other:
                values = {"state": "waiting", "reason": None, "next_try": PAST}
                other.execute(update(delivery).values(**values))
                other.execute(update(shard).values(waiting=1, failed=0))

    # When
    event.listen(database.engine, "before_cursor_execute", open_a_row)
    with database.write() as conn:
        done = issues.finish_done(conn)

    # Then
    assert opened == [1]
    assert done == []
    assert_books_add_up(database)


def test_of_two_that_take_a_lease_which_is_over_one_gets_it(database: Database) -> None:
    # Given
    with database.write() as conn:
        workers.take_lease(conn, "tick", "w1", 60)
        conn.execute(update(lease).values(until=datetime.now(UTC) - timedelta(seconds=1)))
    faster: list[bool] = []

    def take_it(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE lease") and not faster:
            faster.append(False)
            with database.write() as other:
                faster[0] = workers.take_lease(other, "tick", "w2", 60)

    # When
    event.listen(database.engine, "before_cursor_execute", take_it)
    with database.write() as conn:
        slower = workers.take_lease(conn, "tick", "w3", 60)

    # Then
    assert (faster, slower) == ([True], False)


def test_two_retries_in_one_moment_share_the_due_copies(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 4)
    send(database, issue_id, deferred)

    # When: the second looks while the first has not committed
    with database.write() as first, database.write() as second:
        one = claims.claim_retry(first, issue_id, "w1", 2)
        other = claims.claim_retry(second, issue_id, "w1", 4)

    # Then: nobody waits, and no copy is held twice
    assert one is not None
    assert other is not None
    assert (one.left, other.left) == (2, 2)
    assert_books_add_up(database)
