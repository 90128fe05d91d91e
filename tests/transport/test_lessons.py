"""Extensions that are announced and do not work: left out at once, for everybody, and tried again after a while."""

from collections import Counter
from typing import Any

import pytest

from tests.support.scripted_smtp import ALL, CLOSE, HANG, RESET, USUAL, On, ScriptedRelay
from tests.transport.handing import FORMS, HASTY, Handed, hand, mails, relay_for, run
from worker.domain.envelope import Envelope
from worker.transport.handshake import Offer
from worker.transport.lessons import FORGET_AFTER_S, Lessons, option_in_vain
from worker.transport.replies import Outcome, Permanence, Phase, Scope
from worker.transport.transaction import Transaction

ACCEPTED, DOUBT = Permanence.ACCEPTED, Permanence.DOUBT
far_and_near = pytest.mark.parametrize("round_trip_s", [0.0, 0.02], ids=["near", "far"])


def play(
    scenario: list[On], extensions: tuple[str, ...] = ALL, count: int = 40, connections: int = 10, **more: Any
) -> tuple[Handed, ScriptedRelay]:
    server = ScriptedRelay(scenario, extensions, **more)

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY, connections=connections), mails(count))

    return run(story()), server


def kinds(handed: Handed) -> Counter[Permanence]:
    return Counter(outcome.permanence for outcome in handed.outcomes.values())


