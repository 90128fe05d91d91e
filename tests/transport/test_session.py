"""Everything a relay can do while mails are handed over, and what becomes of each mail.

The three wire forms are walked through the same table wherever the form does not matter.
"""

import asyncio
from typing import Any

import pytest

from tests.support.scripted_smtp import (
    ALL,
    CLOSE,
    DATA,
    DRIP,
    FLOOD,
    HANG,
    KEEP,
    RESET,
    STOP_READING,
    USUAL,
    On,
    ScriptedRelay,
)
from tests.transport.handing import FORMS, HASTY, Handed, hand, mails, relay_for, run
from worker.domain.envelope import Envelope
from worker.transport.handshake import open_wire
from worker.transport.replies import Outcome, Permanence, Phase, Scope
from worker.transport.transaction import Transaction
from worker.transport.wire import Cause

ACCEPTED, TRANSIENT, PERMANENT, DOUBT, UNSENT = (
    Permanence.ACCEPTED,
    Permanence.TRANSIENT,
    Permanence.PERMANENT,
    Permanence.DOUBT,
    Permanence.UNSENT,
)

forms = pytest.mark.parametrize("form", list(FORMS))


def play(
    scenario: list[On], form: str = "overlapped", count: int = 3, transactions: Any = None, **more: Any
) -> tuple[Handed, ScriptedRelay]:
    """Hand `count` mails over one connection at a time to a relay that plays the scenario."""
    server = ScriptedRelay(scenario, FORMS[form])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY, **more), transactions or mails(count))

    return run(story()), server


def readers(server: ScriptedRelay) -> list[str]:
    """To whom the server says it took mails, in order."""
    return [taken.rcpt.removeprefix("RCPT TO:<").removesuffix("@example.org>") for taken in server.taken]


def verdicts(handed: Handed) -> list[Permanence]:
    return [handed.outcomes[key].permanence for key in sorted(handed.outcomes)]


@forms
def test_every_mail_arrives_once_octet_for_octet(form: str):
    # Given bodies with dots where they hurt
    body = b"Subject: dots\r\n\r\n.\r\n..\r\n.leading\r\nin . the middle.\r\n.\r\n"

    # When
    handed, server = play([], form, transactions=mails(7, body))

    # Then
    assert verdicts(handed) == [ACCEPTED] * 7
    assert readers(server) == [f"r{n}" for n in range(7)]
    assert {taken.body for taken in server.taken} == {body}
    assert handed.armed == list(range(7))
    assert server.connections == 1


@forms
@pytest.mark.parametrize(
    ("event", "reply", "permanence", "scope", "phase"),
    [
        ("mail", b"450 4.1.8 no\r\n", TRANSIENT, Scope.SENDER, Phase.MAIL),
        ("mail", b"550 5.7.1 no\r\n", PERMANENT, Scope.SENDER, Phase.MAIL),
        ("mail", b"552 5.3.4 too big\r\n", PERMANENT, Scope.MESSAGE, Phase.MAIL),
        ("mail", b"530 5.7.0 sign in\r\n", PERMANENT, Scope.SESSION, Phase.MAIL),
        ("rcpt", b"450 4.2.0 greylisted\r\n", TRANSIENT, Scope.RECIPIENT, Phase.RCPT),
        ("rcpt", b"451 4.3.0 later\r\n", TRANSIENT, Scope.RECIPIENT, Phase.RCPT),
        ("rcpt", b"550 5.1.1 unknown\r\n", PERMANENT, Scope.RECIPIENT, Phase.RCPT),
        ("rcpt", b"550-5.1.1 un\r\n550 5.1.1 known\r\n", PERMANENT, Scope.RECIPIENT, Phase.RCPT),
        ("rcpt", b"550 5.7.1 policy\r\n", PERMANENT, Scope.SENDER, Phase.RCPT),
        ("rcpt", b"552 5.2.2 full\r\n", TRANSIENT, Scope.RECIPIENT, Phase.RCPT),
        ("body", b"450 later\r\n", TRANSIENT, Scope.MESSAGE, Phase.BODY),
        ("body", b"454 4.7.0 throttling\r\n", TRANSIENT, Scope.SENDER, Phase.BODY),
        ("body", b"550 5.1.1 unknown\r\n", PERMANENT, Scope.RECIPIENT, Phase.BODY),
        ("body", b"552 5.3.4 too big\r\n", PERMANENT, Scope.MESSAGE, Phase.BODY),
        ("body", b"554 5.7.1 spam\r\n", PERMANENT, Scope.SENDER, Phase.BODY),
    ],
)
def test_a_refusal_concerns_its_own_mail_only(
    form: str, event: str, reply: bytes, permanence: Permanence, scope: Scope, phase: Phase
):
    # Given a relay that refuses the second of four mails
    match = "[+]1@" if event == "mail" else "r1@"

    # When
    handed, server = play([On(event, reply, line=match)], form, count=4)

    # Then
    outcome = handed.outcomes[1]
    assert (outcome.permanence, outcome.scope, outcome.phase) == (permanence, scope, phase)
    assert outcome.code == int(reply[:3])
    assert verdicts(handed) == [ACCEPTED, permanence, ACCEPTED, ACCEPTED]
    assert readers(server) == ["r0", "r2", "r3"]
    assert server.connections == 1
    assert (1 in handed.armed) == (event == "body")


