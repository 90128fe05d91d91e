"""Nudges in the ledger's own database, for one machine without a server, or PostgreSQL without Redis.

Several processes share the table; taking a row is deleting it. Nobody is told when a row comes, so consumers poll: at
once within the process that put it, every few hundred milliseconds from the others. An empty poll only reads.
"""

import threading

from worker import clock
from worker.storage import nudges
from worker.storage.engine import Database

FIRST_POLL_S = 0.01
LONGEST_POLL_S = 0.25  # a mail may begin this much later; four reads a second cost an idle process nothing


class SqlStore:
    """The `nudge` table as a store of nudges."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._put = threading.Condition()

    def put(self, queue: str, body: bytes) -> None:
        with self._database.write() as conn:
            nudges.put(conn, queue, body)
        with self._put:
            self._put.notify_all()

    def take(self, queue: str, wait_s: float, stop: threading.Event) -> bytes | None:
        deadline = clock.monotonic() + wait_s
        pause = FIRST_POLL_S
        while True:
            with self._database.read() as conn:
                waiting = nudges.is_waiting(conn, queue)
            if waiting:
                with self._database.write() as conn:
                    body = nudges.take(conn, queue)
                if body is not None:
                    return body
            left = deadline - clock.monotonic()
            if left <= 0 or stop.is_set():
                return None
            with self._put:
                self._put.wait(min(pause, left))
            pause = min(2 * pause, LONGEST_POLL_S)

    def size(self, queue: str) -> int:
        with self._database.read() as conn:
            return nudges.count(conn, queue)

    def purge(self, queue: str) -> None:
        with self._database.write() as conn:
            nudges.purge(conn, queue)

    def close(self) -> None:
        """The database belongs to the process, not to the broker; only waits end."""
        with self._put:
            self._put.notify_all()
