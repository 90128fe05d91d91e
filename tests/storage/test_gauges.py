"""The ledger's gauges: what an operator's graphs are drawn from. The same on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.support.ledgers import add_planned, planned_issue, send
from worker.domain.delivery import DeliveryState
from worker.metrics import LedgerReading
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries
from worker.storage.ledger.gauges import read_gauges
from worker.storage.schema import delivery, issue, shard, worker

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


def stand(database: Database, issue_id: int, **columns: Any) -> None:
    with database.write() as conn:
        conn.execute(update(issue).where(issue.c.id == issue_id).values(**columns))


def hours_ago(hours: int) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


@pytest.mark.parametrize(
    ("columns", "hours"),
    [
        ({"last_progress_at": timedelta(hours=2)}, 2),  # last moved two hours ago
        ({"last_progress_at": None, "started_at": timedelta(hours=3)}, 3),  # never moved: since it began
        ({"last_progress_at": timedelta(hours=2), "started_at": timedelta(hours=9)}, 2),
        ({"last_progress_at": timedelta(hours=-2)}, 0),  # a clock was set back: never less than nothing
        ({"last_progress_at": timedelta(hours=2), "state": "paused"}, 0),  # an editor wants it to wait
        ({"last_progress_at": timedelta(hours=2), "state": "finished", "finished_at": LATER}, 0),
    ],
)
def test_what_waits_is_as_old_as_its_issues_last_progress(
    database: Database, columns: dict[str, Any], hours: int
) -> None:
    # Given: beside an issue that has nothing left and lies still for longer
    waiting = planned_issue(database, 2)
    done = add_planned(database, "summer")
    send(database, done, lambda n: {"state": DeliveryState.ACCEPTED, "code": 250})
    stand(database, done, last_progress_at=hours_ago(20), started_at=hours_ago(20))

    # When
    # Reckoned now: a long run of tests collects its values long before.
    now = datetime.now(UTC)
    ago = {name: now - each if isinstance(each, timedelta) else each for name, each in columns.items()}
    stand(database, waiting, **ago)

    # Then
    seen = gauges(database).oldest_waiting_s
    assert hours * 3_600 <= seen < hours * 3_600 + 600
    assert isinstance(seen, float)


def test_a_copy_put_off_alarms_nobody_before_its_time_has_come(database: Database) -> None:
    # Given two issues of which everything is put off
    later, due = planned_issue(database, 2), add_planned(database, "summer")
    for issue_id in (later, due):
        send(database, issue_id, lambda n: {"state": DeliveryState.DEFERRED, "next_try": LATER, "first_try": LATER})
    stand(database, later, last_progress_at=hours_ago(5))
    stand(database, due, last_progress_at=hours_ago(3))
    assert gauges(database).oldest_waiting_s == 0.0

    # When the time of one copy comes
    with database.write() as conn:
        conn.execute(
            update(delivery).where(delivery.c.issue_id == due, delivery.c.n == 2).values(next_try=hours_ago(1))
        )

    # Then
    assert 3 * 3_600 <= gauges(database).oldest_waiting_s < 3 * 3_600 + 600


def test_audiences_that_differ_from_their_shards_are_counted_in_copies_whichever_way(database: Database) -> None:
    # Given: one that is still being planned counts nothing, nor one that has not begun
    first = planned_issue(database, 5, shard_size=2)
    second = add_planned(database, "summer", shard_size=3)
    for slug, columns in (("autumn", {"plan_cursor": 1}), ("winter", {"started_at": None, "state": "draft"})):
        stand(database, add_planned(database, slug), audience=50, **columns)
    assert gauges(database).discrepancy == 0

    # When
    stand(database, first, audience=7)
    stand(database, second, audience=4)

    # Then
    assert gauges(database).discrepancy == 3

    # When an issue lost its shards
    with database.write() as conn:
        conn.execute(shard.delete().where(shard.c.issue_id == first))

    # Then
    assert gauges(database).discrepancy == 8
