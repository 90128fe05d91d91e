"""Unlocking a database that is older than what this machine knows: first what would happen, then making it true.

Each step is one transaction and safe to run twice, and the last one is what unlocks: whoever dies in the middle leaves
the database locked, and the command is given again.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from worker.consent import noted, replay
from worker.dispatch.lock import Comparison, compare
from worker.domain.delivery import DoubtReason
from worker.domain.issue import Issue, IssueState
from worker.errors import Trouble
from worker.journal import memory
from worker.journal.marks import Range
from worker.journal.memory import Memory
from worker.storage import acts, epochs
from worker.storage.engine import Database
from worker.storage.ledger import audiences, claims, evidence, issues

UNDER_WAY = (
    IssueState.SENDING,
    IssueState.PAUSED,
    IssueState.HOLDING,
    IssueState.SCHEDULED,
    IssueState.HELD_LATE,
)
PLAN_PAGE = 5_000
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


def survey(database: Database, state_dir: Path) -> Survey:
    """Look, and change nothing. Raises UnreachableError, SchemaError."""
    database.check()
    found = compare(database, state_dir)
    with database.read() as conn:
        latest = acts.latest(conn, 1)
        known = issues.list_issues(conn)
        under_way = tuple(_under_way(conn, issue, found) for issue in known if issue.state in UNDER_WAY)
        now = database.now(conn)
    ahead = max(found.marks.highest_claim, found.memory.highest_claim if found.memory else 0)
    named = {number for number in found.marks.claims if number > found.database.highest_claim}
    return Survey(
        found.lock,
        database.place,
        now,
        latest[0].at if latest else None,
        under_way,
        found.missing.count,
        len(set(found.marks.begun) - {issue.id for issue in known}),
        max(ahead - found.database.highest_claim, 0) - len(named),
    )


def _under_way(conn: Connection, issue: Issue, found: Comparison) -> UnderWay:
    totals = issues.totals(conn, issue.id)
    begun = sum(last - first + 1 for first, last in found.marks.begun.get(issue.id, ()))
    done = totals.audience - totals.waiting - totals.deferred - totals.sending
    would_get = totals.waiting + totals.deferred + totals.sending
    return UnderWay(issue.slug, str(issue.state), would_get, max(min(begun, totals.audience or begun) - done, 0))


def unlock(database: Database, state_dir: Path, actor: str) -> None:
    """Make the database what this machine knows, so far as it knows.

    1. What the log and noted wishes say: who left, was erased or suppressed.
    2. Every issue under way: freeze its audience if that is not done, put what had begun in doubt, pause it.
    3. Numbers that were given out since are not given out again.
    4. A new epoch on both sides: unlocked.
    """
    found = compare(database, state_dir)
    replay.replay(database, state_dir, found.missing, actor)
    noted.fulfil(database, state_dir)
    with database.read() as conn:
        known = [issue for issue in issues.list_issues(conn) if issue.state in UNDER_WAY]
    for issue in known:
        _stop(database, issue, found.marks.begun.get(issue.id, ()), found.marks.highest_claim, actor)
    ahead = max(found.marks.highest_claim, found.memory.highest_claim if found.memory else 0)
    with database.write() as conn:
        epochs.skip_numbers(conn, claims_to=ahead, issues_to=max(found.marks.begun, default=0))
        acts.record(conn, actor, "database.unlock", "database", {"issues": len(known), "replayed": found.missing.count})
        epoch = epochs.begin_epoch(conn, found.memory.epoch if found.memory else 0)
        highest = epochs.read_progress(conn).highest_claim
    memory.remember(state_dir, Memory(found.database.instance, epoch, highest))


def _stop(database: Database, issue: Issue, begun: tuple[Range, ...], claim_id: int, actor: str) -> None:
    """One issue under way: nothing of it leaves until an editor resumes it, and nothing twice after that."""
    with database.write() as conn:
        for held in claims.owned_by_issue(conn, issue.id):
            claims.lose(conn, held, DoubtReason.WORKER_LOST)
        if begun and issue.state not in (IssueState.SENDING, IssueState.PAUSED):
            issues.start_at_once(conn, issue.id)  # it had begun, so its audience has numbers that must be kept
    if begun:
        _finish_planning(database, issue.id)
        with database.write() as conn:
            doubts = evidence.doubt_begun(conn, issue.id, begun, claim_id, REASON)
            acts.record(conn, actor, "doubt.restore", f"issue:{issue.id}", {"rows": doubts})
    with database.write() as conn:
        issues.move(conn, issue.id, [IssueState.SENDING], IssueState.PAUSED, stopped_reason=REASON)


def _finish_planning(database: Database, issue_id: int) -> None:
    """Numbers belong to readers only once the audience is frozen."""
    with database.write() as conn:
        was_paused = issues.get(conn, issue_id).state is IssueState.PAUSED
        if was_paused:
            issues.move(conn, issue_id, [IssueState.PAUSED], IssueState.SENDING)
    while True:
        with database.write() as conn:
            planned = audiences.plan_page(conn, issue_id, PLAN_PAGE, 2_000)
        if planned is None or planned[1]:
            return
