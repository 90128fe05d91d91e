"""Who an issue is for, frozen page by page: the same on both databases."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, event, select, update

from tests.support.ledgers import (
    LONG_AGO,
    add_issue,
    add_planned,
    add_publication,
    add_readers,
    assert_books_add_up,
    planned_issue,
    send,
)
from worker.domain.delivery import DeliveryState
from worker.domain.issue import AudienceKind, IssueState
from worker.storage import schema
from worker.storage.engine import Database, open_database
from worker.storage.ledger import audiences, issues
from worker.storage.schema import delivery, issue, shard, subscriber, subscription, suppression


def rows_of(database: Database, issue_id: int) -> list[tuple[int, str, str | None]]:
    with database.read() as conn:
        rows = conn.execute(
            select(delivery.c.n, delivery.c.state, delivery.c.reason)
            .where(delivery.c.issue_id == issue_id)
            .order_by(delivery.c.n)
        )
        return [(row.n, row.state, row.reason) for row in rows]


def change(conn: Connection, n: int, **columns: object) -> None:
    """The n-th reader's subscription."""
    conn.execute(update(subscription).where(subscription.c.id == n).values(**columns))


def test_each_reader_gets_a_row_with_the_reason_when_it_is_skipped(database: Database) -> None:
    # Given: seven readers, each in another way
    now = datetime.now(UTC)
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 7)
        before, after = now - timedelta(days=1), now + timedelta(seconds=5)
        change(conn, 2, state="pending", confirmed_at=None)
        change(conn, 3, state="ended", ended_at=before, ended_by="page")
        change(conn, 4, state="ended", ended_at=after, ended_by="page")
        change(conn, 5, paused_until=now + timedelta(days=1))
        change(conn, 6, paused_until=before)
        key = conn.execute(select(subscriber.c.address_hash).where(subscriber.c.id == 7)).scalar_one()
        conn.execute(
            suppression.insert().values(address_hash=key, reason="manual", evidence="by phone", created_at=LONG_AGO)
        )
        issue_id = add_issue(conn, publication_id, queued_at=now)

    # When
    with database.write() as conn:
        assert audiences.plan_page(conn, issue_id, 100, 200) == (5, True)

    # Then: 2 never confirmed and 3 had left before; they have no row
    assert rows_of(database, issue_id) == [
        (1, "waiting", None),
        (2, "skipped", "opted_out"),
        (3, "skipped", "paused"),
        (4, "waiting", None),
        (5, "skipped", "suppressed"),
    ]
    with database.read() as conn:
        totals = issues.totals(conn, issue_id)
        counted = audiences.count(conn, publication_id, AudienceKind.ALL, None)
    assert (totals.audience, totals.waiting, totals.skipped, totals.adds_up) == (5, 2, 3, True)
    assert counted == {"will_get": 2, "suppressed": 1, "paused": 1, "unconfirmed": 1, "opted_out": 2}


@pytest.mark.parametrize("page", [1, 3, 7, 10, 11])
def test_pages_of_any_size_number_everybody_once(database: Database, page: int) -> None:
    # Given
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 10)
        issue_id = add_issue(conn, publication_id)

    # When
    complete = False
    while not complete:
        with database.write() as conn:
            planned = audiences.plan_page(conn, issue_id, page, 4)
        assert planned is not None
        complete = planned[1]

    # Then
    with database.read() as conn:
        people = conn.execute(select(delivery.c.subscriber_id).order_by(delivery.c.n)).scalars().all()
        ranges = conn.execute(select(shard.c.no, shard.c.from_n, shard.c.to_n).order_by(shard.c.no)).all()
        assert issues.totals(conn, issue_id).waiting == 10
        issue = issues.get(conn, issue_id)
    assert people == sorted(people)
    assert len(set(people)) == 10
    assert [row.no for row in ranges] == list(range(len(ranges)))
    assert [n for row in ranges for n in range(row.from_n, row.to_n + 1)] == list(range(1, 11))
    assert (issue.audience, issue.plan_cursor) == (10, None)


