"""Deal with dead workers: what their journals tell becomes results, what they had not begun goes back, and only what
was on the wire is in doubt, by name. Every step is safe to run twice, anywhere.

Same host: the kernel tells by the journal's lock whether a worker lives, so a stopped one is never taken for dead.
Other hosts: only after no process of that host moved its heartbeat counter for a minute of this observer's own
watching; their claims are in doubt as a whole, until a process of that host reads its journals. A crash in here leaves
the file, and what it had not committed, to the next who looks.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from worker import clock, log
from worker.dispatch.judge import judge
from worker.dispatch.verdict import outcome_of
from worker.domain.delivery import DeliveryState, DoubtReason
from worker.domain.process import WorkerState
from worker.journal import others
from worker.journal.host import host_id
from worker.journal.others import Left
from worker.journal.slot import Mark, Slot, whereabouts
from worker.storage import acts, workers
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries, evidence, settlements
from worker.storage.ledger.claims import Claim
from worker.storage.ledger.deliveries import Due
from worker.storage.ledger.settlements import Result
from worker.storage.workers import WorkerRow
from worker.transport.replies import Permanence

DEAD_HOST_S = 60.0  # sixty heartbeats: what is in doubt wrongly is not easily taken back
MAX_GAP_S = 10.0
"""Watching counts only while the observer really watched: a gap (its own stop, a database outage) counts this much."""

LOST_ROWS_KEPT = timedelta(hours=12)  # `status` can say the next morning what happened in the night

_ACTOR = "corranto"

_log = log.logger("dispatch.bury")


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


@dataclass
class Buried:
    """What became of the rows of dead workers."""

    in_doubt: int = 0
    settled: int = 0
    """Results that only a journal knew."""
    given_back: set[int] = field(default_factory=set)
    """Issues with rows that can be claimed again: nudge them."""


def bury_dead_workers(database: Database, state_dir: Path, life: timedelta, observer: Observer) -> Buried:
    """Look for dead workers and deal with their claims. `life` is how long a deferred copy is tried.

    1. This host's: those whose lock is free. Their row is alive: their claims end. It says lost: another host took
       them for dead, and their journal is evidence about copies in doubt since.
    2. Those of silent hosts, and owners that nobody knows: in doubt as a whole.
    """
    host = host_id(state_dir)
    with database.read() as conn:
        # Owners first: a worker that begins between the two questions is then known, not an unknown owner.
        owners = claims.owners(conn)
        rows = workers.list_workers(conn)
    alive = {row.id: row for row in rows if row.state != WorkerState.LOST}
    here = {row.id for row in alive.values() if row.host_id == host}
    done = Buried()
    others.clear_up(state_dir, host)
    for worker_id in sorted(here | others.workers_with_a_file(state_dir, host)):
        with others.dead(state_dir, host, worker_id) as left:
            if left is None:
                continue
            if worker_id in here or worker_id in owners:
                is_over = _bury(database, alive.get(worker_id), left, life, done)
            else:
                is_over = _hear(database, left, life, done)
            if is_over:
                others.remove(state_dir, host, worker_id)
    silent = observer.silent_hosts(rows, host, clock.monotonic())
    for worker_id in sorted(row.id for row in alive.values() if row.host_id in silent):
        _lose(database, worker_id, DoubtReason.HOST_LOST, done)
    for worker_id in sorted(owners - set(alive)):
        _lose(database, worker_id, DoubtReason.WORKER_LOST, done)
    if len(alive) < len(rows):  # here, because nothing else runs while no issue is open
        _forget(database)
    return done


def _bury(database: Database, row: WorkerRow | None, left: Left, life: timedelta, done: Buried) -> bool:
    """End every claim of a worker of this host by its journal. False when some of it has to wait."""
    worker_id = left.worker_id
    relay = f" to {row.outfit.relay}" if row is not None and row.outfit else ""
    held_any = False
    with database.write() as conn:
        for held in claims.owned_by(conn, [worker_id]):
            held_any = True
            results = list(_results(deliveries.read_due(conn, held), held, left, life, relay, database.now(conn)))
            settlements.settle(conn, held, worker_id, results)
            if claims.release(conn, held, worker_id):
                done.given_back.add(held.issue_id)
            _count(results, done, held.issue_id, worker_id)
        # Its last transaction may still be running in the database: what that one holds was passed over.
        is_over = worker_id not in claims.owners(conn)
        if is_over and held_any:
            workers.mark_lost(conn, [worker_id])
        elif is_over:
            workers.remove(conn, worker_id)
    return is_over


def _results(rows: list[Due], held: Claim, left: Left, life: timedelta, relay: str, now: datetime) -> Iterator[Result]:
    """What a journal knows of a claim's rows; nothing for those that had not begun. `now` is the database's."""
    rng = random.Random()  # noqa: S311 - jitter of retry times, not a secret
    for due in rows:
        slot = left.copies.get((held.id, due.recipient.n))
        if slot is None:
            if not left.is_whole:
                yield _lost(due, None, "")
        elif slot.mark is Mark.ARMED:
            yield _lost(due, slot, relay)
        elif (outcome := outcome_of(slot)) is not None:
            result = judge(due, outcome, now=now, rng=rng, life=life, fingerprint=slot.fingerprint)
            if result is not None:
                yield result


def _lost(due: Due, slot: Slot | None, relay: str) -> Result:
    where = f"{whereabouts(slot.port, slot.at)}{relay}" if slot is not None else "its worker's journal cannot be read"
    return Result(
        due.recipient.n,
        due.state,
        DeliveryState.IN_DOUBT,
        DoubtReason.WORKER_LOST,
        first_try=due.first_try,
        fingerprint=slot.fingerprint if slot is not None else None,
        phase="body",
        text=f"the worker died before an answer was known; {where}",
    )


def _count(results: list[Result], done: Buried, issue_id: int, worker_id: str) -> None:
    doubts = sum(result.state is DeliveryState.IN_DOUBT for result in results)
    done.in_doubt += doubts
    done.settled += len(results) - doubts
    if doubts:
        _log.error(
            "a worker died; these copies were on the wire and may have arrived",
            issue=issue_id,
            rows=doubts,
            worker=worker_id,
        )


def _hear(database: Database, left: Left, life: timedelta, done: Buried) -> bool:
    """A journal of this host whose worker others took for dead: evidence about the copies that are in doubt since."""
    for held in left.claims.values():
        with database.write() as conn:
            numbers = evidence.in_doubt_since(conn, held.issue, held.claim, held.n, held.to_n)
            accepted, bounced, unsent = [], [], []
            for n in numbers:
                slot = left.copies.get((held.claim, n))
                outcome = outcome_of(slot) if slot is not None else None
                if outcome is None and (slot is not None or left.is_whole):
                    unsent.append(n)
                elif outcome is None or outcome.permanence is Permanence.DOUBT:
                    continue
                elif outcome.permanence is Permanence.ACCEPTED:
                    accepted.append(n)
                elif outcome.may_suppress:
                    bounced.append(n)
                else:
                    unsent.append(n)
            done.settled += evidence.resolve(conn, held.issue, held.claim, accepted, DeliveryState.ACCEPTED)
            done.settled += evidence.resolve(conn, held.issue, held.claim, bounced, DeliveryState.BOUNCED)
            if evidence.resolve(conn, held.issue, held.claim, unsent, DeliveryState.WAITING):
                done.given_back.add(held.issue)
            if accepted or bounced or unsent:
                counts = {"accepted": len(accepted), "bounced": len(bounced), "unsent": len(unsent)}
                acts.record(conn, _ACTOR, "doubt.journal", f"issue:{held.issue}", counts)
    return True


def _lose(database: Database, worker_id: str, reason: DoubtReason, done: Buried) -> None:
    lost: dict[int, int] = {}
    with database.write() as conn:
        workers.mark_lost(conn, [worker_id])
        for held in claims.owned_by(conn, [worker_id]):
            lost[held.issue_id] = lost.get(held.issue_id, 0) + claims.lose(conn, held, reason)
        if not lost and reason is DoubtReason.WORKER_LOST:
            workers.remove(conn, worker_id)
    for issue_id, count in lost.items():
        done.in_doubt += count
        _log.error(
            "a worker's machine is silent; what it had claimed is in doubt: some of these copies may have left",
            issue=issue_id,
            rows=count,
            worker=worker_id,
            cause=reason,
        )


def _forget(database: Database) -> None:
    """Lost workers leave `status` after a while; the list of acts keeps that they were."""
    with database.write() as conn:
        for label in workers.forget_lost(conn, LOST_ROWS_KEPT):
            acts.record(conn, _ACTOR, "worker.forget", f"worker:{label}", {})
