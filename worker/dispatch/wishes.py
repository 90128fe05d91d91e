"""After an outage: nobody is mailed before every host has fulfilled the wishes to leave that it noted meanwhile, and
before the database was found to be no older copy, which knows nothing of what was in force.

This host's are in a file beside us. Another host's show by its web processes, whose rows say that they were heard, and
fulfilled, after the database was back (`consent.attendance`). One that stays silent is waited for WAIT_S: by then it is
gone, and what it noted with it until it comes back.
"""

import threading
from datetime import datetime
from pathlib import Path

from worker import clock, log
from worker.consent import noted
from worker.dispatch.lock import compare
from worker.errors import Trouble, UnreachableError
from worker.journal.host import host_id
from worker.storage import presences
from worker.storage.engine import Database

WAIT_S = 60.0  # as long as a silent host's workers are left alone

OUTAGE_S = 3.0  # three heartbeats

ALIVE_S = 30.0
"""A web process heard this long before the outage may have answered readers in it; an older row is a dead one's."""

_log = log.logger("dispatch.wishes")


class NotedWishes:
    """One sending process's knowledge of them; any thread may ask."""

    def __init__(self, database: Database, state_dir: Path) -> None:
        self._database, self._state_dir = database, state_dir
        self._host = host_id(state_dir)
        self._lock = threading.Lock()
        self._lost_at: float | None = None
        """Monotonic seconds: since when the database was away, until all wishes are known."""
        self._back: tuple[datetime, float] | None = None
        """When it answered again, by its clock and by ours; None while it may still be away."""
        self._is_compared = False
        """Whether it was found to be no older copy since: once, because the logs may be long."""

    def look_back(self) -> None:
        """A process begins: when the database heard nobody for a while, it may have been away from all of them."""
        with self._database.read() as conn:
            heard, now = presences.last_heard(conn), self._database.now(conn)
        silent_s = (now - heard).total_seconds() if heard is not None else 0.0
        if silent_s > OUTAGE_S:
            with self._lock:
                self._lost_at = clock.monotonic() - silent_s
                self._is_compared = True  # who begins has just done so

    def note(self, trouble: Trouble) -> None:
        """Something did not answer; when it was the database, what readers wanted meanwhile is to be asked."""
        if not trouble.code.startswith("database."):
            return
        with self._lock:
            self._lost_at = clock.monotonic() if self._lost_at is None else self._lost_at
            self._back = None
            self._is_compared = False

    def fulfil(self) -> None:
        """Before each claim, and each question who left. Raises UnreachableError while a wish may still be unknown."""
        try:
            noted.fulfil(self._database, self._state_dir)
            if self._lost_at is not None:
                self._refuse_older_copy()
                self._ask_other_hosts()
        except UnreachableError as error:
            self.note(error.trouble)
            raise

    @property
    def are_known(self) -> bool:
        """Whether nothing is to be asked: the database was not away, or everything was told since."""
        return self._lost_at is None

    def missing(self) -> Trouble | None:
        """As `fulfil`, but what other hosts did not tell yet is an answer: it comes within a second or so."""
        try:
            self.fulfil()
        except UnreachableError as error:
            if error.trouble.code == "wishes.elsewhere":
                return error.trouble
            raise
        return None

    def _refuse_older_copy(self) -> None:
        if self._is_compared:
            return
        if (older := compare(self._database, self._state_dir).lock) is not None:
            raise UnreachableError("lock.locked", why=older)
        self._is_compared = True

    def _ask_other_hosts(self) -> None:
        with self._database.read() as conn:
            now = self._database.now(conn)
            with self._lock:
                lost_at, back = self._lost_at, self._back or (now, clock.monotonic())
                self._back = back
            if lost_at is None:
                return
            moment, since = back
            silent = presences.not_heard_since(conn, moment, alive_s=since - lost_at + ALIVE_S, but_host=self._host)
        if silent and clock.monotonic() - since < WAIT_S:
            raise UnreachableError("wishes.elsewhere", processes=silent)
        if silent:
            _log.error("silent since the outage, and what readers wanted there is not known", processes=silent)
        with self._lock:
            if self._back is back:
                self._lost_at = self._back = None