def test_a_complete_or_stopped_plan_is_not_gone_on_with(database: Database) -> None:
    issue_id = planned_issue(database, 3)
    with database.write() as conn:
        assert audiences.plan_page(conn, issue_id, 100, 200) is None
        stopped = add_issue(conn, 1, "stopped", state="paused")
        assert audiences.plan_page(conn, stopped, 100, 200) is None


def test_who_subscribes_after_planning_began_is_not_in_it(database: Database) -> None:
    # Given: one page of two is written
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 3)
        issue_id = add_issue(conn, publication_id)
    with database.write() as conn:
        assert audiences.plan_page(conn, issue_id, 2, 200) == (2, False)

    # When
    with database.write() as conn:
        add_readers_from(conn, publication_id, 4)
    with database.write() as conn:
        assert audiences.plan_page(conn, issue_id, 2, 200) == (1, True)

    # Then
    assert [n for n, _, _ in rows_of(database, issue_id)] == [1, 2, 3]


@pytest.mark.needs("postgresql")
def test_planning_goes_on_while_others_note_their_progress(postgresql_url: str) -> None:
    # Given: somebody holds the issue's row, as all who send it do for a moment, and again and again
    database = open_database(postgresql_url)
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 3)
        issue_id = add_issue(conn, publication_id)
    noted = threading.Event()

    def page() -> tuple[int, bool] | None:
        with database.write() as conn:
            event.listen(conn, "after_cursor_execute", lambda *_: noted.set())
            return audiences.plan_page(conn, issue_id, 2, 200)

    # When
    with ThreadPoolExecutor(1) as executor:
        with database.write() as conn:
            conn.execute(select(issue.c.id).where(issue.c.id == issue_id).with_for_update())
            planned = executor.submit(page)
            assert noted.wait(20)
        assert planned.result(20) == (2, False)
    database.close()


