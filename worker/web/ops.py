"""The web process: one uvicorn server with its limits, its end within two seconds, and its metrics port.

In: settings. Out: the exit code. A crash costs the requests of that moment: an opt-out is committed before it is
answered, so whoever got no answer presses again.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from worker import metrics
from worker.errors import UnreachableError
from worker.log import logger
from worker.operations.status import read_gauges
from worker.settings import Settings
from worker.storage.engine import open_database
from worker.web.app import create_app

GRACE_S = 2
"""What running requests get after SIGTERM: the longest one waits for a copy on its way, its wish being committed."""

KEEP_ALIVE_S = 5  # a page's pictures share a connection; an idle one takes a place of MOST_AT_ONCE
LARGEST_HEAD = 32_768
"""Octets of request line and headers; our longest path has some 60."""

MOST_AT_ONCE = 1_000
"""Connections beyond this many are told 503 at once instead of waiting without end."""

HEAD_DEADLINE_S = 10.0
"""From the beginning of a connection, or the first octet of a further request, to its last header line."""

ANSWER_DEADLINE_S = 600.0
"""From the headers to the end of the answer: the largest hosted file on a line of 33 kB a second."""

_log = logger("web.ops")


class PatientProtocol(H11Protocol):
    """uvicorn's, with an end to its patience: it only counts the seconds between two requests.

    Without this, MOST_AT_ONCE connections that say nothing, or one letter now and then, would keep every reader out.
    """

    head_deadline_s = HEAD_DEADLINE_S
    answer_deadline_s = ANSWER_DEADLINE_S
    _bell: asyncio.TimerHandle | None = None
    _watched: tuple[object, bool] = (None, False)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._bell is not None:
            self._bell.cancel()

    @property
    def _stage(self) -> tuple[object, bool]:
        """The request at hand, and whether its answer is still to be given; else a head is waited for."""
        return self.cycle, self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """Set the bell anew at each new stage; within one it runs on, whatever trickles in."""
        if self._bell is not None:
            if self._stage == self._watched:
                return
            self._bell.cancel()
        self._watched = self._stage
        seconds = self.answer_deadline_s if self._watched[1] else self.head_deadline_s
        self._bell = self.loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        if self._stage == self._watched:
            self.transport.abort()  # not closed: that would wait for what the other side never reads
        else:
            self._watch()


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
    listener = _listen(settings.web_host, settings.web_port)
    port = listener.getsockname()[1]
    metrics.observe_ledger(partial(read_gauges, database))
    metrics_port = metrics.start_metrics(settings.metrics_host, settings.metrics_port)
    _log.info("web_ready", host=settings.web_host, port=port, base_url=settings.base_url, metrics_port=metrics_port)
    try:
        _Server(server_config(app, settings)).run(sockets=[listener])
    finally:
        listener.close()
        database.close()
    return 0


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves us: bounded, quiet about itself, believing only the proxies the settings name."""
    return uvicorn.Config(
        app,
        log_config=None,
        # Paths hold tokens. Requests are counted by route in the metrics instead.
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=MOST_AT_ONCE,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise UnreachableError("web.cannot_listen", host=host, port=port, why=error.strerror) from error
    listener.setblocking(False)
    return listener