@forms
@pytest.mark.parametrize("reply", [b"250 ok\r\n", b"251 forwarded\r\n", b"252 cannot verify\r\n", b"250\r\n"])
def test_every_positive_reply_to_rcpt_is_an_acceptance(form: str, reply: bytes):
    # Given the scripted server keeps the recipient, with an answer of its own
    handed, server = play([On("rcpt", USUAL, times=0), On("body", reply, KEEP)], form)
    assert verdicts(handed) == [ACCEPTED] * 3
    assert len(server.taken) == 3


@pytest.mark.parametrize("form", ["pipelined", "stepwise"])
@pytest.mark.parametrize(
    ("reply", "permanence", "scope"),
    [
        (b"451 4.3.0 later\r\n", TRANSIENT, Scope.SESSION),
        (b"503 5.5.1 no valid recipients\r\n", PERMANENT, Scope.SESSION),
        (b"554 no\r\n", PERMANENT, Scope.MESSAGE),
    ],
)
def test_a_refusal_of_data_concerns_its_own_mail_only(form: str, reply: bytes, permanence: Permanence, scope: Scope):
    handed, server = play([On("data", reply, skip=1, times=1)], form)
    assert (handed.outcomes[1].permanence, handed.outcomes[1].scope) == (permanence, scope)
    assert readers(server) == ["r0", "r2"]
    assert 1 not in handed.armed


@pytest.mark.parametrize("form", ["pipelined", "stepwise"])
def test_anything_but_354_to_data_ends_the_connection_before_the_body(form: str):
    # Given a relay that says 250 where 354 belongs, once
    handed, server = play([On("data", b"250 ok\r\n", times=1)], form)

    # Then the mail goes over a new connection, and is armed only there
    assert verdicts(handed) == [ACCEPTED] * 3
    assert handed.armed == [0, 1, 2]
    assert server.connections == 2


@forms
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((CLOSE,), id="drop"),
        pytest.param((RESET,), id="reset"),
        pytest.param((HANG,), id="hang"),
        pytest.param((b"421 4.3.2 closing\r\n", CLOSE), id="421"),
        pytest.param((b"what?\r\n",), id="nonsense"),
        pytest.param((b"354 go on\r\n",), id="the reply of another command"),
    ],
)
@pytest.mark.parametrize("event", ["mail", "rcpt"])
def test_a_line_that_breaks_before_the_body_costs_a_new_connection_and_nothing_else(form: str, steps: Any, event: str):
    # Given it happens once, at the second mail
    match = "[+]1@" if event == "mail" else "r1@"
    handed, server = play([On(event, *steps, line=match, times=1)], form)

    # Then; where the reply shares a group with the mail before it, nonsense leaves that one in doubt
    shares = form == "overlapped" and steps[0] in (b"what?\r\n", b"354 go on\r\n")
    assert verdicts(handed) == [DOUBT if shares else ACCEPTED, ACCEPTED, ACCEPTED]
    assert readers(server) == ["r0", "r1", "r2"]
    assert server.connections == 2
    assert handed.fault is None


