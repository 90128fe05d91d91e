"""Whether this database may be sent from: not when it is an older copy, or another one, than this machine knows.

Looked at when a worker starts, and again while it is locked. Each machine compares the database with its own state
directory; what others began since it can only tell by the highest claim it ever saw there.
"""

from dataclasses import dataclass
from pathlib import Path

from worker.consent import replay
from worker.consent.replay import Missing
from worker.domain.process import SILENT_AFTER_S
from worker.errors import RefusedError, Trouble
from worker.journal import memory
from worker.journal.marks import Marks, read_marks
from worker.journal.memory import Memory
from worker.storage import epochs, workers
from worker.storage.engine import Database
from worker.storage.epochs import Progress

LINES_OF_A_CRASH = 16
"""A web process that dies between the opt-out log and its commits leaves as many lines as it takes wishes at once
(`web.lanes.LEAVING`). More say that the database is older, and so does one of which the log says that it had it."""


@dataclass(frozen=True)
class Comparison:
    """The database beside what this state directory knows."""

    database: Progress
    memory: Memory | None
    marks: Marks
    missing: Missing
    others_alive: int
    """Workers that send from this very database now."""

    @property
    def lock(self) -> Trouble | None:
        """Why nothing may be sent, None when all fits."""
        known = self.memory
        if known is None:
            is_new = not self.marks.highest_claim and (self.database.epoch == 0 or self.others_alive > 0)
            return None if is_new else Trouble("lock.no_memory")
        if known.instance != self.database.instance:
            return Trouble("lock.other_database")
        ahead = max(self.marks.highest_claim, known.highest_claim)
        if known.epoch > self.database.epoch or ahead > self.database.highest_claim:
            return Trouble("lock.older", claims=max(ahead - self.database.highest_claim, 0))
        if self.missing.known or self.missing.lines > LINES_OF_A_CRASH:
            return Trouble("lock.older_than_log", count=self.missing.count)
        return None


def compare(database: Database, state_dir: Path, *, with_log: bool = True) -> Comparison:
    """Read both; the opt-out log only `with_log`, because it may be long. Raises UnreachableError."""
    with database.read() as conn:
        progress = epochs.read_progress(conn)
        alive = workers.count_alive(conn, SILENT_AFTER_S)
    missing = replay.missing(database, state_dir) if with_log else Missing()
    return Comparison(progress, memory.recall(state_dir), read_marks(state_dir), missing, alive)


def refuse_locked(database: Database, state_dir: Path) -> None:
    """Raises RefusedError while nothing may be sent; cheap enough to be asked every second."""
    if (lock := compare(database, state_dir, with_log=False).lock) is not None:
        raise RefusedError("lock.locked", why=lock)


def begin(database: Database, state_dir: Path, actor: str) -> Trouble | None:
    """A worker starts: a new epoch on both sides, or why the database is locked.

    A crash between the two leaves the database ahead by one, which locks nothing.
    """
    found = compare(database, state_dir)
    if found.lock is not None:
        return found.lock
    replay.replay(database, state_dir, found.missing, actor)
    with database.write() as conn:
        epoch = epochs.begin_epoch(conn)
    _remember(state_dir, found, epoch, found.database.highest_claim)
    return None


def note_claims(database: Database, state_dir: Path, known: int) -> int:
    """Remember the highest claim of all machines, when it grew beyond `known`. Returns it."""
    with database.read() as conn:
        progress = epochs.read_progress(conn)
    if progress.highest_claim > known:
        memory.remember(state_dir, Memory(progress.instance, progress.epoch, progress.highest_claim))
    return max(progress.highest_claim, known)


def _remember(state_dir: Path, found: Comparison, epoch: int, highest_claim: int) -> None:
    memory.remember(state_dir, Memory(found.database.instance, epoch, highest_claim))
