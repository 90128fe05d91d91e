"""What runs and what is being sent, at one moment: read from rows and kept counters, without asking the relay.

`doctor` asks; `status` only reads, so that it answers within a blink on a busy installation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from worker import clock, metrics_port
from worker.broker import build as broker
from worker.dispatch.progress import explain_wait
from worker.domain.delivery import Totals
from worker.domain.issue import Issue, IssueState
from worker.domain.process import WorkerState, is_alive
from worker.errors import CorrantoError, Trouble
from worker.metrics import LedgerReading
from worker.settings import Settings
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.ledger import deliveries, gauges, issues
from worker.transport.next_hop import Relay

IN_FLIGHT = (IssueState.HOLDING, IssueState.SCHEDULED, IssueState.HELD_LATE, IssueState.SENDING, IssueState.PAUSED)


@dataclass(frozen=True)
class Process:
    """A worker process. `beat_age_s`: seconds since its last heartbeat, by the database's clock."""

    label: str
    state: str
    beat_age_s: float
    up_s: float
    note: Trouble | None

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

    @property
    def troubles(self) -> list[Trouble]:
        """What somebody should look at, the most pressing first; empty when all is well."""
        troubles = [self.broker_trouble] if self.broker_trouble else []
        alive = [process for process in self.processes if process.is_alive]
        if not alive and any(each.issue.state is IssueState.SENDING for each in self.in_flight):
            troubles.append(Trouble("status.nobody_sends"))
        elif not alive and any(each.issue.state is not IssueState.PAUSED for each in self.in_flight):
            troubles.append(Trouble("status.nobody_will_send"))
        troubles += [
            Trouble("status.silent", label=process.label, seconds=process.beat_age_s)
            for process in self.processes
            if not process.is_alive
        ]
        troubles += [
            Trouble("status.worker_note", label=process.label, note=process.note) for process in alive if process.note
        ]
        troubles += [
            Trouble("status.does_not_add_up", slug=each.issue.slug)
            for each in self.in_flight
            if not each.totals.adds_up
        ]
        return troubles

    def as_dict(self, word: Callable[[Trouble], str]) -> dict[str, object]:
        """The shape of `status --json`; a face words its troubles."""
        return {
            "at": self.at,
            "well": not self.troubles,
            "troubles": [word(trouble) for trouble in self.troubles],
            "database": {"place": self.database, "latency_s": round(self.database_s, 4)},
            "broker": {"place": self.broker, "trouble": word(self.broker_trouble) if self.broker_trouble else None},
            "relay": self.relay,
            "metrics": self.metrics,
            "processes": [
                {
                    "label": each.label,
                    "state": each.state if each.is_alive else WorkerState.LOST,
                    "beat_age_s": round(each.beat_age_s, 1),
                    "up_s": round(each.up_s),
                    "note": word(each.note) if each.note else "",
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
        in_flight = tuple(_in_flight(conn, issue, now) for issue in reversed(issues.list_issues(conn, IN_FLIGHT)))
    processes = tuple(
        Process(
            row.label, row.state, (now - row.seen_at).total_seconds(), (now - row.started_at).total_seconds(), row.note
        )
        for row in rows
    )
    place, trouble = _ask_broker(settings.broker_url.get_secret_value())
    relay, metrics = relay_place(settings), spell_metrics(settings)
    return Status(now, database.place, latency, place, trouble, relay, processes, in_flight, metrics)


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
    return InFlight(issue, totals, oldest, age(issue.last_progress_at), wait)


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
