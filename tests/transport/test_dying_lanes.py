"""A lane that dies of an error of our own: said, counted, replaced, and no mail lost or told twice."""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Any, cast

import pytest
import structlog

from tests.support.scripted_smtp import CLOSE, HANG, On, ScriptedRelay
from tests.transport.handing import FORMS, HASTY, Handed, mails, relay_for, run
from worker.domain.envelope import Envelope
from worker.metrics import registry
from worker.transport.door import Reason
from worker.transport.handshake import Offer, open_wire
from worker.transport.health import MAX_BARREN, Pauses
from worker.transport.lanes import Connect, error_place
from worker.transport.next_hop import Relay
from worker.transport.pool import Pool
from worker.transport.relay import probe
from worker.transport.replies import Permanence, Phase, Scope
from worker.transport.transaction import Transaction
from worker.transport.wire import Wire

ACCEPTED, TRANSIENT, DOUBT, UNSENT = (
    Permanence.ACCEPTED,
    Permanence.TRANSIENT,
    Permanence.DOUBT,
    Permanence.UNSENT,
)
SOON = Pauses(0.001, 0.004, silent_s=3600.0)  # a machine at work is not a relay that is silent
SECRET = "jane@example.org s3cret"
forms = pytest.mark.parametrize("form", list(FORMS))


Moment = Callable[[bytes], bool]


class TrippingWire:
    """A line on which our own code fails: before a write, or before the replies to it are read."""

    def __init__(
        self, wire: Wire, before_write: Callable[[bytes], bool], before_reply: Callable[[bytes], bool]
    ) -> None:
        self.wire, self.before_write, self.before_reply = wire, before_write, before_reply
        self.written = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wire, name)

    def send(self, data: bytes, *more: Any, **named: Any) -> None:
        if self.before_write(data):
            raise ArithmeticError(SECRET)
        self.written = data
        self.wire.send(data, *more, **named)

    async def replies(self) -> Any:
        if self.before_reply(self.written):
            raise ArithmeticError(SECRET)
        return await self.wire.replies()


def tripping(before_write: Moment = lambda _: False, before_reply: Moment = lambda _: False) -> Connect:
    async def connect(relay: Relay, context: ssl.SSLContext | None) -> tuple[Wire, Offer]:
        wire, offer = await open_wire(relay, context)
        return cast("Wire", TrippingWire(wire, before_write, before_reply)), offer

    return connect


def hand_over(
    transactions: list[Transaction], connect: Connect, form: str = "overlapped", connections: int = 1
) -> tuple[Handed, ScriptedRelay, list[Any], float]:
    """Hand all over; what became of them, the relay, the critical lines of the log, and how far the count of deaths
    moved."""
    server = ScriptedRelay([], FORMS[form])
    handed = Handed()

    async def story() -> str:
        async with server:
            relay = relay_for(server, connections=connections)
            pool = Pool(relay, arm=handed.arm, record=handed.record, connect=connect, pauses=SOON)
            pool.submit(transactions)
            await pool.drained()
            handed.fault = pool.fault
            assert pool.broken is None
            await pool.close(1.0)
            assert pool.outstanding == 0
            assert pool.connections == 0
            return relay.key

    with structlog.testing.capture_logs() as logs:
        key = run(story())
    deaths = registry.get_sample_value("corranto_lane_deaths_total", {"relay": key}) or 0.0
    critical = [entry for entry in logs if entry["log_level"] == "critical"]
    assert SECRET not in repr(critical)
    assert all("ArithmeticError at " in entry["cause"] and entry["relay"] == key for entry in critical)
    return handed, server, critical, deaths


def test_a_lane_that_dies_while_it_connects_is_said_counted_and_replaced():
    # Given two connections that end by an error of ours, then good ones
    tries: list[int] = []

    async def connect(relay: Relay, context: ssl.SSLContext | None) -> tuple[Wire, Offer]:
        tries.append(1)
        if len(tries) < 3:
            raise ArithmeticError(SECRET)
        return await open_wire(relay, context)

    # When
    handed, _, critical, deaths = hand_over(mails(5), connect)

    # Then
    assert [outcome.permanence for outcome in handed.outcomes.values()] == [ACCEPTED] * 5
    assert handed.fault is None
    assert len(critical) == deaths == 2


