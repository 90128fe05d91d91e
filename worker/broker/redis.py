"""Nudges in Redis: one list per queue, nothing else.

dramatiq's own Redis broker keeps what was fetched until it is acknowledged, judges other processes by their clocks and
makes a thread wait whose acknowledgement finds no server. A hint needs none of that, so it is pushed and popped.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.errors import UnreachableError, UsageError

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0
MOST_WAITING = 10_000  # with no worker for days every tick adds one; older ones than these say nothing new


class RedisStore:
    """One Redis list per queue, named `namespace:queue`, in a logical database of its own."""

    def __init__(self, url: str, namespace: str) -> None:
        self._client = connect(url)
        self._where = where(self._client)
        self._namespace = namespace

    def put(self, queue: str, body: bytes) -> None:
        key = self._key(queue)
        with trouble(self._where), self._own_type(key):
            if int(self._client.rpush(key, body)) > MOST_WAITING:
                self._client.ltrim(key, -MOST_WAITING, -1)

    def take(self, queue: str, wait_s: float, stop: threading.Event) -> bytes | None:
        key = self._key(queue)
        if stop.is_set():
            return None
        with trouble(self._where), self._own_type(key):
            # Zero would mean to wait for ever, and a wait longer than the answer's deadline would break off.
            found: Any = self._client.blpop([key], timeout=min(max(wait_s, 0.01), ANSWER_TIMEOUT_S / 2))
            return None if found is None else bytes(found[1])
        return None

    def size(self, queue: str) -> int:
        with trouble(self._where):
            return int(self._client.llen(self._key(queue)))

    def purge(self, queue: str) -> None:
        with trouble(self._where):
            self._client.delete(self._key(queue))

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
            self._client.delete(key)


def connect(url: str) -> redis.Redis:
    """A client that waits seconds, not for ever, and tries a stale connection once more. Raises UsageError."""
    try:
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 1),
        )
    except (ValueError, TypeError) as error:
        raise UsageError("CORRANTO_BROKER_URL is not a URL like redis://host:6379/1") from error


def where(client: redis.Redis) -> str:
    """The server in words, without user or password."""
    options = client.connection_pool.connection_kwargs
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"Redis at {place}, database {options.get('db') or 0}"


@contextmanager
def trouble(place: str) -> Iterator[None]:
    """Whatever keeps Redis from doing its part, in one sentence. Raises UnreachableError."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise UnreachableError(f"{place} {_cause(error)}") from error


def _cause(error: Exception) -> str:
    text = str(error).rstrip(".")
    if isinstance(error, redis.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
        return "refuses the user or password in CORRANTO_BROKER_URL"
    if isinstance(error, redis.BusyLoadingError):
        return "is still loading its data"
    if isinstance(error, redis.ReadOnlyError):
        return "is read-only: CORRANTO_BROKER_URL names a replica"
    if isinstance(error, redis.OutOfMemoryError):
        return "is out of memory and takes nothing more"
    if isinstance(error, redis.TimeoutError):
        return f"did not answer within {ANSWER_TIMEOUT_S:.0f} s"
    if isinstance(error, redis.ConnectionError | OSError):
        return "cannot be reached: " + ("connection refused" if "refused" in text.lower() else "no connection")
    return f"answers with an error: {text[:120]}"
