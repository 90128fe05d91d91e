"""Nudges through a real Redis that is flushed, forged into, filled, locked, stopped and started again."""

import contextlib
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from tests.support.nudged import JOIN_MS, QUEUE, Woken, declare, working
from tests.support.programs import free_port, require
from tests.support.redis import OwnRedis
from tests.support.words import refuses
from worker.broker import redis as redis_store
from worker.broker.build import build_broker, ping
from worker.broker.nudges import NudgeBroker, send_nudge
from worker.broker.redis import MOST_WAITING, RedisStore
from worker.errors import UnreachableError, UsageError
from worker.screen.sentences import word
from worker.storage.engine import Database

pytestmark = pytest.mark.needs("redis")
KEY = f"corranto:{QUEUE}"


def no_database() -> Database:
    raise AssertionError("a Redis broker needs no database")


def broker_on(url: str, namespace: str = "corranto") -> NudgeBroker:
    return build_broker(url, database=no_database, secret=b"a secret of the tests", namespace=namespace)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    require("redis")
    server = OwnRedis(tmp_path)
    yield server
    server.stop()


def test_nudges_arrive_in_order_and_leave_nothing_behind(redis_url: str) -> None:
    broker, woken = broker_on(redis_url), Woken()
    for number in range(20):
        send_nudge(broker, "send", QUEUE, issue_id=number)

    with working(broker, woken, threads=1):
        broker.join(QUEUE, timeout=JOIN_MS)

    assert woken.ids == list(range(20))
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_two_workers_share_the_queue_and_nobody_takes_what_another_took(redis_url: str) -> None:
    first, second, woken = broker_on(redis_url), broker_on(redis_url), Woken()

    with working(first, woken), working(second, woken):
        for number in range(100):
            send_nudge(first, "send", QUEUE, issue_id=number)
        woken.wait_for(100)
        second.join(QUEUE, timeout=JOIN_MS)

    assert sorted(woken.ids) == list(range(100))


def test_forged_and_broken_entries_are_dropped_and_their_neighbours_arrive(redis_url: str) -> None:
    broker, woken = broker_on(redis_url), Woken()
    forged = [b"", b"{not json", b"\x80\x04pickle", b"x" * 5_000_000, b"[" * 100_000]
    with redis.Redis.from_url(redis_url) as client:
        for number, body in enumerate(forged):
            client.rpush(KEY, body)
            send_nudge(broker, "send", QUEUE, issue_id=number)

    with working(broker, woken, threads=1):
        broker.join(QUEUE, timeout=JOIN_MS)

    assert woken.ids == list(range(len(forged)))
    assert broker.dropped == len(forged)


def test_a_key_of_another_type_under_our_name_is_removed(redis_url: str) -> None:
    broker, woken = broker_on(redis_url), Woken()
    with redis.Redis.from_url(redis_url) as client:
        client.set(KEY, "not a list")

    send_nudge(broker, "send", QUEUE, issue_id=1)
    with working(broker, woken):
        send_nudge(broker, "send", QUEUE, issue_id=2)
        woken.wait_for(1)

    assert 2 in woken.ids


def test_a_flush_costs_what_waited_and_nothing_after(redis_url: str) -> None:
    broker, woken = broker_on(redis_url), Woken()
    send_nudge(broker, "send", QUEUE, issue_id=1)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()

    with working(broker, woken):
        send_nudge(broker, "send", QUEUE, issue_id=2)
        assert woken.wait_for(1) == [2]


def test_two_installations_on_one_server_do_not_hear_each_other(redis_url: str) -> None:
    ours, theirs, woken = broker_on(redis_url), broker_on(redis_url, "other"), Woken()

    with working(ours, woken):
        send_nudge(theirs, "send", QUEUE, issue_id=1)
        send_nudge(ours, "send", QUEUE, issue_id=2)
        woken.wait_for(1)

    assert woken.ids == [2]


