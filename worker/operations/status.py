"""What runs and what is being sent, at one moment: read from rows and kept counters, without asking the relay.

`doctor` asks; `status` only reads, so that it answers within a blink on a busy installation.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from worker import clock, metrics_port
from worker.broker import build as broker
from worker.dispatch.lock import find_lock
from worker.dispatch.outfit import outfit_of
from worker.dispatch.progress import explain_wait
from worker.domain.delivery import Totals
from worker.domain.issue import Issue, IssueState, WaitReason
from worker.domain.process import Outfit, WorkerState, is_alive
from worker.errors import CorrantoError, Trouble
from worker.metrics import LedgerReading
from worker.settings import Settings
from worker.storage import presences, workers
from worker.storage.engine import Database
from worker.storage.ledger import deliveries, gauges, issues
from worker.transport.next_hop import Relay

OVERDUE_S = 10.0
"""Twenty ticks: whoever runs has started a due issue long before."""
STANDS_STILL_S = 120.0
"""Longer than a relay may take with a mail without being odd."""
FORGOTTEN_AFTER_S = 86_400.0
"""A process that ended without a word is news for a day."""

_WILL_BE_SENT = (IssueState.HOLDING, IssueState.SCHEDULED)
IN_FLIGHT = (IssueState.HOLDING, IssueState.SCHEDULED, IssueState.HELD_LATE, IssueState.SENDING, IssueState.PAUSED)


@dataclass(frozen=True)
class Process:
    """One process. `beat_age_s`: seconds since its last heartbeat, by the database's clock."""

    label: str
    state: str
    beat_age_s: float
    up_s: float
    note: Trouble | None = None
    outfit: Outfit | None = None
    """What a worker works with; None when it does not say."""
    role: str = "worker"
    """worker, scheduler or web."""

    @property
    def is_alive(self) -> bool:
        return is_alive(self.state, self.beat_age_s)


@dataclass(frozen=True)
class InFlight:
    """An issue that is not over. Ages in seconds; None where there is nothing to be old."""

    issue: Issue
    totals: Totals
    oldest_waiting_s: float | None
    last_progress_s: float | None
    wait: Trouble | None = None
    """Why none of its copies may leave at this moment, such as the relay's refusal."""
    overdue_s: float | None = None
    """Since when it should have begun, None when it has or its time is to come."""

    @property
    def stands_still_s(self) -> float | None:
        """How long nothing of it was settled, although something could have left all the time."""
        if self.oldest_waiting_s is None:
            return None
        return min(each for each in (self.oldest_waiting_s, self.last_progress_s) if each is not None)


