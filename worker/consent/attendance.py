"""A process that holds no claims says that it lives, each time after it fulfilled what readers wanted in an outage.

In that order: whoever sees the row of after the outage knows that this host keeps no wish back any more.
"""

import os
import socket
import uuid
from pathlib import Path

from worker.consent import noted
from worker.domain.process import Role
from worker.errors import UnreachableError
from worker.journal.host import host_id
from worker.log import logger
from worker.storage import presences
from worker.storage.engine import Database

EVERY_S = 1.0  # a tenth of SILENT_AFTER_S, and what other hosts wait for when the database is back

_log = logger("consent.attendance")


class Attendance:
    """One process's row, from the first `attend` to `end`."""

    def __init__(self, database: Database, state_dir: Path, role: Role) -> None:
        self._database, self._state_dir, self._role = database, state_dir, role
        self._id, self._label = str(uuid.uuid4()), f"{socket.gethostname()}:{os.getpid()}"

    def attend(self) -> None:
        """Fulfil, then beat; call every EVERY_S. Whatever is wrong is said or, the database away, tried again."""
        try:
            noted.fulfil(self._database, self._state_dir)
            with self._database.write() as conn:
                presences.beat(conn, self._id, self._role, host_id(self._state_dir), self._label)
        except UnreachableError:
            return
        except Exception:
            _log.exception("this process could not say that it lives", role=self._role)

    def end(self) -> None:
        """The row goes; while the database is away it stays, and grows silent."""
        try:
            with self._database.write() as conn:
                presences.remove(conn, self._id)
        except UnreachableError:
            return
