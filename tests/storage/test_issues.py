"""Issues: rows, moves, nudges and totals. The same on both databases."""

import threading
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest
from sqlalchemy import exc, select, update

from tests.support.ledgers import FINGERPRINT, add_issue, add_publication, planned_issue, send
from tests.support.words import refuses
from worker.domain.delivery import DeliveryState, DoubtPolicy
from worker.domain.issue import AudienceKind, IssueKind, IssueState, WaitReason
from worker.errors import NotFoundError
from worker.storage.engine import Database, open_database
from worker.storage.ledger import claims, deliveries, issues
from worker.storage.schema import claim, compiled_issue, delivery, figure, issue

PAST = datetime(2026, 1, 2, tzinfo=UTC)


def accepted(_: int) -> dict[str, Any]:
    return {"state": DeliveryState.ACCEPTED, "code": 250}


def in_doubt(_: int) -> dict[str, Any]:
    return {"state": DeliveryState.IN_DOUBT, "reason": "line_broke", "fingerprint": FINGERPRINT}


def change(database: Database, **columns: Any) -> None:
    with database.write() as conn:
        conn.execute(update(issue).values(**columns))


def needing_nudges(database: Database) -> list[tuple[int, bool]]:
    with database.read() as conn:
        return issues.without_nudge(conn, 5.0)


def finish(database: Database) -> list[int]:
    with database.write() as conn:
        return issues.finish_done(conn)


def test_an_issue_is_found_by_slug_number_or_as_the_latest(database: Database) -> None:
    with database.write() as conn:
        publication_id = add_publication(conn)
        first = add_issue(conn, publication_id, "spring")
        second = add_issue(conn, publication_id, "summer")
        assert [issues.get(conn, ref).id for ref in ("spring", str(second), first, "latest")] == [1, 2, 1, 2]
        with refuses(NotFoundError, match="did you mean spring"):
            issues.get(conn, "sprong")


def test_latest_without_any_issue_names_the_command(database: Database) -> None:
    with database.read() as conn, refuses(NotFoundError, match="corranto queue FILE"):
        issues.get(conn, "latest")


def test_a_move_happens_only_from_the_states_it_names(database: Database) -> None:
    planned_issue(database, 1)
    with database.write() as conn:
        assert not issues.move(conn, 1, [IssueState.PAUSED], IssueState.SENDING)
        assert issues.move(conn, 1, [IssueState.SENDING], IssueState.PAUSED, stopped_reason="by hand")
        assert issues.get(conn, 1).stopped_reason == "by hand"


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "holding", "hold_until": None},
        {"state": "scheduled", "due_at": None},
        {"state": "sending", "started_at": None},
        {"state": "finished", "finished_at": None},
        {"state": "finished", "finished_at": PAST, "plan_cursor": 3},
        {"state": "on its way"},
        {"audience_kind": "rest_of"},
    ],
)
def test_a_state_without_what_it_requires_is_refused(database: Database, columns: dict[str, Any]) -> None:
    planned_issue(database, 1)
    with pytest.raises(exc.IntegrityError):
        change(database, **columns)


def test_an_undone_draft_is_taken_up_again_under_its_number(database: Database) -> None:
    planned_issue(database, 1)
    change(database, state="draft", stopped_reason="x")
    with database.write() as conn:
        assert add_issue(conn, 1, "spring", subject="Anew") == 1
        assert conn.execute(select(issue.c.subject, issue.c.stopped_reason)).one() == ("Anew", "")
        assert len(conn.execute(select(compiled_issue.c.issue_id)).all()) == 1


def test_an_issue_is_finished_when_its_plan_is_complete_and_no_row_is_open(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 3)
    send(database, issue_id, accepted, size=2)
    assert finish(database) == []
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", 5)
    assert held is not None
    assert finish(database) == []
    with database.write() as conn:
        claims.release(conn, held, "w1")

    # When
    send(database, issue_id, accepted)

    # Then
    change(database, plan_cursor=3)
    assert finish(database) == []
    change(database, plan_cursor=None)
    assert finish(database) == [issue_id]
    assert finish(database) == []


def test_a_never_miss_issue_awaits_its_repeats(database: Database) -> None:
    issue_id = planned_issue(database, 1)
    change(database, doubt="never-miss")
    send(database, issue_id, in_doubt)
    assert finish(database) == []
    with database.write() as conn:
        conn.execute(update(delivery).values(reason="not_the_same"))
    assert finish(database) == [issue_id]


