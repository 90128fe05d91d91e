"""Unlocking a database that is older than what this machine knows: first what would happen, then making it true.

Each step is one transaction and safe to run twice, and the last one is what unlocks: whoever dies in the middle leaves
the database locked, and the command is given again.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from worker.consent import noted, replay
from worker.dispatch.lock import OF_ONE_DATABASE, UNDER_WAY, Comparison, compare
from worker.domain.delivery import DoubtReason
from worker.domain.issue import Issue, IssueState
from worker.domain.process import SILENT_AFTER_S, WorkerState
from worker.errors import RefusedError, Trouble
from worker.journal import memory
from worker.journal.marks import Range
from worker.journal.memory import Memory
from worker.storage import acts, epochs, workers
from worker.storage.engine import Database
from worker.storage.epochs import Unlock
from worker.storage.ledger import audiences, claims, evidence, issues

EPOCHS_LEFT_OUT = 1_000
"""Other machines may have begun as many that this one never saw."""
NEVER = 2**62
"""The epoch of a memory that fits no database: still locked, should we die in the middle."""

EVERYBODY: Range = (1, 2**31 - 1)
"""The numbers of all copies an issue can have."""

PLAN_PAGE = 5_000
_RECOUNT = "issue.recount"
MOST_ACTS = 1_000  # about one issue; those of unlocks are its last
REASON = "the database was restored: see who is in doubt, then resume"


@dataclass(frozen=True)
class UnderWay:
    """An issue that would go on."""

    slug: str
    state: str
    would_get: int
    """Copies that are still to leave, as the database has it; 0 while its audience is not frozen."""
    begun: int
    """Numbers of them that had begun, as this machine knows."""


@dataclass(frozen=True)
class Survey:
    """What unlocking means here."""

    lock: Trouble | None
    place: str
    now: datetime
    last_act: datetime | None
    """When the database last heard of anything: its age."""
    under_way: tuple[UnderWay, ...]
    left: int
    """Opt-outs and erasures that the log has and the database has not."""
    unknown_issues: int
    """Issues that were begun and that the database does not know."""
    foreign_claims: int
    """Claims beyond the database's that no mark of this machine names: another machine's."""
    is_unrecorded: bool
    """Whether workers were at work when the copy was made, and nothing here knows what left since."""


def survey(database: Database, state_dir: Path) -> Survey:
    """Look, and change nothing. Raises UnreachableError, SchemaError."""
    database.check()
    found = compare(database, state_dir)
    with database.read() as conn:
        latest = acts.latest(conn, 1)
        known = issues.list_issues(conn)
        now = database.now(conn)
        is_unrecorded = _is_unrecorded(conn, found)
        open_ones = [issue for issue in known if issue.state in UNDER_WAY]
        under_way = tuple(
            _under_way(conn, issue, found, may_be_all=is_unrecorded and _may_have_begun(issue, now))
            for issue in open_ones
        )
    return Survey(
        found.lock,
        database.place,
        now,
        latest[0].at if latest else None,
        under_way,
        found.missing.count,
        len(set(found.marks.begun) - {issue.id for issue in known}),
        _foreign_claims(found),
        is_unrecorded,
    )


def _is_unrecorded(conn: Connection, found: Comparison) -> bool:
    """Who ends in order takes its row along: a copy with a worker's row was made while mails left, or could."""
    forgot = found.lock is not None and found.lock.code == "lock.no_memory"
    return forgot and any(row.state is not WorkerState.LOST for row in workers.list_workers(conn))


def _may_have_begun(issue: Issue, now: datetime) -> bool:
    """Whether copies of it may have left since the database was copied."""
    return issue.state in (IssueState.SENDING, IssueState.PAUSED) or _is_due(issue, now)


def _foreign_claims(found: Comparison) -> int:
    named = {number for number in found.marks.claims if number > found.database.highest_claim}
    return max(found.ahead - found.database.highest_claim, 0) - len(named)


def _under_way(conn: Connection, issue: Issue, found: Comparison, *, may_be_all: bool) -> UnderWay:
    totals = issues.totals(conn, issue.id)
    begun = sum(last - first + 1 for first, last in found.marks.begun.get(issue.id, ()))
    done = totals.audience - totals.waiting - totals.deferred - totals.sending
    would_get = totals.waiting + totals.deferred + totals.sending
    if may_be_all:
        return UnderWay(issue.slug, str(issue.state), would_get, would_get)
    return UnderWay(issue.slug, str(issue.state), would_get, max(min(begun, totals.audience or begun) - done, 0))


def unlock(database: Database, state_dir: Path, actor: str) -> None:
    """Make the database what this machine knows, so far as it knows; nothing when somebody else just did.

    1. Another installation's logs are put aside: their numbers mean other people.
    2. What readers wanted: who left, was erased or suppressed, says the log; wishes that were noted.
    3. Every issue under way: freeze its audience if that is not done, put what had begun in doubt, pause it. Where
       workers were at work and nothing here knows what left since, all of it may have begun.
    4. Numbers that were given out since are not given out again.
    5. A new epoch on both sides: unlocked.

    Raises RefusedError when this machine only forgot, and the database's workers send from it.
    """
    with memory.only_one(state_dir):
        found = compare(database, state_dir)
        if found.lock is None:
            return
        if found.lock.code == "lock.no_memory":
            _refuse_under_workers(database)
        if found.memory is not None and found.memory.instance != found.database.instance:
            memory.change_hands(state_dir, OF_ONE_DATABASE, found.memory.instance, found.database.instance)
            memory.remember(state_dir, Memory(found.database.instance, NEVER, 0))
            found = compare(database, state_dir)
        _unlock(database, state_dir, found, actor)


