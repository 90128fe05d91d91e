"""What time brings about: holds, wished times, nudges, waits and leases. The same on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import exc, select, update

from tests.support.ledgers import add_issue, add_planned, add_publication, add_readers, add_worker, planned_issue, send
from worker.dispatch import reconcile
from worker.domain.delivery import DeliveryState
from worker.domain.issue import WaitReason
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.ledger import audiences, claims, deliveries, issues
from worker.storage.schema import delivery, figure, issue, lease, worker

PAST = datetime(2026, 1, 2, tzinfo=UTC)
FAR = datetime(2099, 1, 2, tzinfo=UTC)
GRACE = timedelta(hours=1)


def deferred(_: int) -> dict[str, Any]:
    later = datetime.now(UTC) + timedelta(hours=1)
    return {"state": DeliveryState.DEFERRED, "next_try": later, "first_try": PAST}


def change(database: Database, **columns: Any) -> None:
    with database.write() as conn:
        conn.execute(update(issue).values(**columns))


def needing_nudges(database: Database) -> list[tuple[int, bool]]:
    with database.read() as conn:
        return issues.without_nudge(conn, 5.0)


def stored(database: Database) -> Any:
    with database.read() as conn:
        return conn.execute(select(issue).where(issue.c.id == 1)).one()


# Holds and wished times.


@pytest.mark.parametrize(
    ("late_s", "state"), [(-60, "scheduled"), (60, "holding"), (3_500, "holding"), (3_700, "held_late")]
)
def test_a_scheduled_issue_begins_its_hold_in_time_and_an_old_one_asks(
    database: Database, late_s: int, state: str
) -> None:
    # Given
    planned_issue(database, 1)
    change(database, state="scheduled", due_at=datetime.now(UTC) - timedelta(seconds=late_s), hold_s=600)

    # When
    with database.write() as conn:
        now = database.now(conn)
        held, late = issues.due_to_hold(conn, GRACE)

    # Then: with its whole hold still to come
    assert (held, late) == ([1] if state == "holding" else [], [1] if state == "held_late" else [])
    assert stored(database).state == state
    if state == "holding":
        assert timedelta(seconds=590) < stored(database).hold_until - now < timedelta(seconds=620)
    if state == "held_late":
        assert stored(database).stopped_reason == "missed its time by 1 h 1 min"


def test_nothing_begins_before_its_hold_is_over_or_in_another_state(database: Database) -> None:
    # Given
    planned_issue(database, 1)
    change(database, state="holding", hold_until=datetime.now(UTC) + timedelta(minutes=1))
    with database.write() as conn:
        assert issues.start_held(conn) == []
    for state in ("paused", "cancelled", "finished", "draft"):
        change(database, state=state, hold_until=PAST, finished_at=PAST, plan_cursor=None)
        with database.write() as conn:
            assert issues.start_held(conn) == []


def test_an_issue_taken_up_again_is_planned_from_its_beginning(database: Database) -> None:
    # Given: an undone draft that had begun to be planned
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 3)
        issue_id = add_issue(conn, publication_id, state="holding", hold_until=PAST, plan_cursor=2, plan_until=2)

    # When
    with database.write() as conn:
        assert issues.start_held(conn) == [issue_id]

    # Then: everybody is in it, and a plan that nobody begins is noticed
    assert stored(database).last_progress_at is not None
    change(database, last_progress_at=PAST)
    assert needing_nudges(database) == [(issue_id, True)]
    with database.write() as conn:
        assert audiences.plan_page(conn, issue_id, 10, 10) == (3, True)
    assert stored(database).last_progress_at > PAST


@pytest.mark.parametrize(
    ("late", "words"),
    [
        ({"minutes": 61}, "1 h 1 min"),
        ({"hours": 26, "minutes": 59, "seconds": 58}, "26 h 59 min"),
        ({"hours": 2, "seconds": 5}, "2 h 0 min"),
        ({"minutes": 59, "seconds": 57}, "59 min"),
        ({"minutes": 1, "seconds": 5}, "1 min"),
        ({"seconds": 5}, "0 min"),
    ],
)
def test_by_how_much_an_issue_missed_its_time_is_told_in_hours_and_minutes(
    database: Database, late: dict[str, int], words: str
) -> None:
    # Given
    planned_issue(database, 1)
    with database.write() as conn:
        due_at = database.now(conn) - timedelta(**late)
    change(database, state="scheduled", due_at=due_at)

    # When
    with database.write() as conn:
        assert issues.due_to_hold(conn, timedelta(0)) == ([], [1])

    # Then
    assert stored(database).stopped_reason == f"missed its time by {words}"


@pytest.mark.parametrize(
    ("state", "starts"),
    [("holding", True), ("scheduled", True), ("held_late", True), ("sending", False), ("paused", False),
     ("finished", False), ("cancelled", False), ("draft", False)],
)  # fmt: skip
def test_an_issue_that_had_begun_in_a_younger_database_is_planned_at_once(
    database: Database, state: str, starts: bool
) -> None:
    # Given: another stands alike
    planned_issue(database, 1)
    add_planned(database, "summer")
    stands = {"state": state, "hold_until": FAR, "due_at": FAR, "finished_at": PAST, "started_at": PAST,
              "plan_cursor": None, "plan_until": 3, "stopped_reason": "missed its time"}  # fmt: skip
    change(database, **stands)

    # When
    with database.write() as conn:
        issues.start_at_once(conn, 1)

    # Then
    now = stored(database)
    with database.read() as conn:
        assert conn.execute(select(issue.c.state, issue.c.plan_cursor).where(issue.c.id == 2)).one() == (state, None)
    if starts:
        assert (now.state, now.plan_cursor, now.plan_until, now.stopped_reason) == ("sending", 0, None, "")
        assert now.started_at > PAST
        assert now.last_progress_at > PAST
    else:
        assert (now.state, now.plan_cursor, now.plan_until, now.started_at) == (state, None, 3, PAST)


# Nudges.


@pytest.mark.parametrize("noted_at", [None, PAST, FAR])
def test_progress_is_noted_as_of_now_whatever_was_noted_before(database: Database, noted_at: datetime | None) -> None:
    # Given: a time to come was noted before a clock was set back
    planned_issue(database, 1)
    change(database, last_progress_at=noted_at)

    # When
    with database.write() as conn:
        issues.touch_progress(conn, 1)
        now = database.now(conn)

    # Then
    assert abs(stored(database).last_progress_at - now) < timedelta(seconds=60)


def test_progress_is_noted_at_most_once_a_second(database: Database) -> None:
    # Given: noted a moment ahead, as a second machine's clock may do
    planned_issue(database, 1)
    ahead = datetime.now(UTC) + timedelta(seconds=30)
    change(database, last_progress_at=ahead)

    # When
    with database.write() as conn:
        issues.touch_progress(conn, 1)

    # Then
    assert stored(database).last_progress_at == ahead


def test_what_another_issue_has_left_is_no_reason_for_a_nudge(database: Database) -> None:
    # Given an issue that is all taken, beside a paused one with a range given back and a later try that is due
    taken = planned_issue(database, 3)
    other = add_planned(database, "summer")
    send(database, other, lambda n: {**deferred(n), "next_try": PAST}, size=1)
    with database.write() as conn:
        given_back = claims.claim_first(conn, other, "w1", 1)
        assert given_back is not None
        assert claims.release(conn, given_back, "w1")
        assert claims.claim_first(conn, taken, "w1", 3) is not None
        conn.execute(update(issue).where(issue.c.id == other).values(state="paused"))
    change(database, last_claim_at=PAST, last_progress_at=PAST)

    # Then
    assert needing_nudges(database) == []


def test_a_dead_planner_is_noticed_while_only_later_tries_are_left(database: Database) -> None:
    # Given: one page of the plan is written and put off, then its planner died
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 4)
        issue_id = add_issue(conn, publication_id)
        add_worker(conn)
    with database.write() as conn:
        audiences.plan_page(conn, issue_id, 2, 2)
    send(database, issue_id, deferred)
    assert needing_nudges(database) == []

    # When
    change(database, last_progress_at=PAST, last_claim_at=datetime.now(UTC))

    # Then
    assert needing_nudges(database) == [(issue_id, True)]


def test_the_last_copy_of_a_shard_is_not_forgotten(database: Database) -> None:
    issue_id = planned_issue(database, 2)
    send(database, issue_id, lambda _: {"state": DeliveryState.ACCEPTED}, size=1)
    change(database, last_claim_at=PAST)
    assert needing_nudges(database) == [(issue_id, False)]


def test_an_issue_all_of_whose_copies_are_being_sent_needs_no_nudge(database: Database) -> None:
    # Given: beside one that is finished with its numbers still open
    issue_id = planned_issue(database, 2)
    send(database, issue_id, lambda n: {**deferred(n), "next_try": PAST})
    with database.write() as conn:
        assert claims.claim_retry(conn, issue_id, "w1", 5) is not None
    add_planned(database, "stopped", state="paused", plan_cursor=None)
    change(database, last_claim_at=PAST, last_progress_at=PAST)
    assert needing_nudges(database) == []


@pytest.mark.parametrize("state", ["paused", "finished", "cancelled"])
def test_an_issue_that_is_not_being_sent_is_never_nudged(database: Database, state: str) -> None:
    planned_issue(database, 2)
    change(database, state=state, finished_at=PAST, last_claim_at=PAST, nudge_at=PAST)
    assert needing_nudges(database) == []
    change(database, nudge_at=None)
    assert needing_nudges(database) == []


def test_an_issue_that_waits_is_not_nudged_before_its_time(database: Database) -> None:
    planned_issue(database, 2)
    change(database, last_claim_at=PAST)
    with database.write() as conn:
        issues.wait_until(conn, 1, 60, WaitReason.RELAY, "the relay is silent")
    assert needing_nudges(database) == []


def test_each_nudge_makes_all_older_ones_worthless(database: Database) -> None:
    issue_id = planned_issue(database, 1)
    with database.write() as conn:
        numbers = [issues.bump_nudge(conn, issue_id) for _ in range(3)]
        assert issues.get(conn, issue_id).nudge_no == numbers[-1]
    assert numbers == [1, 2, 3]


def test_a_nudge_ends_the_wait_it_was_sent_for(database: Database) -> None:
    issue_id = planned_issue(database, 1)
    with database.write() as conn:
        issues.wait_until(conn, issue_id, 60, WaitReason.RELAY, "the relay is silent")
        issues.bump_nudge(conn, issue_id)
        there = issues.get(conn, issue_id)
    assert (there.nudge_at, there.wait_reason, there.wait_detail) == (None, WaitReason.NONE, "")


def test_a_claim_ends_the_wait_and_is_noted_once_a_second(database: Database) -> None:
    # Given: never claimed, and waiting
    issue_id = planned_issue(database, 1)
    with database.write() as conn:
        issues.wait_until(conn, issue_id, 60, WaitReason.RATE_LIMIT, "20/s")
        issues.touch_claimed(conn, issue_id)
        there = issues.get(conn, issue_id)
    assert (there.nudge_at, there.wait_reason, there.wait_detail) == (None, WaitReason.NONE, "")
    noted_at = stored(database).last_claim_at
    assert noted_at is not None

    # Then: a wait that begins in the same second stays, one that is older does not
    with database.write() as conn:
        issues.wait_until(conn, issue_id, 60, WaitReason.RATE_LIMIT, "20/s")
        conn.execute(update(issue).values(last_claim_at=datetime.now(UTC) + timedelta(seconds=30)))
        issues.touch_claimed(conn, issue_id)
    assert stored(database).wait_reason == "rate_limit"
    change(database, last_claim_at=PAST)
    with database.write() as conn:
        issues.touch_claimed(conn, issue_id)
    assert stored(database).wait_reason == ""
    assert stored(database).last_claim_at >= noted_at


def test_a_paused_issue_gets_neither_wait_nor_claim_noted(database: Database) -> None:
    planned_issue(database, 1)
    change(database, state="paused", last_claim_at=PAST)
    with database.write() as conn:
        issues.wait_until(conn, 1, 60, WaitReason.RELAY, "the relay is silent")
        issues.touch_claimed(conn, 1)
    there = stored(database)
    assert (there.nudge_at, there.wait_reason, there.last_claim_at) == (None, "", PAST)


def test_a_copy_due_at_this_moment_is_no_wait(database: Database) -> None:
    issue_id = planned_issue(database, 1)
    send(database, issue_id, lambda n: {**deferred(n), "next_try": PAST})
    with database.read() as conn:
        wait_s = deliveries.next_try_in(conn, issue_id)
    assert wait_s is not None
    assert wait_s < 0


# Which issue is meant.


def test_a_slug_of_digits_is_a_slug_before_it_is_a_number(database: Database) -> None:
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_issue(conn, publication_id, "2")
        add_issue(conn, publication_id, "summer")
        assert issues.get(conn, "2").id == 1
        assert issues.get(conn, 2).id == 2


def test_the_latest_issue_is_the_one_queued_last(database: Database) -> None:
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_issue(conn, publication_id, "draft", queued_at=PAST, state="draft")
        add_issue(conn, publication_id, "summer", queued_at=PAST + timedelta(days=1))
        assert issues.get(conn, "latest").slug == "summer"
        assert [each.slug for each in issues.list_issues(conn)] == ["summer", "draft"]
        assert add_issue(conn, publication_id, "draft", queued_at=PAST + timedelta(days=2)) == 1
        assert issues.get(conn, "latest").slug == "draft"
        assert [each.slug for each in issues.list_issues(conn)] == ["draft", "summer"]


def test_a_slug_that_is_being_sent_is_not_queued_over(database: Database) -> None:
    planned_issue(database, 1)
    with pytest.raises(exc.IntegrityError), database.write() as conn:
        add_issue(conn, 1, "spring", subject="Another")
    assert stored(database).subject == "Spring tides"


def test_a_draft_queued_again_shows_none_of_its_old_pictures(database: Database) -> None:
    picture = {"media": "a.png", "alt": "", "caption": "", "credit": ""}
    with database.write() as conn:
        issue_id = add_issue(conn, add_publication(conn), state="draft")
        conn.execute(figure.insert().values(id="old", issue_id=issue_id, **picture))
        assert add_issue(conn, 1) == issue_id
        assert conn.execute(select(figure.c.id)).all() == []


# Worker rows and leases.


def test_a_beat_says_when_it_was_heard(database: Database) -> None:
    with database.write() as conn:
        add_worker(conn)
        conn.execute(update(worker).values(seen_at=PAST))
        workers.beat(conn, "w1", workers.WorkerState.READY, None)
        (there,) = workers.list_workers(conn)
    assert there.seen_at > PAST


def test_a_lease_renewed_lasts_longer_and_renews_no_other(database: Database) -> None:
    # Given: two leases of one process, both nearly over
    with database.write() as conn:
        for name in ("tick", "other"):
            assert workers.take_lease(conn, name, "w1", 60)
        conn.execute(update(lease).values(until=datetime.now(UTC) + timedelta(seconds=5)))

    # When
    with database.write() as conn:
        assert workers.take_lease(conn, "tick", "w1", 60)
        left = {row.name: row.until - datetime.now(UTC) for row in conn.execute(select(lease))}

    # Then
    assert left["tick"] > timedelta(seconds=30) > left["other"]


# Times that only a clock which stood wrong could set.

FAR = datetime.now(UTC) + timedelta(days=365)


def test_a_lease_from_before_the_clock_was_set_back_is_free(database: Database) -> None:
    with database.write() as conn:
        assert workers.take_lease(conn, "tick", "w1", 3)
        conn.execute(update(lease).values(until=FAR))
        assert workers.take_lease(conn, "tick", "w2", 3)
        assert not workers.take_lease(conn, "tick", "w1", 3)


@pytest.mark.parametrize("column", ["last_claim_at", "last_nudged_at"])
def test_a_claim_noted_in_the_far_future_keeps_no_issue_from_being_nudged(database: Database, column: str) -> None:
    planned_issue(database, 1)
    change(database, state="sending", nudge_at=None, last_claim_at=PAST, last_nudged_at=PAST)
    change(database, **{column: FAR})
    assert needing_nudges(database) == [(1, False)]


@pytest.mark.parametrize(("ahead", "nudged"), [(timedelta(hours=5), False), (timedelta(hours=7), True)])
def test_no_issue_waits_for_longer_than_any_wait_lasts(database: Database, ahead: timedelta, nudged: bool) -> None:
    planned_issue(database, 1)
    change(database, state="sending", nudge_at=datetime.now(UTC) + ahead, wait_reason=WaitReason.RELAY)
    assert bool(needing_nudges(database)) == nudged


def test_copies_that_wait_for_a_time_too_far_away_are_due_now(database: Database) -> None:
    # Given three deferred copies: one due in an hour, two in a year, of which one is being sent
    issue_id = planned_issue(database, 3)
    send(database, issue_id, deferred, size=3)
    with database.write() as conn:
        conn.execute(update(delivery).where(delivery.c.n > 1).values(next_try=FAR))
        conn.execute(update(delivery).where(delivery.c.n == 3).values(claim=77))
    change(database, state="sending")

    # When
    reconcile.bring_back(database)
    reconcile.bring_back(database)

    # Then
    with database.read() as conn:
        now = database.now(conn)
        times = {row.n: row.next_try for row in conn.execute(select(delivery.c.n, delivery.c.next_try))}
    assert now < times[1] < FAR
    assert times[2] <= now
    assert times[3] == FAR


@pytest.mark.parametrize("settle_s", [900.0])
def test_a_copy_in_doubt_since_a_time_to_come_is_repeated_like_any_other(database: Database, settle_s: float) -> None:
    issue_id = planned_issue(database, 1)
    doubtful = {"state": DeliveryState.IN_DOUBT, "reason": "line_broke", "fingerprint": b"8 octets"}
    send(database, issue_id, lambda _: doubtful, size=1)
    change(database, state="sending", doubt="never-miss")
    with database.write() as conn:
        assert deliveries.repeat_doubts(conn, issue_id, settle_s) == 0
        conn.execute(update(delivery).values(at=FAR))
        assert deliveries.repeat_doubts(conn, issue_id, settle_s) == 1
