"""The ledger's gauges: what an operator's graphs are drawn from. The same on both databases."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import update

from tests.support.ledgers import planned_issue, send
from worker.domain.delivery import DeliveryState
from worker.metrics import LedgerReading
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries
from worker.storage.ledger.gauges import read_gauges
from worker.storage.schema import issue, worker

LATER = datetime(2099, 1, 2, tzinfo=UTC)


def gauges(database: Database) -> LedgerReading:
    with database.read() as conn:
        return read_gauges(conn)


def failed_or_deferred(n: int) -> dict[str, Any]:
    if n <= 5:
        return {"state": DeliveryState.FAILED, "reason": "too_big"}
    return {"state": DeliveryState.DEFERRED, "next_try": LATER, "first_try": LATER}


def test_reopened_copies_in_flight_are_not_taken_out_of_the_deferred(database: Database) -> None:
    # Given: ten deferred copies, and five that an editor's retry sends again at this moment
    issue_id = planned_issue(database, 15)
    send(database, issue_id, failed_or_deferred)
    with database.write() as conn:
        assert deliveries.reopen(conn, issue_id, [DeliveryState.FAILED]) == 5
    with database.write() as conn:
        claims.claim_retry(conn, issue_id, "w1", 10)

    # Then
    seen = gauges(database).deliveries
    assert (seen["waiting"], seen["sending"], seen["deferred"]) == (0, 5, 10)
    assert sum(seen.values()) == 15


def test_copies_of_a_cancelled_issue_in_flight_do_not_take_from_another_issues(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 3)
    with database.write() as conn:
        claims.claim_first(conn, issue_id, "w1", 2)
        conn.execute(update(issue).values(state="cancelled"))

    # Then: still seen as sending, and nothing below zero
    seen = gauges(database).deliveries
    assert (seen["waiting"], seen["sending"]) == (0, 2)


def test_every_state_has_its_series_even_without_anything_in_it(database: Database) -> None:
    planned_issue(database, 1)
    with database.write() as conn:
        conn.execute(update(worker).values(state="draining"))
    seen = gauges(database)
    assert dict(seen.workers) == {"ready": 0, "draining": 1, "lost": 0}
    assert set(seen.deliveries) == {*map(str, DeliveryState), "sending"}
    assert seen.issues["sending"] == 1
    assert seen.issues["paused"] == 0
