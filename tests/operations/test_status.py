"""The first line of `status` is the truth in a sentence; the rest is its evidence."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support.ledgers import FINGERPRINT, add_issue, planned_issue, send
from tests.support.programs import free_port
from tests.support.readers import settings_for
from tests.support.words import refuses
from worker import clock, metrics_port
from worker.dispatch.bury import Observer, bury_dead_workers
from worker.dispatch.outfit import outfit_of
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
        (
            "paused",
            "spring is paused: go on with corranto issue resume spring, or end it with corranto issue cancel spring",
        ),
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


def changed(database: Database, **values: object) -> None:
    """Every issue, as if so much had happened."""
    with database.write() as conn:
        conn.execute(update(schema.issue).values(**values))


def ago(database: Database, **span: float) -> datetime:
    with database.read() as conn:
        return database.now(conn) - timedelta(**span)


def said(settings: Settings, database: Database) -> list[str]:
    found = status.collect(settings, database)
    causes = found.as_dict(word)["causes"]
    assert isinstance(causes, list)
    assert [cause["code"] for cause in causes] == [trouble.code for trouble in found.troubles]
    assert found.as_dict(word)["well"] is (not causes)
    return [word(trouble) for trouble in found.troubles]


def test_an_idle_installation_is_well(settings: Settings, database: Database) -> None:
    assert said(settings, database) == []
    assert render_status(status.collect(settings, database))[0].text == "All well: 0 workers, 0 open issues."


def test_a_paused_issue_is_said_with_why_and_how_it_goes_on(settings: Settings, database: Database) -> None:
    planned_issue(database, 2)
    changed(database, state="paused", stopped_reason="safety stop: 10 refusals in a row")
    assert said(settings, database) == [
        "spring is paused (safety stop: 10 refusals in a row): go on with corranto issue resume spring,"
        " or end it with corranto issue cancel spring"
    ]


def test_an_issue_that_missed_its_time_waits_for_an_editor(settings: Settings, database: Database) -> None:
    planned_issue(database, 2)
    changed(database, state="held_late", due_at=ago(database, hours=8))
    assert said(settings, database) == [
        "spring missed its time and waits for you: take it back with corranto issue undo spring, then queue its file"
        " again"
    ]


@pytest.mark.parametrize("column", ["due_at", "hold_until"])
def test_an_issue_whose_time_came_and_which_nobody_begins_is_overdue(
    settings: Settings, database: Database, column: str
) -> None:
    # Given
    planned_issue(database, 2)
    state = "scheduled" if column == "due_at" else "holding"
    changed(database, state=state, due_at=ago(database, seconds=5), hold_until=ago(database, seconds=5))
    assert said(settings, database) == [], "the tick may be about to come"

    # When
    changed(database, **{column: ago(database, seconds=40)})

    # Then
    (words,) = said(settings, database)
    assert words.startswith("spring should have begun 40 s ago")
    assert "corranto scheduler" in words


@pytest.mark.parametrize(
    ("reason", "detail", "words"),
    [
        (
            WaitReason.RELAY,
            "the relay refuses the password",
            ["spring waits: the relay refuses the password; corranto"],
        ),
        (WaitReason.OWN_FAULT, "", ["spring waits: a fault of our own: see the workers' log; corranto doctor"]),
        (WaitReason.RATE_LIMIT, "20/s", []),
        (WaitReason.LATER_TRIES, "", []),
    ],
)
def test_an_issue_that_waits_for_trouble_to_pass_is_not_well_and_one_that_keeps_its_pace_is(
    settings: Settings, database: Database, reason: WaitReason, detail: str, words: list[str]
) -> None:
    issue_id = planned_issue(database, 2)
    with database.write() as conn:
        issues.wait_until(conn, issue_id, 60, reason, detail)
    found = said(settings, database)
    assert len(found) == len(words)
    assert all(text.startswith(begin) for text, begin in zip(found, words, strict=True))


def test_an_issue_in_which_nothing_moves_although_workers_run_is_said(settings: Settings, database: Database) -> None:
    planned_issue(database, 2)
    changed(database, started_at=ago(database, minutes=5), last_progress_at=ago(database, minutes=3))
    (words,) = said(settings, database)
    assert words.startswith("nothing of spring moved for 3 min although workers run")

    changed(database, last_progress_at=ago(database, seconds=20))
    assert said(settings, database) == []


def test_workers_that_all_stop_are_said(settings: Settings, database: Database) -> None:
    planned_issue(database, 2)
    with database.write() as conn:
        conn.execute(update(schema.worker).values(state="draining"))
    assert said(settings, database) == ["all workers are stopping; start one with: corranto worker"]


def test_a_worker_that_fell_silent_has_a_remedy_and_is_forgotten_after_a_day(
    settings: Settings, database: Database
) -> None:
    # Given
    with database.write() as conn:
        workers.register(conn, "w1", "elsewhere", "host 4711")
        conn.execute(update(schema.worker).values(seen_at=database.now(conn) - timedelta(minutes=1)))
    (words,) = said(settings, database)
    assert "start it again with corranto worker" in words

    # When a worker that runs took it for dead, or a day passed
    with database.write() as conn:
        workers.mark_lost(conn, ["w1"])
    assert said(settings, database) == []
    with database.write() as conn:
        conn.execute(update(schema.worker).values(state="ready", seen_at=database.now(conn) - timedelta(days=2)))
    assert said(settings, database) == []


def test_lost_rows_go_after_a_day_although_no_issue_is_open(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    # Given
    with database.write() as conn:
        for name in ("old", "young"):
            workers.register(conn, name, "elsewhere", name)
        workers.mark_lost(conn, ["old", "young"])
        old = database.now(conn) - timedelta(days=2)
        conn.execute(update(schema.worker).where(schema.worker.c.id == "old").values(seen_at=old))

    # When
    bury_dead_workers(database, tmp_path, timedelta(days=1), Observer())

    # Then
    assert [process.label for process in status.collect(settings, database).processes] == ["young"]


def test_missing_keys_and_a_closed_state_folder_are_said_with_their_remedies(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    closed = tmp_path / "file"
    closed.touch()
    bare = settings.model_copy(update={"secret_keys": (), "state_dir": closed / "state"})
    keys, folder = said(bare, database)
    assert "corranto key new" in keys
    assert folder == (
        f"{closed} cannot be written by this user, so no worker can start here with"
        f" CORRANTO_STATE_DIR={closed / 'state'}: change its owner, or name another folder"
    )


def test_a_state_folder_where_nothing_can_be_kept_is_said(settings: Settings, database: Database) -> None:
    odd = settings.model_copy(update={"state_dir": Path("/proc/corranto")})
    assert any("CORRANTO_STATE_DIR=/proc/corranto" in sentence for sentence in said(odd, database))


def test_a_closed_door_is_said_once(settings: Settings, database: Database) -> None:
    # Given
    cause = "nothing listens at 127.0.0.1:1025"
    issue_id = planned_issue(database, 2)
    with database.write() as conn:
        conn.execute(update(schema.worker).values(note=Trouble("relay.fault", cause=cause).to_json()))
        issues.wait_until(conn, issue_id, 60, WaitReason.RELAY, cause)

    # Then
    (trouble,) = status.collect(settings, database).troubles
    assert trouble.code == "status.issue_waits"


def test_watching_names_the_closed_door_between_two_tries_too(settings: Settings, database: Database) -> None:
    # Given an issue that was just nudged again, while the worker still finds the relay closed
    issue_id = planned_issue(database, 2)
    note = Trouble("relay.fault", cause="nothing listens at 127.0.0.1:1025")
    with database.write() as conn:
        conn.execute(update(schema.worker).values(note=note.to_json()))

    # Then
    line = progress.render_line(observe(database, settings, issue_id), clock.utcnow())
    assert "waiting: nothing listens at 127.0.0.1:1025" in line


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({}, []),
        ({"limits": "5/s"}, []),
        (
            {"relay": "relay.example.org:25"},
            [
                "host 4711 works with other settings than these (relay): there relay relay.example.org:25, here relay"
                " 127.0.0.1:{port}; give both the same, then start the worker again"
            ],
        ),
        (
            {"key": "00000000"},
            [
                "host 4711 works with other settings than these (key); give both the same CORRANTO_SECRET_KEYS, then"
                " start the worker again"
            ],
        ),
    ],
)
def test_a_worker_of_other_settings_is_said_and_one_with_another_pace_is_shown(
    settings: Settings, database: Database, there: dict[str, str], words: list[str]
) -> None:
    # Given
    issue_id = planned_issue(database, 2)
    outfit = replace(outfit_of(settings), **there)
    with database.write() as conn:
        workers.remove(conn, "w1")
        workers.register(conn, "w2", "host-1", "host 4711", outfit)

    # Then
    port = settings.relay_url.port
    assert said(settings, database) == [text.format(port=port) for text in words]
    assert observe(database, settings, issue_id).rate_limit == (there.get("limits") or "none")
    shown = status.collect(settings, database).as_dict(word)["processes"]
    assert isinstance(shown, list)
    assert shown[0]["limits"] == (there.get("limits") or "none")
