"""What load balancers and people ask a web process: does it live, is it ready. Says no secret and no host name."""

import asyncio
from collections.abc import Callable
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from worker.broker import build
from worker.errors import UnreachableError
from worker.log import logger
from worker.operations.status import ask_database
from worker.settings import Settings
from worker.storage.engine import Database

READY_WITHIN_S = 8.0
"""Longer than the database's own connect timeout, so that its answer is the one that is told."""

_log = logger("web.health")


def routes(settings: Settings, database: Database) -> list[BaseRoute]:
    """/livez and /readyz."""
    health = _Health(settings, database)
    return [Route("/livez", _livez), Route("/readyz", health.readyz)]


async def _livez(request: Request) -> Response:
    """Touches nothing: it answers while the database is away and every thread is busy."""
    return PlainTextResponse("ok\n")


class _Health:
    def __init__(self, settings: Settings, database: Database) -> None:
        self._broker_url = settings.broker_url.get_secret_value()
        self._database = database
        self._told: dict[str, str] = {}

    async def readyz(self, request: Request) -> Response:
        checks = {"database": await self._ask("database", partial(ask_database, self._database))}
        reachable = checks["database"] == "ok"
        checks["schema"] = await self._ask("schema", self._database.check) if reachable else "unknown"
        checks["broker"] = await self._ask("broker", self._ask_broker)
        failing = [name for name, said in checks.items() if said == "fails"]
        content = {"status": "not ready" if failing else "ready", "failing": failing, "checks": checks}
        return JSONResponse(content, 503 if failing else 200)

    async def _ask(self, name: str, check: Callable[[], None]) -> str:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await run_in_threadpool(check)
        except (UnreachableError, TimeoutError) as error:
            self._tell(name, str(error) or "no answer in time")
            return "fails"
        self._told.pop(name, None)
        return "ok"

    def _tell(self, name: str, cause: str) -> None:
        """The cause goes to the log, once: the page is public and asked every second."""
        if self._told.get(name) != cause:
            self._told[name] = cause
            _log.warning("not_ready", item=name, why=cause)

    def _ask_broker(self) -> None:
        if self._broker_url != "sql":
            build.ping(self._broker_url)