@forms
def test_a_mail_under_which_three_connections_broke_is_deferred_and_the_others_go_out(form: str):
    # Given
    handed, server = play([On("rcpt", CLOSE, line="r1@")], form)

    # Then
    assert verdicts(handed) == [ACCEPTED, TRANSIENT, ACCEPTED]
    assert handed.outcomes[1].scope is Scope.SESSION
    assert not handed.outcomes[1].may_suppress
    assert readers(server) == ["r0", "r2"]


@forms
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((CLOSE,), id="close"),
        pytest.param((RESET,), id="reset"),
        pytest.param((HANG,), id="silence until the deadline"),
        pytest.param((b"250 ok", CLOSE), id="no end of line"),
        pytest.param((b"25", CLOSE), id="half a code"),
        pytest.param((b"2500 ok\r\n",), id="four digits"),
        pytest.param((b"250x\r\n",), id="no blank"),
        pytest.param((b"250 ok\n",), id="bare LF"),
        pytest.param((b"250 o\x00k\r\n",), id="NUL"),
        pytest.param((b"\xff\xff\xff\r\n",), id="eight bits"),
        pytest.param((b"554-no\r\n250 yes\r\n",), id="two codes"),
        pytest.param((b"354 go on\r\n",), id="354"),
        pytest.param((b"199 hm\r\n",), id="199"),
        pytest.param((b"600 hm\r\n",), id="600"),
        pytest.param((FLOOD,), id="never-ending"),
        pytest.param((DRIP,), id="an octet at a time"),
    ],
)
def test_a_body_without_a_valid_final_reply_is_in_doubt_and_never_sent_again(form: str, steps: Any):
    # Given
    handed, server = play([On("body", *steps, line="r1@")], form)

    # Then
    assert verdicts(handed) == [ACCEPTED, DOUBT, ACCEPTED]
    assert handed.outcomes[1].phase is Phase.BODY
    assert readers(server) == ["r0", "r2"]
    assert handed.armed == [0, 1, 2], "the one in doubt was written once only"
    assert server.connections == 2


@forms
def test_an_answer_and_then_a_close_counts_for_its_mail_and_the_next_goes_over_a_new_line(form: str):
    handed, server = play([On("body", b"250 2.0.0 ok\r\n", KEEP, CLOSE, line="r1@")], form)
    assert verdicts(handed) == [ACCEPTED] * 3
    assert readers(server) == ["r0", "r1", "r2"]
    assert server.connections == 2


@forms
def test_421_to_a_body_means_not_taken_and_not_the_readers_fault(form: str):
    handed, server = play([On("body", b"421 4.4.2 closing\r\n", CLOSE, line="r1@")], form)
    assert verdicts(handed) == [ACCEPTED, TRANSIENT, ACCEPTED]
    assert handed.outcomes[1].scope is Scope.SESSION
    assert server.connections == 2


@pytest.mark.parametrize("form", ["pipelined", "chunked", "stepwise"])
def test_a_second_verdict_on_the_same_mail_is_not_believed_when_replies_do_not_overlap(form: str):
    handed, server = play([On("body", b"250 2.0.0 ok\r\n554 no\r\n", KEEP, line="r1@")], form)
    assert verdicts(handed) == [ACCEPTED] * 3
    assert server.connections == 2


@forms
@pytest.mark.parametrize("words", [b"451 4.3.0 no\r\n250 2.0.0 ok\r\n", b"550 5.1.1 no\r\n250 2.0.0 ok\r\n"])
def test_a_mail_that_is_refused_and_taken_in_one_breath_is_in_doubt(form: str, words: bytes):
    handed, server = play([On("body", words, KEEP, line="r1@")], form)
    assert verdicts(handed) == [ACCEPTED, DOUBT, ACCEPTED]
    assert readers(server) == ["r0", "r1", "r2"]


