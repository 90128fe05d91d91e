"""What is read from Redis: no reply beyond its bound, whatever the URL says, and the library's parts behind it."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from redis._parsers.encoders import Encoder

from tests.support.words import refuses
from worker.broker.bounded import MOST_OCTETS, BoundedParser, OversizedError
from worker.broker.redis import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, connect
from worker.errors import UsageError

Line = tuple[socket.socket, BoundedParser]


@pytest.fixture
def line() -> Iterator[Line]:
    """A server's end, and a parser at the other one."""
    server, ours = socket.socketpair()
    with server, ours:
        server.setblocking(False)
        parser = BoundedParser(socket_read_size=65_536)
        parser.on_connect(SimpleNamespace(_sock=ours, socket_timeout=5.0, encoder=Encoder("utf-8", "strict", False)))
        yield server, parser


def test_each_reply_has_the_whole_bound(line: Line) -> None:
    server, parser = line
    value = b"x" * (MOST_OCTETS // 2 + 1)

    for _ in range(3):
        server.sendall(b"$%d\r\n%s\r\n" % (len(value), value))
        assert parser.read_response() == value  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "reply", [b"$500000000\r\n", b"+" + b"x" * (MOST_OCTETS + 1), b"*100000\r\n" + b":1\r\n" * 20_000]
)
def test_a_reply_beyond_the_bound_is_refused_unread(line: Line, reply: bytes) -> None:
    server, parser = line
    server.sendall(reply)

    with pytest.raises(OversizedError):
        parser.read_response()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("query", ["protocol=3", "socket_timeout=0", "decode_responses=true", "parser_class=x&retry=9"])
@pytest.mark.parametrize("url", ["redis://localhost:1/1", "rediss://localhost:1/1", "unix:///nowhere"])
def test_nothing_in_a_url_undoes_the_bounds(url: str, query: str) -> None:
    connection = connect(f"{url}?{query}").connection_pool.make_connection()

    assert isinstance(connection._parser, BoundedParser)
    assert connection.protocol == 2
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S)
    assert not connection.encoder.decode_responses


@pytest.mark.parametrize("query", ["nonsense=1", "protocol=x", "ssl_cert_reqs=maybe"])
def test_an_option_that_redis_does_not_know_is_a_url_that_is_none(query: str) -> None:
    with refuses(UsageError, match="CORRANTO_BROKER_URL"):
        connect(f"rediss://localhost:1/1?{query}")
