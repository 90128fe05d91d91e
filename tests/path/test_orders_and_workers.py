"""Orders that meet a worker in the middle of a settlement: nobody waits for somebody who waits for them."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import text, update

from tests.support.ledgers import LONG_AGO
from tests.support.lists import newsroom
from worker.clock import utcnow
from worker.domain.issue import IssueState
from worker.storage import schema
from worker.storage.ledger import deliveries, issues


@pytest.mark.needs("postgresql")
def test_a_cancel_beside_a_settlement_is_no_deadlock(tmp_path: Path, postgresql_url: str) -> None:
    # Given an issue whose next settlement will note its progress
    with newsroom(tmp_path, postgresql_url) as desk, desk.hand() as hand:
        desk.readers(5)
        issue_id = desk.queue().id
        hand.tick()
        hand.work(most=1)
        with desk.database.write() as conn:
            conn.execute(update(schema.issue).values(last_progress_at=LONG_AGO, last_claim_at=utcnow()))

        def somebody_waits() -> bool:
            with desk.database.read() as conn:
                return bool(conn.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

        # When it is cancelled while a worker settles
        worker = threading.Thread(target=hand.work)
        with desk.database.write() as conn:
            issues.move(conn, issue_id, [IssueState.SENDING], IssueState.CANCELLED, **issues.TO_SWEEP)
            worker.start()
            desk.until(somebody_waits, "the settlement waits for the cancel")
            deliveries.cancel_open(conn, issue_id)
        worker.join()
        hand.tick()

        # Then neither had to be tried again, and every copy has its state
        assert hand.sender.note is None
        assert desk.totals().accepted == sum(desk.copies().values()) == 5
        desk.assert_books_add_up()