@dataclass(frozen=True)
class Status:
    """An installation at one moment: `at` by the database's clock, `database_s` what a first query took, in seconds.

    `database`, `broker`, `relay` and `metrics` say where each is, in words without secrets; `broker_trouble` is None
    when it answers. Processes come in the order of their start, issues in flight the oldest first.
    """

    at: datetime
    database: str
    database_s: float
    broker: str
    broker_trouble: Trouble | None
    relay: str
    processes: tuple[Process, ...]
    in_flight: tuple[InFlight, ...]
    metrics: str
    outfit: Outfit | None = None
    """What these settings would work with; None without keys."""
    place_troubles: tuple[Trouble, ...] = ()
    """What is wrong with this machine's own settings and folders."""

    @property
    def troubles(self) -> list[Trouble]:
        """What somebody should look at, the most pressing first; empty when what is due can leave."""
        alive = [process for process in self.processes if process.is_alive and process.role == "worker"]
        return [
            *self.place_troubles,
            *([self.broker_trouble] if self.broker_trouble else []),
            *self._worker_troubles(alive),
            *(trouble for each in self.in_flight for trouble in _issue_troubles(each, has_workers=bool(alive))),
        ]

    def _worker_troubles(self, alive: list[Process]) -> Iterator[Trouble]:
        is_sending = any(each.issue.state is IssueState.SENDING for each in self.in_flight)
        if not alive and is_sending:
            yield Trouble("status.nobody_sends")
        elif not alive and any(each.issue.state in _WILL_BE_SENT for each in self.in_flight):
            yield Trouble("status.nobody_will_send")
        elif alive and is_sending and all(process.state == WorkerState.DRAINING for process in alive):
            yield Trouble("wait.workers_stop")
        for process in self.processes:
            # One that was found dead was dealt with: its claims are in doubt, and the ledger says so.
            if not process.is_alive and process.state != WorkerState.LOST and process.beat_age_s < FORGOTTEN_AFTER_S:
                yield Trouble("status.silent", role=process.role, label=process.label, seconds=process.beat_age_s)
        said = {each.wait.fields.get("cause") for each in self.in_flight if each.wait is not None}
        for process in alive:
            # What an issue waits for is said there, once for all workers.
            if process.note and process.note.fields.get("cause") not in said - {None}:
                yield Trouble("status.worker_note", label=process.label, note=process.note)
            if self.outfit and process.outfit and (names := process.outfit.differs(self.outfit)):
                there, here = (
                    [f"{name} {getattr(one, name)}" for name in names if name != "key"]
                    for one in (process.outfit, self.outfit)
                )
                yield Trouble("status.worker_differs", label=process.label, names=names, there=there, here=here)

    def as_dict(self, word: Callable[[Trouble], str]) -> dict[str, object]:
        """The shape of `status --json`; a face words its troubles."""
        return {
            "at": self.at,
            "well": not self.troubles,
            "troubles": [word(trouble) for trouble in self.troubles],
            "causes": [json.loads(trouble.to_json()) for trouble in self.troubles],
            "database": {"place": self.database, "latency_s": round(self.database_s, 4)},
            "broker": {"place": self.broker, "trouble": word(self.broker_trouble) if self.broker_trouble else None},
            "relay": self.relay,
            "metrics": self.metrics,
            "processes": [
                {
                    "role": each.role,
                    "label": each.label,
                    "state": each.state if each.is_alive else WorkerState.LOST,
                    "beat_age_s": round(each.beat_age_s, 1),
                    "up_s": round(each.up_s),
                    "note": word(each.note) if each.note else "",
                    "relay": each.outfit.relay if each.outfit else None,
                    "limits": (each.outfit.limits or "none") if each.outfit else None,
                }
                for each in self.processes
            ],
            "issues": [
                {
                    "issue": each.issue.slug,
                    "state": str(each.issue.state),
                    "totals": each.totals.as_dict(),
                    "oldest_waiting_s": each.oldest_waiting_s,
                    "last_progress_s": each.last_progress_s,
                    "reason": each.issue.stopped_reason or (word(each.wait) if each.wait else ""),
                }
                for each in self.in_flight
            ],
        }


def collect(settings: Settings, database: Database) -> Status:
    """Look once. Raises UnreachableError or SchemaError for the database; all other trouble is part of the answer."""
    database.check()
    began = clock.monotonic()
    with database.read() as conn:
        now = database.now(conn)
        latency = clock.monotonic() - began
        rows = workers.list_workers(conn)
        others = presences.list_presences(conn)
        in_flight = tuple(_in_flight(conn, issue, now) for issue in reversed(issues.list_issues(conn, IN_FLIGHT)))
    processes = tuple(
        Process(
            row.label,
            row.state,
            (now - row.seen_at).total_seconds(),
            (now - row.started_at).total_seconds(),
            row.note,
            row.outfit,
        )
        for row in rows
    ) + tuple(
        Process(
            row.label,
            WorkerState.READY,
            (now - row.seen_at).total_seconds(),
            (now - row.started_at).total_seconds(),
            role=row.role,
        )
        for row in others
    )
    place, trouble = _ask_broker(settings.broker_url.get_secret_value())
    relay, metrics = relay_place(settings), spell_metrics(settings)
    lock = find_lock(database, settings.state_dir)
    here = (*([lock] if lock else []), *_place_troubles(settings))
    outfit = outfit_of(settings) if settings.secret_keys else None
    return Status(now, database.place, latency, place, trouble, relay, processes, in_flight, metrics, outfit, here)


