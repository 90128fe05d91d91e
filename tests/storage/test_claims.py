"""Claims: who holds which rows, and what becomes of them. The same on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from tests.support.ledgers import add_planned, add_worker, assert_books_add_up, numbers, planned_issue, send
from worker.domain.delivery import DeliveryState
from worker.storage.engine import Database
from worker.storage.ledger import claims, issues
from worker.storage.ledger.claims import Claim
from worker.storage.schema import claim, delivery, issue

PAST = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def issue_id(database: Database) -> int:
    """30 waiting rows in shards of 12."""
    return planned_issue(database, 30, shard_size=12)


def take(database: Database, issue_id: int, size: int = 5, owner: str = "w1") -> Claim:
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, owner, size)
    assert held is not None
    return held


def give_back(database: Database, held: Claim, owner: str = "w1") -> bool:
    with database.write() as conn:
        return claims.release(conn, held, owner)


def states(database: Database) -> list[str]:
    with database.read() as conn:
        return list(conn.execute(select(delivery.c.state).order_by(delivery.c.n)).scalars())


def defer(n: int) -> dict[str, object]:
    return {"state": DeliveryState.DEFERRED, "next_try": PAST, "first_try": PAST, "code": 451}


def test_first_claims_walk_through_the_shards_without_overlap(database: Database, issue_id: int) -> None:
    # When
    taken = [numbers(take(database, issue_id)) for _ in range(7)]

    # Then: never across a shard's end
    assert [(r.start, r.stop - 1) for r in taken] == [
        (1, 5), (6, 10), (11, 12), (13, 17), (18, 22), (23, 24), (25, 29),
    ]  # fmt: skip
    assert list(numbers(take(database, issue_id))) == [30]
    with database.write() as conn:
        assert claims.claim_first(conn, issue_id, "w1", 5) is None
        assert issues.totals(conn, issue_id).sending == 30


def test_ids_are_never_used_again(database: Database, issue_id: int) -> None:
    first = take(database, issue_id)
    give_back(database, first)
    assert take(database, issue_id).id > first.id


def test_a_released_range_is_taken_before_new_numbers(database: Database, issue_id: int) -> None:
    held = take(database, issue_id)
    assert give_back(database, held)
    again = take(database, issue_id)
    assert (again.from_n, again.to_n, again.left) == (1, 5, 5)
    assert again.id != held.id
    assert_books_add_up(database)


def test_a_released_range_is_taken_in_parts(database: Database, issue_id: int) -> None:
    # Given: twelve rows, of which two have a result
    held = take(database, issue_id, size=12)
    with database.write() as conn:
        conn.execute(update(delivery).where(delivery.c.n.in_([2, 3])).values(state="cancelled", at=PAST))
        claims.move_counts(conn, issue_id, 0, {(DeliveryState.WAITING, DeliveryState.CANCELLED): 2})
        conn.execute(update(claim).values(left=10))
    give_back(database, held)

    # When
    parts = [take(database, issue_id, size=4) for _ in range(3)]

    # Then
    assert [(part.from_n, part.to_n, part.left) for part in parts] == [(1, 6, 4), (7, 10, 4), (11, 12, 2)]
    assert_books_add_up(database)
    assert take(database, issue_id).from_n == 13


def test_a_retry_claim_takes_due_rows_of_one_shard_and_one_state(database: Database, issue_id: int) -> None:
    # Given: two due deferred rows here, one reopened row, one deferred elsewhere, one not yet due
    send(database, issue_id, defer, size=12)
    send(database, issue_id, defer, size=12)
    later = datetime.now(UTC) + timedelta(hours=1)
    with database.write() as conn:
        conn.execute(update(delivery).where(delivery.c.n.not_in([2, 4, 6, 14])).values(next_try=later))
        conn.execute(update(delivery).where(delivery.c.n == 6).values(state="waiting"))
        claims.move_counts(conn, issue_id, 0, {(DeliveryState.DEFERRED, DeliveryState.WAITING): 1})

    # When
    taken = []
    for _ in range(3):
        with database.write() as conn:
            held = claims.claim_retry(conn, issue_id, "w1", 10)
        assert held is not None
        with database.read() as conn:
            rows = conn.execute(select(delivery.c.n).where(claims.rows_of(held)).order_by(delivery.c.n)).scalars().all()
        taken.append((held.of_state, tuple(rows)))

    # Then
    assert sorted(taken) == [("deferred", (2, 4)), ("deferred", (14,)), ("waiting", (6,))]
    with database.write() as conn:
        assert claims.claim_retry(conn, issue_id, "w1", 10) is None
    with database.read() as conn:
        totals = issues.totals(conn, issue_id)
    assert (totals.sending, totals.deferred, totals.waiting, totals.adds_up) == (4, 20, 6, True)
    assert_books_add_up(database)


def test_a_reopened_row_is_no_part_of_the_range_it_lies_in(database: Database, issue_id: int) -> None:
    held = take(database, issue_id)
    with database.write() as conn:
        conn.execute(update(delivery).where(delivery.c.n == 3).values(next_try=PAST))
        rows = conn.execute(select(delivery.c.n).where(claims.rows_of(held)).order_by(delivery.c.n)).scalars().all()
    assert rows == [1, 2, 4, 5]


def test_a_retry_claim_given_back_leaves_its_rows_to_others(database: Database, issue_id: int) -> None:
    send(database, issue_id, defer, size=3)
    with database.write() as conn:
        held = claims.claim_retry(conn, issue_id, "w1", 10)
    assert held is not None
    assert give_back(database, held)
    with database.write() as conn:
        again = claims.claim_retry(conn, issue_id, "w1", 10)
    assert again is not None
    assert again.left == 3
    assert_books_add_up(database)


@pytest.mark.parametrize("state", ["paused", "cancelled", "holding"])
def test_nothing_is_claimed_of_an_issue_that_is_not_being_sent(database: Database, issue_id: int, state: str) -> None:
    send(database, issue_id, defer, size=3)
    with database.write() as conn:
        conn.execute(update(issue).values(state=state, hold_until=PAST))
        assert claims.claim_first(conn, issue_id, "w1", 5) is None
        assert claims.claim_retry(conn, issue_id, "w1", 5) is None


def test_only_its_owner_releases_a_claim(database: Database, issue_id: int) -> None:
    held = take(database, issue_id)
    assert not give_back(database, held, owner="w2")
    with database.read() as conn:
        assert claims.count_owned(conn, issue_id) == 1
        assert claims.is_owned(conn, held, "w1")
        assert not claims.is_owned(conn, held, "w2")


def test_a_claim_released_after_a_cancel_is_cancelled(database: Database, issue_id: int) -> None:
    held = take(database, issue_id)
    with database.write() as conn:
        conn.execute(update(issue).values(state="cancelled"))
    assert not give_back(database, held)
    assert states(database)[:6] == ["cancelled"] * 5 + ["waiting"]
    with database.read() as conn:
        assert issues.totals(conn, issue_id).cancelled == 5


@pytest.mark.parametrize("kind", ["first", "retry"])
def test_a_lost_claims_rows_are_in_doubt_once(database: Database, issue_id: int, kind: str) -> None:
    # Given
    if kind == "retry":
        send(database, issue_id, defer, size=5)
        with database.write() as conn:
            held = claims.claim_retry(conn, issue_id, "w1", 5)
        assert held is not None
    else:
        held = take(database, issue_id)

    # When
    with database.write() as conn:
        assert claims.lose(conn, held, "worker_lost") == 5
        assert claims.lose(conn, held, "worker_lost") == 0

    # Then: with the claim's id and time, for later evidence
    with database.read() as conn:
        rows = conn.execute(select(delivery).where(delivery.c.state == "in_doubt")).all()
    assert {(row.claim, row.claimed_at, row.doubts, row.reason) for row in rows} == {
        (held.id, held.claimed_at, 1, "worker_lost")
    }
    assert not give_back(database, held)
    assert_books_add_up(database)


def test_a_released_claim_is_not_lost_with_its_former_owner(database: Database, issue_id: int) -> None:
    held = take(database, issue_id)
    give_back(database, held)
    with database.write() as conn:
        assert claims.owned_by(conn, ["w1"]) == []
        assert claims.lose(conn, held, "worker_lost") == 0
        assert claims.owners(conn) == set()


def test_owned_by_names_each_workers_claims(database: Database, issue_id: int) -> None:
    with database.write() as conn:
        add_worker(conn, "w2")
    mine, other = take(database, issue_id), take(database, issue_id, owner="w2")
    with database.write() as conn:
        assert claims.owned_by(conn, ["w1"]) == [mine]
        assert claims.owned_by(conn, ["w1", "w2"]) == [mine, other]
        assert claims.owners(conn) == {"w1", "w2"}


def test_an_issues_claims_are_named_in_the_order_of_its_shards(database: Database, issue_id: int) -> None:
    # Given: taken in another order, one given back, and one of another issue
    other = add_planned(database, "summer")
    held = [take(database, issue_id, 5) for _ in range(4)]
    with database.write() as conn:
        claims.release(conn, held[1], "w1")
        assert claims.claim_first(conn, other, "w1", 5) is not None
        conn.execute(update(claim).where(claim.c.id == held[0].id).values(shard_no=9))

    # Then
    with database.write() as conn:
        named = claims.owned_by_issue(conn, issue_id)
    assert [each.id for each in named] == [held[2].id, held[3].id, held[0].id]
    assert {(each.issue_id, each.kind, each.of_state) for each in named} == {(issue_id, "first", "waiting")}
