"""The web application: every route, and the shell every request passes.

The shell counts and times by route (never by path: paths hold tokens), gives every answer the strict headers it does
not set itself, and turns whatever breaks into a page without a word about our insides.
"""

import uuid
from functools import partial
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker import metrics
from worker.calling import called
from worker.clock import monotonic
from worker.log import logger
from worker.settings import Settings
from worker.sink import inbox
from worker.sink.mailbox import Mailbox
from worker.storage.engine import Database, open_database
from worker.tokens import Keyring
from worker.web import files, health, proofs, public, reading
from worker.web.host import TARGET, names_us, origin_form, read_host
from worker.web.lanes import narrow_pages
from worker.web.ledger import read_ledger_row
from worker.web.pages import COMMON_HEADERS, Pages
from worker.web.places import Places
from worker.web.returned_link import find_link
from worker.web.sentences import TOO_MANY, UNREACHABLE, status_of

RETRY_AFTER_S = 120  # seconds, told with 503: a restart of the database is usually over by then

BUSY_AGAIN_S = 5  # told when every place is taken: an answer takes far less

_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})

_log = logger("web.app")


def create_app(settings: Settings, *, database: Database | None = None) -> Starlette:
    """The application; `database` is opened from the settings when not given. Raises SettingsError without keys."""
    database = database or open_database(settings.database_url.get_secret_value(), settings.secrets)
    keyring = Keyring(settings.keys)
    pages = Pages(settings.base_url)
    routes: list[BaseRoute] = [
        *health.routes(settings, database),
        *public.routes(settings, database, keyring, pages),
        *proofs.routes(database, keyring, pages),
        *reading.routes(settings.base_url, database, keyring, pages),
        *files.routes(database, pages),
        *_sink_routes(settings, database, keyring),
    ]

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = pages.error(error.status_code)
        answer.headers.update(error.headers or {})
        return answer

    app = Starlette(
        routes=routes,
        middleware=[Middleware(_Shell, pages=pages, keyring=keyring, places=Places(settings.trusted_proxies))],
        exception_handlers={HTTPException: refused},
    )
    # A one-click POST must meet its answer at the very address in the mail (RFC 8058 3.1: no redirect).
    app.router.redirect_slashes = False
    return app


def _sink_routes(settings: Settings, database: Database, keyring: Keyring) -> list[BaseRoute]:
    """The inbox, only beside the embedded sink and only where nobody but this machine looks: it shows readers' mail."""
    if not settings.shows_sink:
        return []

    mailbox, command = Mailbox(settings.state_dir / "sink"), f"{called()} queue FILE"
    ledger = partial(read_ledger_row, database, keyring)
    return inbox.routes(mailbox, ledger=ledger, base_url=settings.base_url, queue_command=command, names_us=names_us)


class _Shell:
    """ASGI middleware around every request."""

    def __init__(self, app: ASGIApp, pages: Pages, keyring: Keyring, places: Places) -> None:
        self._app = app
        self._pages = pages
        self._keyring = keyring
        self._places = places
        self._is_new = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._is_new:
            self._is_new = False
            narrow_pages()
        # Behind a proxy that keeps the base URL's path, and behind one that strips it, routes match alike.
        scope["root_path"] = self._pages.root
        refusal = self._judge(scope)
        status = 0

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in COMMON_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        began = monotonic()
        try:
            if refusal:
                await self._refuse(refusal)(scope, receive, send_safely)
                return
            with self._places.taken(scope):
                await self._app(scope, receive, send_safely)
        except Exception as error:
            if status:
                raise  # half an answer is out: the server cuts the connection
            await self._explain(error, scope)(scope, receive, send_safely)
        finally:
            _count(scope, status, monotonic() - began)

    def _judge(self, scope: Scope) -> int:
        """Put a returned link's path right; the status that refuses a request before any page sees it, else 0."""
        target = scope[TARGET] = scope["raw_path"]
        link = find_link(target.decode("ascii", "replace"), self._keyring.opens_leaving)
        if link is not None:
            # Only Undo is a page's alone; below any other page of the link a post is a no as well.
            path = f"/u/{link.token}" if scope["method"] == "POST" and link.page != "/undo" else link.path
            scope["path"], scope["raw_path"] = path, path.encode()
            if scope["method"] == "POST":
                return 0  # a reader's no: the token is its authority, and no limit or header stands in its way
        elif origin_form(target) != target:
            scope["raw_path"] = origin_form(target)
            scope["path"] = unquote(scope["raw_path"].decode("ascii", "replace"))
        if scope["path"] in health.PATHS:
            return 0
        # RFC 9112 3.2: a Host that cannot be read is refused. A readable foreign one is not: no byte of an answer
        # depends on it, and mails of years ago lead here by names this installation had then.
        is_old = scope["http_version"] == "1.0" and not any(name == b"host" for name, _ in scope["headers"])
        if not is_old and read_host(scope["headers"], target) is None:
            return 400
        return self._places.refusal(scope)

    def _refuse(self, status: int) -> Response:
        answer = self._pages.error(status)
        answer.headers["Connection"] = "close"
        if status in (TOO_MANY, UNREACHABLE):
            answer.headers["Retry-After"] = str(BUSY_AGAIN_S)
        return answer

    def _explain(self, error: Exception, scope: Scope) -> Response:
        status = status_of(error)
        if status == UNREACHABLE:
            _log.warning("dependency_away", route=_route(scope), why=str(error))
            answer = self._pages.error(status)
            answer.headers["Retry-After"] = str(RETRY_AFTER_S)
            return answer
        request_id = uuid.uuid4().hex[:12]
        _log.error("request_failed", route=_route(scope), request=request_id, exc_info=error)
        return self._pages.error(status, request_id)


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "none"))


def _count(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    metrics.http_requests.labels(_route(scope), method, str(status)).inc()
    metrics.http_duration.labels(_route(scope)).observe(seconds)
