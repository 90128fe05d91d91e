"""What other senders' public troubles would cost here: a paused machine, a closed terminal, a door closed slowly."""

import asyncio
import signal
from collections import deque
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text

from tests.support.lists import Newsroom, newsroom, until
from tests.transport.handing import Handed, mails, run
from worker.errors import UnreachableError
from worker.storage.engine import open_database
from worker.transport.door import OpeningError
from worker.transport.next_hop import Relay
from worker.transport.pool import Pool
from worker.transport.replies import Phase


def test_a_relay_that_refuses_all_is_a_fault_though_the_refusals_come_one_after_the_other() -> None:
    async def story() -> None:
        # Given
        doors: deque[asyncio.Future[None]] = deque()
        tries = 0

        async def refused(relay: Relay, _: object) -> Any:
            nonlocal tries
            tries += 1
            doors.append(asyncio.get_running_loop().create_future())
            await doors[-1]
            raise OpeningError(Phase.CONNECT, f"{relay.key} cannot be connected to: connection refused")

        handed = Handed()
        relay = Relay("127.0.0.1", 25, connections=2)
        pool = Pool(relay, arm=handed.arm, record=handed.record, connect=refused)
        pool.submit(mails(4))

        # When: of two lines that are being opened, always the older one is refused
        for _ in range(50):
            for _ in range(10):
                await asyncio.sleep(0)
            if pool.fault is not None:
                break
            doors.popleft().set_result(None)

        # Then
        fault = pool.fault
        await pool.close(0.0)
        assert fault is not None, f"{tries} connections were refused, without a pause between them"
        assert tries <= 4

    run(story())


def stand_still(conn: Any, url: str) -> None:
    """Until the server has ended this transaction, as a managed one does on which nothing happens."""
    driver = conn.connection.dbapi_connection
    driver.execute("SET LOCAL idle_in_transaction_session_timeout = 20")
    pid = driver.info.backend_pid
    with psycopg.connect(url, autocommit=True) as conn:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        until(lambda: not conn.execute(asked, (pid,)).fetchone()[0], "the server ended the session")  # type: ignore[index]


@pytest.mark.needs("postgresql")
def test_a_transaction_that_the_server_ended_for_idleness_is_trouble_of_the_database(
    postgresql_url: str,
) -> None:
    database = open_database(postgresql_url)
    try:
        with pytest.raises(UnreachableError), database.write() as conn:  # noqa: PT012 - a transaction is several
            conn.execute(text("SELECT 1"))
            stand_still(conn, postgresql_url)
            conn.execute(text("SELECT 1"))
        with database.read() as conn:
            assert conn.scalar(text("SELECT 1")) == 1
    finally:
        database.close()


@pytest.mark.needs("postgresql")
def test_results_outlive_a_settlement_that_stood_still(tmp_path: Path, postgresql_url: str) -> None:
    # Given: twenty answers of the relay, not yet written
    with newsroom(tmp_path, postgresql_url) as desk, desk.hand() as hand:
        desk.readers(20)
        desk.queue()
        hand.tick()
        while hand.nudges.waiting and hand.nudges.waiting[0][0] == "plan":
            hand.work(1)
        part = hand.slice()
        hand.submitted(part)
        stood = []

        @event.listens_for(desk.database.engine, "before_cursor_execute")
        def pause(conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("UPDATE delivery") and not stood:
                stood.append(True)
                stand_still(conn, postgresql_url)

        # When: the process is stopped (a paused machine) in the middle of a settlement, and goes on
        part.settle()
        part.drain(0.0)
        part.give_back()

        # Then
        assert stood
        assert desk.states() == {"accepted": 20}


def test_a_worker_whose_terminal_is_closed_ends_like_after_sigterm(desk: Newsroom) -> None:
    # Given
    desk.readers([f"slow+0.05.reader{n}@example.org" for n in range(300)])
    with desk.worker() as worker:
        desk.queue()
        desk.until(lambda: desk.totals().accepted > 20, "mails leave")

        # When
        code = worker.end(signal.SIGHUP)

    # Then
    desk.bury()
    assert (code, desk.totals().in_doubt) == (0, 0)
