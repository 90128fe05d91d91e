"""The sink's dialogue over real sockets: what it announces, takes, refuses and does when told to misbehave."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.sink import sink_inside, talk_to
from tests.support.words import refuses
from worker.errors import RefusedError, UnreachableError, UsageError
from worker.sink.commands import Extension
from worker.sink.dialogue import LARGEST_MAIL, Dialogue
from worker.sink.mailbox import Mailbox
from worker.sink.server import Sink, SinkConfig, parse_extensions, refuse_beside_real_relay
from worker.sink.state import SinkState

MAIL = b"From: Ana <ana@example.org>\r\nSubject: Tides\r\nMessage-ID: <1@example.org>\r\n\r\n..High\r\n.\x2e\r\n"
ENVELOPE = b"MAIL FROM:<bounces+x@example.org>\r\nRCPT TO:<jane@example.org>\r\n"


def envelope(*recipients: str) -> bytes:
    lines = ["MAIL FROM:<bounces+x@example.org>", *(f"RCPT TO:<{recipient}>" for recipient in recipients)]
    return "".join(f"{line}\r\n" for line in lines).encode()


def bdat(raw: bytes) -> bytes:
    return b"BDAT %d LAST\r\n" % len(raw) + raw


def test_every_extension_is_announced_and_can_be_switched_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path / "a") as sink, talk_to(sink.port, hello=False) as talk:
            full = await talk.ask(b"EHLO me\r\n")
            assert {line[4:].split()[0] for line in full.splitlines()[1:]} == {e.value for e in Extension}
            assert f"SIZE {LARGEST_MAIL}" in full
        for extension in Extension:
            folder = tmp_path / extension
            async with sink_inside(folder, without=extension.value) as sink, talk_to(sink.port, hello=False) as talk:
                assert extension.value not in await talk.ask(b"EHLO me\r\n")

    asyncio.run(scenario())


def test_a_mail_is_kept_octet_by_octet_in_every_wire_form(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path) as sink, talk_to(sink.port) as talk:
            # Given DATA with dots doubled, one command at a time
            for command in ENVELOPE.splitlines(keepends=True):
                assert (await talk.ask(command)).startswith("250")
            assert (await talk.ask(b"DATA\r\n")).startswith("354")
            stuffed = MAIL.replace(b"\r\n.", b"\r\n..")
            assert (await talk.ask(stuffed + b".\r\n")).startswith("250")
            # When the envelope and DATA are pipelined, and the body falls into single octets
            assert (await talk.ask(ENVELOPE + b"DATA\r\n", 3)).startswith("354")
            for octet in stuffed + b".\r\n":
                talk.write(bytes([octet]))
            assert (await talk.reply()).startswith("250")
            # And a chunked body goes with the next envelope in the same write
            talk.write(ENVELOPE)
            await talk.replies(2)
            assert await talk.ask(bdat(MAIL) + ENVELOPE, 3) == "250 2.1.5 Recipient ok"
            # And a body in two chunks
            assert (await talk.ask(b"BDAT 5\r\n" + MAIL[:5])).startswith("250")
            assert (await talk.ask(bdat(MAIL[5:]))).startswith("250")
            assert (await talk.ask(b"HELP\r\n")).endswith(f"accepted=4 refused=0 dropped=0 octets={4 * len(MAIL)}")
            assert (await talk.ask(b"QUIT\r\n")).startswith("221")
            assert await talk.reply() == ""

    asyncio.run(scenario())

    # Then
    mailbox = Mailbox(tmp_path / "mailbox")
    entries = mailbox.page().entries
    assert [mailbox.raw(entry) for entry in entries] == [MAIL] * 4
    assert {(e.mail_from, e.rcpts, e.subject) for e in entries} == {
        ("bounces+x@example.org", ("jane@example.org",), "Tides")
    }


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("bounce-550.anna@example.org", "550 5.1.1 "),
        ("defer-451@example.org", "451 4.7.1 "),
        ("full-452@example.org", "452 4.2.2 "),
    ],
)
def test_a_scripted_recipient_is_refused_and_the_next_one_served(tmp_path: Path, recipient: str, reply: str) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path) as sink, talk_to(sink.port) as talk:
            for _ in range(30):
                talk.write(envelope(recipient) + b"DATA\r\n")
                _, refused, data = await talk.replies(3)
                assert refused.startswith(reply)
                assert data.startswith("554 5.5.1")
                assert (await talk.ask(b"RSET\r\n")).startswith("250")
            assert (await talk.ask(envelope(recipient) + bdat(MAIL), 3)).startswith("554 5.5.1")
            assert (await talk.ask(ENVELOPE + bdat(MAIL), 3)).startswith("250")
            assert sink.counts.accepted == 1

    asyncio.run(scenario())


def test_a_deferred_address_is_taken_after_its_number_of_tries(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path) as sink, talk_to(sink.port) as talk:
            answers = [(await talk.ask(b"RSET\r\n" + envelope("defer-451+2@example.org"), 3))[:3] for _ in range(4)]
            other = await talk.ask(b"RSET\r\n" + envelope("defer-451+2@example.net"), 3)
            assert answers == ["451", "451", "250", "250"]
            assert other.startswith("451")

    asyncio.run(scenario())


def test_a_dropped_body_gets_no_reply_and_is_not_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path, log=tmp_path / "log") as sink:
            async with talk_to(sink.port) as talk:
                talk.write(envelope("drop@example.org") + bdat(MAIL) + ENVELOPE)
                assert [reply[:3] for reply in await talk.replies(3)] == ["250", "250", ""]
            async with talk_to(sink.port) as talk:
                talk.write(envelope("drop+before@example.org") + b"DATA\r\n")
                assert [reply[:3] for reply in await talk.replies(2)] == ["250", ""]
            assert (sink.counts.accepted, sink.counts.dropped) == (0, 2)

    asyncio.run(scenario())

    assert Mailbox(tmp_path / "mailbox").page().total == 0
    assert (tmp_path / "log").read_bytes() == b""


def test_a_slow_reply_keeps_the_order_of_what_was_pipelined(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path) as sink, talk_to(sink.port) as talk:
            talk.write(envelope("slow+0.05@example.org") + bdat(MAIL) + ENVELOPE + b"NOOP\r\n")
            replies = await talk.replies(6)
            assert replies[2] == "250 2.0.0 Accepted, slowly"
            assert [reply[:9] for reply in replies[3:]] == ["250 2.1.0", "250 2.1.5", "250 2.0.0"]

    asyncio.run(scenario())


def test_a_slow_mail_stands_in_the_log_before_its_reply(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path, log=tmp_path / "log") as sink, talk_to(sink.port) as talk:
            talk.write(envelope("slow+900@example.org") + bdat(MAIL))
            await talk.replies(2)
            async with talk_to(sink.port) as other:
                while not (await other.ask(b"HELP\r\n")).startswith("214 2.0.0 accepted=1"):
                    pass

    asyncio.run(scenario())

    line = json.loads((tmp_path / "log").read_bytes())
    assert line["message_id"] == "<1@example.org>"
    assert (line["mail_from"], line["rcpt"], line["size"]) == (
        "bounces+x@example.org",
        ["slow+900@example.org"],
        len(MAIL),
    )
    assert len(line["sha256"]) == 64
    assert line["monotonic"] > 0


SMUGGLED = b"\r\nMAIL FROM:<evil@example.org>\r\n"


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\r\n.\r\n"])
def test_no_odd_end_of_data_smuggles_a_second_mail(tmp_path: Path, end: bytes) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path) as sink, talk_to(sink.port) as talk:
            await talk.ask(ENVELOPE + b"DATA\r\n", 3)
            talk.write(b"Subject: x\r\n\r\nhello" + end + SMUGGLED[2:] + b"more\r\n.\r\n")
            assert (await talk.reply()).startswith("521 5.5.2")
            assert await talk.reply() == ""
            assert sink.counts.accepted == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"NOOP\n", "521 5.5.2"),
        (b"NO\rOP\r\n", "521 5.5.2"),
        (b"x" * 5000, "500 5.5.2"),
        (b"NOOP " + b"x" * 600 + b"\r\n", "500 5.5.2"),
        (b"DATA\r\n", "503 5.5.1"),
        (b"RCPT TO:<a@example.org>\r\n", "503 5.5.1"),
        (b"BDAT 3 LAST\r\nabc", "503 5.5.1"),
        (b"BDAT x\r\n", "501 5.5.4"),
        (b"MAIL FROM: <a@example.org>\r\n", "501 5.5.4"),
        (b"MAIL FROM:<a@example.org\r\n", "501 5.5.4"),
        (b"MAIL FROM:<a@example.org> SIZE=99999999999\r\n", "552 5.3.4"),
        (b"MAIL FROM:<a@example.org> WHAT=1\r\n", "555 5.5.4"),
        ("MAIL FROM:<zoë@example.org>\r\n".encode(), "553 5.6.7"),
        (b"MAIL FROM:<" + b"a" * 65 + b"@example.org>\r\n", "501 5.1.3"),
        ("MAIL FROM:<zoë@example.org> SMTPUTF8 BODY=8BITMIME\r\n".encode(), "250 2.1.0"),
        (b"MAIL FROM:<> RET=HDRS ENVID=abc SIZE=100\r\n", "250 2.1.0"),
        (b"VRFY jane\r\n", "252"),
        (b"EHLO\r\n", "501"),
        (b"EXPN all\r\n", "500 5.5.1"),
        (b"NOOP\r\nNOOP\r\n", "503 5.5.1"),
    ],
)
def test_a_command_gets_its_reply(tmp_path: Path, octets: bytes, reply: str) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path) as sink, talk_to(sink.port) as talk:
            assert (await talk.ask(octets)).startswith(reply)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (b"Subject: x\r\n\r\n" + b"x" * 998 + b"\r\n", "250"),
        (b"Subject: x\r\n\r\n" + b"x" * 999 + b"\r\n", "554 5.6.0"),
        (b"Subject: x\r\n\r\n" + b"x" * 999, "554 5.6.0"),
        (b"Subject: x\r\n\r\n\0\r\n", "554 5.6.0"),
        (b"Subject: x\n\n", "521 5.5.2"),
        (b"", "250"),
    ],
)
def test_a_body_is_judged(tmp_path: Path, raw: bytes, reply: str) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path) as sink, talk_to(sink.port) as talk:
            assert (await talk.ask(ENVELOPE + bdat(raw), 3)).startswith(reply)

    asyncio.run(scenario())


def test_a_mail_above_the_announced_size_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path, count_only=True) as sink, talk_to(sink.port) as talk:
            large = b"\r\n.\r" * (LARGEST_MAIL // 4 + 2)
            assert (await talk.ask(ENVELOPE + bdat(large), 3)).startswith("552 5.3.4")
            await talk.ask(ENVELOPE + b"DATA\r\n", 3)
            assert (await talk.ask(large + b"\r\n.\r\n")).startswith("552 5.3.4")
            assert (await talk.ask(ENVELOPE + bdat(MAIL), 3)).startswith("250")

    asyncio.run(scenario())


def test_a_group_is_refused_where_pipelining_was_not_announced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path, without="PIPELINING,CHUNKING,ENHANCEDSTATUSCODES,8BITMIME") as sink:
            async with talk_to(sink.port) as talk:
                for command in ENVELOPE.splitlines(keepends=True):
                    assert (await talk.ask(command))[:6] in ("250 Se", "250 Re")
                assert (await talk.ask(b"DATA\r\n")).startswith("354")
                assert await talk.ask(b"Subject: \xc3\xa9\r\n\r\n.\r\n") == (
                    "554 8-bit text needs 8BITMIME, which is not offered"
                )
                assert await talk.ask(ENVELOPE, 2) == "503 Improper use of command pipelining"
            async with talk_to(sink.port) as talk:
                assert (await talk.ask(b"BDAT 5 LAST\r\nQUIT\n")).startswith("500")
                assert await talk.reply() == ""

    asyncio.run(scenario())


def test_a_client_that_only_errs_is_sent_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path) as sink, talk_to(sink.port) as talk:
            replies = [await talk.ask(b"WHAT\r\n") for _ in range(21)]
            assert {reply[:3] for reply in replies} == {"500"}
            assert (await talk.reply()).startswith("421")
            assert await talk.reply() == ""

    asyncio.run(scenario())


@asynccontextmanager
async def listener_for(state: SinkState) -> AsyncIterator[int]:
    """A bare listener whose dialogues share `state`; its port."""
    server = await asyncio.get_running_loop().create_server(lambda: Dialogue(state), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for dialogue in list(state.dialogues):
            dialogue.abort()


def test_an_idle_client_is_sent_away_and_a_waiting_one_is_not() -> None:
    async def scenario() -> None:
        state = SinkState(frozenset(Extension), keep=lambda mail: None)
        async with listener_for(state) as port, talk_to(port) as waiting, talk_to(port) as idle:
            waiting.write(envelope("slow+900@example.org") + bdat(MAIL))
            await waiting.replies(2)
            state.dismiss_idle(float("inf"))
            assert (await idle.reply()).startswith("421 4.4.2")
            assert await idle.reply() == ""
            assert len(state.dialogues) == 1

    asyncio.run(scenario())


def test_a_client_too_many_is_turned_away_at_the_door() -> None:
    async def scenario() -> None:
        state = SinkState(frozenset(Extension), keep=lambda mail: None, most_dialogues=1)
        async with listener_for(state) as port, talk_to(port) as first:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await reader.read()).startswith(b"421 4.7.0 Too many sessions\r\n")
            writer.close()
            assert (await first.ask(b"NOOP\r\n")).startswith("250")

    asyncio.run(scenario())


def test_counting_mode_still_finds_a_sender_that_always_breaks_the_rules(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path, count_only=True) as sink, talk_to(sink.port) as talk:
            replies = [(await talk.ask(ENVELOPE + bdat(b"Subject: x\r\n\r\n\0"), 3))[:3] for _ in range(20)]
            assert sorted(set(replies)) == ["250", "554"]

    asyncio.run(scenario())

    assert not (tmp_path / "mailbox").exists()


def test_a_full_disk_is_answered_and_survived(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sink_inside(tmp_path, log=Path("/dev/full")) as sink, talk_to(sink.port) as talk:
            assert (await talk.ask(ENVELOPE + bdat(MAIL), 3)).startswith("452 4.3.1")
            assert (await talk.ask(b"NOOP\r\n")).startswith("250")

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "sink.example.org", ""])
def test_a_sink_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    with refuses(RefusedError, match="this machine only"):
        SinkConfig(folder=tmp_path, host=host)


def test_a_sink_refuses_to_stand_beside_a_real_relay() -> None:
    refuse_beside_real_relay("127.0.0.1")

    with refuses(RefusedError, match=r"relay\.example\.org"):
        refuse_beside_real_relay("relay.example.org")


def test_a_taken_port_names_both_settings_that_hold_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sink = Sink(SinkConfig(folder=tmp_path, host="127.0.0.1", port=port))
        with refuses(UnreachableError, match=f"port {port} .*CORRANTO_SINK_PORT and the same one in CORRANTO_SMTP"):
            asyncio.run(sink.start())


@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", "nobody.localhost"])
def test_a_host_that_cannot_be_listened_on_is_named_by_its_setting(tmp_path: Path, host: str) -> None:
    with refuses(UnreachableError, match=f"cannot listen on {host}: .*CORRANTO_SINK_HOST$"):
        asyncio.run(Sink(SinkConfig(folder=tmp_path, host=host, port=0)).start())


def test_an_unknown_extension_is_named() -> None:
    assert parse_extensions("chunking, PIPELINING") == {Extension.CHUNKING, Extension.PIPELINING}

    with refuses(UsageError, match="STARTTLS"):
        parse_extensions("STARTTLS")
