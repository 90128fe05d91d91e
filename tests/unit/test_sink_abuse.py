"""The sink's SMTP port under clients that want its memory, its places or its trust."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.sink import Talk, sink_inside, sink_process, talk_to
from worker.sink.acceptance_log import AcceptedMail
from worker.sink.commands import Extension
from worker.sink.dialogue import Dialogue
from worker.sink.incoming import LARGEST_MAIL
from worker.sink.state import ALWAYS_ROOM, SPARE_IDLE_S, SinkState

MAIL = b"Subject: Tides\r\n\r\nHigh\r\n"
ENVELOPE = b"MAIL FROM:<bounces+x@example.org>\r\nRCPT TO:<jane@example.org>\r\n"
LINE = b"x" * 76 + b"\r\n"
MOST_MB = 200  # of any process, whatever is done to it


def peak_mb(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


class Desk:
    """A bare listener with the mails it kept."""

    def __init__(self, **limits: int) -> None:
        self.kept: list[AcceptedMail] = []
        self.state = SinkState(frozenset(Extension), keep=self.kept.append, **limits)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        server = await asyncio.get_running_loop().create_server(lambda: Dialogue(self.state), "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for dialogue in list(self.state.dialogues):
                dialogue.abort()


async def begin_data(talk: Talk, octets: int) -> None:
    """An open DATA of so many octets, without its end."""
    await talk.ask(ENVELOPE + b"DATA\r\n", 3)
    talk.write(LINE * (octets // len(LINE)))


async def until(desk: Desk, in_flight: int) -> None:
    while desk.state.in_flight < in_flight:
        await asyncio.sleep(0)


def test_bodies_that_come_all_at_once_have_one_bound_together_and_usual_mails_pass(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(most_in_flight=300_000)
        async with desk.open() as port, talk_to(port) as first, talk_to(port) as second, talk_to(port) as third:
            # Given one mail that has most of the room
            await begin_data(first, 250_000)
            await until(desk, 249_000)
            # When another one wants as much, by DATA and by BDAT
            await begin_data(second, 250_000)
            assert (await second.ask(b".\r\n")).startswith("452 4.3.1 Too much mail at once")
            chunked = b"BDAT 250000 LAST\r\n" + b"x" * 250_000
            assert (await second.ask(ENVELOPE + chunked, 3)).startswith("452 4.3.1")
            assert desk.state.in_flight < 260_000
            # Then a usual mail passes beside it, and the first is kept when it ends
            usual = LINE * ((ALWAYS_ROOM - 1000) // len(LINE))
            await third.ask(ENVELOPE + b"DATA\r\n", 3)
            assert (await third.ask(usual + b".\r\n")).startswith("250")
            assert (await first.ask(b".\r\n")).startswith("250")
            assert desk.state.in_flight == 0
            await begin_data(second, 250_000)
            assert (await second.ask(b".\r\n")).startswith("250")
        assert [len(mail.raw) // 1000 for mail in desk.kept] == [31, 249, 249]

    asyncio.run(scenario())


@pytest.mark.parametrize("end", [b"RSET", b"QUIT", b"EHLO x", b"gone"])
def test_room_comes_back_however_a_mail_ends(end: bytes) -> None:
    async def scenario() -> None:
        desk = Desk(most_in_flight=300_000)
        async with desk.open() as port, talk_to(port) as talk:
            await talk.ask(ENVELOPE + b"BDAT 250000\r\n" + b"x" * 250_000, 3)
            assert desk.state.in_flight > 249_000
            if end == b"gone":
                talk.close()
                while desk.state.dialogues:
                    await asyncio.sleep(0)
            else:
                await talk.ask(end + b"\r\n")
                while end == b"QUIT" and desk.state.dialogues:
                    await asyncio.sleep(0)
            assert desk.state.in_flight == 0

    asyncio.run(scenario())


def test_recipients_count_as_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(most_in_flight=0)
        async with desk.open() as port, talk_to(port) as talk:
            await talk.ask(b"MAIL FROM:<>\r\n")
            rcpt = b"RCPT TO:<%s@example.org>\r\n" % (b"x" * 60)
            talk.write(rcpt * 400)
            replies = await talk.replies(400)
            assert {reply[:9] for reply in replies} == {"250 2.1.5", "452 4.5.3"}
            assert desk.state.in_flight <= ALWAYS_ROOM

    asyncio.run(scenario())


def test_a_mail_in_single_octets_takes_no_more_than_its_size() -> None:
    async def scenario() -> None:
        desk = Desk()
        async with desk.open() as port, talk_to(port) as talk:
            await talk.ask(ENVELOPE, 2)
            talk.write(b"BDAT 2\r\nxy" * 2_000)
            await talk.replies(2_000)
            [dialogue] = desk.state.dialogues
            assert isinstance(dialogue, Dialogue)
            assert isinstance(dialogue._open.chunks, bytearray)
            assert desk.state.in_flight < 5_000
            assert (await talk.ask(b"BDAT 0 LAST\r\n")).startswith("554 5.6.0 A line is longer")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1025\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n" + ENVELOPE + b"DATA\r\n" + MAIL + b".\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"Host: x\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ],
)
def test_other_protocols_are_hung_up_on(request_: bytes) -> None:
    async def scenario() -> None:
        desk = Desk()
        async with desk.open() as port, talk_to(port, hello=False) as talk:
            assert (await talk.ask(request_)).startswith("500 5.5.1 Only SMTP")
            assert await talk.reply() == ""
        assert desk.kept == []

    asyncio.run(scenario())


def test_a_client_that_does_not_read_its_replies_is_not_read_either() -> None:
    async def scenario() -> None:
        desk = Desk()
        async with desk.open() as port:
            # Given a client with a small window that only writes
            loop = asyncio.get_running_loop()
            line = socket.socket()
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            line.setblocking(False)
            await loop.sock_connect(line, ("127.0.0.1", port))
            octets, sent = b"RSET\r\n" * 50_000, 0
            while not desk.state.dialogues:
                await asyncio.sleep(0)
            [dialogue] = desk.state.dialogues
            assert isinstance(dialogue, Dialogue)
            assert dialogue._transport is not None
            # When it writes until it is not read any more
            while dialogue._transport.is_reading():
                try:
                    sent += line.send(octets)
                except BlockingIOError:
                    pass
                await asyncio.sleep(0)
                assert sent < 100_000_000
            # Then what waits for it is small
            assert dialogue._transport.get_write_buffer_size() < 3_000_000
            line.close()

    asyncio.run(scenario())


def test_a_thousand_silent_clients_keep_nobody_out() -> None:
    async def scenario() -> None:
        desk = Desk(most_dialogues=20)
        async with desk.open() as port:
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
            async with talk_to(port) as talk:
                assert (await talk.ask(ENVELOPE + b"BDAT %d LAST\r\n" % len(MAIL) + MAIL, 3)).startswith("250")
            assert len(desk.state.dialogues) <= 20
            for _, writer in silent:
                writer.close()

    asyncio.run(scenario())


def test_an_idle_client_makes_way_and_one_in_the_middle_of_a_mail_does_not() -> None:
    async def scenario() -> None:
        desk = Desk(most_dialogues=2)
        async with desk.open() as port, talk_to(port) as idle, talk_to(port) as busy:
            await busy.ask(b"MAIL FROM:<>\r\n")
            [first] = [dialogue for dialogue in desk.state.dialogues if dialogue.mail_since is None]
            first.heard_at -= SPARE_IDLE_S + 1
            async with talk_to(port) as newcomer:
                assert (await idle.reply()).startswith("421 4.7.0 Making room")
                assert (await newcomer.ask(b"NOOP\r\n")).startswith("250")
                assert (await busy.ask(b"NOOP\r\n")).startswith("250")

    asyncio.run(scenario())


def test_who_says_nothing_and_whose_mail_never_ends_are_sent_away() -> None:
    async def scenario() -> None:
        desk = Desk()
        async with desk.open() as port, talk_to(port, hello=False) as silent, talk_to(port) as slow:
            await begin_data(slow, 10_000)
            desk.state.dismiss_silent(float("inf"))
            assert (await silent.reply()).startswith("421 4.4.2 No greeting heard")
            desk.state.dismiss_slow(float("inf"))
            assert (await slow.reply()).startswith("421 4.4.2 The mail takes too long")
            assert desk.state.in_flight == 0

    asyncio.run(scenario())


def test_a_flood_of_the_largest_mails_leaves_the_process_small(tmp_path: Path) -> None:
    body = LINE * (20_000_000 // len(LINE))
    assert len(body) < LARGEST_MAIL

    async def flood(port: int) -> list[str]:
        async def one() -> str:
            async with talk_to(port) as talk:
                await talk.ask(ENVELOPE + b"DATA\r\n", 3)
                for at in range(0, len(body), 1_000_000):
                    talk.write(body[at : at + 1_000_000])
                    await talk._writer.drain()
                return (await talk.ask(b"\r\n.\r\n"))[:3]

        return await asyncio.gather(*(one() for _ in range(12)))

    with sink_process(tmp_path, with_log=False) as sink:
        replies = asyncio.run(flood(sink.port))
        assert set(replies) == {"250", "452"}
        assert peak_mb(sink.process.pid) <= MOST_MB


def test_a_sink_still_takes_a_whole_mail_of_the_announced_size(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path) as sink, talk_to(sink.port) as talk:
            await talk.ask(ENVELOPE + b"DATA\r\n", 3)
            assert (await talk.ask(LINE * (LARGEST_MAIL // len(LINE)) + b".\r\n")).startswith("250")

    asyncio.run(scenario())
