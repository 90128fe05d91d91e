"""Who is let in when many come, and what a question about health may cost."""

import asyncio
import json
import socket
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from starlette.requests import Request

from tests.support.readers import KEY, Readers, settings_for
from tests.support.web_server import exchange, running_web
from tests.support.words import refuses
from tests.web.conftest import Desk
from worker.errors import UnreachableError
from worker.screen.sentences import word
from worker.storage.engine import Database
from worker.tokens import Keyring
from worker.web.health import Health
from worker.web.ops import listen
from worker.web.places import Places, read_networks
from worker.web.protocol import Guests, PatientProtocol

LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET / HT",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /u/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
    ],
    ids=["nothing", "half a head", "answered", "half a body"],
)
@pytest.mark.parametrize("trusted", ["", "127.0.0.1"])
def test_idle_connections_make_room_for_whoever_comes(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path, beginning: bytes, trusted: str
) -> None:
    # Given a listener with few places, for one client or behind a proxy, all taken by those who want nothing more
    class Small(PatientProtocol):
        guests = Guests(read_networks(trusted), most=12, most_of_a_client=8)

    readers = Readers(sqlite_database, Keyring([KEY]))
    (here,) = readers.reader("jane@example.org", readers.publication("newsline"))
    post = f"POST /u/{readers.link(here)} HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode()
    settings = settings_for(sqlite_url, tmp_path / "state", trusted_proxies=trusted)
    with running_web(settings, sqlite_database, Small) as place, ExitStack() as held:
        for _ in range(60):
            line = held.enter_context(socket.create_connection(place, timeout=15))
            line.sendall(beginning)
            if beginning.endswith(b"\r\n\r\n"):  # idle after its answer
                line.recv(4096)

        # When a reader comes
        live, out = exchange(place, LIVE), exchange(place, post)

    # Then it is answered at once
    assert live[9:12] == b"200"
    assert b"You are unsubscribed." in out


def test_accepted_connections_send_at_once() -> None:
    # Given the listener, and one who connects
    with (
        closing(listen("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as _,
    ):
        listener.setblocking(True)
        accepted, _ = listener.accept()

        # Then nothing waits for an acknowledgement
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize("host", ["192.0.2.7", "fe80::1"])
def test_a_host_of_another_machine_is_no_trouble_of_the_port(host: str) -> None:
    with refuses(UnreachableError, match="CORRANTO_WEB_HOST") as refused:
        listen(host, 0)

    assert "PORT" not in word(refused.value)


def test_places_are_counted_for_each_client_and_a_proxy_is_many() -> None:
    # Given one place for each client, three in all, and a proxy
    places = Places("10.0.0.0/8", most=3, per_client=1)
    one, same_network, other, proxy = (
        {"client": (host, 1)} for host in ("2001:db8::1", "2001:db8::2", "192.0.2.1", "10.1.2.3")
    )

    with places.taken(one):
        # Then a second one of the same subscriber waits, another and the proxy do not
        told = [places.refusal(each) for each in (one, same_network, other, proxy, {"client": None})]
        assert told == [429, 429, 0, 0, 0]
        with places.taken(proxy), places.taken(proxy):
            assert [places.refusal(each) for each in (other, proxy)] == [503, 503]
    assert [places.refusal(each) for each in (one, proxy)] == [0, 0]


def test_eighty_questions_about_a_hanging_broker_ask_it_once(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given a broker that takes every question and answers none
    asked: list[str] = []
    go_on = threading.Event()

    def hang(url: str) -> None:
        asked.append(url)
        go_on.wait(30)

    settings = settings_for(sqlite_url, tmp_path, broker_url="redis://127.0.0.1:1/0")
    health = Health(settings, sqlite_database, hang)

    async def ask() -> list[dict[str, object]]:
        request = Request({"type": "http", "headers": []})
        answers = await asyncio.gather(*(health.readyz(request) for _ in range(80)))
        answers += await asyncio.gather(*(health.readyz(request) for _ in range(80)))
        assert {answer.status_code for answer in answers} == {200}
        return [json.loads(bytes(answer.body)) for answer in answers]

    # When eighty ask, and eighty again
    try:
        said = asyncio.run(ask())
    finally:
        go_on.set()

    # Then one question waits, and all are told that only the broker is away
    assert len(asked) == 1
    assert all(each["degraded"] == ["broker"] and each["failing"] == [] for each in said)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: me@127.0.0.1\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:99999\r\n", b"400"),
        (b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: other.example.org\r\n", b"400"),
        (b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"200"),
        (b"GET http://127.0.0.1/sink HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"404"),
        (b"GET /livez HTTP/1.1\r\nHost: ,\r\n", b"200"),
        (b"GET / HTTP/1.0\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nHost: old-name.example.org.\r\nX-Forwarded-Host: [\r\n", b"200"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n", b"404"),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n", b"404"),
        (b"GET /media/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n", b"404"),
        (b"GET /style.css/../../settings.py HTTP/1.1\r\nHost: x\r\n", b"404"),
        (b"GET /%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: x\r\n", b"404"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", b"200"),
    ],
)
def test_a_strange_request_has_one_plain_answer(desk: Desk, raw: bytes, status: bytes) -> None:
    # When it comes, and another one behind it in the same breath
    answer = exchange(desk.place, raw + b"Connection: close\r\n\r\n" + LIVE)

    # Then
    assert answer[9:12] == status
    assert b"Traceback" not in answer
    assert b"set-cookie" not in answer.lower()
    assert desk.client.get("/livez").status_code == 200


def test_a_hundred_requests_in_one_breath_are_answered_in_their_order(desk: Desk) -> None:
    # When somebody does not wait for answers
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchange(desk.place, one * 99 + LIVE)

    # Then
    assert answer.count(b"HTTP/1.1 200 OK") == 100