def test_a_worker_outlives_the_server_and_goes_on_by_itself(own_redis: OwnRedis) -> None:
    own_redis.start()
    broker, woken = broker_on(own_redis.url), Woken()

    with working(broker, woken):
        send_nudge(broker, "send", QUEUE, issue_id=1)
        woken.wait_for(1)
        own_redis.stop()
        with refuses(UnreachableError, "cannot be reached"):
            send_nudge(broker, "send", QUEUE, issue_id=2)
        own_redis.start()
        send_nudge(broker, "send", QUEUE, issue_id=3)
        assert woken.wait_for(2) == [1, 3]


def test_an_outage_is_said_once_and_its_end_too(own_redis: OwnRedis) -> None:
    own_redis.start()
    broker, woken = broker_on(own_redis.url), Woken()

    with structlog.testing.capture_logs() as logs, working(broker, woken):
        own_redis.stop()
        for _ in range(2):
            broker.fetch(QUEUE, 0.01)
        own_redis.start()
        send_nudge(broker, "send", QUEUE, issue_id=1)
        woken.wait_for(1)

    said = [entry["event"] for entry in logs if entry["event"].startswith("broker")]
    assert said == ["broker unreachable, waiting for it", "broker answers again"]
    assert not any("critical" in entry["log_level"] for entry in logs)


@pytest.mark.parametrize(
    ("options", "url", "cause"),
    [
        (("--requirepass", "right"), "redis://:wrong@127.0.0.1:{port}/1", "refuses the user or password"),
        (("--requirepass", "right"), "redis://127.0.0.1:{port}/1", "refuses the user or password"),
        (("--maxmemory", "1", "--maxmemory-policy", "noeviction"), "redis://127.0.0.1:{port}/1", "out of memory"),
        (("--replicaof", "127.0.0.1 1"), "redis://127.0.0.1:{port}/1", "read-only"),
    ],
    ids=["wrong password", "no password", "full", "replica"],
)
def test_a_server_that_refuses_says_why_in_one_sentence(
    own_redis: OwnRedis, options: tuple[str, ...], url: str, cause: str
) -> None:
    own_redis.start(*options)
    broker = broker_on(url.format(port=own_redis.port))

    with refuses(UnreachableError, cause) as caught:
        send_nudge(broker, "send", QUEUE, issue_id=1)

    assert "wrong" not in str(caught.value) + word(caught.value)
    assert f"127.0.0.1:{own_redis.port}, database 1" in word(caught.value)


def test_ping_tells_version_and_time_or_the_cause(redis_url: str) -> None:
    answer = ping(redis_url)

    assert answer.version[0].isdigit()
    assert answer.latency_s > 0
    with refuses(UnreachableError, "connection refused") as caught:
        ping(f"redis://user:hidden@127.0.0.1:{free_port()}/0")
    assert "hidden" not in str(caught.value) + word(caught.value)
    with refuses(UsageError, r"is not a URL like redis://host:6379/1"):
        ping("nonsense")