def test_a_second_verdict_on_the_same_mail_leaves_it_in_doubt_when_replies_overlap():
    handed, server = play([On("body", b"250 ok\r\n554 no\r\n", KEEP, line="r1@", times=1)])
    assert verdicts(handed) == [ACCEPTED, DOUBT, ACCEPTED]
    assert readers(server) == ["r0", "r1", "r2"]
    assert server.connections == 2


def test_a_reply_too_many_never_shifts_a_refusal_to_another_reader():
    # Given a relay that answers a body twice and refuses the third reader
    scenario = [On("body", b"250 ok\r\n250 ok\r\n", KEEP, line="r0@"), On("rcpt", b"550 5.1.1 no\r\n", line="r2@")]
    handed, _ = play(scenario)

    # Then
    assert verdicts(handed) == [DOUBT, ACCEPTED, PERMANENT]


@pytest.mark.parametrize("form", ["pipelined", "stepwise"])
def test_354_and_an_early_250_in_one_segment_are_never_a_success(form: str):
    # Given, once: the final reply before the body, the true one later
    handed, server = play([On("data", b"354 go on\r\n250 ok\r\n", USUAL, times=1)], form)

    # Then no body left on that connection
    assert verdicts(handed) == [ACCEPTED] * 3
    assert handed.armed == [0, 1, 2]
    assert server.connections == 2


@pytest.mark.parametrize("form", ["pipelined", "stepwise"])
def test_a_refusal_in_the_same_segment_as_354_is_used(form: str):
    handed, server = play([On("data", b"354 go on\r\n550 5.7.1 after all not\r\n", USUAL, skip=1, times=1)], form)
    assert verdicts(handed) == [ACCEPTED, PERMANENT, ACCEPTED]
    assert handed.outcomes[1].code == 550
    assert handed.armed == [0, 2]
    assert server.connections == 2


@pytest.mark.parametrize("form", ["pipelined", "overlapped"])
@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_close_while_the_body_is_still_leaving_proves_that_it_was_not_taken(form: str, end: Any):
    # Given a body larger than what fits into the sockets, and a relay that reads none or a little of it
    body = b"Subject: big\r\n\r\n" + b"x" * 70 * 1024 * 1024 + b"\r\n"
    big = [Transaction(0, Envelope("a@example.org", "r0@example.org"), body, vetted=True)]
    event = "body_begins" if form == "pipelined" else "bdat"
    server = ScriptedRelay([On(event, end)], [e for e in FORMS[form] if not e.startswith("SIZE")], receive_buffer=4096)

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), big)

    # Then
    outcome = run(story()).outcomes[0]
    assert outcome.permanence is TRANSIENT
    assert outcome.phase is Phase.BODY


def test_a_relay_that_stops_reading_is_left_at_the_deadline_and_has_not_taken_the_body():
    body = b"Subject: big\r\n\r\n" + b"x" * 30 * 1024 * 1024 + b"\r\n"
    big = [Transaction(0, Envelope("a@example.org", "r0@example.org"), body, vetted=True)]
    server = ScriptedRelay([On("body_begins", STOP_READING)], ("PIPELINING",), receive_buffer=4096)

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), big)

    assert run(story()).outcomes[0].permanence is TRANSIENT


@forms
@pytest.mark.parametrize("words", [b"250 ok\r\n", b"421 4.4.2 idle\r\n", b"hello?\r\n"])
def test_what_a_relay_says_between_mails_ends_the_connection_and_shifts_nothing(form: str, words: bytes):
    # Given words right behind the final reply of the last mail of a slice, and a second slice
    server = ScriptedRelay([On("body", USUAL, KEEP, words, line="r1@", times=1)], FORMS[form])

    async def story() -> Handed:
        from worker.transport.pool import Pool

        async with server:
            handed = Handed()
            pool = Pool(relay_for(server, HASTY), arm=handed.arm, record=handed.record)
            pool.submit(mails(2))
            await pool.drained()
            pool.submit(mails(4)[2:])
            await pool.drained()
            await pool.close(1.0)
            return handed

    # Then
    handed = run(story())
    assert verdicts(handed)[2:] == [ACCEPTED] * 2
    assert handed.outcomes[1].permanence in (ACCEPTED, DOUBT)
    assert server.connections == 2