@pytest.mark.needs("postgresql")
def test_one_page_is_planned_at_a_time_and_none_of_a_stopped_issue_stays(postgresql_url: str) -> None:
    # Given
    database = open_database(postgresql_url)
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 3)
        issue_id = add_issue(conn, publication_id)

    # When / Then
    with database.write() as mine:
        assert audiences.plan_page(mine, issue_id, 2, 200) == (2, False)
        with database.write() as other:
            assert audiences.plan_page(other, issue_id, 2, 200) is None

    def pause(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO shard"):
            with database.write() as other:
                issues.move(other, issue_id, [IssueState.SENDING], IssueState.PAUSED)

    event.listen(database.engine, "before_cursor_execute", pause)
    with pytest.raises(audiences.StoppedMeanwhileError), database.write() as conn:
        audiences.plan_page(conn, issue_id, 2, 200)
    with database.read() as conn:
        assert issues.get(conn, issue_id).audience == 2
        assert len(rows_of(database, issue_id)) == 2
    database.close()


def add_readers_from(conn: Connection, publication_id: int, n: int) -> None:
    subscriber_id = conn.execute(
        subscriber.insert()
        .values(address=f"late{n}@example.org", address_hash=b"%016d" % n, name="", attributes={}, created_at=LONG_AGO)
        .returning(subscriber.c.id)
    ).scalar_one()
    conn.execute(
        subscription.insert().values(
            subscriber_id=subscriber_id,
            publication_id=publication_id,
            state="confirmed",
            confirmed_at=LONG_AGO,
            consent_source="a form",
        )
    )


@pytest.mark.needs("postgresql")
def test_a_reader_confirmed_between_two_statements_does_not_push_another_out(postgresql_url: str) -> None:
    # Given: reader 1 has not confirmed, and does so while a page is being written
    database = open_database(postgresql_url)
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 4)
        change(conn, 1, state="pending", confirmed_at=None)
        issue_id = add_issue(conn, publication_id)
    confirmed: list[int] = []

    def confirm(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO delivery") and not confirmed:
            confirmed.append(1)
            with database.write() as other:
                change(other, 1, state="confirmed", confirmed_at=LONG_AGO)

    # When
    event.listen(database.engine, "before_cursor_execute", confirm)
    complete = False
    while not complete:
        with database.write() as conn:
            planned = audiences.plan_page(conn, issue_id, 2, 200)
        assert planned is not None
        complete = planned[1]

    # Then: nobody else is missing, and the numbers are right
    with database.read() as conn:
        people = set(conn.execute(select(delivery.c.subscriber_id)).scalars())
        totals = issues.totals(conn, issue_id)
    assert {2, 3, 4} <= people
    assert totals.audience == len(people)
    database.close()


def test_the_rest_of_an_issue_is_who_certainly_got_nothing(database: Database) -> None:
    # Given
    def outcome(n: int) -> dict[str, object]:
        if n == 1:
            return {"state": DeliveryState.ACCEPTED, "code": 250}
        if n == 2:
            return {"state": DeliveryState.FAILED, "reason": "too_big"}
        if n == 3:
            return {"state": DeliveryState.IN_DOUBT, "reason": "line_broke"}
        return {"state": DeliveryState.BOUNCED, "reason": "at_handover", "code": 550}

    first = planned_issue(database, 4)
    send(database, first, outcome)

    # When
    def audience_of(kind: AudienceKind, slug: str) -> set[int]:
        with database.write() as conn:
            issue_id = add_issue(conn, 1, slug, audience_kind=kind, audience_of=first)
            audiences.plan_page(conn, issue_id, 100, 200)
            query = select(delivery.c.subscriber_id).where(delivery.c.issue_id == issue_id)
            return set(conn.execute(query).scalars())

    # Then: neither who got it, nor who may have
    assert audience_of(AudienceKind.REST_OF, "rest") == {2}
    assert audience_of(AudienceKind.ACCEPTED_OF, "again") == {1}


def test_an_issue_numbers_each_reader_once(database: Database) -> None:
    planned_issue(database, 2)
    with pytest.raises(Exception, match=r"(?i)unique"), database.write() as conn:
        conn.execute(delivery.insert().values(issue_id=1, n=3, subscriber_id=1, state="waiting", tries=0, doubts=0))


def test_attribute_names_are_those_of_a_publications_readers(database: Database) -> None:
    with database.write() as conn:
        publication_id = add_publication(conn)
        other = add_publication(conn, "walks")
        add_readers(conn, publication_id, 2)
        conn.execute(update(schema.subscriber).where(subscriber.c.id == 1).values(attributes={"town": "Example"}))
        assert audiences.attribute_names(conn, publication_id) == {"town"}
        assert audiences.attribute_names(conn, other) == frozenset()


def test_who_confirmed_and_left_after_queueing_has_no_row(database: Database) -> None:
    # Given: an issue queued now; each reader joined or left at another time around it
    now = datetime.now(UTC)
    before, after, later = now - timedelta(days=1), now + timedelta(seconds=5), now + timedelta(seconds=9)
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 5)
        change(conn, 1, state="ended", confirmed_at=after, ended_at=later, ended_by="page")
        change(conn, 2, state="ended", confirmed_at=None, ended_at=after, ended_by="page")
        change(conn, 3, state="ended", confirmed_at=before, ended_at=now, ended_by="page")
        change(conn, 4, confirmed_at=after)
        issue_id = add_issue(conn, publication_id, queued_at=now)

    # When
    with database.write() as conn:
        audiences.plan_page(conn, issue_id, 100, 200)

    # Then: only who was a reader when it was queued is told as skipped
    assert rows_of(database, issue_id) == [(1, "skipped", "opted_out"), (2, "waiting", None), (3, "waiting", None)]