@pytest.mark.needs("postgresql")
def test_an_issue_does_not_finish_under_an_editors_retry(postgresql_url: str) -> None:
    # Given: everything failed, and an editor's retry has opened the rows but not committed
    database = open_database(postgresql_url)
    issue_id = planned_issue(database, 3)
    send(database, issue_id, lambda _: {"state": DeliveryState.FAILED, "reason": "too_big"})
    done: list[list[int]] = []
    with database.write() as conn:
        assert issues.get_locked(conn, issue_id).state is IssueState.SENDING
        assert deliveries.reopen(conn, issue_id, [DeliveryState.FAILED]) == 3

        # When: the tick looks at the same time
        tick = threading.Thread(target=lambda: done.append(finish(database)))
        tick.start()
        tick.join(20)

    # Then
    assert done == [[]]
    assert finish(database) == []
    database.close()


def test_totals_take_what_is_being_sent_out_of_the_stored_states(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 30, shard_size=12)
    send(database, issue_id, lambda _: {"state": DeliveryState.DEFERRED, "next_try": PAST, "first_try": PAST}, size=4)
    with database.write() as conn:
        claims.claim_retry(conn, issue_id, "w1", 3)
        claims.claim_first(conn, issue_id, "w1", 5)

    # When
    with database.read() as conn:
        totals = issues.totals(conn, issue_id)

    # Then
    assert (totals.audience, totals.sending, totals.deferred, totals.waiting) == (30, 8, 1, 21)
    assert totals.adds_up


def test_an_issue_that_nobody_claims_is_nudged_again(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 3)
    change(database, last_claim_at=PAST)
    assert needing_nudges(database) == [(issue_id, False)]

    # When: a nudge is on its way, or a claim was just made
    with database.write() as conn:
        assert issues.bump_nudge(conn, issue_id) == 1
        # A nudge is no claim.
        assert conn.execute(select(issue.c.last_claim_at)).scalar_one() == PAST
    assert needing_nudges(database) == []
    change(database, last_nudged_at=PAST, last_claim_at=datetime.now(UTC))
    assert needing_nudges(database) == []

    # Then: never while it waits for a time, and again when that has come
    change(database, last_claim_at=PAST)
    with database.write() as conn:
        issues.wait_until(conn, issue_id, 60, WaitReason.RATE_LIMIT, "20/s")
        waiting = issues.get(conn, issue_id)
        assert (waiting.wait_reason, waiting.wait_detail) == (WaitReason.RATE_LIMIT, "20/s")
    assert needing_nudges(database) == []
    change(database, nudge_at=PAST, last_claim_at=datetime.now(UTC))
    assert needing_nudges(database) == [(issue_id, False)]


def test_an_issue_with_nothing_to_claim_is_left_alone(database: Database) -> None:
    issue_id = planned_issue(database, 3)
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", 5)
    change(database, last_claim_at=PAST)
    assert needing_nudges(database) == []
    with database.write() as conn:
        assert held is not None
        claims.release(conn, held, "w1")
    assert needing_nudges(database) == [(issue_id, False)]


def test_a_plan_that_stands_still_is_nudged_as_a_plan(database: Database) -> None:
    with database.write() as conn:
        add_issue(conn, add_publication(conn), last_progress_at=PAST)
    assert needing_nudges(database) == [(1, True)]


def test_a_due_retry_is_nudged(database: Database) -> None:
    issue_id = planned_issue(database, 1)
    later = datetime.now(UTC) + timedelta(hours=1)
    send(database, issue_id, lambda _: {"state": DeliveryState.DEFERRED, "next_try": later, "first_try": PAST})
    change(database, last_claim_at=PAST)
    assert needing_nudges(database) == []
    with database.read() as conn:
        wait_s = deliveries.next_try_in(conn, issue_id)
    assert wait_s is not None
    assert 3_500 < wait_s <= 3_600
    with database.write() as conn:
        conn.execute(update(delivery).values(next_try=PAST))
    assert needing_nudges(database) == [(issue_id, False)]