@forms
def test_an_extra_or_refused_reset_ends_the_connection_without_blame(form: str):
    # Given a refusal, so that RSET follows, which is answered twice
    scenario = [On("rcpt", b"550 5.1.1 no\r\n", line="r0@"), On("rset", b"250 ok\r\n250 ok\r\n", skip=1, times=1)]
    handed, server = play(scenario, form)
    assert verdicts(handed) == [PERMANENT, ACCEPTED, ACCEPTED]
    assert server.connections == 2


@forms
@pytest.mark.parametrize("end", [b"421 4.7.0 enough\r\n", b""])
def test_a_limit_of_mails_per_connection_costs_no_mail(form: str, end: bytes):
    # Given a relay that ends each connection at its third MAIL
    class Limited(ScriptedRelay):
        pass

    server = Limited([], FORMS[form])
    seen: dict[str, int] = {}

    class EveryThird(On):
        def applies(self, event: str, line: str) -> bool:
            if event == "connect":
                seen["mails"] = 0
            if event == "mail":
                seen["mails"] += 1
            return event == "mail" and seen["mails"] > 2

    server.scenario.append(EveryThird("mail", end, CLOSE))

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), mails(9))

    # Then
    assert verdicts(run(story())) == [ACCEPTED] * 9
    assert readers(server) == [f"r{n}" for n in range(9)]
    assert server.connections == 5


@forms
@pytest.mark.parametrize(
    "steps", [(KEEP, USUAL, CLOSE), (KEEP, USUAL, RESET), (KEEP, USUAL, b"421 4.4.2 bye\r\n", CLOSE)]
)
def test_a_relay_that_closes_after_each_mail_costs_connections_and_no_mail(form: str, steps: Any):
    handed, server = play([On("body", *steps)], form, count=12)
    assert verdicts(handed) == [ACCEPTED] * 12
    assert readers(server) == [f"r{n}" for n in range(12)]
    assert server.connections >= 12


@forms
def test_our_own_limit_of_mails_per_connection_is_kept_in_good_order(form: str):
    handed, server = play([], form, count=7, per_connection=3)
    assert verdicts(handed) == [ACCEPTED] * 7
    assert [taken.connection for taken in server.taken] == [1, 1, 1, 2, 2, 2, 3]
    assert server.lines.count("QUIT") == 3


@forms
def test_a_connection_retires_after_four_refusals(form: str):
    handed, server = play([On("rcpt", b"550 5.1.1 no\r\n")], form, count=9)
    assert verdicts(handed) == [PERMANENT] * 9
    assert server.connections == 3


@forms
def test_after_a_refusal_the_next_write_begins_with_reset(form: str):
    _, server = play([On("rcpt", b"550 5.1.1 no\r\n", line="r1@")], form)
    refused = next(n for n, line in enumerate(server.lines) if "r1@" in line)
    following = [line for line in server.lines[refused + 1 :] if line != "DATA"]
    assert following[0] == "RSET"


def test_a_recipient_refused_in_a_pipelined_group_with_354_gets_a_lone_dot():
    # Given a relay that wants data for nobody
    scenario = [On("rcpt", b"550 5.1.1 no\r\n", line="r1@"), On("data", b"354 go on\r\n", DATA, skip=1, times=1)]
    handed, server = play(scenario, "pipelined")

    # Then nothing of the message was written there, and the line goes on
    assert verdicts(handed) == [ACCEPTED, PERMANENT, ACCEPTED]
    assert 1 not in handed.armed
    assert server.connections == 1
    assert readers(server) == ["r0", "r2"]