def test_skipped_readers_are_counted_in_their_own_part_of_the_issue(database: Database) -> None:
    # Given: two issues before each other, and skipped readers in both halves
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 8)
        for n in (1, 2, 5):
            change(conn, n, paused_until=datetime.now(UTC) + timedelta(days=1))

    # When
    for slug in ("spring", "summer"):
        with database.write() as conn:
            issue_id = add_issue(conn, publication_id, slug)
        complete = False
        while not complete:
            with database.write() as conn:
                planned = audiences.plan_page(conn, issue_id, 5, 4)
            assert planned is not None
            complete = planned[1]

        # Then
        assert_books_add_up(database)
        with database.read() as conn:
            kept = conn.execute(select(shard.c.skipped).where(shard.c.issue_id == issue_id).order_by(shard.c.no))
            assert list(kept.scalars()) == [2, 1, 0]


def test_the_rest_and_the_corrected_are_those_of_the_issue_named(database: Database) -> None:
    # Given: an issue with one copy of each fate, and another whose copies were all accepted
    fates: dict[int, dict[str, object]] = {
        1: {"state": "cancelled"},
        2: {"state": "expired"},
        3: {"state": "failed", "reason": "too_big"},
        4: {"state": "expired", "doubts": 1},
        5: {"state": "accepted", "doubts": 1, "tries": 2},
        6: {"state": "accepted", "tries": 1},
    }
    first = planned_issue(database, 6)
    with database.write() as conn:
        for n, columns in fates.items():
            conn.execute(update(delivery).where(delivery.c.n == n).values(at=LONG_AGO, **columns))
    other = add_planned(database, "other")
    with database.write() as conn:
        accepted = {"state": "accepted", "tries": 1, "at": LONG_AGO}
        conn.execute(update(delivery).where(delivery.c.issue_id == other).values(**accepted))

    # When / Then: a repeat that expired may have arrived the first time; an accepted repeat did arrive
    def people(kind: AudienceKind, of: int) -> set[int]:
        with database.read() as conn:
            query = audiences.audience_query(1, kind, of, None)
            return {row.subscriber_id for row in conn.execute(query)}

    assert people(AudienceKind.REST_OF, first) == {1, 2, 3}
    assert people(AudienceKind.ACCEPTED_OF, first) == {5, 6}
    assert people(AudienceKind.REST_OF, other) == set()


def test_a_pause_that_is_over_skips_nobody(database: Database) -> None:
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, 2)
        change(conn, 1, paused_until=datetime.now(UTC) - timedelta(seconds=5))
        change(conn, 2, paused_until=datetime.now(UTC) + timedelta(days=1))
        counted = audiences.count(conn, publication_id, AudienceKind.ALL, None)
    assert (counted["will_get"], counted["paused"]) == (1, 1)


def test_an_audience_of_nobody_is_counted_as_none_of_each(database: Database) -> None:
    with database.write() as conn:
        publication_id = add_publication(conn)
        counted = audiences.count(conn, publication_id, AudienceKind.ALL, None)
    assert counted == {"will_get": 0, "suppressed": 0, "paused": 0, "unconfirmed": 0, "opted_out": 0}


def test_readers_confirmed_since_an_issue_was_queued_are_those_of_its_publication(database: Database) -> None:
    # Given: one confirmed before, one in that moment, one after; of another publication three after
    queued_at = LONG_AGO + timedelta(days=1)
    with database.write() as conn:
        here, there, elsewhere = (add_publication(conn, slug) for slug in ("rivers", "walks", "boats"))
        add_readers(conn, elsewhere, 6)
        for n, (publication_id, after_s) in enumerate([(here, -1), (here, 0), (here, 1), *[(there, 5)] * 3], 1):
            conn.execute(
                subscription.insert().values(
                    subscriber_id=n, publication_id=publication_id, state="confirmed", consent_source="a form",
                    confirmed_at=queued_at + timedelta(seconds=after_s),
                )
            )  # fmt: skip
        mine = add_issue(conn, here, queued_at=queued_at)
        others = add_issue(conn, there, "summer", queued_at=queued_at)

    # Then
    with database.read() as conn:
        assert audiences.confirmed_since_queued(conn, mine) == 2
        assert audiences.confirmed_since_queued(conn, others) == 3
