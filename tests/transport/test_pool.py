"""Several connections at work: everything recorded once, relay trouble said once, stops that lose nothing."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.scripted_smtp import ALL, CLOSE, HANG, KEEP, RESET, USUAL, On, ScriptedRelay
from tests.transport.handing import FORMS, HASTY, Handed, hand, mails, relay_for, run
from worker.transport.health import MAX_BARREN, Pauses
from worker.transport.next_hop import Relay
from worker.transport.pool import Pool
from worker.transport.relay import send_one
from worker.transport.replies import Permanence, Phase

ACCEPTED, TRANSIENT, DOUBT, UNSENT = (
    Permanence.ACCEPTED,
    Permanence.TRANSIENT,
    Permanence.DOUBT,
    Permanence.UNSENT,
)


def counted(handed: Handed) -> dict[Permanence, int]:
    result: dict[Permanence, int] = {}
    for outcome in handed.outcomes.values():
        result[outcome.permanence] = result.get(outcome.permanence, 0) + 1
    return result


@pytest.mark.parametrize("form", list(FORMS))
def test_many_connections_share_the_mails_and_each_arrives_once(form: str):
    # Given
    server = ScriptedRelay([], FORMS[form])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, connections=5, per_connection=20), mails(230))

    # When
    handed = run(story())

    # Then
    assert counted(handed) == {ACCEPTED: 230}
    assert len({taken.rcpt for taken in server.taken}) == len(server.taken) == 230
    assert server.most_open <= 5
    assert max(sum(1 for taken in server.taken if taken.connection == n) for n in range(1, 20)) <= 20


def test_a_relay_that_allows_fewer_connections_than_we_want_gets_all_mails_over_those():
    # Given 421 from the fourth connection on
    server = ScriptedRelay([On("connect", b"421 4.7.0 too many connections\r\n", CLOSE, skip=3)])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, connections=8, per_connection=300), mails(300))

    # Then
    handed = run(story())
    assert counted(handed) == {ACCEPTED: 300}
    assert handed.fault is None


def test_a_relay_that_restarts_every_twenty_mails_gets_them_all_without_doubt():
    # Given
    server = ScriptedRelay([])

    class EveryTwentieth(On):
        def applies(self, event: str, line: str) -> bool:
            return event == "body" and len(server.taken) % 20 == 19

    server.scenario.append(EveryTwentieth("body", b"250 2.0.0 queued\r\n", KEEP, CLOSE))

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, connections=3), mails(200))

    # Then
    assert counted(run(story())) == {ACCEPTED: 200}
    assert len(server.taken) == 200


def test_a_relay_that_defers_all_for_a_while_takes_them_later_once():
    # Given greylisting that has passed at the second round
    server = ScriptedRelay([On("rcpt", b"451 4.7.1 greylisted\r\n", times=12)])

    async def story() -> tuple[Handed, Handed]:
        async with server:
            relay = relay_for(server, connections=2)
            return await hand(relay, mails(12)), await hand(relay, mails(12))

    # Then
    first, second = run(story())
    assert counted(first) == {TRANSIENT: 12}
    assert counted(second) == {ACCEPTED: 12}
    assert len(server.taken) == 12


def test_trouble_with_the_relay_gives_all_mails_back_and_is_said_until_it_works_again():
    # Given a relay that is away at first
    server = ScriptedRelay([On("connect", b"421 4.3.2 starting\r\n", CLOSE, times=1)])

    async def story() -> None:
        async with server:
            handed = Handed()
            now = [100.0]
            pool = Pool(relay_for(server, HASTY), arm=handed.arm, record=handed.record, now=lambda: now[0])
            pool.submit(mails(3))
            await pool.drained()
            fault = pool.fault
            assert counted(handed) == {UNSENT: 3}
            assert fault is not None
            assert (fault.phase, fault.code) == (Phase.GREETING, 421)
            assert 0 < fault.retry_at - fault.since < 2

            # When more comes before the pause is over, it is given back in the very call
            pool.submit(mails(5)[3:])
            assert counted(handed) == {UNSENT: 5}
            assert pool.outstanding == 0
            assert server.connections == 1

            # When the pause is over
            now[0] = fault.retry_at
            pool.submit(mails(9)[5:])
            await pool.drained()
            assert counted(handed) == {UNSENT: 5, ACCEPTED: 4}
            assert pool.fault is None
            await pool.close(1.0)

    run(story())


@pytest.mark.parametrize("steps", [(CLOSE,), (RESET,), (b"421 4.3.2 no\r\n", CLOSE)])
def test_a_relay_that_breaks_every_connection_is_a_fault_and_blames_no_mail_of_many(steps: Any):
    # Given a relay that greets and then always breaks at MAIL
    server = ScriptedRelay([On("mail", *steps)])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, connections=3), mails(40))

    # Then a handful of connections tell, not one for each mail
    handed = run(story())
    assert handed.fault is not None
    assert counted(handed).get(TRANSIENT, 0) <= 3
    assert counted(handed)[UNSENT] >= 37
    assert server.connections <= 3 * MAX_BARREN
    assert handed.armed == []


def test_a_relay_that_swallows_every_body_is_stopped_after_a_handful_in_doubt():
    # Given the worst relay: it closes after each body
    server = ScriptedRelay([On("body", CLOSE)])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, connections=2), mails(100))

    # Then
    handed = run(story())
    assert handed.fault is not None
    assert counted(handed)[DOUBT] <= MAX_BARREN + 2
    assert counted(handed)[DOUBT] + counted(handed)[UNSENT] == 100


def test_recall_takes_back_what_no_connection_has_begun():
    # Given a relay that holds the first mail's reply back
    server = ScriptedRelay([On("body", HANG)], ("CHUNKING",))

    async def story() -> None:
        async with server:
            handed = Handed()
            pool = Pool(relay_for(server), arm=handed.arm, record=handed.record)
            pool.submit(mails(10))
            while not handed.armed:
                await asyncio.sleep(0)

            # When
            back = pool.recall()

            # Then
            assert [transaction.key for transaction in back] == list(range(1, 10))
            assert pool.outstanding == 1
            await pool.close(0.0)
            assert {key: outcome.permanence for key, outcome in handed.outcomes.items()} == {0: DOUBT}

    run(story())


def test_whoever_waits_for_the_end_is_woken_when_the_rest_is_taken_back():
    # Given one mail on the wire of a relay that never answers, and nine behind it
    server = ScriptedRelay([On("body", HANG)], ("CHUNKING",))

    async def story() -> None:
        async with server:
            handed = Handed()
            pool = Pool(relay_for(server), arm=handed.arm, record=handed.record)
            pool.submit(mails(10))
            while not handed.armed:
                await asyncio.sleep(0)
            waiting = asyncio.ensure_future(pool.below(2))
            await asyncio.sleep(0)

            # When
            pool.recall()

            # Then
            await waiting
            await pool.close(0.0)

    run(story())


def test_a_relay_that_works_again_gets_all_its_connections_back():
    # Given one lane that tries whether the trouble is over
    server = ScriptedRelay([On("connect", b"421 4.3.2 starting\r\n", CLOSE, times=1)])

    async def story() -> Handed:
        async with server:
            handed, now = Handed(), [0.0]
            relay = relay_for(server, connections=4)
            pool = Pool(relay, arm=handed.arm, record=handed.record, now=lambda: now[0])
            pool.submit(mails(1))
            await pool.drained()
            assert pool.fault is not None
            now[0] = pool.fault.retry_at

            # When
            pool.submit(mails(400)[1:])
            await pool.drained()
            await pool.close(1.0)
            return handed

    # Then
    assert counted(run(story())) == {UNSENT: 1, ACCEPTED: 399}
    assert server.most_open == 4


def test_below_wakes_as_soon_as_few_enough_are_left():
    # Given
    server = ScriptedRelay()

    async def story() -> None:
        async with server:
            handed = Handed()
            pool = Pool(relay_for(server), arm=handed.arm, record=handed.record)
            pool.submit(mails(50))

            # When
            await pool.below(20)

            # Then
            assert pool.outstanding < 20
            assert len(handed.outcomes) == 50 - pool.outstanding
            await pool.below(100)
            await pool.drained()
            assert len(handed.outcomes) == 50
            await pool.close(1.0)

    run(story())


def test_closing_gives_back_what_waits_and_lets_what_is_on_the_wire_finish():
    # Given
    server = ScriptedRelay()

    async def story() -> None:
        async with server:
            handed = Handed()
            pool = Pool(relay_for(server, connections=2), arm=handed.arm, record=handed.record)
            pool.submit(mails(200))
            await pool.below(195)

            # When
            await pool.close(5.0)

            # Then nothing is in doubt, and what was armed was accepted
            states = counted(handed)
            assert set(states) == {ACCEPTED, UNSENT}
            assert states[ACCEPTED] == len(handed.armed) == len(server.taken)
            assert sum(states.values()) == 200
            pool.submit(mails(201)[200:])
            assert handed.outcomes[200].permanence is UNSENT

    run(story())


@pytest.mark.parametrize(
    ("event", "form", "permanence"),
    [
        ("connect", "overlapped", UNSENT),
        ("mail", "overlapped", UNSENT),
        ("rcpt", "stepwise", UNSENT),
        ("data", "stepwise", UNSENT),
        ("body", "overlapped", DOUBT),
        ("body", "stepwise", DOUBT),
    ],
)
def test_cutting_a_hung_relay_off_leaves_doubt_only_where_a_body_had_left(
    event: str, form: str, permanence: Permanence
):
    # Given
    server = ScriptedRelay([On(event, HANG)], FORMS[form])

    async def story() -> Handed:
        async with server:
            handed = Handed()
            pool = Pool(relay_for(server), arm=handed.arm, record=handed.record)
            pool.submit(mails(1))
            while not server.open or (event != "connect" and not any(event[:4] in x.lower() for x in server.lines[2:])):
                await asyncio.sleep(0)
                if event == "body" and handed.armed:
                    break

            # When
            await pool.close(0.0)
            return handed

    # Then
    assert counted(run(story())) == {permanence: 1}


@given(seed=st.integers(0, 2**32), form=st.sampled_from(list(FORMS)))
@settings(max_examples=40, deadline=None)
def test_whatever_a_relay_does_each_mail_is_recorded_once_and_acceptance_is_never_invented(seed: int, form: str):
    # Given a relay that misbehaves at random, but says the truth when it says 250 to a body
    rng = random.Random(seed)
    wicked = [(CLOSE,), (RESET,), (b"421 4.3.2 bye\r\n", CLOSE), (b"nonsense\r\n",), (b"450 4.2.0 later\r\n",),
              (b"550 5.1.1 no\r\n",), (b"250 ok", CLOSE), (b"250-a\r\n550 b\r\n",)]  # fmt: skip

    class Moody(On):
        def applies(self, event: str, line: str) -> bool:
            if event not in ("connect", "ehlo", "mail", "rcpt", "data", "rset", "body") or rng.random() > 0.06:
                return False
            self.steps = rng.choice(wicked)
            return not (event in ("ehlo", "data", "rset") and self.steps[0] == b"250 ok")

    server = ScriptedRelay([Moody("", USUAL)], FORMS[form])

    async def story() -> tuple[Handed, bool]:
        async with server:
            handed = Handed()
            relay, pauses = relay_for(server, HASTY, connections=3, per_connection=9), Pauses(0.001, 0.004, 0.01)
            pool = Pool(relay, arm=handed.arm, record=handed.record, pauses=pauses)
            pool.submit(mails(60))
            await pool.drained()
            await pool.close(1.0)
            return handed, pool.outstanding == 0

    # Then
    handed, is_empty = run(story())
    assert is_empty
    assert len(handed.outcomes) == 60
    taken = [int(mail.rcpt.removeprefix("RCPT TO:<r").split("@")[0]) for mail in server.taken if "@" in mail.rcpt]
    assert len(taken) == len(set(taken)), "no mail was taken twice"
    for key, outcome in handed.outcomes.items():
        if outcome.permanence is ACCEPTED:
            assert key in taken
        if outcome.permanence not in (ACCEPTED, DOUBT):
            assert key not in taken


def test_an_error_in_a_callback_ends_the_pool_and_is_not_swallowed():
    server = ScriptedRelay()

    async def story() -> None:
        async with server:
            handed = Handed()

            def record(transaction: Any, outcome: Any) -> None:
                handed.record(transaction, outcome)
                raise LookupError("the journal is gone")

            pool = Pool(relay_for(server), arm=handed.arm, record=record)
            pool.submit(mails(3))
            with pytest.raises(RuntimeError, match="error of our own") as caught:
                await pool.drained()
            assert isinstance(caught.value.__cause__, LookupError)
            pool.recall()
            await pool.close(1.0)

    run(story())


def test_one_mail_goes_in_one_call_and_the_cause_is_its_text_when_it_cannot():
    # Given
    server = ScriptedRelay([On("rcpt", b"550 5.1.1 no\r\n", line="r1@")])

    async def story() -> None:
        async with server:
            assert (await send_one(relay_for(server), mails(1)[0])).permanence is ACCEPTED
            assert (await send_one(relay_for(server), mails(2)[1])).may_suppress
            port = server.port
        away = await send_one(Relay("127.0.0.1", port), mails(1)[0])
        assert (away.permanence, away.phase) == (UNSENT, Phase.CONNECT)
        assert "nothing listens at" in away.text

    run(story())


def test_an_unused_connection_is_closed_in_good_order():
    # Given connections kept for a blink only
    server = ScriptedRelay()
    times = replace(HASTY, idle_s=0.01)

    async def story() -> None:
        async with server:
            handed = Handed()
            pool = Pool(relay_for(server, times), arm=handed.arm, record=handed.record)
            pool.submit(mails(2))
            await pool.drained()
            while server.open:
                await asyncio.sleep(0)
            assert server.lines[-1] == "QUIT"
            assert pool.connections == 0
            pool.submit(mails(4)[2:])
            await pool.drained()
            assert counted(handed) == {ACCEPTED: 4}
            await pool.close(1.0)

    run(story())


def test_a_relay_that_loses_what_rides_behind_a_body_gets_no_more_of_it():
    # Given silence to the MAIL behind the first body
    server = ScriptedRelay([On("mail", HANG, skip=1, times=1)], ALL)

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY), mails(3))

    # Then the body before it counts, and later ones go alone
    assert counted(run(story())) == {ACCEPTED: 3}
    later = [line.split(" ")[0] for line in server.lines]
    assert later[later.index("EHLO", 1) :] == ["EHLO", "RSET", "MAIL", "RCPT", "BDAT", "MAIL", "RCPT", "BDAT", "QUIT"]


def test_a_long_list_is_given_back_in_one_go_when_the_relay_asks_to_wait():
    # Given more mails than a stack has room for
    server = ScriptedRelay([On("mail", b"450 4.2.1 Daily sending quota reached\r\n")])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, connections=2), mails(5_000))

    # Then
    handed = run(story())
    assert handed.fault is not None
    assert "our sending limit there is used up" in handed.fault.cause
    assert sum(outcome.permanence is Permanence.TRANSIENT for outcome in handed.outcomes.values()) <= 4


@pytest.mark.parametrize("event", ["mail", "rcpt", "body"])
@pytest.mark.parametrize("lanes", [1, 10])
@pytest.mark.parametrize(
    "words", [b"452 4.5.3 too many recipients\r\n", b"530 5.7.0 authentication required\r\n", b"451 4.3.0 no\r\n"]
)
def test_a_relay_that_says_the_same_of_every_mail_is_not_asked_about_all_of_them(event: str, lanes: int, words: bytes):
    server = ScriptedRelay([On(event, words)])

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, connections=lanes), mails(300))

    handed = run(story())
    if not (words.startswith(b"451") and event == "rcpt"):  # to RCPT it may be one reader's
        assert handed.fault is not None
        assert sum(outcome.code is not None for outcome in handed.outcomes.values()) <= 3 + 2 * lanes
    assert not any(outcome.permanence is Permanence.ACCEPTED for outcome in handed.outcomes.values())
