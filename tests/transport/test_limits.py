"""Limits and deadlines of one connection: kept to the mail and to the octet, and never given up too soon."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.scripted_smtp import CLOSE, HANG, LISTEN, RESET, USUAL, On, ScriptedRelay
from tests.transport.handing import FORMS, HASTY, PATIENT, Handed, hand, mails, relay_for, run
from worker.domain.envelope import Envelope
from worker.transport.next_hop import Timeouts
from worker.transport.pool import Pool
from worker.transport.replies import Outcome, Permanence, Phase
from worker.transport.transaction import Transaction

ACCEPTED, TRANSIENT, PERMANENT, DOUBT, UNSENT = (
    Permanence.ACCEPTED,
    Permanence.TRANSIENT,
    Permanence.PERMANENT,
    Permanence.DOUBT,
    Permanence.UNSENT,
)
NEVER_S = 600.0
"""Far beyond the bound of a test's story: whoever waits for it fails."""
forms = pytest.mark.parametrize("form", list(FORMS))


def play(
    scenario: list[On], form: str, count: int = 3, timeouts: Timeouts = PATIENT, **more: Any
) -> tuple[Handed, ScriptedRelay]:
    server = ScriptedRelay(scenario, FORMS[form])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, timeouts, **more), mails(count))

    return run(story()), server


def verdicts(handed: Handed) -> list[Permanence]:
    return [handed.outcomes[key].permanence for key in sorted(handed.outcomes)]


def verbs_by_connection(server: ScriptedRelay) -> list[list[str]]:
    """The commands of each connection, one connection at a time."""
    connections: list[list[str]] = []
    for line in server.lines:
        verb = line.split(" ")[0]
        if verb == "EHLO":
            connections.append([])
        connections[-1].append(verb)
    return connections


@forms
@pytest.mark.parametrize("most", [1, 3])
def test_no_envelope_is_written_beyond_the_limit_of_mails_a_connection_has(form: str, most: int):
    _, server = play([], form, count=7, per_connection=most)
    assert max(verbs.count("MAIL") for verbs in verbs_by_connection(server)) == most


@forms
def test_a_mail_that_breaks_lines_is_tried_on_three_of_them_and_not_on_a_fourth(form: str):
    handed, server = play([On("rcpt", CLOSE, line="r1@")], form)
    assert verdicts(handed) == [ACCEPTED, TRANSIENT, ACCEPTED]
    assert sum(line.startswith("RCPT TO:<r1@") for line in server.lines) == 3


@forms
@pytest.mark.parametrize(
    "end",
    [
        pytest.param((CLOSE,), id="a close"),
        pytest.param((RESET,), id="a reset"),
        pytest.param((b"221 2.0.0 bye\r\n", CLOSE), id="221"),
        pytest.param((b"421 4.7.0 enough\r\n", CLOSE), id="421"),
    ],
)
@pytest.mark.parametrize("mails_each", [1, 2])
def test_a_relay_that_goes_behind_each_few_mails_gets_them_all_and_the_number_is_learned(
    form: str, end: Any, mails_each: int
):
    # Given a relay that ends each connection at a MAIL, and several lanes that prepare the next mail meanwhile
    class Knowing(ScriptedRelay):
        asked = 0

        def answer(self, event: str, connection: int) -> bytes | None:
            self.asked = connection
            return None

    server = Knowing([], FORMS[form])

    class Going(On):
        def applies(self, event: str, line: str) -> bool:
            carried = sum(taken.connection == server.asked for taken in server.taken)
            return event == "mail" and carried >= mails_each

    server.scenario.append(Going("mail", *end))

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, connections=4), mails(60))

    # Then
    handed = run(story())
    assert verdicts(handed) == [ACCEPTED] * 60
    assert len(server.taken) == 60
    assert server.lines.count("QUIT") > 60 // mails_each // 2, "most connections are left in time"


def test_words_left_over_behind_the_replies_to_a_group_leave_its_mail_in_doubt_and_reach_no_other_reader():
    # Given, in one segment: what answers the rider's RCPT, and the beginning of something nobody asked for
    handed, server = play([On("rcpt", b"250 2.1.5 ok\r\n2", line="r2@", times=1)], "overlapped")

    # Then
    assert verdicts(handed) == [ACCEPTED, DOUBT, ACCEPTED]
    assert server.connections == 2


@forms
def test_a_late_answer_for_a_recipient_is_none_for_the_mail(form: str):
    handed, server = play([On("body", b"250 2.1.5 recipient ok\r\n", times=1)], form)
    assert verdicts(handed) == [DOUBT, ACCEPTED, ACCEPTED]
    assert server.connections == 2