def _refuse_under_workers(database: Database) -> None:
    with database.read() as conn:
        sending = [row.label for row in workers.unlocked(conn, SILENT_AFTER_S)]
    if sending:
        raise RefusedError("lock.workers_send", workers=sending)


def _unlock(database: Database, state_dir: Path, found: Comparison, actor: str) -> None:
    replay.replay(database, state_dir, found.missing, actor)
    noted.fulfil(database, state_dir)
    with database.read() as conn:
        known = [issue for issue in issues.list_issues(conn) if issue.state in UNDER_WAY]
        is_unrecorded, now = _is_unrecorded(conn, found), database.now(conn)
    for issue in known:
        begun = found.marks.begun.get(issue.id, ())
        if is_unrecorded and _may_have_begun(issue, now):
            begun = (EVERYBODY,)
        _stop(database, issue, begun, found, actor)
    known_epoch = found.memory.epoch if found.memory and found.memory.epoch != NEVER else 0
    with database.write() as conn:
        epochs.skip_numbers(conn, claim=found.ahead, issue=max(found.marks.begun, default=0))
        epoch = epochs.begin_epoch(conn, max(known_epoch, found.database.epoch) + EPOCHS_LEFT_OUT)
        done = Unlock(epoch, found.database.highest_claim, found.ahead)
        epochs.note_unlock(conn, actor, done, {"issues": len(known), "replayed": found.missing.count})
        highest = epochs.read_progress(conn).highest_claim
    memory.remember(state_dir, Memory(found.database.instance, epoch, highest))


def _stop(database: Database, issue: Issue, begun: tuple[Range, ...], found: Comparison, actor: str) -> None:
    """One issue under way: nothing of it leaves until an editor resumes it, and nothing twice after that."""
    with database.write() as conn:
        for held in claims.owned_by_issue(conn, issue.id):
            claims.lose(conn, held, DoubtReason.WORKER_LOST)
        is_waiting = issue.state not in (IssueState.SENDING, IssueState.PAUSED)
        if is_waiting and (begun or (_foreign_claims(found) and _is_due(issue, database.now(conn)))):
            issues.start_at_once(conn, issue.id)  # it had begun, or may have elsewhere: its time must not start it
        kept = _kept_numbers(conn, issue)
        if kept is not None:  # before they are given out anew: whoever comes after us must know
            acts.record(conn, actor, _RECOUNT, f"issue:{issue.id}", {"kept": kept})
    if begun:
        _finish_planning(database, issue.id)
        with database.write() as conn:
            if kept is not None:
                begun = _numbered_anew(conn, issue.id, begun, kept)
            doubts = evidence.doubt_begun(conn, issue.id, begun, found.marks.highest_claim, REASON)
            acts.record(conn, actor, "doubt.restore", f"issue:{issue.id}", {"rows": doubts})
    with database.write() as conn:
        issues.move(conn, issue.id, [IssueState.SENDING], IssueState.PAUSED, stopped_reason=REASON)


def _is_due(issue: Issue, now: datetime) -> bool:
    at = issue.hold_until if issue.state is IssueState.HOLDING else issue.due_at
    return at is None or at <= now


def _kept_numbers(conn: Connection, issue: Issue) -> int | None:
    """Up to which number the ledger gave the readers the numbers they had; None when all of them.

    What was frozen after the copy was made is frozen anew, and by another machine's unlock perhaps it was already.
    """
    said = acts.latest(conn, object=f"issue:{issue.id}", limit=MOST_ACTS)
    before = [act.counts["kept"] for act in said if act.act == _RECOUNT]
    return min(before, default=None if issue.plan_cursor is None and issue.started_at else issue.audience)


def _numbered_anew(conn: Connection, issue_id: int, begun: tuple[Range, ...], kept: int) -> tuple[Range, ...]:
    """Numbers that had begun, as the readers behind them may be numbered now.

    A reader who was confirmed in the one counting and not in the other moves all behind by one: so what lies between is
    in doubt too, and as many more behind the last as may have come in.
    """
    last = begun[-1][1] + audiences.confirmed_since_queued(conn, issue_id)
    same = tuple((first, min(to, kept)) for first, to in begun if first <= kept)
    return (*same, (kept + 1, last)) if begun[-1][1] > kept else same


def _finish_planning(database: Database, issue_id: int) -> None:
    """Numbers belong to readers only once the audience is frozen."""
    with database.write() as conn:
        was_paused = issues.get(conn, issue_id).state is IssueState.PAUSED
        if was_paused:
            issues.move(conn, issue_id, [IssueState.PAUSED], IssueState.SENDING)
    while True:
        with database.write() as conn:
            audiences.plan_page(conn, issue_id, PLAN_PAGE, 2_000)
            left = issues.get(conn, issue_id)
        if left.plan_cursor is None or left.state is not IssueState.SENDING:
            return
