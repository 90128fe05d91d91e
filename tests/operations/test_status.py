"""The first line of `status` is the truth in a sentence; the rest is its evidence."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support.ledgers import FINGERPRINT, add_issue, planned_issue, send
from tests.support.programs import free_port
from tests.support.readers import settings_for
from tests.support.words import refuses
from worker import clock, metrics_port
from worker.dispatch.progress import observe
from worker.domain.delivery import DeliveryState, Totals
from worker.domain.issue import WaitReason
from worker.errors import Trouble, UnreachableError
from worker.operations import status
from worker.screen import progress
from worker.screen.sentences import word
from worker.screen.status import render_status
from worker.settings import Settings
from worker.storage import schema, workers
from worker.storage.engine import Database, open_database
from worker.storage.ledger import issues


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return settings_for(database_url, tmp_path)


def accepted(_: int) -> dict[str, object]:
    return {"state": DeliveryState.ACCEPTED, "code": 250, "fingerprint": FINGERPRINT}


def test_status_of_an_installation_that_sends_is_one_sentence_and_its_evidence(
    settings: Settings, database: Database
) -> None:
    # Given
    issue_id = planned_issue(database, 7)
    send(database, issue_id, accepted, size=5)

    # When
    found = status.collect(settings, database)
    lines = [line.text for line in render_status(found)]

    # Then
    assert lines[0].startswith("All well: 1 worker, 1 open issue")
    assert "  accepted 5 + bounced 0 + waiting 2 = 7 adds up" in lines
    assert any(line.startswith("host 4711") and "ready" in line for line in lines)
    assert found.as_dict(word)["issues"][0]["totals"]["audience"] == 7
    assert found.as_dict(word)["well"] is True
    assert found.in_flight[0].oldest_waiting_s is not None
    assert max(len(line) for line in lines if str(database.place) not in line) <= 80


def test_status_says_that_nobody_sends_when_the_only_worker_fell_silent(settings: Settings, database: Database) -> None:
    # Given
    planned_issue(database, 2)
    with database.write() as conn:
        conn.execute(update(schema.worker).values(seen_at=database.now(conn) - timedelta(minutes=1)))

    # When
    found = status.collect(settings, database)

    # Then
    assert word(found.troubles[0]) == "an issue is being sent and no worker runs: start one with corranto worker"
    assert "host 4711 has not been heard for 1 min" in word(found.troubles[1])
    assert found.as_dict(word)["processes"][0]["state"] == "lost"


def test_status_repeats_what_a_worker_waits_for(settings: Settings, database: Database) -> None:
    # Given
    planned_issue(database, 2)
    note = Trouble("relay.fault", cause="the relay refuses the password\x1b[2J")
    with database.write() as conn:
        conn.execute(update(schema.worker).values(note=note.to_json()))

    # When
    lines = [line.text for line in render_status(status.collect(settings, database))]

    # Then
    assert lines[0] == "! host 4711: the relay refuses the password\\x1b[2J"


def test_status_of_a_silent_broker_says_that_nothing_is_lost(settings: Settings, database: Database) -> None:
    silent = settings.model_copy(update={"broker_url": type(settings.broker_url)("redis://u:swordfish@127.0.0.1:1/5")})
    found = status.collect(silent, database)
    assert "nothing is lost" in word(found.troubles[0])
    assert "swordfish" not in str(found)


def test_status_without_a_database_is_an_error_of_its_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.sqlite3"
    with refuses(UnreachableError, "corranto db upgrade"):
        status.collect(settings_for(url, tmp_path), open_database(url))


def test_status_names_the_metrics_of_each_process(settings: Settings, database: Database, tmp_path: Path) -> None:
    # Given metrics that are off, on but shown by nobody, and shown by two processes
    assert status.collect(settings, database).metrics == "off (CORRANTO_METRICS_PORT is 0)"
    on = settings.model_copy(update={"metrics_port": free_port(), "state_dir": tmp_path})
    assert f"none now; the first process takes 127.0.0.1:{on.metrics_port}" == (status.collect(on, database).metrics)
    shown = [
        metrics_port.start("127.0.0.1", on.metrics_port, lambda: b"", role, tmp_path)
        for role in ("worker", "scheduler")
    ]

    # When
    said = status.collect(on, database).metrics
    for port in shown:
        port.stop()

    # Then
    assert said == f"scheduler {shown[1].place}, worker {shown[0].place}"
    lines = [line.text for line in render_status(replace(status.collect(on, database), metrics=said))]
    assert f"metrics    scheduler {shown[1].place}" in lines
    assert f"           worker {shown[0].place}" in lines


def test_status_tells_why_an_issue_waits(settings: Settings, database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 2)
    with database.write() as conn:
        issues.wait_until(conn, issue_id, 60, WaitReason.RELAY, "the relay refuses the password")

    # When
    lines = [line.text for line in render_status(status.collect(settings, database))]

    # Then
    assert "  waiting: the relay refuses the password" in lines


def test_watching_says_at_once_why_nothing_leaves(settings: Settings, database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 2)
    with database.write() as conn:
        issues.wait_until(conn, issue_id, 60, WaitReason.RELAY, "the relay refuses the password")

    # When
    waiting = progress.render_line(observe(database, settings, issue_id), clock.utcnow())
    with database.write() as conn:
        workers.mark_lost(conn, ["w1"])
    alone = progress.render_line(observe(database, settings, issue_id), clock.utcnow())

    # Then
    assert "waiting: the relay refuses the password; looks again in" in waiting
    assert "waiting: no worker is running; start one with: corranto worker" in alone


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("holding", "an issue is queued and no worker runs: start one with corranto worker"),
        ("scheduled", "an issue is queued and no worker runs: start one with corranto worker"),
        ("paused", ""),
    ],
)
def test_status_names_a_missing_worker_for_what_will_be_sent_and_not_for_what_is_paused(
    settings: Settings, database: Database, state: str, said: str
) -> None:
    # Given
    planned_issue(database, 2)
    with database.write() as conn:
        workers.remove(conn, "w1")
        later = database.now(conn) + timedelta(hours=1)
        conn.execute(update(schema.issue).values(state=state, due_at=later, hold_until=later))

    # When / Then
    assert [word(trouble) for trouble in status.collect(settings, database).troubles] == ([said] if said else [])


def test_status_says_that_a_sum_is_wrong_and_what_proves_it(settings: Settings, database: Database) -> None:
    # Given
    planned_issue(database, 2)
    seen = status.collect(settings, database)

    # When
    now = replace(seen, in_flight=(replace(seen.in_flight[0], totals=Totals(audience=9, accepted=8)),))

    # Then
    assert [word(trouble) for trouble in now.troubles] == ["spring does not add up: run corranto verify"]
    assert now.as_dict(word)["well"] is False


def test_nothing_is_old_while_an_issue_waits_for_its_time(settings: Settings, database: Database) -> None:
    # Given an issue that began a while ago
    issue_id = planned_issue(database, 2)
    with database.write() as conn:
        conn.execute(update(schema.issue).values(started_at=database.now(conn) - timedelta(seconds=90)))
    assert 89 < (status.collect(settings, database).in_flight[0].oldest_waiting_s or 0) < 120

    # When
    with database.write() as conn:
        issues.wait_until(conn, issue_id, 60, WaitReason.RATE_LIMIT, "20/s")

    # Then
    assert status.collect(settings, database).in_flight[0].oldest_waiting_s is None


def test_issues_in_flight_are_shown_oldest_first_and_those_that_ended_are_not(
    settings: Settings, database: Database
) -> None:
    # Given
    planned_issue(database, 1)
    with database.write() as conn:
        publication_id = issues.get(conn, "spring").publication_id
        add_issue(conn, publication_id, "summer", state="scheduled", due_at=database.now(conn), plan_cursor=None)
        add_issue(conn, publication_id, "winter", state="cancelled")

    # When / Then
    assert [each.issue.slug for each in status.collect(settings, database).in_flight] == ["spring", "summer"]