def test_weeks_of_unheard_nudges_do_not_grow_without_bound_and_the_newest_are_kept(redis_url: str) -> None:
    broker = broker_on(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(KEY, *[b"old"] * (MOST_WAITING + 7))

        send_nudge(broker, "send", QUEUE, issue_id=1)

        assert client.llen(KEY) == MOST_WAITING
        assert client.lindex(KEY, 0) == b"old"
        assert b"issue_id" in client.lindex(KEY, -1)


def test_an_idle_worker_waits_at_the_server_and_hears_a_nudge_at_once(redis_url: str) -> None:
    broker, woken = broker_on(redis_url), Woken()
    declare(broker, woken)

    with structlog.testing.capture_logs() as logs:
        assert broker.fetch(QUEUE, 0.0) is None
    assert logs == [], "a wait of nothing is no wait for ever"
    send_nudge(broker, "send", QUEUE, issue_id=1)
    fetched = broker.fetch(QUEUE, 3_600.0)

    assert fetched is not None
    assert fetched.kwargs == {"issue_id": 1}


def test_an_idle_worker_with_all_the_time_of_the_world_is_no_outage(redis_url: str) -> None:
    broker = broker_on(redis_url)

    with structlog.testing.capture_logs() as logs:
        assert broker.fetch(QUEUE, 3_600.0) is None

    assert logs == []


def test_an_entry_of_any_size_is_dropped_unread_and_its_neighbours_arrive(redis_url: str) -> None:
    # Given
    broker, woken = broker_on(redis_url), Woken()
    large = 12 * 1024 * 1024
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(KEY, b"x" * large)
    send_nudge(broker, "send", QUEUE, issue_id=1)

    # When
    tracemalloc.start()
    with working(broker, woken, threads=1):
        broker.join(QUEUE, timeout=JOIN_MS)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    # Then
    assert woken.ids == [1]
    assert broker.dropped == 1
    assert most < large / 10


@pytest.mark.parametrize("made", [("set", "x"), ("hset", "a", "b"), ("sadd", "a"), ("zadd", {"a": 1})])
def test_whatever_lies_under_our_name_goes_and_is_no_error(redis_url: str, made: tuple[Any, ...]) -> None:
    broker = broker_on(redis_url)
    verb, *given = made
    with redis.Redis.from_url(redis_url) as client:
        getattr(client, verb)(KEY, *given)
        broker.join(QUEUE, timeout=JOIN_MS)
        assert not client.exists(KEY)


def test_a_server_without_port_is_reached_by_its_socket(own_redis: OwnRedis, tmp_path: Path) -> None:
    # Given
    path = f"{own_redis.home}/redis.sock"
    own_redis.start("--unixsocket", path)

    # When
    broker, woken = broker_on(f"unix://{path}?db=1"), Woken()
    send_nudge(broker, "send", QUEUE, issue_id=1)
    with working(broker, woken):
        assert woken.wait_for(1) == [1]

    # Then
    assert ping(f"unix://{path}?db=1").version


def test_a_reply_that_never_ends_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_endlessly, args=(server,), daemon=True)
        thread.start()
        with pytest.raises(UnreachableError):
            ping(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        thread.join()


NONSENSE = {
    "nested": b"*1\r\n" * 15_000,
    "no number": b":abc\r\n",
    "no length": b"$abc\r\n",
    "a long number": b":" + b"9" * 6_000 + b"\r\n",
    "too few": b"*1\r\n$1\r\na\r\n",
    "a number": b":5\r\n",
    "nothing inside": b"*2\r\n$1\r\na\r\n$-1\r\n",
    "an error inside": b"*2\r\n$1\r\na\r\n-ERR x\r\n",
    "a list inside": b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
    "a huge number inside": b"*2\r\n$1\r\na\r\n:999999999999\r\n",
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
def test_an_answer_that_no_redis_gives_is_a_sentence_and_no_crash(said: bytes) -> None:
    with answering(said) as (url, _):
        broker = broker_on(url)
        assert broker.fetch(QUEUE, 0.01) is None
        with refuses(UnreachableError, "makes no sense|no Redis"):
            ping(url)
        broker.close()


def test_a_server_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "ANSWER_TIMEOUT_S", 0.05)
    with answering(b"") as (url, met):
        with pytest.raises(UnreachableError):
            RedisStore(url, "corranto").put(QUEUE, b"x")
        assert len(met) == 1


@contextlib.contextmanager
def answering(said: bytes) -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that says this to every command but those of a greeting; its URL and the connections it had."""
    met: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                met.append(server.accept()[0])
                threading.Thread(target=talk, args=(met[-1],), daemon=True).start()

    def talk(conn: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while asked := conn.recv(65_536):
                greets = b"SETINFO" in asked or b"SELECT" in asked
                conn.sendall(b"+OK\r\n" * asked.count(b"SETINFO") if greets else said)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0", met
    for conn in met:
        conn.close()


def _answer_endlessly(server: socket.socket) -> None:
    conn, _ = server.accept()
    with conn, contextlib.suppress(OSError):
        while True:
            conn.sendall(b"+" + b"x" * 65_536)


def test_closing_while_a_worker_waits_at_the_server_is_no_error(redis_url: str) -> None:
    # Given
    store, stop = RedisStore(redis_url, "corranto"), threading.Event()
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(store.take(QUEUE, 2, stop)))
    thread.start()
    with redis.Redis.from_url(redis_url) as client:
        while not any(one["cmd"] == "blpop" for one in client.client_list()):
            thread.join(0.01)

    # When
    stop.set()
    store.close()
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(KEY, b"late")
    thread.join()

    # Then
    assert seen in ([None], [b"late"])
