"""The actors, and the process that runs them. Every actor is idempotent: a nudge may come twice, late or never.

`corranto worker` is one operating system process with its own signal handling: `run_worker`. The stock command
`dramatiq worker.actors -p 1` works too: it imports this module, finds the broker and boots the same process through
dramatiq's middleware hooks.
"""

import os
import signal
import sys
from pathlib import Path

import dramatiq

from worker import clock, log, metrics, metrics_port, settings
from worker.confine import confine
from worker.dispatch.events import Hook
from worker.dispatch.nudger import PLAN_ACTOR, QUEUE, SEND_ACTOR, open_broker
from worker.dispatch.process import SendingProcess
from worker.domain.provider import Provider
from worker.metrics import count_reply, count_result
from worker.settings import Settings
from worker.stop_signal import StopSignal
from worker.storage.engine import Database, open_database
from worker.storage.ledger.settlements import Result

SAME_SIGNAL_S = 2.0
"""A supervisor that signals the group and then the process means one stop, not two."""

_log = log.logger("actors")


def declare_actors(broker: dramatiq.Broker, process: SendingProcess) -> None:
    """Bind the actors to a process. A failing actor is logged; its nudge is not repeated, the tick sees to that."""

    def plan(issue_id: int) -> None:
        process.plan(issue_id)

    def send(issue_id: int, nudge_no: int) -> None:
        process.send(issue_id, nudge_no)

    dramatiq.actor(broker=broker, actor_name=PLAN_ACTOR, queue_name=QUEUE)(plan)
    dramatiq.actor(broker=broker, actor_name=SEND_ACTOR, queue_name=QUEUE)(send)


def make_process(given: Settings, hook: Hook | None = None) -> tuple[dramatiq.Broker, SendingProcess]:
    """Database, broker and process of these settings, checked but not started."""
    database: Database = open_database(given.database_url.get_secret_value(), given.secrets)
    database.check()
    broker = open_broker(database, given)
    process = SendingProcess(database, given, broker, hook)
    declare_actors(broker, process)
    return broker, process


def run_worker(given: Settings, hook: Hook | None = None) -> int:
    """Work until SIGTERM or SIGINT; finish what is on the wire, settle, release. Returns the exit code.

    1 when it had to end by itself: taken for dead, or unable to hand anything over.
    """
    broker, process = make_process(given, hook)
    first_at: list[float] = []

    def note_time() -> None:
        now = clock.monotonic()
        if first_at and now - first_at[0] > SAME_SIGNAL_S:
            os._exit(1)
        first_at[:] = first_at or [now]

    told = StopSignal(note_time)
    process.start()
    process.sender.on_result = _count
    shown = _show_metrics(given)
    worker = dramatiq.Worker(broker, worker_threads=given.worker_threads, worker_timeout=1000)
    worker.start()
    while not told.wait(0.1) and not process.must_end.is_set():
        pass
    process.drain()
    clean = process.stop()
    worker.stop(timeout=1000)
    broker.close()
    shown.stop()
    process.database.close()
    return 0 if clean and not process.must_end.is_set() else 1


def _show_metrics(given: Settings) -> metrics_port.MetricsPort:
    shown = metrics_port.start(given.metrics_host, given.metrics_port, metrics.render, "worker", given.state_dir)
    if shown.place:
        _log.info("metrics", place=shown.place)
    return shown


def _count(result: Result) -> None:
    provider = Provider(result.provider or Provider.OTHER)
    count_result(result.state, provider)
    if result.code is not None and result.text:
        count_reply(provider, result.enhanced)


class _Boot(dramatiq.Middleware):
    """Starts and ends our process inside dramatiq's own worker command."""

    def __init__(self, process: SendingProcess) -> None:
        self._process = process

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        del broker, worker
        # Our own end is a stop like any other; dramatiq's main process then ends too, and its supervisor starts anew.
        self._process.on_must_end = lambda: os.kill(os.getpid(), signal.SIGTERM)
        self._process.start()
        self._process.sender.on_result = _count
        self._shown = _show_metrics(self._process.settings)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        del broker, worker
        self._process.drain()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        del broker, worker
        self._process.stop()
        self._shown.stop()


# The stock command, by its name or as `python -m dramatiq`, looks for the broker that importing this module set.
if Path(sys.argv[0]).name == "dramatiq" or Path(sys.argv[0]).parts[-2:] == ("dramatiq", "__main__.py"):
    confine()
    _settings = settings.load()
    log.configure(_settings.log_format, _settings.log_level)
    _broker, _process = make_process(_settings)
    _broker.add_middleware(_Boot(_process))
    dramatiq.set_broker(_broker)
