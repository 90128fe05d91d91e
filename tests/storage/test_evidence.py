"""What evidence and a restore move: copies in doubt, and copies of which nobody knows the end. On both databases."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.ledgers import FINGERPRINT, add_planned, assert_books_add_up, planned_issue, send
from worker.domain.delivery import DeliveryState, DoubtReason
from worker.domain.issue import IssueState
from worker.storage.engine import Database
from worker.storage.ledger import claims, evidence
from worker.storage.schema import claim, delivery, issue, reply, shard

LATER = datetime(2099, 1, 2, tzinfo=UTC)
PAST = datetime(2026, 1, 2, tzinfo=UTC)
LOST_CLAIM = 77


def begin(database: Database, issue_id: int) -> None:
    """Three shards of ten: 1, 2 and 4 are over, 3 is put off, 5 and 6 were given back, the others were not begun."""
    outcomes: dict[int, dict[str, Any]] = {
        3: {"state": DeliveryState.DEFERRED, "next_try": LATER, "first_try": PAST},
        4: {"state": DeliveryState.BOUNCED, "reason": "at_handover", "code": 550},
    }
    send(database, issue_id, lambda n: outcomes.get(n, {"state": DeliveryState.ACCEPTED, "code": 250}), size=4)
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", 2)
        assert held is not None
        assert claims.release(conn, held, "w1")


@pytest.fixture
def issue_id(database: Database) -> int:
    """The second of two issues that stand alike."""
    first = planned_issue(database, 30, shard_size=10)
    second = add_planned(database, "summer", shard_size=10)
    for each in (first, second):
        begin(database, each)
    return second


def doubt(database: Database, issue_id: int, *ranges: tuple[int, int]) -> int:
    with database.write() as conn:
        return evidence.doubt_begun(conn, issue_id, ranges, LOST_CLAIM, "the end is not known")


def rows_of(database: Database, issue_id: int) -> dict[int, Any]:
    with database.read() as conn:
        return {row.n: row for row in conn.execute(select(delivery).where(delivery.c.issue_id == issue_id))}


def everything_of(database: Database, issue_id: int) -> list[Any]:
    with database.read() as conn:
        return [
            conn.execute(select(table).where(table.c.issue_id == issue_id).order_by(*table.primary_key)).all()
            for table in (delivery, shard, claim, reply)
        ]


def resolve(database: Database, issue_id: int, numbers: list[int], to: DeliveryState, of: int = LOST_CLAIM) -> int:
    with database.write() as conn:
        return evidence.resolve(conn, issue_id, of, numbers, to)


def test_begun_copies_of_which_the_end_is_not_known_are_in_doubt(database: Database, issue_id: int) -> None:
    # When
    before = everything_of(database, 1)
    assert doubt(database, issue_id, (2, 3), (6, 8), (12, 13)) == 6

    # Then: those that had no end, each with its reason and its last words
    rows = rows_of(database, issue_id)
    lost = [n for n, row in rows.items() if row.state == DeliveryState.IN_DOUBT]
    assert lost == [3, 6, 7, 8, 12, 13]
    assert [rows[n].state for n in (1, 2, 4, 5, 9, 14)] == ["accepted", "accepted", "bounced", *["waiting"] * 3]
    for n in lost:
        row = rows[n]
        assert (row.reason, row.claim, row.next_try, row.fingerprint) == ("worker_lost", LOST_CLAIM, None, None)
        assert (row.doubts, row.tries) == (1, 2 if n == 3 else 1)
        assert row.claimed_at > PAST
        assert row.at > PAST
    with database.read() as conn:
        said = conn.execute(select(reply).order_by(reply.c.n)).all()
    assert [(each.issue_id, each.n, each.try_no) for each in said] == [(issue_id, n, 2 if n == 3 else 1) for n in lost]
    assert {(each.phase, each.text, each.at > PAST) for each in said} == {("body", "the end is not known", True)}
    assert everything_of(database, 1) == before
    assert_books_add_up(database)


def test_what_was_not_begun_beside_doubts_is_claimed_once_and_nothing_else(database: Database, issue_id: int) -> None:
    # Given
    with database.read() as conn:
        assert claims.never_claimed(conn, issue_id) == [(7, 10), (11, 20), (21, 30)]
    doubt(database, issue_id, (6, 8), (12, 13))
    with database.read() as conn:
        assert claims.never_claimed(conn, issue_id) == [(14, 20), (21, 30)]

    # When
    taken: list[tuple[int, list[int]]] = []
    with database.write() as conn:
        while held := claims.claim_first(conn, issue_id, "w1", 50):
            rows = conn.execute(select(delivery.c.n).where(claims.rows_of(held)).order_by(delivery.c.n)).scalars()
            taken.append((held.left, list(rows)))

    # Then
    assert taken == [(1, [5]), (2, [9, 10]), (1, [11]), (7, list(range(14, 21))), (10, list(range(21, 31)))]
    assert_books_add_up(database)


@pytest.mark.parametrize(
    ("ranges", "left"),
    [
        ([(5, 6)], {}),  # all that was given back had begun
        ([(5, 8)], {}),
        ([(1, 4)], {5: 2}),  # nothing of it had
        ([(6, 6)], {5: 1}),
        ([(7, 10)], {5: 2}),  # a shard's end
        ([(7, 9), (11, 11)], {5: 2, 7: 1}),
        ([(10, 12)], {5: 2, 7: 3}),  # over the border of two shards
    ],
)
def test_ranges_given_back_count_what_is_left_of_them(
    database: Database, issue_id: int, ranges: list[tuple[int, int]], left: dict[int, int]
) -> None:
    doubt(database, issue_id, *ranges)
    with database.read() as conn:
        released = conn.execute(select(claim).where(claim.c.issue_id == issue_id)).all()
    assert {each.from_n: each.left for each in released} == left
    assert {each.owner for each in released} <= {None}
    assert_books_add_up(database)


@pytest.mark.parametrize("state", [IssueState.SENDING, IssueState.PAUSED, IssueState.FINISHED, IssueState.CANCELLED])
@pytest.mark.parametrize("to", [DeliveryState.ACCEPTED, DeliveryState.BOUNCED, DeliveryState.WAITING])
def test_evidence_moves_the_copies_it_names_and_only_what_is_to_be_sent_opens_an_issue(
    database: Database, issue_id: int, state: IssueState, to: DeliveryState
) -> None:
    # Given copies in doubt in the first and the last of three shards
    doubt(database, issue_id, (3, 3), (22, 24))
    with database.write() as conn:
        conn.execute(update(issue).values(state=state, finished_at=PAST if state == IssueState.FINISHED else None))
    before = everything_of(database, 1)

    # When
    moved = resolve(database, issue_id, [1, 3, 22, 24], to)

    # Then
    rows = rows_of(database, issue_id)
    is_reopened = to is DeliveryState.WAITING
    stays = is_reopened and state is IssueState.CANCELLED
    assert moved == (0 if stays else 3)
    assert [rows[n].state for n in (1, 3, 22, 23, 24)] == [
        "accepted", *(["in_doubt"] * 4 if stays else [to, to, "in_doubt", to]),
    ]  # fmt: skip
    with database.read() as conn:
        stands = conn.execute(select(issue).where(issue.c.id == issue_id)).one()
        first = conn.execute(select(issue).where(issue.c.id == 1)).one()
    opens = is_reopened and state is IssueState.FINISHED
    assert stands.state == (IssueState.SENDING if opens else state)
    assert (stands.finished_at is None) is (opens or state is not IssueState.FINISHED)
    assert first.state == state
    assert everything_of(database, 1) == before
    if stays:
        return
    row = rows[24]
    assert (row.claim, row.reason) == (None, "at_handover" if to is DeliveryState.BOUNCED else None)
    # Then: what never left is due at once, as if it had never been tried
    assert (row.next_try is not None, row.claimed_at is None) == (is_reopened, is_reopened)
    assert (row.doubts, row.tries) == ((0, 0) if is_reopened else (1, 1))
    assert (rows[3].first_try is None) is is_reopened


def test_evidence_about_another_claim_moves_nothing(database: Database, issue_id: int) -> None:
    doubt(database, issue_id, (7, 9))
    before = everything_of(database, issue_id)
    assert resolve(database, issue_id, [7, 8, 9], DeliveryState.ACCEPTED, of=LOST_CLAIM + 1) == 0
    assert resolve(database, issue_id, [], DeliveryState.ACCEPTED) == 0
    assert resolve(database, 1, [7, 8, 9], DeliveryState.ACCEPTED) == 0
    assert everything_of(database, issue_id) == before


def test_a_repeat_that_never_left_takes_back_its_own_try_and_doubt_alone(database: Database, issue_id: int) -> None:
    doubt(database, issue_id, (7, 7))
    with database.write() as conn:
        conn.execute(
            update(delivery)
            .where(delivery.c.issue_id == issue_id, delivery.c.n == 7)
            .values(doubts=2, tries=5, fingerprint=FINGERPRINT)
        )
    assert resolve(database, issue_id, [7], DeliveryState.WAITING) == 1
    row = rows_of(database, issue_id)[7]
    assert (row.doubts, row.tries, row.fingerprint) == (1, 4, None)


def test_only_copies_lost_with_their_machine_await_its_journal(database: Database, issue_id: int) -> None:
    # Given: 9 is of another claim, 10 was lost in another way, 12 lies behind the range
    doubt(database, issue_id, (7, 12))
    with database.write() as conn:
        conn.execute(
            update(delivery)
            .where(delivery.c.issue_id == issue_id, delivery.c.n.in_([7, 8, 9, 11, 12]))
            .values(reason=DoubtReason.HOST_LOST)
        )
        conn.execute(update(delivery).where(delivery.c.n == 9).values(claim=LOST_CLAIM + 1))

    # Then
    with database.read() as conn:
        assert evidence.in_doubt_since(conn, issue_id, LOST_CLAIM, 7, 11) == [7, 8, 11]
        assert evidence.in_doubt_since(conn, issue_id, LOST_CLAIM, 8, 12) == [8, 11, 12]
        assert evidence.in_doubt_since(conn, 1, LOST_CLAIM, 7, 11) == []
