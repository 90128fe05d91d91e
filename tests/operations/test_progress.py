"""Progress says what is true at this moment: rates, the finish, and the first cause when nothing moves."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.ledgers import FINGERPRINT, add_worker, planned_issue, send
from tests.support.readers import settings_for
from worker import clock
from worker.dispatch.progress import RELAY_FAULT, LaterTries, Progress, count_workers, find_wait, later_tries, observe
from worker.domain.delivery import DeliveryState
from worker.domain.issue import IssueState, WaitReason
from worker.domain.process import SILENT_AFTER_S, Outfit, WorkerState
from worker.errors import Trouble
from worker.operations import status
from worker.screen.progress import spell_wait
from worker.screen.sentences import word
from worker.settings import Settings
from worker.storage import schema
from worker.storage.engine import Database
from worker.storage.ledger import claims, issues
from worker.storage.workers import WorkerRow


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path) -> Settings:
    return settings_for(sqlite_url, tmp_path)


def outcome(n: int) -> dict[str, Any]:
    """Row 1 is deferred, the others are accepted."""
    if n > 1:
        return {"state": DeliveryState.ACCEPTED, "code": 250, "fingerprint": FINGERPRINT}
    later = clock.utcnow() + timedelta(hours=1)
    return {"state": DeliveryState.DEFERRED, "next_try": later, "first_try": later, "code": 451, "phase": "rcpt"}


def stand_still(database: Database, seconds: float = 60.0) -> None:
    set_rows(database, schema.issue, last_progress_at=-seconds)


def set_rows(database: Database, table: Any, **columns: Any) -> None:
    """Change columns of every row; a number becomes the time so many seconds from now."""
    with database.write() as conn:
        now = database.now(conn)
        values = {
            name: now + timedelta(seconds=value) if isinstance(value, float) else value
            for name, value in columns.items()
        }
        conn.execute(update(table).values(**values))


def earlier(progress: Progress, seconds: float, done: int) -> Progress:
    """As if the issue had been seen so long ago with so many copies done."""
    return replace(progress, seen=((clock.monotonic() - seconds, done),))


def span_s(progress: Progress) -> float:
    """Seconds between the first and the last time it was seen."""
    return progress.seen[-1][0] - progress.seen[0][0]


def cause(progress: Progress) -> str:
    return word(progress.cause) if progress.cause else ""


def test_the_finish_counts_nobody_who_has_to_wait_for_a_later_try(
    settings: Settings, sqlite_database: Database
) -> None:
    # Given five done in five seconds, one deferred, five to go
    issue_id = planned_issue(sqlite_database, 11)
    send(sqlite_database, issue_id, outcome, size=6)
    before = observe(sqlite_database, settings, issue_id)

    # When
    seen = observe(sqlite_database, settings, issue_id, earlier(before, 5.0, 0))

    # Then
    assert seen.done == 5
    assert seen.rate_now == pytest.approx(5 / span_s(seen))
    assert seen.eta_low_s == pytest.approx(5 / seen.rate_now)
    assert (seen.totals.deferred, seen.totals.waiting) == (1, 5)


def test_the_rate_of_now_forgets_what_was_half_a_minute_ago(settings: Settings, sqlite_database: Database) -> None:
    # Given everything was handed over long before
    issue_id = planned_issue(sqlite_database, 11)
    send(sqlite_database, issue_id, outcome, size=6)
    before = observe(sqlite_database, settings, issue_id)

    # When
    seen = observe(sqlite_database, settings, issue_id, earlier(before, 30.0, 0))
    much_later = observe(sqlite_database, settings, issue_id, earlier(before, 121.0, 0))

    # Then the finish still goes by the last two minutes, and not by anything older
    assert seen.rate_now == 0.0
    assert seen.eta_high_s == pytest.approx(span_s(seen))
    assert much_later.eta_high_s is None
    assert len(much_later.seen) == 1  # or watching for a day would fill the memory


def test_an_issue_that_moved_just_now_has_no_cause_to_stand_still(
    settings: Settings, sqlite_database: Database
) -> None:
    # Given
    issue_id = planned_issue(sqlite_database, 3)
    stand_still(sqlite_database, 24.0)

    # When / Then
    assert observe(sqlite_database, settings, issue_id).cause is None
    stand_still(sqlite_database, 31.0)
    assert cause(observe(sqlite_database, settings, issue_id)) == "no cause found; try: doctor"
    set_rows(sqlite_database, schema.issue, state="paused")
    assert observe(sqlite_database, settings, issue_id).cause is None


def test_workers_that_stop_are_named_only_when_all_of_them_do(settings: Settings, sqlite_database: Database) -> None:
    # Given two workers, of which one stops
    issue_id = planned_issue(sqlite_database, 3)
    stand_still(sqlite_database)
    with sqlite_database.write() as conn:
        add_worker(conn, "w2")
        conn.execute(update(schema.worker).where(schema.worker.c.id == "w2").values(state="draining"))

    # When / Then
    assert "stopping" not in cause(observe(sqlite_database, settings, issue_id))
    set_rows(sqlite_database, schema.worker, state="draining")
    assert cause(observe(sqlite_database, settings, issue_id)) == (
        "all workers are stopping; start one with: corranto worker"
    )
    set_rows(sqlite_database, schema.worker, state="lost")
    assert cause(observe(sqlite_database, settings, issue_id)) == (
        "no worker is running; start one with: corranto worker"
    )


@pytest.mark.parametrize(("silent_s", "workers"), [(SILENT_AFTER_S - 5, 1), (SILENT_AFTER_S + 1, 0)])
def test_a_worker_counts_as_alive_for_as_long_on_every_screen(
    settings: Settings, sqlite_database: Database, silent_s: float, workers: int
) -> None:
    # Given
    issue_id = planned_issue(sqlite_database, 3)
    set_rows(sqlite_database, schema.worker, seen_at=-silent_s)

    # When
    shown = status.collect(settings, sqlite_database)

    # Then
    assert observe(sqlite_database, settings, issue_id).workers == workers
    assert count_workers(sqlite_database) == workers
    assert sum(process.is_alive for process in shown.processes) == workers
    assert (shown.as_dict(word)["troubles"] == []) == bool(workers)


@pytest.mark.parametrize(
    ("reason", "detail", "said"),
    [
        (WaitReason.RATE_LIMIT, "20/s", "rate limit 20/s"),
        (WaitReason.LATER_TRIES, "", "only later tries are left"),
        (WaitReason.RELAY, "the relay refuses the password", "the relay refuses the password"),
        (WaitReason.OWN_FAULT, "", "a fault of our own: see the workers' log"),
    ],
)
def test_what_an_issue_waits_for_is_said_with_the_time_it_is_tried_again(
    settings: Settings, sqlite_database: Database, reason: WaitReason, detail: str, said: str
) -> None:
    # Given
    issue_id = planned_issue(sqlite_database, 3)
    stand_still(sqlite_database)
    with sqlite_database.write() as conn:
        issues.wait_until(conn, issue_id, 3600, reason, detail)

    # When
    seen = observe(sqlite_database, settings, issue_id)

    # Then
    assert cause(seen).startswith(f"{said} (until ")
    if reason is WaitReason.LATER_TRIES:
        assert spell_wait(seen) == f"standing still: {cause(seen)}"
    else:
        assert re.fullmatch(rf"waiting: {said}; looks again in 3[56]\d\d s", spell_wait(seen))
    waits = status.collect(settings, sqlite_database).in_flight[0].wait
    assert waits is not None
    assert word(waits) == said


def test_a_wait_that_is_nearly_over_names_no_seconds(settings: Settings, sqlite_database: Database) -> None:
    # Given
    issue_id = planned_issue(sqlite_database, 3)
    with sqlite_database.write() as conn:
        issues.wait_until(conn, issue_id, 0.2, WaitReason.RATE_LIMIT, "20/s")

    # When / Then
    assert spell_wait(observe(sqlite_database, settings, issue_id)) == "waiting: rate limit 20/s"


def test_an_audience_that_is_still_written_is_shown_as_counting_though_the_issue_is_paused(
    settings: Settings, sqlite_database: Database
) -> None:
    # Given
    issue_id = planned_issue(sqlite_database, 3)
    set_rows(sqlite_database, schema.issue, plan_cursor=1, state="paused")

    # When / Then
    assert observe(sqlite_database, settings, issue_id).counting
    set_rows(sqlite_database, schema.issue, plan_cursor=None)
    assert not observe(sqlite_database, settings, issue_id).counting


def test_only_later_tries_is_the_cause_when_nobody_else_is_left(settings: Settings, sqlite_database: Database) -> None:
    # Given
    issue_id = planned_issue(sqlite_database, 3)
    send(sqlite_database, issue_id, outcome)
    stand_still(sqlite_database)

    # When / Then
    assert cause(observe(sqlite_database, settings, issue_id)) == "only later tries are left"


def test_when_the_last_later_try_is_over_can_be_told(settings: Settings, sqlite_database: Database) -> None:
    # Given an issue of which nobody is put off
    issue_id = planned_issue(sqlite_database, 3)
    assert later_tries(sqlite_database, settings, issue_id) is None

    # When one copy is, for an hour
    send(sqlite_database, issue_id, outcome)
    left = later_tries(sqlite_database, settings, issue_id)

    # Then
    with sqlite_database.read() as conn:
        (row,) = conn.execute(
            select(schema.delivery.c.next_try, schema.delivery.c.first_try).where(
                schema.delivery.c.state == str(DeliveryState.DEFERRED)
            )
        )
    assert left == LaterTries(1, row.next_try, row.first_try + timedelta(seconds=settings.retry_life_s))


NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
CLOSED = Trouble(RELAY_FAULT, cause="the relay refuses the password")
WHY = Trouble("wait.rate_limit", limits="20/s")


def a_worker(note: Trouble | None = None) -> WorkerRow:
    return WorkerRow("w1", "host", "host 4711", WorkerState.READY, 1, NOW, NOW, note)


@pytest.mark.parametrize(
    ("state", "why", "alive", "again_s", "wait"),
    [
        # Nobody sends: said of an issue that would be sent now.
        ("sending", None, [], None, Trouble("wait.no_worker")),
        ("holding", WHY, [], None, Trouble("wait.no_worker")),
        ("paused", WHY, [], None, None),
        ("finished", None, [], None, None),
        # What it waits for is of interest while it is being sent, with the time when there is a second left.
        ("paused", WHY, [a_worker()], 60, None),
        ("sending", WHY, [a_worker()], None, WHY),
        ("sending", WHY, [a_worker()], 0.9, WHY),
        ("sending", WHY, [a_worker()], 1, Trouble("wait.again_in", cause=WHY, seconds=1.0)),
        ("sending", WHY, [a_worker(CLOSED)], 60, Trouble("wait.again_in", cause=WHY, seconds=60.0)),
        # It waits for nothing: the relay's door may be closed, as any of them says.
        ("sending", None, [a_worker()], None, None),
        ("sending", None, [a_worker(Trouble("database.silent"))], None, None),
        ("sending", None, [a_worker(), a_worker(CLOSED)], None, CLOSED),
    ],
)
def test_what_keeps_an_issue_at_this_moment(
    sqlite_database: Database,
    state: str,
    why: Trouble | None,
    alive: list[WorkerRow],
    again_s: float | None,
    wait: Trouble | None,
) -> None:
    planned_issue(sqlite_database, 1)
    with sqlite_database.read() as conn:
        issue = issues.get(conn, "spring")
    at = None if again_s is None else NOW + timedelta(seconds=again_s)
    assert find_wait(replace(issue, state=IssueState(state), nudge_at=at), why, NOW, alive) == wait


def test_what_was_seen_names_the_issue_its_copies_and_the_limits_of_those_who_send(
    settings: Settings, sqlite_database: Database
) -> None:
    # Given an issue of six, of which a worker holds two, that has not moved yet
    issue_id = planned_issue(sqlite_database, 6)
    send(sqlite_database, issue_id, outcome, size=3)
    with sqlite_database.write() as conn:
        claims.claim_first(conn, issue_id, "w1", 2)
        conn.execute(update(schema.issue).values(last_progress_at=None))
        add_worker(conn, "w2")
    watcher = settings.model_copy(update={"relay_rate": "7/s"})
    assert observe(sqlite_database, watcher, issue_id).rate_limit == "7/s"

    # When two workers have told their limits
    for owner, limits in (("w1", "20/s"), ("w2", "")):
        outfit = Outfit("relay.example.org:25", limits, "sql", "k").to_json()
        with sqlite_database.write() as conn:
            conn.execute(update(schema.worker).where(schema.worker.c.id == owner).values(outfit=outfit))
    seen = observe(sqlite_database, watcher, issue_id)

    # Then
    with sqlite_database.read() as conn:
        assert seen.issue == issues.get(conn, issue_id)
        assert seen.totals == issues.totals(conn, issue_id)
    totals = seen.totals
    assert (totals.accepted, totals.deferred, totals.sending, totals.waiting) == (2, 1, 2, 1)
    assert (seen.done, seen.workers, seen.counting, seen.only_later_tries) == (2, 2, False, False)
    assert (seen.last_progress_s, seen.cause, seen.wait) == (None, None, None)
    assert seen.rate_limit == "20/s or none"
