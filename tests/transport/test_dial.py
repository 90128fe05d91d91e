"""From a name to a socket: addresses beside each other, a resolver that hangs, and words for what fails."""

import errno
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.support.scripted_smtp import CLOSE, HANG, On, ScriptedRelay
from tests.transport.handing import HASTY, run
from worker.settings import HOME
from worker.transport.dial import _in_turn, _race, _unreachable_words
from worker.transport.next_hop import Relay
from worker.transport.relay import RelayReport, probe

V4, V6 = socket.AF_INET, socket.AF_INET6


def place(family: int, address: tuple[Any, ...]) -> tuple[Any, ...]:
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)


@pytest.fixture
def black_hole() -> Any:
    """A port that answers no SYN any more: its queue of connections is full."""
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    others = []
    for _ in range(8):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(server.getsockname())
        others.append(sock)
    yield server.getsockname()
    for sock in [server, *others]:
        sock.close()


def test_the_second_address_is_used_while_the_first_one_swallows_packets(black_hole: Any):
    # Given
    async def story() -> tuple[Any, ...]:
        async with ScriptedRelay() as server:
            sock, _ = await _race([place(V4, black_hole), place(V4, ("127.0.0.1", server.port))])
            with sock:
                return (*sock.getpeername(), server.port)

    # Then
    host, port, wanted = run(story())
    assert (host, port) == ("127.0.0.1", wanted)


def test_an_address_that_refuses_gives_way_to_the_next_at_once_and_leaves_no_socket():
    # Given a closed port, a family without a route and a port that answers
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()

    async def story() -> None:
        async with ScriptedRelay([On("connect", HANG)]) as server:
            places = [place(V4, closed), place(V6, ("2001:db8::1", 25, 0, 0)), place(V4, ("127.0.0.1", server.port))]
            sock, peer = await _race(places)
            with sock:
                assert sock.getpeername() == peer == ("127.0.0.1", server.port)

    run(story())


def test_when_no_address_answers_a_refusal_tells_most():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()
    with pytest.raises(ConnectionRefusedError):
        run(_race([place(V6, ("2001:db8::1", 25, 0, 0)), place(V4, closed)]))


def test_families_take_turns():
    a, b, c, d = (place(V6, (n,)) for n in "abcd")
    e = place(V4, ("e",))
    assert _in_turn([a, b, c, d, e]) == [a, e, b, c, d]
    assert _in_turn([]) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "nothing listens at 192.0.2.1:25"),
        (errno.ENETUNREACH, "there is no route to 192.0.2.1:25"),
        (errno.EACCES, "this machine forbids connections to 192.0.2.1:25: look at its firewall"),
        (errno.EMFILE, "192.0.2.1:25 cannot be connected to: too many open files"),
    ],
)
def test_a_number_of_the_system_becomes_words(number: int, words: str):
    assert _unreachable_words("192.0.2.1:25", OSError(number, "x")) == words


class Resolver:
    """The system's resolver, which does what a test says for names and its own work for addresses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
        self.asked, self.go_on = 0, threading.Event()
        usual = socket.getaddrinfo

        def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
            if not str(host).endswith(".example.org") or more.get("flags"):
                return usual(host, *args, **more)
            self.asked += 1
            if error is not None:
                raise error
            self.go_on.wait()
            return []

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def probe_name(host: str = "relay.example.org") -> RelayReport:
    return run(probe(Relay(host, 25, timeouts=HASTY.scaled(0.2), starttls="off")))


def test_a_resolver_that_hangs_is_named_and_asked_once_however_often_one_tries(monkeypatch: pytest.MonkeyPatch):
    resolver = Resolver(monkeypatch)
    said = {probe_name().cause for _ in range(3)}
    assert said == {"the name relay.example.org cannot be resolved: the resolver (DNS) does not answer"}
    assert resolver.asked == 1
    resolver.go_on.set()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "the name gone.example.org does not resolve"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "the resolver (DNS) does not answer"),
        (UnicodeError("label too long"), "is no name that a relay can have"),
    ],
)
def test_a_name_that_does_not_resolve_is_said_without_a_number(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, words: str
):
    Resolver(monkeypatch, error)
    cause = probe_name("gone.example.org").cause or ""
    assert words in cause
    assert "Errno" not in cause
    assert cause.count("gone.example.org") == 1


def test_a_process_ends_although_its_resolver_hangs():
    # Given
    story = """
import asyncio, socket, threading
usual = socket.getaddrinfo
socket.getaddrinfo = lambda host, *a, **k: usual(host, *a, **k) if k.get("flags") else threading.Event().wait()
from worker.transport.relay import Relay, Timeouts, probe
relay = Relay("relay.example.org", 25, timeouts=Timeouts(connect_s=0.05))
print(asyncio.run(probe(relay)).cause)
"""
    # When
    done = subprocess.run(
        [sys.executable, "-c", story], cwd=HOME, capture_output=True, text=True, timeout=20, check=True
    )

    # Then
    assert "the resolver (DNS) does not answer" in done.stdout


REFUSED = b"421 4.3.2 not now\r\n"


@pytest.mark.parametrize("first", [On("connect", REFUSED, CLOSE), On("connect", CLOSE), On("ehlo", CLOSE)])
def test_an_address_that_refuses_to_talk_gives_way_to_another_and_is_not_tried_first_again(
    monkeypatch: pytest.MonkeyPatch, first: On
):
    # Given a name of two addresses
    async def story() -> tuple[list[str | None], int, int]:
        async with ScriptedRelay([first]) as bad, ScriptedRelay() as good:
            name_of(monkeypatch, bad, good)
            relay = Relay("several.example.org", 25, timeouts=HASTY, starttls="off")
            said = [(await probe(relay)).cause for _ in range(3)]
            return said, bad.connections, good.connections

    # Then
    assert run(story()) == ([None] * 3, 1, 3)


def test_a_login_that_is_refused_is_not_tried_at_every_address(monkeypatch: pytest.MonkeyPatch):
    # Given
    refusal = On("auth", b"535 5.7.8 no\r\n")

    async def story() -> tuple[RelayReport, int, int]:
        async with ScriptedRelay([refusal], extensions=["AUTH PLAIN"]) as one, ScriptedRelay() as other:
            name_of(monkeypatch, one, other)
            relay = Relay("localhost", 25, timeouts=HASTY, starttls="off", username="u", password="p")
            return await probe(relay), one.connections, other.connections

    # Then
    report, asked, others = run(story())
    assert "5.7.8" in (report.cause or "") or "535" in (report.cause or "")
    assert (asked, others) == (1, 0)


def test_when_every_address_refuses_each_is_asked_in_its_turn(monkeypatch: pytest.MonkeyPatch):
    # Given three of which the first two refuse
    async def story() -> list[int]:
        refuses, closes = ScriptedRelay([On("connect", REFUSED, CLOSE)]), ScriptedRelay([On("connect", CLOSE)])
        async with refuses as one, closes as two, ScriptedRelay() as three:
            name_of(monkeypatch, one, two, three)
            relay = Relay("three.example.org", 25, timeouts=HASTY, starttls="off")
            assert "not now" in ((await probe(relay)).cause or "")
            assert (await probe(relay)).cause is None
            return [one.connections, two.connections, three.connections]

    # Then
    assert run(story()) == [1, 1, 1]


def name_of(monkeypatch: pytest.MonkeyPatch, *servers: ScriptedRelay) -> None:
    """Every name has the addresses of these servers, in this order."""
    usual = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
        if more.get("flags"):
            return usual(host, *args, **more)
        return [place(V4, ("127.0.0.1", server.port)) for server in servers]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
