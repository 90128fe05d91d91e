"""The same dialogue against a real Postfix: accepted, refused, deferred, and every octet at its far side."""

import pytest

from tests.support.postfix import StartPostfix
from tests.support.scripted_smtp import ScriptedRelay
from tests.transport.handing import Handed, hand, run
from worker.domain.envelope import Envelope
from worker.transport.relay import Relay, RelayReport, probe
from worker.transport.replies import Permanence, Phase
from worker.transport.transaction import Transaction

pytestmark = pytest.mark.needs("postfix")

DOTS = (
    b"Subject: dots\r\nDate: Tue, 01 Jan 2030 00:00:00 +0000\r\nMessage-ID: <%d@example.org>\r\n\r\n.\r\n..\r\n.x\r\n"
)


def _mail(n: int, rcpt: str) -> Transaction:
    return Transaction(n, Envelope(f"bounces+{n}@example.org", rcpt), DOTS % n)


def test_postfix_takes_all_and_each_arrives_once_at_its_far_side(start_postfix: StartPostfix):
    # Given
    sink = ScriptedRelay([], ("PIPELINING", "8BITMIME"))

    async def story() -> tuple[RelayReport, Handed]:
        async with sink:
            relay = Relay("127.0.0.1", start_postfix("127.0.0.1", sink.port).port, connections=4, per_connection=15)
            report = await probe(relay)
            handed = await hand(relay, [_mail(n, f"r{n}@example.org") for n in range(120)])
            await sink.has_taken(120)
            return report, handed

    # When
    report, handed = run(story())

    # Then
    assert "CHUNKING" in report.extensions
    assert report.form.startswith("CHUNKING with PIPELINING")
    assert {outcome.permanence for outcome in handed.outcomes.values()} == {Permanence.ACCEPTED}
    assert len({taken.rcpt for taken in sink.taken}) == len(sink.taken) == 120
    assert all(taken.body.endswith(b"\r\n\r\n.\r\n..\r\n.x\r\n") for taken in sink.taken)


def test_postfix_refusing_and_deferring_some_does_not_touch_the_others(start_postfix: StartPostfix):
    # Given every fourth reader gone, and every fourth busy
    sink = ScriptedRelay()
    readers = {0: "gone@example.org", 1: "busy@example.org"}

    async def story() -> Handed:
        async with sink:
            relay = Relay("127.0.0.1", start_postfix("127.0.0.1", sink.port).port, connections=2)
            handed = await hand(relay, [_mail(n, readers.get(n % 4, f"r{n}@example.org")) for n in range(40)])
            await sink.has_taken(20)
            return handed

    # When
    outcomes = run(story()).outcomes

    # Then
    gone, busy = outcomes[0], outcomes[1]
    assert (gone.permanence, gone.phase, gone.code) == (Permanence.PERMANENT, Phase.RCPT, 550)
    assert gone.may_suppress
    assert (busy.permanence, busy.code) == (Permanence.TRANSIENT, 450)
    assert [outcomes[n].permanence for n in range(40) if n % 4 > 1] == [Permanence.ACCEPTED] * 20
    assert len(sink.taken) == 20


def test_a_mail_larger_than_postfix_takes_is_refused_before_it_is_written(start_postfix: StartPostfix):
    # Given the far side is not needed at all
    async def story() -> Handed:
        relay = Relay("127.0.0.1", start_postfix("127.0.0.1", 9).port)
        big = DOTS % 1 + b"x" * 1048576 + b"\r\n"
        return await hand(relay, [Transaction(1, Envelope("a@example.org", "b@example.org"), big)])

    # Then
    outcome = run(story()).outcomes[1]
    assert (outcome.phase, outcome.enhanced) == (Phase.LOCAL, "5.3.4")