def test_mails_are_given_back_with_the_cause_when_every_lane_dies_and_the_pool_does_not_end():
    # Given
    async def connect(_relay: Relay, _context: ssl.SSLContext | None) -> tuple[Wire, Offer]:
        raise ArithmeticError(SECRET)

    # When
    handed, server, _, deaths = hand_over(mails(5), connect)

    # Then
    assert {outcome.permanence for outcome in handed.outcomes.values()} == {UNSENT}
    assert len(handed.outcomes) == 5
    assert handed.fault is not None
    assert handed.fault.cause.endswith("ends by an error of our own; the log says which")
    assert (handed.fault.reason, handed.fault.phase) == (Reason.OWN_FAULT, Phase.MAIL)
    assert SECRET not in handed.fault.cause
    assert deaths == MAX_BARREN
    assert server.connections == 0


@forms
def test_a_mail_nobody_can_write_is_deferred_after_three_lanes_and_its_neighbours_go_out(form: str):
    # Given our code fails at every write that names one reader
    handed, server, critical, deaths = hand_over(
        mails(6), tripping(before_write=lambda data: b"RCPT TO:<r3@" in data), form
    )

    # Then; where its envelope rides behind a body, that body is in doubt, because the error came with its write
    outcomes = handed.outcomes
    assert outcomes[3].permanence is TRANSIENT
    assert outcomes[3].scope is Scope.SESSION
    assert not outcomes[3].may_suppress
    lost = {2: DOUBT} if form == "overlapped" else {}
    assert {n: outcomes[n].permanence for n in outcomes if n != 3} == dict.fromkeys((0, 1, 2, 4, 5), ACCEPTED) | lost
    assert len(critical) == deaths == 3 + len(lost)
    assert len({taken.rcpt for taken in server.taken}) == len(server.taken) == 5 - len(lost)


@pytest.mark.parametrize("place", [0, 2])
def test_a_mail_that_cannot_even_be_looked_at_is_deferred_and_costs_no_other_mail_a_strike(place: int):
    # Given a mail whose body is no octets, the first one or one that rides
    broken = Transaction("broken", Envelope("a@example.org", "x@example.org"), cast("bytes", None))
    transactions: list[Any] = mails(5)
    transactions.insert(place, broken)
    server, handed = ScriptedRelay(), Handed()

    async def story() -> None:
        async with server:
            pool = Pool(relay_for(server), arm=handed.arm, record=handed.record, pauses=SOON)
            pool.submit(transactions)
            await pool.drained()
            await pool.close(1.0)

    # When
    run(story())

    # Then
    assert handed.outcomes["broken"].permanence is TRANSIENT
    assert {handed.outcomes[n].permanence for n in range(5)} == {ACCEPTED}
    assert handed.armed == list(range(5)), "each was armed once"


@forms
def test_a_body_whose_lane_died_before_its_reply_was_read_is_in_doubt_and_not_sent_again(form: str):
    # Given our code fails once a body of the second reader is written
    armed_bodies: list[bytes] = []

    def before_reply(written: bytes) -> bool:
        if b"A short text" in written:
            armed_bodies.append(written)
        return len(armed_bodies) == 2 and b"A short text" in written

    # When
    handed, server, _, deaths = hand_over(mails(4), tripping(before_reply=before_reply), form)

    # Then
    assert {n: outcome.permanence for n, outcome in handed.outcomes.items()} == {
        0: ACCEPTED,
        1: DOUBT,
        2: ACCEPTED,
        3: ACCEPTED,
    }
    assert handed.armed == [0, 1, 2, 3]
    assert deaths == 1
    assert len([taken for taken in server.taken if "r1@" in taken.rcpt]) <= 1


def test_other_lanes_go_on_when_one_dies():
    # Given
    handed, server, _, deaths = hand_over(
        mails(300), tripping(before_write=lambda data: b"RCPT TO:<r30@" in data), "chunked", connections=4
    )

    # Then
    assert deaths == 3
    assert sum(outcome.permanence is ACCEPTED for outcome in handed.outcomes.values()) == 299
    assert len(server.taken) == 299


@pytest.mark.parametrize("name", ["süd.example.org", "a\r\nNOOP", "two words", "\udcff"])
def test_a_name_that_cannot_be_said_is_told_as_the_cause_and_kills_nothing(name: str):
    # Given a relay as a value, so that no setting could refuse the name
    server, handed = ScriptedRelay(), Handed()

    async def story() -> None:
        async with server:
            relay = relay_for(server, HASTY, hello_name=name)
            report = await probe(relay)
            assert report.phase is Phase.EHLO
            assert "cannot be greeted as" in (report.cause or "")
            assert (report.cause or "").isprintable()
            pool = Pool(relay, arm=handed.arm, record=handed.record)
            pool.submit(mails(2))
            await pool.drained()
            assert pool.fault is not None
            assert pool.fault.cause == report.cause
            await pool.close(1.0)

    # Then
    run(story())
    assert {outcome.permanence for outcome in handed.outcomes.values()} == {UNSENT}
    assert server.lines == []


