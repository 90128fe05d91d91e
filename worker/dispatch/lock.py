"""Whether this database may be sent from: not when it is an older copy, or another one, than this machine knows.

Looked at when a worker starts, and again while it is locked; a worker at work looks each second whether the database
still is the one it was. Each machine compares it with its own state directory; what others began since it can only
tell by the highest claim it ever saw there, and that they have to tell of it by the unlocks that the database lists.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from worker.consent import noted, optout_log, replay
from worker.consent.replay import Missing
from worker.domain.issue import Issue, IssueState
from worker.domain.process import SILENT_AFTER_S, Role
from worker.errors import RefusedError, Trouble, UnreachableError
from worker.journal import memory
from worker.journal.marks import FILE_NAME as CLAIM_LOG
from worker.journal.marks import Marks, Range, read_marks
from worker.journal.memory import Memory
from worker.storage import epochs, presences, workers
from worker.storage.engine import Database
from worker.storage.epochs import Progress
from worker.storage.ledger import claims, issues

UNDER_WAY = (
    IssueState.SENDING,
    IssueState.PAUSED,
    IssueState.HOLDING,
    IssueState.SCHEDULED,
    IssueState.HELD_LATE,
)
"""Issues of which something may leave yet."""

OF_ONE_DATABASE = (CLAIM_LOG, noted.FILE_NAME, optout_log.LOG_NAME)
"""Files of a state directory whose numbers mean other people and other issues in another database."""

LINES_OF_A_CRASH = 16
"""Each web process that dies between the opt-out log and its commits leaves as many lines as it takes wishes at
once (`web.lanes.LEAVING`). More say that the database is older, and so does one of which the log says that it had
it."""


@dataclass(frozen=True)
class Comparison:
    """The database beside what this state directory knows."""

    database: Progress
    memory: Memory | None
    marks: Marks
    missing: Missing
    others_alive: int
    """Workers that send from this very database now, and can vouch for it."""
    webs: int = 0
    """Web processes that may have died at once, or are just writing."""
    is_behind: bool = False
    """The ledger gave out no claim of numbers that had begun, as this machine knows."""

    @property
    def lock(self) -> Trouble | None:
        """Why nothing may be sent, None when all fits."""
        known = self.memory
        if known is None:
            is_new = not self.marks.highest_claim and (self.database.epoch == 0 or self.others_alive > 0)
            return None if is_new else Trouble("lock.no_memory")
        if known.instance != self.database.instance:
            return Trouble("lock.other_database")
        lost = self.ahead - self.database.highest_claim
        if known.epoch > self.database.epoch or lost > 0 or self.is_behind or self._is_to_tell(known.epoch):
            return Trouble("lock.older", claims=max(lost, 0))
        if self.missing.known or self.missing.lines > LINES_OF_A_CRASH * max(self.webs, 1):
            return Trouble("lock.older_than_log", count=self.missing.count)
        return None

    @property
    def ahead(self) -> int:
        """The highest claim this machine knows of."""
        return max(self.marks.highest_claim, self.memory.highest_claim if self.memory else 0)

    def _is_to_tell(self, epoch: int) -> bool:
        """Whether the database was unlocked elsewhere, and claims it did not know then are of this machine."""
        since = [unlock for unlock in self.database.unlocks if unlock.epoch > epoch]
        return any(each.lost_after < number <= each.lost_to for each in since for number in self.marks.claims)


@dataclass
class Others:
    """What a process that may not begin yet saw of others, each time it tried."""

    beats: Mapping[str, int] = field(default_factory=dict)

    def look(self, database: Database) -> bool:
        """Whether there are any now."""
        with database.read() as conn:
            self.beats = _beats(conn)
        return bool(self.beats)

    def saw(self, worker_id: str) -> float:
        """The last beat of a worker; no number is above that of one not seen before."""
        return self.beats.get(worker_id, math.inf)


def compare(database: Database, state_dir: Path, *, with_log: bool = True, others: Others | None = None) -> Comparison:
    """Read both; the opt-out log only `with_log`, because it may be long. Raises UnreachableError.

    The files come first: what is in them the database had before, and it goes on meanwhile.
    """
    marks, known = read_marks(state_dir), memory.recall(state_dir)
    if known is not None and known.instance != database.instance().uuid:
        marks, with_log = Marks(), False  # they speak of another one
    missing = replay.missing(database, state_dir) if with_log else Missing()
    with database.read() as conn:
        progress = epochs.read_progress(conn)
        beats = _beats(conn)
        webs = presences.count(conn, Role.WEB)
        under_way = issues.list_issues(conn, UNDER_WAY) if marks.begun else []
        is_behind = any(_is_behind(conn, each, marks.begun.get(each.id, ())) for each in under_way)
    seen = beats if others is None else {each: beat for each, beat in beats.items() if others.saw(each) < beat}
    if others is not None:
        others.beats = beats
    return Comparison(progress, known, marks, missing, len(seen), webs, is_behind)


def _beats(conn: Connection) -> dict[str, int]:
    return {row.id: row.beat for row in workers.unlocked(conn, SILENT_AFTER_S)}


def _is_behind(conn: Connection, issue: Issue, begun: Sequence[Range]) -> bool:
    if not begun:
        return False
    if issue.plan_cursor is not None and begun[-1][1] > issue.audience:
        return True
    if issue.state not in (IssueState.SENDING, IssueState.PAUSED):
        return True
    for first, last in claims.never_claimed(conn, issue.id):
        at = bisect_left(begun, first, key=lambda each: each[1])
        if at < len(begun) and begun[at][0] <= last:
            return True
    return False


def find_lock(database: Database, state_dir: Path) -> Trouble | None:
    """Why nothing may be sent, for whoever only looks: a file that cannot be read is such a reason too."""
    try:
        return compare(database, state_dir).lock
    except UnreachableError as error:
        if not error.trouble.code.startswith("journal."):
            raise
        return error.trouble


def refuse_locked(database: Database, state_dir: Path) -> None:
    """Raises RefusedError while nothing may be sent; cheap enough to be asked every second."""
    if (lock := compare(database, state_dir, with_log=False).lock) is not None:
        raise RefusedError("lock.locked", why=lock)


def begin(database: Database, state_dir: Path, actor: str, others: Others | None = None) -> Trouble | None:
    """A worker starts: a new epoch on both sides, or why the database is locked. Asked again each second then.

    With `others`, a machine that is new to a living installation is let in when somebody's heart was seen to beat, by
    the second or third time: a fresh copy has the rows of the workers that it was copied from. A crash between the two
    sides leaves the database ahead by one, which locks nothing.
    """
    with memory.only_one(state_dir):  # or who begins beside us looks like an unknown past
        return _begin(database, state_dir, actor, others)


def _begin(database: Database, state_dir: Path, actor: str, others: Others | None) -> Trouble | None:
    found = compare(database, state_dir, others=others)
    if found.lock is not None:
        return found.lock
    replay.replay(database, state_dir, found.missing, actor)
    with database.write() as conn:
        epoch = epochs.begin_epoch(conn)
    memory.remember(state_dir, Memory(found.database.instance, epoch, found.database.highest_claim))
    return None


def watch(database: Database, state_dir: Path, seen: Progress | None) -> Progress | None:
    """While sending: how far the database has come, remembered when claims were made since `seen`.

    None when it is not the one it was, or was unlocked anew: what this process holds is to be stopped, and it begins
    again. A number that only grows and is lower now proves an older copy: that one stays locked until `unlock`.
    """
    known = memory.recall(state_dir)
    with database.read() as conn:
        now = epochs.read_progress(conn)
    if known is not None and known.instance == now.instance and _is_lower(now, known):
        return None  # another process of this machine saw more of it
    if seen is None or _goes_on(now, seen):
        if seen is None or now.highest_claim > seen.highest_claim:
            memory.remember(state_dir, Memory(now.instance, now.epoch, now.highest_claim))
        return now
    if now.instance == seen.instance and _is_lower(now, seen):
        insist(state_dir, now, seen.epoch)
    return None


def insist(state_dir: Path, now: Progress, epoch: int = 0) -> None:
    """This database is older, for sure: whoever begins finds it locked, however far its numbers come meanwhile."""
    known = memory.recall(state_dir)
    highest = max(now.highest_claim, known.highest_claim if known else 0)
    epoch = max(now.epoch, epoch, known.epoch if known else 0)
    memory.remember(state_dir, Memory(now.instance, epoch + 1, highest))


def _goes_on(now: Progress, seen: Progress) -> bool:
    return (
        (now.instance, now.unlocks) == (seen.instance, seen.unlocks)
        and not _is_lower(now, seen)
        and now.highest_act >= seen.highest_act
    )


def _is_lower(now: Progress, before: Progress | Memory) -> bool:
    return now.epoch < before.epoch or now.highest_claim < before.highest_claim