class Stranger(On):
    """A relay that does not know BDAT and reads the body as commands."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("bdat", answer * 3, HANG)


@far_and_near
@pytest.mark.parametrize("form", ["overlapped", "chunked"])
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(lambda: On("bdat", b"500 5.5.2 what?\r\n", CLOSE), id="500 and a close"),
        pytest.param(lambda: On("bdat", b"502 5.5.1 not here\r\n", RESET), id="502 and a reset"),
        pytest.param(lambda: On("bdat", b"504 5.5.4 no\r\n", HANG), id="504"),
        pytest.param(lambda: On("bdat", b"503 5.5.1 bad sequence\r\n", HANG), id="503"),
        pytest.param(lambda: Stranger(b"500 5.5.1 unknown command\r\n"), id="500 for every line of the body"),
    ],
)
def test_a_relay_that_announces_chunking_and_refuses_bdat_gets_all_mails_as_data(
    rule: Any, form: str, round_trip_s: float
):
    # When
    handed, server = play([rule()], FORMS[form], round_trip_s=round_trip_s)

    # Then nobody is deferred or in doubt, and one connection learned it for all
    assert kinds(handed) == {ACCEPTED: 40}
    assert handed.fault is None
    assert len({taken.rcpt for taken in server.taken}) == len(server.taken) == 40
    assert sum(line.startswith("BDAT") for line in server.lines) == 1


@far_and_near
@pytest.mark.parametrize("form", ["overlapped", "chunked"])
@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_relay_that_closes_at_bdat_costs_one_doubt_and_gets_the_rest_as_data(
    end: Any, form: str, round_trip_s: float
):
    handed, server = play([On("bdat", end)], FORMS[form], round_trip_s=round_trip_s)
    assert kinds(handed) == {ACCEPTED: 39, DOUBT: 1}
    assert len(server.taken) == 39
    assert sum(line.startswith("BDAT") for line in server.lines) == 1


def test_bdat_that_stops_working_after_mails_were_taken_is_left_out_too():
    # Given one machine of several behind the same address
    handed, server = play([On("bdat", b"502 5.5.1 not here\r\n", CLOSE, skip=10)])
    assert kinds(handed) == {ACCEPTED: 40}
    assert len(server.taken) == 40


def test_a_mail_that_a_working_bdat_refuses_is_judged_and_nothing_is_left_out():
    handed, server = play([On("body", b"554 5.6.0 no\r\n", line="r7@")], connections=1)
    assert kinds(handed) == {ACCEPTED: 39, Permanence.PERMANENT: 1}
    assert all(not line.startswith("DATA") for line in server.lines)


@far_and_near
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((b"503 5.5.0 pipelining without permission\r\n",), id="503"),
        pytest.param((b"554 SMTP synchronization error\r\n", CLOSE), id="554 and a close"),
        pytest.param((CLOSE,), id="close"),
    ],
)
def test_a_relay_that_announces_pipelining_and_refuses_it_gets_one_command_at_a_time(steps: Any, round_trip_s: float):
    # Given
    server = ScriptedRelay([], FORMS["pipelined"], round_trip_s=round_trip_s)

    class WhoWritesAhead(On):
        def applies(self, event: str, line: str) -> bool:
            return event == "mail" and server.connections in server.written_ahead

    server.scenario.append(WhoWritesAhead("mail", *steps))

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY, connections=10), mails(60))

    # Then
    handed = run(story())
    assert kinds(handed) == {ACCEPTED: 60}
    assert len(server.taken) == 60


@pytest.mark.parametrize("form", ["overlapped", "pipelined", "stepwise"])
@pytest.mark.parametrize("reply", [b"555 5.5.4 unsupported\r\n", b"501 5.5.4 syntax\r\n", b"504 5.5.4 what?\r\n"])
def test_a_relay_that_refuses_the_size_it_asked_for_gets_its_mails_without(reply: bytes, form: str):
    handed, server = play([On("mail", reply, line="SIZE=")], FORMS[form])
    assert kinds(handed) == {ACCEPTED: 40}
    assert sum("SIZE=" in line for line in server.lines) <= 2


def test_a_relay_that_refuses_smtputf8_takes_the_others_and_the_one_is_our_failure():
    # Given
    server = ScriptedRelay([On("mail", b"555 5.6.7 no\r\n", line="SMTPUTF8")])
    abroad = Transaction("abroad", Envelope("b@example.org", "jörg@example.org"), mails(1)[0].body)

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), [*mails(3), abroad, *mails(6)[3:]])

    # Then
    handed = run(story())
    outcome: Outcome = handed.outcomes.pop("abroad")
    assert (outcome.permanence, outcome.phase) == (Permanence.PERMANENT, Phase.LOCAL)
    assert "SMTPUTF8" in outcome.text
    assert kinds(handed) == {ACCEPTED: 6}


def test_a_refused_return_path_costs_the_size_and_is_then_judged():
    # Given 501 that means the address
    handed, _ = play([On("mail", b"501 5.1.7 bad sender\r\n")], count=3, connections=1)
    assert {(one.permanence, one.scope) for one in handed.outcomes.values()} == {(Permanence.PERMANENT, Scope.SENDER)}


def test_what_was_left_out_is_tried_again_by_one_session_after_an_hour():
    # Given
    lessons, offer = Lessons(), Offer({"CHUNKING": "", "PIPELINING": ""})
    lessons.leave_out("CHUNKING", 100.0)

    # Then
    assert not lessons.usable(offer, 100.0 + FORGET_AFTER_S - 1, "one").chunking
    assert lessons.usable(offer, 100.0 + FORGET_AFTER_S, "one").chunking
    assert not lessons.usable(offer, 100.0 + FORGET_AFTER_S, "two").chunking, "only one tries"
    lessons.end_trial("one")
    assert lessons.usable(offer, 100.0 + FORGET_AFTER_S, "two").chunking


def test_how_many_mails_a_connection_carries_is_forgotten_after_an_hour():
    lessons = Lessons()
    lessons.note_limit(3, 100.0)
    assert lessons.most(1000, 100.0 + FORGET_AFTER_S - 1) == 3
    assert lessons.most(1000, 100.0 + FORGET_AFTER_S) == 1000
    assert lessons.most(2, 100.0) == 2, "never more than is wanted"


def test_a_relay_that_closes_behind_the_same_number_twice_has_told_its_limit():
    lessons = Lessons()
    for number in (20, 7):
        lessons.note_close(number, 0.0)
    assert lessons.most(1000, 0.0) == 1000, "a restart closes at any number"
    lessons.note_close(7, 0.0)
    assert lessons.most(1000, 0.0) == 7


@pytest.mark.parametrize(
    ("code", "used", "vain"),
    [
        (555, ("SIZE", "SMTPUTF8"), "SIZE"),
        (555, ("8BITMIME",), "8BITMIME"),
        (501, ("SMTPUTF8",), None),
        (550, ("SIZE",), None),
        (555, (), None),
    ],
)
def test_the_parameter_that_is_easiest_to_do_without_goes_first(code: int, used: tuple[str, ...], vain: str | None):
    assert option_in_vain(code, used) == vain


def test_a_line_that_stays_whole_after_a_refused_parameter_is_used_on():
    handed, server = play([On("mail", b"555 5.5.4 no\r\n", line="SIZE=", times=1), On("quit", USUAL)], connections=1)
    assert kinds(handed) == {ACCEPTED: 40}
    assert server.connections == 1
