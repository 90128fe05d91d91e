"""The only door to a broker: by URL, `sql` or Redis."""

from collections.abc import Callable
from dataclasses import dataclass

from worker import clock
from worker.broker import redis as redis_store
from worker.broker.nudges import NudgeBroker, NudgeStore
from worker.broker.sealed import Sealer
from worker.broker.sql import SqlStore
from worker.errors import UnreachableError
from worker.storage.engine import Database

SQL_URL = "sql"


@dataclass(frozen=True)
class Answer:
    """What a broker said when asked: its version and how long that took."""

    version: str
    latency_s: float


def build_broker(url: str, *, database: Callable[[], Database], secret: bytes, namespace: str) -> NudgeBroker:
    """The broker `url` names; connects when first used. `sql` lives in the ledger's database.

    `secret` seals nudges, `namespace` keeps installations apart. Raises UsageError for a URL that cannot be one.
    """
    store: NudgeStore = SqlStore(database()) if url == SQL_URL else redis_store.RedisStore(url, namespace)
    return NudgeBroker(store, Sealer(secret, namespace))


def ping(url: str) -> Answer:
    """Ask a Redis who it is. Raises UnreachableError with the cause.

    `sql` has nothing to ask: the database's own check speaks for it.
    """
    client = redis_store.connect(url)
    place = redis_store.place_of(client)
    try:
        with redis_store.reaching(place):
            client.ping()
            began = clock.monotonic()
            version = str(client.info("server").get("redis_version", ""))
            latency = clock.monotonic() - began
    finally:
        client.close()
    if not version:
        raise UnreachableError("broker.not_redis", server=place.server, database=place.database)
    return Answer(version, latency)
