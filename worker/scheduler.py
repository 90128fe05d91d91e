"""The scheduler process: nothing but the tick. Workers tick too, so an issue starts without it; it notices a machine
on which all workers died."""

import signal
import threading
import uuid
from types import FrameType

from worker import log, metrics, metrics_port
from worker.dispatch.nudger import Nudger, open_broker
from worker.dispatch.tick import TICK_S, Tick
from worker.settings import Settings
from worker.storage.engine import open_database

_log = log.logger("scheduler")


def run(settings: Settings) -> int:
    """Tick until SIGTERM or SIGINT. Returns 0."""
    database = open_database(settings.database_url.get_secret_value(), settings.secrets)
    database.check()
    broker = open_broker(database, settings)
    tick = Tick(database, settings, Nudger(broker), str(uuid.uuid4()))
    told = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, on_signal)
    shown = metrics_port.start(
        settings.metrics_host, settings.metrics_port, metrics.render, "scheduler", settings.state_dir
    )
    _log.info("scheduler ready", metrics=shown.place)
    while not told.wait(TICK_S):
        tick.run()
    shown.stop()
    broker.close()
    database.close()
    return 0
