"""Ledgers for tests: a publication, readers and an issue, planned and sent by the same functions as in life."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from tests.support.mails import COMPILED
from worker.domain.delivery import DeliveryState
from worker.storage import schema, workers
from worker.storage.engine import Database
from worker.storage.ledger import audiences, claims, issues, proofs, settlements
from worker.storage.ledger.claims import Claim
from worker.storage.ledger.settlements import Result

LONG_AGO = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FINGERPRINT = b"8 octets"


def add_publication(conn: Connection, slug: str = "rivers", **values: Any) -> int:
    """A publication; returns its id."""
    row = {
        "slug": slug,
        "title": "River letters",
        "from_name": "River letters",
        "from_address": "letters@rivers.example.org",
        "postal_address": "1 Bank Street, Example",
        "contact": "desk@rivers.example.org",
        "promise": "One click ends it.",
        "language": "en",
        "zone": "Europe/Paris",
        "description": "",
        "created_at": LONG_AGO,
    } | values
    return int(conn.execute(schema.publication.insert().values(**row).returning(schema.publication.c.id)).scalar_one())


def add_readers(conn: Connection, publication_id: int, number: int) -> None:
    """Confirmed readers reader1@example.org ..., with the consent line each."""
    for n in range(1, number + 1):
        subscriber_id = conn.execute(
            schema.subscriber.insert()
            .values(
                address=f"reader{n}@example.org",
                address_hash=uuid4().bytes,
                name=f"Reader {n}",
                attributes={},
                created_at=LONG_AGO,
            )
            .returning(schema.subscriber.c.id)
        ).scalar_one()
        conn.execute(
            schema.subscription.insert().values(
                subscriber_id=subscriber_id,
                publication_id=publication_id,
                state="confirmed",
                confirmed_at=LONG_AGO,
                consent_source="a form",
            )
        )


def add_issue(conn: Connection, publication_id: int, slug: str = "spring", **values: Any) -> int:
    """An issue being sent, not planned yet; returns its id."""
    row = {
        "publication_id": publication_id,
        "slug": slug,
        "kind": "newsletter",
        "subject": "Spring tides",
        "state": "sending",
        "doubt": "never-twice",
        "fingerprint": "0" * 64,
        "source": "",
        "queued_at": datetime.now(UTC),
        "queued_by": "test",
        "hold_s": 0,
        "started_at": datetime.now(UTC),
        "zone": "Europe/Paris",
        "audience_kind": "all",
        "plan_cursor": 0,
    } | values
    issue_id = issues.insert(conn, **row)
    conn.execute(
        schema.compiled_issue.insert().values(issue_id=issue_id, fingerprint="0" * 64, body=COMPILED.to_json())
    )
    return issue_id


def add_worker(conn: Connection, worker_id: str = "w1", host_id: str = "host-1") -> str:
    """A worker process that is alive; returns its id."""
    workers.register(conn, worker_id, host_id, "host 4711")
    return worker_id


def planned_issue(database: Database, readers: int, shard_size: int = 200) -> int:
    """A planned issue with that many waiting rows, and one worker w1; returns the issue's id."""
    with database.write() as conn:
        publication_id = add_publication(conn)
        add_readers(conn, publication_id, readers)
        issue_id = add_issue(conn, publication_id)
        add_worker(conn)
    with database.write() as conn:
        assert audiences.plan_page(conn, issue_id, readers + 1, shard_size) == (readers, True)
    return issue_id


def send(database: Database, issue_id: int, outcome: Callable[[int], dict[str, Any]], size: int = 50) -> None:
    """Claim once and settle every row of the claim with what `outcome(n)` says."""
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", size)
    assert held is not None
    settle(database, held, [Result(n=n, old=DeliveryState.WAITING, **outcome(n)) for n in numbers(held)])


def numbers(held: Claim) -> range:
    return range(held.from_n, held.to_n + 1)


def settle(database: Database, held: Claim, results: list[Result]) -> None:
    with database.write() as conn:
        assert settlements.settle(conn, held, "w1", results) == len(results)


def assert_books_add_up(database: Database) -> None:
    """Every kept number equals the rows it stands for."""
    with database.read() as conn:
        discrepancies = [wrong for look in _LEDGER for wrong in look(conn, None)]
    assert discrepancies == []


_LEDGER = (
    proofs.shard_counters,
    proofs.audiences,
    proofs.claims_left,
    proofs.overlapping_claims,
    proofs.stranded_rows,
    proofs.rows_ahead,
    proofs.ended_with_open_rows,
)


def add_planned(database: Database, slug: str, publication_id: int = 1, shard_size: int = 200, **values: Any) -> int:
    """One more issue of a publication, planned for its readers; returns its id."""
    with database.write() as conn:
        issue_id = add_issue(conn, publication_id, slug, **values)
    with database.write() as conn:
        audiences.plan_page(conn, issue_id, 1_000, shard_size)
    return issue_id
