"""A reply too many to RCPT that comes behind the body is not taken for the body's answer."""

import asyncio
import socket

import pytest

from tests.support.scripted_smtp import CLOSE, HANG, KEEP, STOP_READING, USUAL, On, ScriptedRelay, Step
from tests.transport.handing import FORMS, HASTY, Handed, hand, mails, relay_for, run
from worker.domain.envelope import Envelope
from worker.transport.replies import Permanence, Reply, resembles_rcpt
from worker.transport.transaction import Transaction
from worker.transport.wire import Cause, Wire

ACCEPTED, DOUBT = Permanence.ACCEPTED, Permanence.DOUBT
STRAY = b"250 OK\r\n"
PLAIN = [On("rcpt", b"250 OK\r\n"), On("mail", b"250 sender OK\r\n")]
"""A relay without enhanced codes."""

forms = pytest.mark.parametrize("form", list(FORMS))


def play(scenario: list[On], form: str, transactions: list[Transaction]) -> tuple[Handed, ScriptedRelay]:
    server = ScriptedRelay(scenario, FORMS[form])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), transactions)

    return run(story()), server


def verdicts(handed: Handed) -> list[Permanence]:
    return [handed.outcomes[key].permanence for key in sorted(handed.outcomes)]


@forms
@pytest.mark.parametrize("answer", [b"554 5.6.0 no\r\n", b"451 4.3.0 later\r\n", b"421 4.3.2 closing\r\n"])
def test_a_refused_body_behind_a_stray_reply_to_rcpt_is_never_accepted(form: str, answer: bytes):
    # Given a stray 250 in place of the body's answer, which comes when we have said something more
    scenario = [On("body", STRAY, line="r1@"), On("rset", answer, USUAL, skip=1, times=1)]
    handed, server = play(scenario, form, mails(2))

    # Then
    assert verdicts(handed) == [ACCEPTED, DOUBT]
    assert handed.armed == [0, 1], "it is not written again either"
    assert server.connections == 1


@forms
def test_a_stray_reply_in_the_words_of_rcpt_is_not_believed_of_a_relay_without_enhanced_codes(form: str):
    scenario = [
        *PLAIN,
        On("body", STRAY, line="r1@"),
        On("body", b"250 OK id=1\r\n", KEEP),
        On("rset", b"554 no\r\n", USUAL, skip=1, times=1),
    ]
    handed, _ = play(scenario, form, mails(2))
    assert verdicts(handed) == [ACCEPTED, DOUBT]


def test_a_stray_reply_behind_which_all_is_refused_is_not_believed():
    # Given replies that are one late, in which the next sender and recipient are refused too
    scenario = [
        On("body", STRAY, line="r1@"),
        On("mail", b"554 5.6.0 no\r\n", line=r"\+2@", times=1),
        On("rcpt", b"452 4.3.1 full\r\n", line="r2@", times=1),
        On("rset", b"452 4.3.1 full\r\n", USUAL, skip=1, times=1),
    ]
    handed, _ = play(scenario, "overlapped", mails(3))

    # Then the third reader got no blame for what was said of the second
    assert verdicts(handed) == [ACCEPTED, DOUBT, ACCEPTED]


@forms
@pytest.mark.parametrize("end", [CLOSE, HANG])
def test_a_stray_reply_is_not_believed_when_nothing_follows_it(form: str, end: Step):
    handed, _ = play([On("body", STRAY, end, line="r1@")], form, mails(3))
    assert verdicts(handed) == [ACCEPTED, DOUBT, ACCEPTED]


@forms
@pytest.mark.parametrize("others", [[], PLAIN])
def test_a_relay_that_always_answers_bodies_like_rcpt_is_asked_three_times_and_then_known(form: str, others: list[On]):
    handed, server = play([On("body", STRAY, KEEP), *others], form, mails(6))
    assert verdicts(handed) == [ACCEPTED] * 6
    assert server.lines.count("RSET") == 1 + 3
    assert [taken.rcpt for taken in server.taken] == [f"RCPT TO:<r{n}@example.org>" for n in range(6)]


@forms
def test_a_relay_that_always_answers_bodies_like_rcpt_and_closes_loses_nothing(form: str):
    handed, server = play([On("body", STRAY, KEEP, CLOSE)], form, mails(3))
    assert verdicts(handed) == [ACCEPTED] * 3
    assert len(server.taken) == 3


@forms
def test_a_relay_with_usual_answers_is_never_asked(form: str):
    _, server = play([], form, mails(6))
    assert server.lines.count("RSET") == 1


@pytest.mark.parametrize("form", ["overlapped", "chunked"])
def test_a_2yz_to_a_body_that_is_still_leaving_is_in_doubt(form: str):
    # Given a body larger than what fits into the sockets, and a relay that accepts it unread
    body = b"Subject: big\r\n\r\n" + b"x" * 30 * 1024 * 1024 + b"\r\n"
    big = [Transaction(0, Envelope("a@example.org", "r0@example.org"), body, vetted=True)]
    extensions = tuple(word for word in FORMS[form] if not word.startswith("SIZE"))
    server = ScriptedRelay([On("bdat", b"250 2.0.0 ok\r\n", STOP_READING)], extensions, receive_buffer=4096)

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), big)

    assert verdicts(run(story())) == [DOUBT]


@pytest.mark.parametrize(("is_read", "tail"), [(False, 0), (True, 0), (True, 60)])
def test_a_reply_written_before_the_other_end_had_all_octets_is_known(is_read: bool, tail: int):
    # Given more octets than the other end's system takes in unread, fewer than ours keeps
    octets = 200_000

    async def story() -> bool:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        near.setblocking(False)
        far.setblocking(False)
        wire = Wire(loop)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        wire.take_over(transport)
        with far:
            # When
            wire.send(b"x" * octets, 1, 10, 10, tail=tail)
            read = 0
            while is_read and read < octets:
                read += len(await loop.sock_recv(far, 65536))
            await loop.sock_sendall(far, b"250 2.0.0 ok\r\n")
            await wire.replies()
            wire.break_off(Cause.LET_GO, "seen enough")
        return wire.is_early

    # Then
    assert run(story()) is not is_read


@pytest.mark.parametrize(
    ("rcpt", "body", "resembles"),
    [
        (b"2.1.5 recipient ok", b"2.0.0 queued", False),
        (b"2.1.5 recipient ok", b"OK", True),
        (b"2.1.5 recipient ok", b"", True),
        (b"recipient ok", b"OK queued as 1", False),
        (b"OK", b"2.6.0 queued", False),
        (b"OK", b"OK", True),
        (b"2.0.0 Ok", b"2.0.0 Ok", True),
        (b"2.1.5 Ok", b"2.1.5 Ok", False),
    ],
)
def test_an_answer_resembles_that_to_rcpt_by_its_words_or_by_a_missing_code(rcpt: bytes, body: bytes, resembles: bool):
    assert resembles_rcpt(Reply(250, body), Reply(250, rcpt)) is resembles