@pytest.mark.parametrize("form", ["pipelined", "stepwise"])
def test_words_left_over_behind_354_keep_the_body_from_leaving_there(form: str):
    handed, server = play([On("data", b"354 go on\r\n2", USUAL, times=1)], form)
    assert verdicts(handed) == [ACCEPTED] * 3
    assert handed.armed == [0, 1, 2]
    assert server.connections == 2


@forms
def test_a_relay_that_thinks_long_about_a_body_is_waited_for(form: str):
    # Given no time for moving the body at all, and much for the final reply
    slow = replace(PATIENT, body_s=0.0, body_bytes_per_s=1e12, final_s=NEVER_S)
    handed, server = play([On("body", LISTEN, USUAL)], form, timeouts=slow)
    assert verdicts(handed) == [ACCEPTED] * 3
    assert server.connections == 1


@forms
def test_a_large_body_gets_time_by_its_size(form: str):
    # Given only the size gives time
    slow = replace(PATIENT, body_s=0.0, body_bytes_per_s=0.01, final_s=0.0)
    handed, server = play([On("body", LISTEN, USUAL)], form, timeouts=slow)
    assert verdicts(handed) == [ACCEPTED] * 3
    assert server.connections == 1


@forms
def test_a_relay_silent_about_the_next_envelope_is_left_after_a_commands_time_not_a_bodys(form: str):
    # Given a body may take as long as it likes
    patient = replace(HASTY, body_s=NEVER_S, final_s=NEVER_S)
    handed, server = play([On("mail", HANG, line="[+]1@", times=1)], form, timeouts=patient)
    assert verdicts(handed) == [ACCEPTED] * 3
    assert server.connections == 2


@forms
def test_a_body_without_an_answer_is_left_at_its_own_deadline_not_at_a_commands(form: str):
    # Given commands may take as long as they like
    patient = replace(HASTY, command_s=NEVER_S)
    handed, _ = play([On("body", HANG, line="r1@")], form, timeouts=patient)
    assert verdicts(handed) == [ACCEPTED, DOUBT, ACCEPTED]


@pytest.mark.parametrize("event", ["ehlo", "rset"])
def test_a_relay_silent_before_the_first_mail_is_left_though_bodies_may_take_for_ever(event: str):
    patient = replace(HASTY, body_s=NEVER_S, final_s=NEVER_S)
    handed, _ = play([On(event, HANG)], "overlapped", timeouts=patient)
    assert verdicts(handed) == [UNSENT] * 3


def test_a_relay_that_may_think_long_at_ehlo_is_left_in_time_at_its_next_command():
    # Given the first deadline of the line lies far ahead
    patient = replace(HASTY, hello_s=NEVER_S)
    handed, server = play([On("mail", HANG, line="[+]0@", times=1)], "stepwise", timeouts=patient)
    assert verdicts(handed) == [ACCEPTED] * 3
    assert server.connections == 2


@forms
def test_a_kept_connection_takes_the_next_mails_at_once(form: str):
    # Given connections are kept for longer than anybody waits
    server = ScriptedRelay([], FORMS[form])

    async def story() -> Handed:
        async with server:
            handed = Handed()
            relay = relay_for(server, replace(PATIENT, idle_s=NEVER_S))
            pool = Pool(relay, arm=handed.arm, record=handed.record)
            for first in (0, 2, 4):
                pool.submit(mails(first + 2)[first:])
                await pool.drained()
            await pool.close(1.0)
            return handed

    # Then
    assert verdicts(run(story())) == [ACCEPTED] * 6
    assert server.connections == 1


@forms
@pytest.mark.parametrize("event", ["body", "rcpt", "mail"])
def test_whatever_is_refused_the_next_command_is_a_reset(form: str, event: str):
    # Given the second mail is refused
    match = "[+]1@" if event == "mail" else "r1@"
    handed, server = play([On(event, b"550 5.1.1 no\r\n", line=match, times=1)], form, count=5)

    # Then nothing but what was written with it stands between its envelope and the reset, which comes once
    assert verdicts(handed) == [ACCEPTED, PERMANENT, ACCEPTED, ACCEPTED, ACCEPTED]
    assert server.lines.count("RSET") == 2, "the fence's and this one"
    refused = next(n for n, line in enumerate(server.lines) if line.startswith("MAIL FROM:<bounces+1@"))
    later = server.lines[refused + 1 :]
    reset = later.index("RSET")
    renewed = next(n for n, line in enumerate(later) if line.startswith("MAIL") and n > reset)
    assert renewed == reset + 1
    assert later[renewed].startswith("MAIL FROM:<bounces+2@")