@pytest.mark.parametrize("form", ["overlapped", "pipelined"])
def test_a_relay_that_announces_pipelining_and_loses_what_follows_is_asked_one_by_one(form: str):
    # Given a relay that answers the first command of a write and loses the others
    server = ScriptedRelay([On("mail", b"250 ok\r\n", HANG, skip=0, times=1)], FORMS[form])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), mails(3))

    # When
    handed = run(story())

    # Then the second connection waits for each reply before it writes on
    assert verdicts(handed) == [ACCEPTED] * 3
    assert readers(server) == ["r0", "r1", "r2"]
    assert server.connections == 2
    assert server.written_ahead == {1}


@forms
@pytest.mark.parametrize("steps", [(CLOSE,), (HANG,), (b"500 no\r\n",), (b"nonsense\r\n",)])
def test_how_a_connection_ends_never_changes_a_result(form: str, steps: Any):
    handed, server = play([On("quit", *steps)], form)
    assert verdicts(handed) == [ACCEPTED] * 3
    assert len(server.taken) == 3


def test_a_mail_larger_than_announced_is_refused_here_and_nothing_is_written():
    server = ScriptedRelay([], ("PIPELINING", "CHUNKING", "SIZE 100"))

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server), mails(1, b"x" * 200 + b"\r\n"))

    outcome = run(story()).outcomes[0]
    assert (outcome.permanence, outcome.scope, outcome.phase) == (PERMANENT, Scope.MESSAGE, Phase.LOCAL)
    assert outcome.enhanced == "5.3.4"
    assert not any(line.startswith("MAIL") for line in server.lines)


def _one(mail_from: str = "a@example.org", rcpt: str = "b@example.org", body: bytes = b"S: x\r\n\r\nx\r\n") -> Any:
    return [Transaction("one", Envelope(mail_from, rcpt), body)]


def _sent_to(extensions: tuple[str, ...], transactions: Any) -> tuple[Outcome, ScriptedRelay]:
    server = ScriptedRelay([], extensions)

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server), transactions)

    return run(story()).outcomes["one"], server


def test_an_address_beyond_ascii_is_announced_only_where_the_relay_offers_it():
    outcome, server = _sent_to(ALL, _one(rcpt="grüße@example.org"))
    assert outcome.permanence is ACCEPTED
    assert server.taken[0].mail.endswith(" SMTPUTF8")
    assert server.taken[0].rcpt == "RCPT TO:<grüße@example.org>"


@pytest.mark.parametrize("extensions", [("8BITMIME",), ("SMTPUTF8",), ()])
def test_an_address_beyond_ascii_is_our_own_refusal_where_the_relay_cannot_take_it(extensions: tuple[str, ...]):
    outcome, server = _sent_to(extensions, _one(rcpt="grüße@example.org"))
    assert (outcome.permanence, outcome.scope, outcome.phase) == (PERMANENT, Scope.RECIPIENT, Phase.LOCAL)
    assert outcome.enhanced == "5.6.7"
    assert not outcome.may_suppress
    assert server.taken == []


def test_an_ascii_mail_claims_nothing_it_does_not_need():
    _, server = _sent_to(("8BITMIME", "SMTPUTF8", "SIZE"), _one())
    assert server.taken[0].mail == f"MAIL FROM:<a@example.org> SIZE={len(server.taken[0].body)}"


def test_eight_bit_text_is_declared_or_refused_here():
    body = "Subject: x\r\n\r\nGrüße\r\n".encode()
    outcome, server = _sent_to(("8BITMIME",), _one(body=body))
    assert outcome.permanence is ACCEPTED
    assert server.taken[0].mail.endswith(" BODY=8BITMIME")
    assert _sent_to((), _one(body=body))[0].phase is Phase.LOCAL


