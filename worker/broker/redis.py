"""Nudges in Redis: one list per queue, nothing else.

dramatiq's own Redis broker keeps what was fetched until it is acknowledged, judges other processes by their clocks and
makes a thread wait whose acknowledgement finds no server. A nudge needs none of that, so it is pushed and popped.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from worker.broker.bounded import BoundedParser, OversizedError
from worker.broker.nudges import OVERSIZED
from worker.errors import Trouble, UnreachableError, UsageError

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0
MOST_WAITING = 10_000  # with no worker for days every tick adds one; older ones than these say nothing new

_NONSENSE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What the library and our own reading of an answer raise when it is none that a Redis gives."""


class RedisStore:
    """One Redis list per queue, named `namespace:queue`, in a logical database of its own."""

    def __init__(self, url: str, namespace: str) -> None:
        self._client = connect(url)
        self._place = place_of(self._client)
        self._namespace = namespace

    def put(self, queue: str, body: bytes) -> None:
        key = self._key(queue)
        with reaching(self._place), self._own_type(key):
            if int(self._client.rpush(key, body)) > MOST_WAITING:
                self._client.ltrim(key, -MOST_WAITING, -1)

    def take(self, queue: str, wait_s: float, stop: threading.Event) -> bytes | None:
        key = self._key(queue)
        if stop.is_set():
            return None
        # Zero would mean to wait for ever, and a wait longer than the answer's deadline would break off.
        wait_s = min(max(wait_s, 0.01), ANSWER_TIMEOUT_S / 2)
        with reaching(self._place), self._own_type(key):
            try:
                popped: Any = self._client.blpop([key], timeout=wait_s)
            except OversizedError:
                return OVERSIZED
            except (ValueError, AttributeError):
                # `close` in another thread takes the socket away under a wait; the library has no word for that.
                if not stop.is_set():
                    raise
                return None
            return None if popped is None else _octets(popped[1])
        return None

    def size(self, queue: str) -> int:
        key = self._key(queue)
        with reaching(self._place), self._own_type(key):
            return int(self._client.llen(key))
        return 0

    def purge(self, queue: str) -> None:
        with reaching(self._place):
            self._client.unlink(self._key(queue))

    def close(self) -> None:
        self._client.close()

    def _key(self, queue: str) -> str:
        return f"{self._namespace}:{queue}"

    @contextmanager
    def _own_type(self, key: str) -> Iterator[None]:
        """Something else than a list under our name can only be a mistake or an attack: it goes."""
        try:
            yield
        except redis.ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            self._client.unlink(key)  # in the background: it may be large


def connect(url: str) -> redis.Redis:
    """A client that waits seconds, not for ever, and tries a stale connection once more. Raises UsageError."""
    ours = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        "protocol": 2,
        "decode_responses": False,
        "parser_class": BoundedParser,
        # A server that hangs is not asked twice: a worker's heartbeat may be waiting behind it.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    }
    try:
        # The library lets a URL's query win over what it is given: a deadline or a bound would be gone.
        pool = redis.ConnectionPool(**(parse_url(url) | ours))  # type: ignore[no-untyped-call]
        if "path" not in pool.connection_kwargs:
            pool.connection_kwargs["socket_keepalive"] = True
        pool.connection_class(**pool.connection_kwargs)  # connects to nothing, and knows which options there are
    except (ValueError, TypeError, redis.RedisError) as error:
        raise UsageError("broker.url") from error
    return redis.Redis.from_pool(pool)


@dataclass(frozen=True)
class Place:
    """Which server, without user or password: `host:port` or a socket's path, and the number of the database."""

    server: str
    database: int


def place_of(client: redis.Redis) -> Place:
    options = client.connection_pool.connection_kwargs
    server = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return Place(server, int(options.get("db") or 0))


@contextmanager
def reaching(place: Place) -> Iterator[None]:
    """Whatever keeps Redis from doing its part is raised as UnreachableError, with the cause."""
    try:
        yield
    except (redis.RedisError, OSError, *_NONSENSE) as error:
        cause = _cause(error)
        raise UnreachableError(
            "broker.unreachable", server=place.server, database=place.database, cause=cause
        ) from error


def _cause(error: Exception) -> Trouble:
    if isinstance(error, _NONSENSE):
        return Trouble("broker.error", text="an answer that makes no sense")
    text = str(error).rstrip(".")
    if isinstance(error, redis.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
        return Trouble("broker.login_refused")
    if isinstance(error, redis.BusyLoadingError):
        return Trouble("broker.loading")
    if isinstance(error, redis.ReadOnlyError):
        return Trouble("broker.read_only")
    if isinstance(error, redis.OutOfMemoryError):
        return Trouble("broker.full")
    if isinstance(error, redis.TimeoutError):
        return Trouble("broker.silent", seconds=ANSWER_TIMEOUT_S)
    if isinstance(error, redis.ConnectionError | OSError):
        return Trouble("broker.connection_refused") if "refused" in text.lower() else Trouble("broker.no_connection")
    return Trouble("broker.error", text=text[:120])


def _octets(value: object) -> bytes:
    """An entry as it is; `bytes` would make a number that many zeros. Raises TypeError."""
    if not isinstance(value, bytes):
        raise TypeError
    return value
