"""The web process: one uvicorn server with its limits, its end within two seconds, and its metrics port.

In: settings. Out: the exit code. A crash costs the requests of that moment: an opt-out is committed before it is
answered, so whoever got no answer presses again.
"""

import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from worker import metrics, metrics_port
from worker.consent.attendance import EVERY_S, Attendance
from worker.domain.process import Role
from worker.errors import UnreachableError
from worker.log import logger
from worker.loopback import is_host_trouble
from worker.operations.status import read_gauges
from worker.settings import Settings
from worker.storage.engine import open_database
from worker.web.app import create_app
from worker.web.places import read_networks
from worker.web.protocol import protocol_for

GRACE_S = 2
"""What running requests get after SIGTERM: the longest one waits for a copy on its way, its wish being committed."""

KEEP_ALIVE_S = 5  # a page's pictures share a connection; an idle one takes the place of another
BACKLOG = 256
"""Connections accepted in one go: fewer than there are places, so that each is heard before it must make room."""

LARGEST_HEAD = 32_768
"""Octets of request line and headers; our longest path has some 60."""

_log = logger("web.ops")


class _Server(uvicorn.Server):
    """uvicorn, which ends with exit code 0 when it was told to end."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's, but the signal is not raised again after the end: being told to stop is not a failure."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns 0 then. Raises UnreachableError when the port cannot be had."""
    database = open_database(settings.database_url.get_secret_value(), settings.secrets)
    app = create_app(settings, database=database)
    listener = listen(settings.web_host, settings.web_port)
    port = listener.getsockname()[1]
    metrics.observe_ledger(partial(read_gauges, database))
    shown = metrics_port.start(settings.metrics_host, settings.metrics_port, metrics.render, "web", settings.state_dir)
    _log.info("web_ready", host=settings.web_host, port=port, base_url=settings.base_url, metrics=shown.place)
    ended = threading.Event()
    attendance = Attendance(database, settings.state_dir, Role.WEB)
    attending = threading.Thread(target=_attend, args=(attendance, ended), name="attendance", daemon=True)
    attending.start()
    try:
        _Server(server_config(app, settings)).run(sockets=[listener])
    finally:
        ended.set()
        attending.join(GRACE_S)
        attendance.end()
        listener.close()
        shown.stop()
        database.close()
    return 0


def _attend(attendance: Attendance, ended: threading.Event) -> None:
    """Wishes to leave that came while the database was away, as soon as it is back: the host may have no worker."""
    while not ended.is_set():
        attendance.attend()
        ended.wait(EVERY_S)


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves us: bounded, quiet about itself, believing only the proxies the settings name."""
    return uvicorn.Config(
        app,
        log_config=None,
        # A line for each broken request would let anybody fill the disk.
        log_level="error",
        # Paths hold tokens. Requests are counted by route in the metrics instead.
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        http=protocol_for(read_networks(settings.trusted_proxies)),
        ws="none",
        lifespan="off",
    )


def listen(host: str, port: int) -> socket.socket:
    """A bound socket that listens. Raises UnreachableError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = None
    try:
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # Accepted connections inherit it; without it every answer on a kept connection waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        if is_host_trouble(error):
            raise UnreachableError("web.host_not_here", host=host, why=error.strerror) from error
        raise UnreachableError("web.cannot_listen", host=host, port=port, why=error.strerror) from error
    listener.setblocking(False)
    return listener