@pytest.mark.parametrize("form", ["overlapped", "chunked"])
def test_a_mail_held_back_after_its_envelope_leaves_no_envelope_behind_on_the_relay(form: str):
    # Given the second may not leave
    server = ScriptedRelay([], FORMS[form])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server), mails(3), arm=lambda transaction, _port: transaction.key != 1)

    # Then its envelope is followed by a reset on the same line
    assert verdicts(run(story())) == [ACCEPTED, UNSENT, ACCEPTED]
    at = next(n for n, line in enumerate(server.lines) if line.startswith("RCPT TO:<r1@"))
    assert server.lines[at + 1] == "RSET"
    assert server.connections == 1


@forms
def test_permission_to_leave_is_asked_after_the_turn_has_come(form: str):
    # Given a reader may leave while a mail waits for its turn
    server, asked = ScriptedRelay([], FORMS[form]), []

    async def pace() -> bool:
        asked.append("pace")
        return True

    def arm(_transaction: Transaction, _port: int) -> bool:
        asked.append("arm")
        return True

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server), mails(3), arm=arm, pace=pace)

    # Then
    assert verdicts(run(story())) == [ACCEPTED] * 3
    assert asked == ["pace", "arm"] * 3


def _sent_to(extensions: tuple[str, ...], envelope: Envelope, body: bytes) -> tuple[Outcome, ScriptedRelay]:
    server = ScriptedRelay([], extensions)

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server), [Transaction("one", envelope, body)])

    return run(story()).outcomes["one"], server


@pytest.mark.parametrize(("size", "leaves"), [(99, True), (100, True), (101, False)])
def test_a_mail_of_exactly_the_announced_size_still_leaves(size: int, leaves: bool):
    body = b"x" * (size - 2) + b"\r\n"
    outcome, server = _sent_to(("SIZE 100",), Envelope("a@example.org", "b@example.org"), body)
    assert (outcome.permanence is ACCEPTED) == leaves
    assert len(server.taken) == leaves


def test_a_return_path_beyond_ascii_is_announced_too():
    envelope = Envelope("grüße@example.org", "b@example.org")
    outcome, server = _sent_to(("8BITMIME", "SMTPUTF8"), envelope, b"x\r\n")
    assert outcome.permanence is ACCEPTED
    assert server.taken[0].mail == "MAIL FROM:<grüße@example.org> SMTPUTF8"
    assert _sent_to(("8BITMIME",), envelope, b"x\r\n")[0].phase is Phase.LOCAL


def test_a_relay_that_announces_nothing_is_told_nothing_it_may_not_know():
    _, server = _sent_to((), Envelope("a@example.org", "b@example.org"), b"x\r\n")
    assert server.taken[0].mail == "MAIL FROM:<a@example.org>"


def test_our_own_refusals_do_not_make_a_relay_that_breaks_every_connection_look_well():
    # Given one mail that may be written for each that our own rules refuse
    server = ScriptedRelay([On("mail", CLOSE)], ("PIPELINING", "SIZE 100"))
    small = mails(40)
    mixed = [
        replace(mail, body=b"x" * 200 + b"\r\n") if mail.key % 2 else mail  # type: ignore[operator]
        for mail in small
    ]

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server), mixed)

    # Then
    handed = run(story())
    assert handed.fault is not None
    assert server.connections <= 6


@forms
@pytest.mark.parametrize("reply", [b"500 5.5.2 what?\r\n", b"451 4.3.0 later\r\n"])
def test_a_relay_that_refuses_to_forget_an_envelope_gets_no_mail_on_that_line(form: str, reply: bytes):
    # Given a refusal, and a reset that is refused too
    scenario = [On("rcpt", b"550 5.1.1 no\r\n", line="r0@"), On("rset", reply, skip=1, times=1)]
    handed, server = play(scenario, form)

    # Then
    assert verdicts(handed) == [PERMANENT, ACCEPTED, ACCEPTED]
    assert {taken.connection for taken in server.taken} == {2}


@forms
def test_a_connection_retires_after_four_refused_bodies_too(form: str):
    handed, server = play([On("body", b"554 5.7.1 no\r\n")], form, count=9)
    assert verdicts(handed) == [PERMANENT] * 9
    assert server.connections == 3


@forms
@pytest.mark.parametrize("body", [b".\r\n", b".first\r\n..second\r\n", b"first\r\n.\r\n.second\r\n"])
def test_a_body_that_begins_with_a_dot_arrives_with_it(form: str, body: bytes):
    server = ScriptedRelay([], FORMS[form])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server), [replace(mail, body=body) for mail in mails(2)])

    assert verdicts(run(story())) == [ACCEPTED] * 2
    assert [taken.body for taken in server.taken] == [body, body]


def test_nonsense_in_answer_to_the_next_envelope_leaves_the_body_before_it_in_doubt():
    # Given the good reply has been read when the nonsense comes
    handed, server = play([On("mail", LISTEN, b"what?\r\n", line="[+]1@", times=1)], "overlapped")
    assert verdicts(handed) == [DOUBT, ACCEPTED, ACCEPTED]
    assert server.connections == 2