def test_a_cancelled_issue_is_swept_until_nobody_holds_a_claim(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 3)
    with database.write() as conn:
        claims.claim_first(conn, issue_id, "w1", 5)
    change(database, state="cancelled", unswept=True)

    # When
    with database.write() as conn:
        assert issues.cancelled_unswept(conn) == [issue_id]
        issues.bump_nudge(conn, issue_id)
        issues.note_swept(conn, issue_id)
        assert issues.cancelled_unswept(conn) == [issue_id]
        assert issues.is_anything_open(conn)
        conn.execute(claim.delete())
        issues.note_swept(conn, issue_id)

        # Then
        assert issues.cancelled_unswept(conn) == []
        assert not issues.is_anything_open(conn)


@pytest.mark.parametrize(
    ("state", "is_open"),
    [
        ("draft", False),
        ("holding", True),
        ("scheduled", True),
        ("sending", True),
        ("paused", True),
        ("finished", False),
    ],
)
def test_idle_processes_know_when_there_is_nothing_to_do(database: Database, state: str, is_open: bool) -> None:
    planned_issue(database, 1)
    change(database, state=state, hold_until=PAST, due_at=PAST, finished_at=PAST)
    with database.read() as conn:
        assert issues.is_anything_open(conn) is is_open


def test_a_name_that_is_not_there_is_answered_with_the_three_nearest(database: Database) -> None:
    # Given
    with database.write() as conn:
        publication_id = add_publication(conn)
        for slug in ("spring-1", "spring-2", "spring-3", "spring-4", "walks"):
            add_issue(conn, publication_id, slug)

    # When / Then
    with database.read() as conn, pytest.raises(NotFoundError) as refused:
        issues.get(conn, "spring")
    assert refused.value.code == "issue.unknown"
    near = refused.value.trouble.fields["near"]
    assert len(near) == 3
    assert all(slug.startswith("spring-") for slug in near)


def test_an_issue_knows_whom_it_is_for(database: Database) -> None:
    with database.write() as conn:
        publication_id = add_publication(conn)
        first = add_issue(conn, publication_id)
        rest = add_issue(conn, publication_id, "rest", audience_kind="rest_of", audience_of=first)
    with database.read() as conn:
        assert issues.audience_kind(conn, first) == (AudienceKind.ALL, None)
        assert issues.audience_kind(conn, rest) == (AudienceKind.REST_OF, first)


def test_an_issue_is_read_in_the_words_of_its_kind_and_state(database: Database) -> None:
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_issue(conn, publication_id, "statement", kind="statement", doubt="never-miss", wait_reason="relay")
    with database.write() as conn:  # whoever locks a row is to write
        found = issues.get(conn, "statement")
        assert issues.find(conn, "statement") == issues.get_locked(conn, "statement") == found
        assert issues.find(conn, "state") is None
    assert (found.kind, found.state) == (IssueKind.STATEMENT, IssueState.SENDING)
    assert (found.doubt, found.wait_reason) == (DoubtPolicy.NEVER_MISS, WaitReason.RELAY)
    assert all(isinstance(value, StrEnum) for value in (found.kind, found.state, found.doubt, found.wait_reason))


def test_what_compiling_made_is_kept_with_its_own_issue(database: Database) -> None:
    # Given two issues without content
    with database.write() as conn:
        publication_id = add_publication(conn)
        first, second = (add_issue(conn, publication_id, slug) for slug in ("spring", "summer"))
        conn.execute(compiled_issue.delete())

    # When the second one is compiled first
    shown = [{"id": "a", "media": "m.png", "alt": "a", "caption": "", "credit": ""}]
    with database.write() as conn:
        issues.set_content(conn, second, fingerprint="2" * 64, body='{"of": 2}', figures=shown)
        issues.set_content(conn, first, fingerprint="1" * 64, body='{"of": 1}', figures=[])

    # Then
    with database.read() as conn:
        assert [issues.compiled_body(conn, each) for each in (first, second)] == ['{"of": 1}', '{"of": 2}']
        assert [issues.get(conn, each).fingerprint for each in (first, second)] == ["1" * 64, "2" * 64]
        kept = conn.execute(select(compiled_issue.c.issue_id, compiled_issue.c.fingerprint)).all()
        assert sorted(map(tuple, kept)) == [(first, "1" * 64), (second, "2" * 64)]
        assert conn.execute(select(figure.c.id, figure.c.issue_id)).all() == [("a", second)]
