"""Orders tell the truth about what they did, and nudge only what is committed."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.support.ledgers import FINGERPRINT, assert_books_add_up, planned_issue, send
from tests.support.lists import until
from tests.support.readers import settings_for
from tests.support.words import refuses
from worker.dispatch import orders
from worker.dispatch.nudger import Nudger
from worker.domain.delivery import DeliveryState
from worker.domain.issue import Issue, IssueState
from worker.errors import RefusedError, Trouble
from worker.settings import Settings
from worker.storage import acts, schema
from worker.storage.engine import Database, open_database
from worker.storage.ledger import claims, issues, settlements
from worker.storage.ledger.settlements import Result


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return settings_for(database_url, tmp_path)


class Witness(Nudger):
    """Notes each nudge with the issue as another process sees it at that moment."""

    def __init__(self, url: str) -> None:
        self._elsewhere = open_database(url)
        self.seen: list[tuple[str, int | None, Issue]] = []
        self.trouble = None

    def wake(self, actor: str, **ids: int) -> bool:
        with self._elsewhere.read() as conn:
            self.seen.append((actor, ids.get("nudge_no"), issues.get(conn, ids["issue_id"])))
        return True


def accepted(_: int) -> dict[str, Any]:
    return {"state": DeliveryState.ACCEPTED, "code": 250, "fingerprint": FINGERPRINT}


def failed(_: int) -> dict[str, Any]:
    return {"state": DeliveryState.FAILED, "reason": "unbuildable", "tried": 0}


def set_issue(database: Database, **columns: Any) -> None:
    with database.write() as conn:
        conn.execute(update(schema.issue).values(**columns))


def the_issue(database: Database) -> Issue:
    with database.read() as conn:
        return issues.get(conn, "spring")


def finished_issue(database: Database, outcome: Callable[[int], dict[str, Any]], readers: int = 3) -> int:
    issue_id = planned_issue(database, readers)
    send(database, issue_id, outcome)
    set_issue(database, state="finished", finished_at=datetime.now(UTC))
    return issue_id


def test_a_copy_put_off_while_cancel_waits_is_reported_as_cancelled(settings: Settings, database: Database) -> None:
    # Given a worker that holds two copies
    issue_id = planned_issue(database, 3)
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", 2)
    assert held is not None
    said: list[orders.Stopped] = []

    # When the editor cancels, and the relay puts one of the two off meanwhile
    editor = threading.Thread(
        target=lambda: said.append(orders.cancel(database, settings, "spring", "editor", margin_s=60.0))
    )
    editor.start()
    until(lambda: the_issue(database).state is IssueState.CANCELLED, "the cancel is committed")
    later = datetime.now(UTC) + timedelta(hours=1)
    deferred = {"state": DeliveryState.DEFERRED, "next_try": later, "first_try": later, "code": 451, "phase": "rcpt"}
    with database.write() as conn:
        results = [
            Result(n=held.from_n, old=DeliveryState.WAITING, **accepted(1)),
            Result(n=held.to_n, old=DeliveryState.WAITING, text="later", fingerprint=FINGERPRINT, **deferred),
        ]
        assert settlements.settle(conn, held, "w1", results) == 2
    editor.join(60)

    # Then the sum the editor reads is the sum of the ledger, and nobody waits in a cancelled issue
    (stopped,) = said
    assert (stopped.totals.accepted, stopped.totals.cancelled, stopped.totals.deferred) == (1, 2, 0)
    assert stopped.in_flight == 0
    assert_books_add_up(database)


def test_a_worker_woken_by_resume_finds_the_issue_resumed(database_url: str, database: Database) -> None:
    # Given
    planned_issue(database, 2)
    set_issue(database, state="paused", stopped_reason="paused by editor")
    witness = Witness(database_url)

    # When
    orders.resume(database, witness, "spring", "editor")

    # Then whoever takes the nudge at once sees what it speaks of
    ((actor, number, seen),) = witness.seen
    assert (actor, seen.state, seen.nudge_no, seen.stopped_reason) == ("send", IssueState.SENDING, number, "")


def test_an_issue_paused_while_it_was_counted_goes_on_counting(database_url: str, database: Database) -> None:
    # Given
    planned_issue(database, 2)
    set_issue(database, state="paused", plan_cursor=1)
    witness = Witness(database_url)

    # When
    orders.resume(database, witness, "spring", "editor")

    # Then
    assert [actor for actor, _, _ in witness.seen] == ["plan", "send"]


def test_a_worker_woken_by_retry_finds_the_issue_open_again(database_url: str, database: Database) -> None:
    # Given
    finished_issue(database, failed)
    witness = Witness(database_url)

    # When
    assert orders.retry(database, witness, "spring", {"failed"}, "editor") == 3

    # Then
    ((_, number, seen),) = witness.seen
    assert (seen.state, seen.nudge_no, seen.finished_at) == (IssueState.SENDING, number, None)
    with database.read() as conn:
        assert acts.latest(conn)[0].counts == {"reopened": 3}
    assert_books_add_up(database)


def test_a_retry_for_nobody_leaves_a_finished_issue_finished(database_url: str, database: Database) -> None:
    # Given
    finished_issue(database, accepted)
    witness = Witness(database_url)

    # When
    assert orders.retry(database, witness, "spring", {"failed", "bounced"}, "editor") == 0

    # Then
    assert the_issue(database).state is IssueState.FINISHED
    assert witness.seen == []


def test_a_retry_in_a_paused_issue_waits_for_resume(database_url: str, database: Database) -> None:
    # Given
    send(database, planned_issue(database, 2), failed)
    set_issue(database, state="paused")
    witness = Witness(database_url)

    # When
    assert orders.retry(database, witness, "spring", {"failed"}, "editor") == 2

    # Then
    assert the_issue(database).state is IssueState.PAUSED
    assert witness.seen == []


@pytest.mark.parametrize("state", ["sending", "waiting", "accepted", "skipped"])
def test_a_retry_of_a_state_that_allows_none_is_refused_naming_those_that_do(
    database_url: str, database: Database, state: str
) -> None:
    # Given
    send(database, planned_issue(database, 2), failed)

    # When / Then: nobody is sent to again, those who failed neither
    with refuses(RefusedError, f"^{state} cannot be retried; these can: bounced, failed, in_doubt$"):
        orders.retry(database, Witness(database_url), "spring", {state, "failed"}, "editor")
    with database.read() as conn:
        assert issues.totals(conn, the_issue(database).id).failed == 2


@pytest.mark.needs("postgresql")
def test_nobody_is_left_waiting_in_an_issue_cancelled_between_two_looks(postgresql_url: str, tmp_path: Path) -> None:
    # Given a cancel that is about to commit
    database = open_database(postgresql_url)
    send(database, planned_issue(database, 2), failed)
    refused: list[RefusedError] = []

    def retry() -> None:
        try:
            orders.retry(database, Witness(postgresql_url), "spring", {"failed"}, "editor")
        except RefusedError as error:
            refused.append(error)

    editor = threading.Thread(target=retry)
    with database.write() as conn:
        conn.execute(update(schema.issue).values(state="cancelled"))

        # When another editor's retry comes, and waits for the issue's row
        editor.start()
        until(lambda: is_anybody_waiting(database) or not editor.is_alive(), "the retry waits or went through")
    editor.join(60)

    # Then
    assert [error.code for error in refused] == ["issue.never_sent"]
    with database.read() as conn:
        totals = issues.totals(conn, the_issue(database).id)
    assert (totals.failed, totals.waiting) == (2, 0)
    database.close()


def is_anybody_waiting(database: Database) -> bool:
    """Whether a transaction waits for a lock of another one."""
    with database.read() as conn:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(conn.exec_driver_sql(waiting).scalar())


def test_an_undone_issue_has_no_time_at_which_it_would_begin(database: Database) -> None:
    # Given
    planned_issue(database, 1)
    later = datetime.now(UTC) + timedelta(hours=1)
    set_issue(database, state="scheduled", due_at=later, hold_until=later)

    # When
    undone = orders.undo(database, "spring", "editor")

    # Then
    assert (undone.state, undone.due_at, undone.hold_until) == (IssueState.DRAFT, None, None)


BEFORE = {IssueState.SCHEDULED, IssueState.HOLDING, IssueState.HELD_LATE}


@pytest.mark.parametrize(
    ("order", "fitting", "to"),
    [
        ("undo", BEFORE, IssueState.DRAFT),
        ("pause", {IssueState.SENDING}, IssueState.PAUSED),
        ("resume", {IssueState.PAUSED}, IssueState.SENDING),
        ("cancel", BEFORE | {IssueState.SENDING, IssueState.PAUSED}, IssueState.CANCELLED),
        ("retry", {IssueState.SENDING, IssueState.PAUSED, IssueState.FINISHED}, None),
    ],
)
def test_an_order_is_taken_in_the_states_it_is_for_and_refused_by_name_in_all_others(
    settings: Settings, database_url: str, database: Database, order: str, fitting: set[IssueState], to: IssueState
) -> None:
    # Given an issue in any state at all
    planned_issue(database, 1)
    witness = Witness(database_url)
    give: dict[str, Callable[[], object]] = {
        "undo": lambda: orders.undo(database, "spring", "ann"),
        "pause": lambda: orders.pause(database, settings, "spring", "ann"),
        "resume": lambda: orders.resume(database, witness, "spring", "ann"),
        "cancel": lambda: orders.cancel(database, settings, "spring", "ann"),
        "retry": lambda: orders.retry(database, witness, "spring", {"failed"}, "ann"),
    }
    for state in IssueState:
        now = datetime.now(UTC)
        set_issue(database, state=state, due_at=now, hold_until=now, finished_at=now, unswept=False)
        if order == "cancel" and state not in fitting:
            with pytest.raises(RefusedError) as told_before:
                orders.refuse_cancel(the_issue(database))
            assert told_before.value.trouble == Trouble(
                "issue.wrong_state", slug="spring", state=str(state), order="cancel"
            )

        # When / Then it is moved and written down, or neither
        if state in fitting:
            give[order]()
            assert the_issue(database).state is (to or state), state
        else:
            with pytest.raises(RefusedError) as refused:
                give[order]()
            never = Trouble("issue.never_sent", slug="spring", state=str(state))
            wrong = Trouble("issue.wrong_state", slug="spring", state=str(state), order=order)
            assert refused.value.trouble == (never if order == "retry" else wrong)
            assert the_issue(database).state is state
    with database.read() as conn:
        told = {(act.actor, act.act, act.object) for act in acts.latest(conn)}
        assert len(acts.latest(conn)) == len(fitting)
    assert told == {("ann", f"issue.{order}", "issue spring")}


def test_who_stopped_an_issue_can_be_read_and_every_order_is_written_down(
    settings: Settings, database_url: str, database: Database
) -> None:
    # Given
    planned_issue(database, 2)

    # When
    paused = orders.pause(database, settings, "spring", "ann@desk")
    orders.resume(database, Witness(database_url), "spring", "bob@desk")
    cancelled = orders.cancel(database, settings, "spring", "ann@desk")

    # Then
    assert paused.issue.stopped_reason == "paused by ann@desk"
    assert cancelled.issue.stopped_reason == "cancelled by ann@desk"
    with database.read() as conn:
        told = [(act.actor, act.act, dict(act.counts)) for act in acts.latest(conn)][::-1]
    assert told == [
        ("ann@desk", "issue.pause", {}),
        ("bob@desk", "issue.resume", {}),
        ("ann@desk", "issue.cancel", {"cancelled": 2}),
    ]


def test_a_pause_says_how_many_copies_could_not_be_called_back(settings: Settings, database: Database) -> None:
    # Given a worker that holds two copies and does not answer
    issue_id = planned_issue(database, 5)
    with database.write() as conn:
        claims.claim_first(conn, issue_id, "w1", 2)

    # When
    stopped = orders.cancel(database, settings, "spring", "editor", margin_s=-settings.optout_fresh_s)

    # Then
    assert stopped.totals.cancelled == 3
    assert replace(stopped, waited_s=0.12345).as_dict() == {
        "issue": "spring",
        "state": "cancelled",
        "in_flight": 2,
        "waited_s": 0.123,
        "totals": stopped.totals.as_dict(),
    }
