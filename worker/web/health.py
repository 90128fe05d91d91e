"""What load balancers and people ask a web process: does it live, is it ready. Says no secret and no host name.

Ready means: it can do its own work, which needs the database and no broker. A broker that is away is told as well.
Each question is asked once a second at most, in a thread of its own: however many ask, and whatever hangs, no reader
waits behind it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from worker.broker import build
from worker.clock import monotonic
from worker.dispatch.lock import refuse_locked
from worker.errors import CorrantoError
from worker.log import logger
from worker.operations.status import ask_database
from worker.settings import Settings
from worker.storage.engine import Database

PATHS = ("/livez", "/readyz")

READY_WITHIN_S = 8.0
"""Longer than the database's own connect timeout, so that its answer is the one that is told."""

BROKER_WITHIN_S = 2.0  # readiness does not hang on it: whoever asks should not wait long for it either
KEPT_S = 1.0
"""How long an answer is told again: load balancers ask every second, from several places."""

OK, FAILS, UNKNOWN = "ok", "fails", "unknown"

_log = logger("web.health")


def routes(settings: Settings, database: Database) -> list[BaseRoute]:
    """/livez and /readyz."""
    health = Health(settings, database)
    return [Route("/livez", _livez), Route("/readyz", health.readyz)]


async def _livez(request: Request) -> Response:
    """Touches nothing: it answers while the database is away and every thread is busy."""
    return PlainTextResponse("ok\n")


class Health:
    """The questions with their last answers; used in one event loop."""

    def __init__(self, settings: Settings, database: Database, ping: Callable[[str], object] = build.ping) -> None:
        broker_url = settings.broker_url.get_secret_value()
        self._database = _Question("database", lambda: ask_database(database), READY_WITHIN_S)
        self._schema = _Question("schema", database.check, READY_WITHIN_S)
        self._sending = _Question("sending", partial(refuse_locked, database, settings.state_dir), READY_WITHIN_S)
        self._broker = _Question("broker", lambda: broker_url == "sql" or ping(broker_url), BROKER_WITHIN_S)

    async def readyz(self, request: Request) -> Response:
        """200 while this process can do its work; `degraded` names what it can do without.

        That is the broker, and a database that mails may be sent from.
        """
        broker = asyncio.ensure_future(self._broker.answer())
        checks = {"database": await self._database.answer()}
        checks["schema"] = await self._schema.answer() if checks["database"] == OK else UNKNOWN
        checks["sending"] = await self._sending.answer() if checks["schema"] == OK else UNKNOWN
        checks["broker"] = await broker
        failing = [name for name in ("database", "schema") if checks[name] == FAILS]
        content = {
            "status": "not ready" if failing else "ready",
            "failing": failing,
            "degraded": [name for name in ("broker", "sending") if checks[name] == FAILS],
            "checks": checks,
        }
        return JSONResponse(content, 503 if failing else 200)


class _Question:
    """One thing to ask, with one thread to ask it in. While it hangs nothing is asked anew; it counts as failing."""

    def __init__(self, name: str, ask: Callable[[], object], within_s: float) -> None:
        self._name, self._ask, self._within_s = name, ask, within_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"health-{name}")
        self._asked: asyncio.Future[object] | None = None
        self._began = self._known_at = 0.0
        self._known: str | None = None
        self._told: str | None = None

    async def answer(self) -> str:
        """`ok` or `fails`, at most KEPT_S old, or what is true after `within_s` of waiting."""
        if self._known is not None and monotonic() - self._known_at < KEPT_S:
            return self._known
        if self._asked is None:
            self._began = monotonic()
            self._asked = asyncio.get_running_loop().run_in_executor(self._thread, self._ask)
        asked = self._asked
        left = self._began + self._within_s - monotonic()
        await asyncio.wait([asked], timeout=max(0.0, left))
        if not asked.done():
            return self._know(FAILS, "no answer in time")
        if self._asked is asked:
            self._asked = None
        error = asked.exception()
        if isinstance(error, CorrantoError | OSError):
            return self._know(FAILS, str(error))
        if error is not None:
            raise error
        return self._know(OK, None)

    def _know(self, said: str, cause: str | None) -> str:
        """The cause goes to the log, once: the page is public and asked every second."""
        self._known, self._known_at = said, monotonic()
        if cause is not None and cause != self._told:
            _log.warning("not_ready", item=self._name, why=cause)
        self._told = cause
        return said
