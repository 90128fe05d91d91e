"""The scheduler process: nothing but the tick. Workers tick too, so an issue starts without it; it notices a machine
on which all workers died."""

import uuid

from worker import clock, log, metrics, metrics_port
from worker.consent.attendance import EVERY_S, Attendance
from worker.dispatch.nudger import Nudger, open_broker
from worker.dispatch.tick import TICK_S, Tick
from worker.domain.process import Role
from worker.errors import UnreachableError
from worker.settings import Settings
from worker.stop_signal import StopSignal
from worker.storage.engine import Database, open_database

_log = log.logger("scheduler")


def run(settings: Settings) -> int:
    """Tick until SIGTERM or SIGINT. Returns 0; 1 when another version of Corranto upgraded the database meanwhile."""
    database = open_database(settings.database_url.get_secret_value(), settings.secrets)
    database.check()
    broker = open_broker(database, settings)
    tick = Tick(database, settings, Nudger(broker), str(uuid.uuid4()))
    told = StopSignal()
    shown = metrics_port.start(
        settings.metrics_host, settings.metrics_port, metrics.render, "scheduler", settings.state_dir
    )
    _log.info("scheduler ready", metrics=shown.place)
    attendance, attended_at = Attendance(database, settings.state_dir, Role.SCHEDULER), -EVERY_S
    is_outdated = False
    while not is_outdated and not told.wait(TICK_S):
        if clock.monotonic() - attended_at >= EVERY_S:
            attended_at = clock.monotonic()
            attendance.attend()
            is_outdated = _is_outdated(database)
        tick.run()
    attendance.end()
    shown.stop()
    broker.close()
    database.close()
    return int(is_outdated)


def _is_outdated(database: Database) -> bool:
    try:
        is_outdated = database.has_other_version()
    except UnreachableError:
        return False  # the tick says so
    if is_outdated:
        _log.critical("the database was upgraded, this process ends: start the new version")
    return is_outdated
