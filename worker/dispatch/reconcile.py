"""Find and mend what a crash, a lost nudge or a dead host left behind. Every step is safe to run twice, anywhere.

Same host: the kernel tells by the journal's lock whether a worker lives. Other hosts: only after no process of that
host moved its heartbeat counter for a minute of this observer's own watching. A dead worker's claimed rows become in
doubt as a whole: which of them had left, nobody can say.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from worker import clock, journal, log
from worker.dispatch.nudger import Nudger
from worker.domain.delivery import DoubtPolicy, DoubtReason
from worker.domain.issue import IssueState, WaitReason
from worker.domain.process import WorkerState
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries, issues
from worker.storage.workers import WorkerRow

QUIET_S = 5.0
"""Seconds without a claim despite claimable rows before an issue is nudged again."""

DEAD_HOST_S = 60.0  # sixty heartbeats: what is in doubt wrongly is not easily taken back
MAX_GAP_S = 10.0
"""Watching counts only while the observer really watched: a gap (its own stop, a database outage) counts this much."""

DOUBT_SETTLE_S = 900.0
"""A relay may still be finishing a mail whose line broke; a repeat waits longer than it takes (RFC 5321 4.5.3.2.6)."""

LOST_ROWS_KEPT = timedelta(days=1)  # `status` can say the next morning what happened in the night

_log = log.logger("dispatch.reconcile")


@dataclass
class _Watched:
    beat: int
    unchanged_s: float
    seen: float


class Observer:
    """One process's memory of other hosts' heartbeats."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}

    def silent_hosts(self, rows: list[WorkerRow], own_host: str, now: float) -> set[str]:
        """Host ids none of whose processes moved for DEAD_HOST_S of watched time; `now` in monotonic seconds."""
        hosts: dict[str, int] = {}
        for row in rows:
            if row.host_id != own_host and row.state != WorkerState.LOST:
                hosts[row.host_id] = hosts.get(row.host_id, 0) + row.beat
        silent = set()
        for host, beat in hosts.items():
            seen = self._watched.get(host)
            if seen is None or seen.beat != beat:
                self._watched[host] = _Watched(beat, 0.0, now)
                continue
            seen.unchanged_s += min(now - seen.seen, MAX_GAP_S)
            seen.seen = now
            if seen.unchanged_s >= DEAD_HOST_S:
                silent.add(host)
        for host in set(self._watched) - set(hosts):
            del self._watched[host]
        return silent


def bury_dead_workers(database: Database, state_dir: Path, observer: Observer) -> int:
    """Put the claims of dead workers in doubt. Returns how many rows."""
    host = journal.host_id(state_dir)
    with database.read() as conn:
        # Owners first: a worker that begins between the two questions is then known, not an unknown owner.
        owners = claims.owners(conn)
        rows = workers.list_workers(conn)
    alive = [row for row in rows if row.state != WorkerState.LOST]
    here = {row.id for row in alive if row.host_id == host}
    dead = journal.dead_workers(state_dir, host, here)
    silent = observer.silent_hosts(rows, host, clock.monotonic())
    vanished = {row.id for row in alive if row.host_id in silent}
    unknown = owners - {row.id for row in alive}
    total = 0
    for worker_id in sorted(dead | vanished | unknown):
        total += _bury(database, worker_id, DoubtReason.HOST_LOST if worker_id in vanished else DoubtReason.WORKER_LOST)
        if worker_id in dead:
            journal.remove(state_dir, host, worker_id)
    if len(alive) < len(rows):  # here, because nothing else runs while no issue is open
        with database.write() as conn:
            workers.forget_lost(conn, LOST_ROWS_KEPT)
    return total


def _bury(database: Database, worker_id: str, reason: DoubtReason) -> int:
    lost: dict[int, int] = {}
    with database.write() as conn:
        workers.mark_lost(conn, [worker_id])
        for held in claims.owned_by(conn, [worker_id]):
            lost[held.issue_id] = lost.get(held.issue_id, 0) + claims.lose(conn, held, reason)
        if not lost:
            workers.remove(conn, worker_id)
    for issue_id, count in lost.items():
        _log.error(
            "a worker died; what it had claimed is in doubt: some of these copies may have left",
            issue=issue_id,
            rows=count,
            worker=worker_id,
            cause=reason,
        )
    return sum(lost.values())


def nudge_forgotten(database: Database, nudger: Nudger) -> None:
    """New nudges for issues whose time has come, or whose nudge was lost."""
    with database.read() as conn:
        waiting = issues.without_nudge(conn, QUIET_S)
    for issue_id, planning in waiting:
        with database.write() as conn:
            number = issues.bump_nudge(conn, issue_id)
        if planning:
            nudger.plan(issue_id)
        nudger.send(issue_id, number)


def repeat_never_miss(database: Database, settle_s: float = DOUBT_SETTLE_S) -> int:
    """Reopen, once, the copies in doubt of never-miss issues after the settle time. Returns how many."""
    total = 0
    with database.read() as conn:
        open_issues = issues.list_issues(conn, [IssueState.SENDING])
    for issue in open_issues:
        if issue.doubt is DoubtPolicy.NEVER_MISS:
            with database.write() as conn:
                if issues.get_locked(conn, issue.id).state is IssueState.SENDING:
                    reopened = deliveries.repeat_doubts(conn, issue.id, settle_s)
                    total += reopened
                    if reopened:
                        issues.wait_until(conn, issue.id, 0, WaitReason.NONE)  # now, whatever it waited for
    return total


def finish(database: Database) -> None:
    """Move issues with nothing open to finished, and cancel what came back unsent after a cancel."""
    with database.read() as conn:
        unswept = issues.cancelled_unswept(conn)
    for issue_id in unswept:
        with database.write() as conn:
            deliveries.cancel_open(conn, issue_id)
            issues.note_swept(conn, issue_id)
    with database.write() as conn:
        done = issues.finish_done(conn)
    for issue_id in done:
        _log.info("issue finished", issue=issue_id)