def test_an_address_with_half_a_character_is_our_own_refusal_and_kills_no_lane():
    handed, server, critical, _ = hand_over(
        [Transaction(0, Envelope("a@example.org", "\udcff@example.org"), b"x\r\n"), *mails(3)[1:]], open_wire
    )
    assert [handed.outcomes[n].phase for n in range(3)] == [Phase.LOCAL, Phase.BODY, Phase.BODY]
    assert critical == []
    assert len(server.taken) == 2


@pytest.mark.parametrize(("callback", "nth"), [("arm", 3), ("record", 2), ("pace", 3)])
def test_a_broken_promise_of_ours_stops_the_pool_says_so_and_loses_no_result(callback: str, nth: int):
    # Given a callback that raises at the third mail, while another connection has the second one's body on the wire
    server = ScriptedRelay([On("body", HANG, line="r1@")], ("CHUNKING",))
    handed, calls = Handed(), []

    def fail(name: str) -> None:
        calls.append(name)
        if calls.count(callback) == nth and name == callback:
            raise LookupError(SECRET)

    async def pace() -> bool:
        fail("pace")
        return True

    def arm(transaction: Transaction, port: int) -> bool:
        fail("arm")
        return handed.arm(transaction, port)

    def record(transaction: Transaction, outcome: Any) -> None:
        handed.record(transaction, outcome)
        fail("record")

    async def story() -> None:
        async with server:
            pool = Pool(relay_for(server, connections=2), arm=arm, record=record, pace=pace, pauses=SOON)
            pool.submit(mails(50))

            # When
            with pytest.raises(RuntimeError, match="error of our own") as caught:
                await pool.drained()

            # Then what waits stays where it can be recalled, and the line with a body is still read
            assert isinstance(pool.broken, LookupError)
            assert caught.value.__cause__ is pool.broken
            back = pool.recall()
            assert len(back) >= 40
            while server.open > 1:
                await asyncio.sleep(0)
            pool.submit(mails(51)[50:])
            assert handed.outcomes.pop(50).permanence is UNSENT
            await pool.close(0.0)
            assert pool.outstanding == 0
            assert handed.outcomes[0].permanence is ACCEPTED
            assert handed.outcomes[1].permanence is DOUBT
            assert not set(handed.outcomes) & {transaction.key for transaction in back}
            assert len(handed.outcomes) + len(back) == 50
            assert len(handed.armed) <= 4

    with structlog.testing.capture_logs() as logs:
        run(story())
    critical = [entry for entry in logs if entry["log_level"] == "critical"]
    assert len(critical) == 1
    assert SECRET not in repr(critical)


def test_an_errors_place_is_where_it_began_and_its_text_stays_out():
    def begin() -> None:
        raise ValueError("reader@example.org")

    def pass_on() -> None:
        begin()

    # When / Then
    for call in (begin, pass_on):
        with pytest.raises(ValueError) as raised:
            call()
        assert re.fullmatch(r"ValueError at test_dying_lanes\.py:\d+ in begin", error_place(raised.value))
    assert error_place(ValueError("reader@example.org")) == "ValueError"


def test_a_promise_broken_when_a_mail_comes_back_stops_the_pool_too():
    # Given mails that are given back, and a journal that cannot take their slots back
    server, handed = ScriptedRelay([On("mail", CLOSE)]), Handed()

    def disarm(_transaction: Transaction) -> None:
        raise LookupError(SECRET)

    async def story() -> None:
        async with server:
            pool = Pool(relay_for(server), arm=handed.arm, record=handed.record, disarm=disarm, pauses=SOON)
            pool.submit(mails(5))

            # When
            with pytest.raises(RuntimeError, match="error of our own") as caught:
                await pool.drained()

            # Then
            assert isinstance(pool.broken, LookupError)
            assert caught.value.__cause__ is pool.broken
            assert len(pool.recall()) == 5
            await pool.close(0.0)

    run(story())
    assert handed.outcomes == {}