@pytest.mark.parametrize(
    "body",
    [
        b"S: x\r\n\r\n\n.\n",
        b"S: x\r\n\r\n\r.\r",
        b"a\r\n.\nMAIL FROM:<x@example.org>\r\n",
        b"a\nb\r\n",
        b"a\rb\r\n",
        b"a\0b\r\n",
        b"no end of line",
        b"",
    ],
)
@pytest.mark.parametrize("extensions", [ALL, ("PIPELINING",), ()])
def test_a_body_that_could_smuggle_a_second_mail_never_leaves(body: bytes, extensions: tuple[str, ...]):
    outcome, server = _sent_to(extensions, _one(body=body))
    assert (outcome.permanence, outcome.phase) == (PERMANENT, Phase.LOCAL)
    assert not any(line.startswith("MAIL") for line in server.lines)


@pytest.mark.parametrize(
    "address",
    [
        "a@example.org>\r\nRCPT TO:<b@example.org",
        "a@example.org\r\nDATA",
        "a\nb@example.org",
        "a b@example.org",
        "a\0@example.org",
        "a\x85@example.org",
        "a\u2028@example.org",
        "a>@example.org",
        "<a@example.org",
        "",
    ],
)
@pytest.mark.parametrize("where", ["mail_from", "rcpt"])
def test_an_address_never_becomes_a_second_command(address: str, where: str):
    if not address and where == "mail_from":
        return  # the null return path is how system mail is written
    outcome, server = _sent_to(ALL, _one(**{where: address}))
    assert (outcome.permanence, outcome.phase) == (PERMANENT, Phase.LOCAL)
    assert not any(line.startswith(("MAIL", "RCPT", "DATA")) for line in server.lines)


@forms
def test_a_mail_that_may_not_be_armed_is_not_sent_and_the_others_are(form: str):
    # Given arm says no to the second
    server = ScriptedRelay([], FORMS[form])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), mails(4), arm=lambda transaction, _port: transaction.key != 1)

    # Then
    assert verdicts(run(story())) == [ACCEPTED, UNSENT, ACCEPTED, ACCEPTED]
    assert readers(server) == ["r0", "r2", "r3"]


@forms
def test_a_mail_without_its_turn_is_not_sent(form: str):
    # Given a pace that gives turns to every second body
    server = ScriptedRelay([], FORMS[form])
    asked: list[int] = []

    async def pace() -> bool:
        asked.append(1)
        return len(asked) % 2 == 1

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), mails(4), pace=pace)

    # Then
    assert verdicts(run(story())) == [ACCEPTED, UNSENT, ACCEPTED, UNSENT]
    assert readers(server) == ["r0", "r2"]
    assert len(asked) == 4


def test_what_the_relay_says_is_stored_harmless():
    words = b"550 5.1.1 \x1b[31m<b>no</b> jane@example.org " + b"x" * 1500 + b"\r\n"
    handed, _ = play([On("rcpt", words, line="r1@")])
    text = handed.outcomes[1].text
    assert text.startswith("5.1.1 \\x1b[31m<b>no</b>")
    assert 490 < len(text) <= 500
    assert "jane" not in text


def test_bodies_leave_in_the_same_write_as_the_next_envelope_and_never_two_at_once():
    # Given the overlapped form
    handed, server = play([], count=3)

    # Then the order on the wire is envelope, body, envelope, body, …
    verbs = [line.split(" ")[0] for line in server.lines]
    assert verbs == ["EHLO", "RSET", "MAIL", "RCPT", *["BDAT", "MAIL", "RCPT"] * 2, "BDAT", "QUIT"]
    assert len(handed.outcomes) == 3


def test_a_line_whose_replies_all_came_outlives_their_deadline():
    # Given a line on which all is answered
    async def story() -> None:
        server = ScriptedRelay()
        async with server:
            wire, _ = await open_wire(relay_for(server, HASTY))
            loop = asyncio.get_running_loop()
            within_s = 0.2
            for _ in range(2):
                asked = loop.time()
                wire.send(b"RSET\r\n", 1, within_s, within_s)
                assert (await wire.replies())[0].code == 250

                # When the deadline passes in which the reply might have come
                over = asyncio.Event()
                loop.call_at(asked + 2 * within_s, over.set)
                await over.wait()

                # Then
                assert wire.broken is None
            wire.break_off(Cause.LET_GO, "seen enough")

    run(story())
