"""Two issues for the same readers at the same time: nothing done for one touches the other. On both databases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from tests.support.ledgers import LONG_AGO, add_planned, add_publication, assert_books_add_up, planned_issue, send
from worker.domain.delivery import DeliveryState, DoubtReason
from worker.domain.issue import AudienceKind, IssueState, WaitReason
from worker.storage.engine import Database
from worker.storage.ledger import audiences, claims, deliveries, issues, proofs, reports, settlements
from worker.storage.ledger.claims import Claim
from worker.storage.ledger.settlements import Result
from worker.storage.schema import claim, consent_log, delivery, issue, reply, shard, subscription

PAST = datetime(2026, 1, 2, tzinfo=UTC)

OUTCOMES: list[dict[str, Any]] = [
    {"state": DeliveryState.ACCEPTED, "code": 250},
    {"state": DeliveryState.FAILED, "reason": "too_big"},
    {"state": DeliveryState.IN_DOUBT, "reason": "line_broke", "fingerprint": b"8 octets"},
    {"state": DeliveryState.DEFERRED, "next_try": PAST, "first_try": PAST, "code": 451, "text": "451 later"},
    {"state": DeliveryState.BOUNCED, "reason": "at_handover", "code": 550, "text": "550 who?"},
]


def keep_busy(database: Database, issue_id: int) -> None:
    """Rows 1-5 have results, 6 was given back, 7-9 are being sent, 10-12 were not begun; two shards of six."""
    send(database, issue_id, lambda n: OUTCOMES[n - 1], size=5)
    with database.write() as conn:
        given_back = claims.claim_first(conn, issue_id, "w1", 1)
        assert claims.claim_first(conn, issue_id, "w1", 3) is not None
        assert given_back is not None
        assert claims.release(conn, given_back, "w1")


@pytest.fixture
def other(database: Database) -> int:
    """The second of two issues that stand alike."""
    first = planned_issue(database, 12, shard_size=6)
    other = add_planned(database, "summer", shard_size=6)
    for issue_id in (first, other):
        keep_busy(database, issue_id)
    return other


def everything_of(database: Database, issue_id: int) -> list[Any]:
    with database.read() as conn:
        return [
            conn.execute(select(issue).where(issue.c.id == issue_id)).all(),
            *(conn.execute(select(table).where(table.c.issue_id == issue_id).order_by(*table.primary_key)).all()
              for table in (delivery, shard, claim, reply)),
        ]  # fmt: skip


def owned(conn: Connection, issue_id: int) -> Claim:
    return next(held for held in claims.owned_by(conn, ["w1"]) if held.issue_id == issue_id)


def take_due(conn: Connection, issue_id: int) -> Claim:
    held = claims.claim_retry(conn, issue_id, "w1", 5)
    assert held is not None
    assert (held.issue_id, held.left) == (issue_id, 1)
    return held


def take_given_back(conn: Connection, issue_id: int) -> None:
    held = claims.claim_first(conn, issue_id, "w1", 5)
    assert held is not None
    assert (held.issue_id, held.from_n, held.left) == (issue_id, 6, 1)


def take_new_numbers(conn: Connection, issue_id: int) -> None:
    take_given_back(conn, issue_id)
    held = claims.claim_first(conn, issue_id, "w1", 5)
    assert held is not None
    assert (held.from_n, held.to_n, held.left) == (10, 12, 3)


def settle(conn: Connection, issue_id: int) -> None:
    held = owned(conn, issue_id)
    results = [Result(n=n, old=DeliveryState.WAITING, **OUTCOMES[n - 5]) for n in (7, 8, 9)]
    assert settlements.settle(conn, held, "w1", results) == 3


def settle_later_try(conn: Connection, issue_id: int) -> None:
    held = take_due(conn, issue_id)
    assert settlements.settle(conn, held, "w1", [Result(4, DeliveryState.DEFERRED, DeliveryState.ACCEPTED)]) == 1


def give_back(conn: Connection, issue_id: int) -> None:
    assert claims.release(conn, owned(conn, issue_id), "w1")


def give_back_later_try(conn: Connection, issue_id: int) -> None:
    assert claims.release(conn, take_due(conn, issue_id), "w1")


def lose(conn: Connection, issue_id: int) -> None:
    assert claims.lose(conn, owned(conn, issue_id), DoubtReason.WORKER_LOST) == 3


def retry(conn: Connection, issue_id: int) -> None:
    assert deliveries.reopen(conn, issue_id, [DeliveryState.FAILED, DeliveryState.BOUNCED]) == 2


def repeat(conn: Connection, issue_id: int) -> None:
    assert deliveries.repeat_doubts(conn, issue_id, settle_s=-60) == 1


def cancel(conn: Connection, issue_id: int) -> None:
    assert issues.move(conn, issue_id, [IssueState.SENDING], IssueState.CANCELLED, **issues.TO_SWEEP)
    assert deliveries.cancel_open(conn, issue_id) == 5
    assert issues.cancelled_unswept(conn) == [issue_id]
    assert not claims.release(conn, owned(conn, issue_id), "w1")
    issues.note_swept(conn, issue_id)
    assert issues.cancelled_unswept(conn) == []


def nudge(conn: Connection, issue_id: int) -> None:
    issues.bump_nudge(conn, issue_id)
    issues.wait_until(conn, issue_id, 60, WaitReason.RELAY, "the relay is silent")
    issues.touch_claimed(conn, issue_id)
    issues.touch_progress(conn, issue_id)


STEPS = (
    take_given_back, take_new_numbers, settle, settle_later_try, give_back, give_back_later_try, lose, retry, repeat,
    cancel, nudge,
)  # fmt: skip


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_what_is_done_for_one_issue_leaves_another_as_it_was(
    database: Database, other: int, step: Callable[[Connection, int], None]
) -> None:
    # Given: the first issue's nudges and progress lie back, so that a stray note would show
    with database.write() as conn:
        conn.execute(update(issue).values(last_claim_at=PAST, last_progress_at=PAST))
    before = everything_of(database, 1)

    # When
    with database.write() as conn:
        step(conn, other)

    # Then
    assert everything_of(database, 1) == before
    assert_books_add_up(database)


def test_what_is_shown_of_one_issue_does_not_count_another(database: Database, other: int) -> None:
    # Given: the first issue stops being sent, and its later try was long due
    with database.write() as conn:
        conn.execute(claim.delete().where(claim.c.issue_id == other))
        conn.execute(update(delivery).where(delivery.c.issue_id == other, delivery.c.n == 4).values(next_try=LONG_AGO))
        conn.execute(update(delivery).where(delivery.c.issue_id == 1, delivery.c.n == 4).values(tries=7))
        conn.execute(update(reply).where(reply.c.issue_id == 1).values(text="another's words"))

    # Then
    with database.read() as conn:
        assert issues.totals(conn, other).sending == claims.count_owned(conn, other) == 0
        assert issues.totals(conn, 1).sending == 3
        assert claims.count_owned(conn, 1) == 1
        first_s, other_s = deliveries.next_try_in(conn, 1), deliveries.next_try_in(conn, other)
        assert first_s is not None
        assert other_s is not None
        assert 80_000 > other_s - first_s > 10_000
        rows, firsts = deliveries.list_by_state(conn, other), deliveries.list_by_state(conn, 1)
    assert [row.reply_text for row in rows[3:5]] == ["451 later", "550 who?"]
    assert [row.reply_text for row in firsts[3:5]] == ["another's words"] * 2
    assert {row.state for row in rows[6:]} == {"waiting"}


def read_of(database: Database, issue_id: int) -> list[Any]:
    with database.read() as conn:
        return [
            *(read(conn, issue_id) for read in (
                reports.by_provider, reports.by_reason, reports.refusals, reports.leavers, reports.silence,
                issues.totals, deliveries.later_tries, deliveries.has_far, claims.never_claimed, claims.count_owned,
                issues.audience_kind, audiences.confirmed_since_queued, deliveries.list_by_state,
                issues.compiled_body, proofs.unknown_owners, proofs.claims_left, proofs.shard_counters,
                proofs.audiences, proofs.overlapping_claims, proofs.stranded_rows, proofs.rows_ahead,
                proofs.ended_with_open_rows, proofs.count_rows,
            )),
            *(reports.span(conn, issue_id, state) for state in DeliveryState),
            reports.doubts(conn, issue_id, 10),
            proofs.states_of(conn, issue_id, range(1, 13)),
        ]  # fmt: skip


def test_whatever_becomes_of_one_issue_what_is_read_of_another_stays_as_it_was(database: Database, other: int) -> None:
    # Given a reader who left after both issues had begun
    gone = datetime.now(UTC)
    with database.write() as conn:
        conn.execute(
            update(subscription)
            .where(subscription.c.subscriber_id == 1)
            .values(state="ended", ended_at=gone, ended_by="page", ended_issue_id=1)
        )
    before = read_of(database, 1)
    assert not [wrong for wrong in before[14:22] if wrong]

    # When nearly everything about the second one changes, and its books get wrong
    far = gone + timedelta(days=400)
    with database.write() as conn:
        elsewhere = add_publication(conn, "walks")
        here = delivery.c.issue_id == other
        conn.execute(update(delivery).where(here, delivery.c.state == "waiting").values(tries=3))
        conn.execute(update(delivery).where(here).values(provider="gmx", at=far))
        conn.execute(update(delivery).where(here, delivery.c.n == 4).values(next_try=far, first_try=far, claim=None))
        conn.execute(
            update(delivery)
            .where(here, delivery.c.n.in_([7, 12]))
            .values(state="in_doubt", reason="line_broke", fingerprint=b"8 octets", claim=9, claimed_at=far, doubts=1)
        )
        conn.execute(update(reply).where(reply.c.issue_id == other).values(code=499, text="another's words"))
        conn.execute(update(claim).where(claim.c.issue_id == other).values(owner="nobody", left=99))
        conn.execute(update(shard).where(shard.c.issue_id == other).values(next_n=shard.c.to_n))
        conn.execute(
            claim.insert().values(
                issue_id=other, shard_no=1, kind="first", from_n=7, to_n=9, left=3, of_state="waiting", claimed_at=far
            )
        )
        conn.execute(
            consent_log.insert().values(
                subscription_id=1, generation=1, event="ended", channel="page", at=gone, issue_id=other, evidence=""
            )
        )
        conn.execute(
            update(issue)
            .where(issue.c.id == other)
            .values(audience=99, publication_id=elsewhere, audience_kind="rest_of", audience_of=1, state="finished",
                    finished_at=far, queued_at=PAST - timedelta(days=9), started_at=far, plan_cursor=None)
        )  # fmt: skip

    # Then
    for was, now in zip(before, read_of(database, 1), strict=True):
        assert now == was
    with database.read() as conn:
        assert conn.execute(select(issue.c.state).where(issue.c.id == other)).scalar() == IssueState.FINISHED
        for look in (
            proofs.unknown_owners, proofs.claims_left, proofs.shard_counters, proofs.audiences, proofs.stranded_rows,
            proofs.overlapping_claims, proofs.rows_ahead, proofs.ended_with_open_rows,
        ):  # fmt: skip
            assert look(conn, other) == look(conn, None) != []


def test_a_relays_words_are_counted_by_the_tries_of_their_own_issue(database: Database, other: int) -> None:
    with database.write() as conn:
        conn.execute(update(delivery).where(delivery.c.issue_id == 1).values(tries=7))
        conn.execute(reply.delete())
        settle(conn, other)
        assert set(conn.execute(select(reply.c.try_no)).scalars()) == {1}


def test_a_reader_who_left_another_publication_still_gets_this_one(database: Database) -> None:
    # Given: both readers left another publication, and one never confirmed a third
    issue_id = planned_issue(database, 2)
    with database.write() as conn:
        for slug, state in (("walks", "ended"), ("boats", "pending")):
            elsewhere = add_publication(conn, slug)
            ended = {"ended_at": PAST, "ended_by": "page"} if state == "ended" else {}
            for reader in (1, 2):
                conn.execute(
                    subscription.insert().values(
                        subscriber_id=reader, publication_id=elsewhere, state=state, consent_source="", **ended
                    )
                )
        held = claims.claim_first(conn, issue_id, "w1", 5)
        assert held is not None

    # Then
    with database.read() as conn:
        assert [due.skip for due in deliveries.read_due(conn, held)] == [None, None]
        assert deliveries.read_stops(conn, held, "w1") == (True, {})
        counted = audiences.count(conn, 1, AudienceKind.ALL, None)
        assert (counted["will_get"], counted["unconfirmed"], counted["opted_out"]) == (2, 0, 0)
    again = add_planned(database, "again")
    with database.read() as conn:
        assert issues.totals(conn, again).waiting == 2