def _place_troubles(settings: Settings) -> Iterator[Trouble]:
    if not settings.secret_keys:
        yield Trouble("settings.no_key")
    standing = next(place for place in (settings.state_dir, *settings.state_dir.parents) if place.exists())
    is_real = standing.is_dir() and os.statvfs(standing).f_blocks > 0  # /proc and /sys keep nothing, not even for root
    if not is_real or not os.access(standing, os.W_OK | os.X_OK):
        yield Trouble("status.state_dir_closed", folder=settings.state_dir, standing=standing)


def _issue_troubles(each: InFlight, *, has_workers: bool) -> Iterator[Trouble]:
    """Why an issue that is due does not leave, and what helps."""
    issue, slug = each.issue, each.issue.slug
    if issue.state is IssueState.PAUSED:
        yield Trouble("status.issue_paused", slug=slug, why=issue.stopped_reason or None)
    if issue.state is IssueState.HELD_LATE:
        yield Trouble("status.issue_held", slug=slug)
    if each.overdue_s is not None and each.overdue_s >= OVERDUE_S and has_workers:
        yield Trouble("status.issue_overdue", slug=slug, seconds=each.overdue_s)
    if each.wait is not None and issue.wait_reason in (WaitReason.RELAY, WaitReason.OWN_FAULT):
        yield Trouble("status.issue_waits", slug=slug, cause=each.wait)
    elif has_workers and each.stands_still_s is not None and each.stands_still_s >= STANDS_STILL_S:
        yield Trouble("status.issue_stands", slug=slug, seconds=each.stands_still_s)
    if not each.totals.adds_up:
        yield Trouble("status.does_not_add_up", slug=slug)


def relay_place(settings: Settings) -> str:
    """The relay as host:port, never with its user or password."""
    return Relay.from_url(settings.smtp_url.get_secret_value()).key


def spell_metrics(settings: Settings) -> str:
    """Where to look for metrics: of each process that runs beside this state directory, by role."""
    if settings.metrics_port == 0:
        return "off (CORRANTO_METRICS_PORT is 0)"
    found = metrics_port.targets(settings.state_dir)
    if not found:
        return f"none now; the first process takes {settings.metrics_host}:{settings.metrics_port}"
    return ", ".join(f"{each.role} http://{each.address}/metrics" for each in found)


def _in_flight(conn: Connection, issue: Issue, now: datetime) -> InFlight:
    totals, next_try_in_s = issues.totals(conn, issue.id), deliveries.next_try_in(conn, issue.id)

    def age(at: datetime | None) -> float | None:
        return None if at is None else max(0.0, (now - at).total_seconds())

    oldest, is_sending = None, issue.state is IssueState.SENDING
    if is_sending and issue.nudge_at is None:
        if totals.waiting:
            oldest = age(issue.started_at)
        elif next_try_in_s is not None and next_try_in_s <= 0:
            oldest = -next_try_in_s
    wait = explain_wait(issue.wait_reason, issue.wait_detail) if is_sending else None
    due = {IssueState.SCHEDULED: issue.due_at, IssueState.HOLDING: issue.hold_until}.get(issue.state)
    overdue_s = (now - due).total_seconds() if due is not None and due < now else None
    return InFlight(issue, totals, oldest, age(issue.last_progress_at), wait, overdue_s)


def _ask_broker(url: str) -> tuple[str, Trouble | None]:
    """(where it is, what is wrong with it)."""
    if url == broker.SQL_URL:
        return "sql, inside the database", None
    try:
        answer = broker.ping(url)
    except CorrantoError as error:
        return "redis: does not answer", Trouble("status.broker_silent", cause=error.trouble)
    return f"redis {answer.version}, {answer.latency_s * 1000:.1f} ms", None


def ask_database(database: Database) -> None:
    """Whether it answers at all. Raises UnreachableError."""
    with database.read() as conn:
        database.now(conn)


def read_gauges(database: Database) -> LedgerReading:
    """The ledger's numbers for the metrics page."""
    with database.read() as conn:
        return gauges.read_gauges(conn)
