"""A relay that lets nobody in is tried by one at a time and ever more seldom; one that lets fewer in is believed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from tests.support.scripted_smtp import ALL, CLOSE, HANG, RESET, On, ScriptedRelay
from tests.transport.handing import HASTY, PATIENT, Handed, mails, relay_for, run, server_tls
from worker.metrics import registry
from worker.transport.door import Reason
from worker.transport.health import UNCAP_AFTER_S, Pauses, RelayFault
from worker.transport.next_hop import Relay
from worker.transport.pool import Pool
from worker.transport.replies import Permanence, Phase

FAR_S = 0.04
SECRET = "s3cret-pass"
far_and_near = pytest.mark.parametrize("round_trip_s", [0.0, FAR_S], ids=["near", "far"])


@dataclass
class Desk:
    """Hands mails over as a worker does: whatever comes back is given again when the pause is over."""

    pool: Pool
    handed: Handed
    clock: list[float]
    given: int = 0
    faults: list[RelayFault] = field(default_factory=list)

    async def give(self, count: int) -> None:
        self.given += count
        self.pool.submit(mails(self.given)[self.given - count :])
        await self.pool.drained()
        if self.pool.fault is not None:
            self.faults.append(self.pool.fault)
            self.clock[0] = self.pool.fault.retry_at

    def states(self) -> dict[Permanence, int]:
        kinds = [outcome.permanence for outcome in self.handed.outcomes.values()]
        return {kind: kinds.count(kind) for kind in set(kinds)}


@asynccontextmanager
async def desk(relay: Relay, pauses: Pauses | None = None) -> AsyncIterator[Desk]:
    handed, clock = Handed(), [100.0]
    pool = Pool(relay, arm=handed.arm, record=handed.record, now=lambda: clock[0], pauses=pauses or Pauses())
    try:
        yield Desk(pool, handed, clock)
    finally:
        await pool.close(0.0)


def refusals(reason: Reason) -> float:
    return registry.get_sample_value("corranto_relay_refusals_total", {"reason": reason.value}) or 0.0


CLOSED_DOORS: list[Any] = [
    pytest.param([On("connect", b"421 4.3.2 closing\r\n", CLOSE)], {}, Reason.REFUSED, "421 4.3.2 closing", id="421"),
    pytest.param([On("connect", b"554 5.7.1 blocked\r\n", CLOSE)], {}, Reason.REFUSED, "554 5.7.1 blocked", id="554"),
    pytest.param([On("connect", RESET)], {}, Reason.CLOSED, "closed the connection before", id="reset"),
    pytest.param([On("connect", CLOSE)], {}, Reason.CLOSED, "closed the connection before", id="close"),
    pytest.param([On("ehlo", b"550 5.7.1 no\r\n"), On("helo", b"550 no\r\n")], {}, Reason.REFUSED, "EHLO", id="ehlo"),
    pytest.param(
        [On("auth", b"535 5.7.8 no\r\n")],
        {"username": "news", "password": SECRET},
        Reason.SIGN_IN,
        "refuses the user name or password (reply 535)",
        id="535",
    ),
    pytest.param(
        [On("starttls", b"454 4.7.0 TLS is away\r\n")],
        {"starttls": "required"},
        Reason.REFUSED,
        "refused STARTTLS: 454 4.7.0 TLS is away",
        id="454",
    ),
    pytest.param([], {"starttls": "required"}, Reason.CERTIFICATE, "certificate", id="certificate"),
    pytest.param([On("connect", HANG)], {}, Reason.SILENT, "does not greet", id="silence"),
]


@far_and_near
@pytest.mark.parametrize(("scenario", "how", "reason", "words"), CLOSED_DOORS)
def test_a_closed_door_is_tried_by_one_connection_at_a_time_after_pauses_that_grow(
    scenario: list[On], how: dict[str, Any], reason: Reason, words: str, round_trip_s: float
):
    # Given ten connections wanted for 300 mails
    extensions = (*ALL, "AUTH PLAIN", "STARTTLS")
    server = ScriptedRelay(scenario, extensions, tls=server_tls(), round_trip_s=round_trip_s)
    before = refusals(reason)

    async def story() -> Desk:
        async with server:
            # Only who is silent on purpose has a short deadline: a busy machine is late too.
            timeouts = replace(HASTY, greeting_s=0.1, tls_s=0.1) if reason is Reason.SILENT else PATIENT
            relay = relay_for(server, timeouts, connections=10, **how)
            async with desk(relay) as worker:
                # When the worker comes back four times, each when the pause is over
                for _ in range(4):
                    await worker.give(300)
                return worker

    worker = run(story())

    # Then one attempt each time, and nobody paid for it
    assert (server.connections, server.most_open) == (4, 1)
    assert worker.states() == {Permanence.UNSENT: 1200}
    assert refusals(reason) - before == 4
    times = [100.0, *(fault.retry_at for fault in worker.faults)]
    pauses = [(after - before) / 2**n for n, (before, after) in enumerate(pairwise(times))]
    assert pauses == pytest.approx([1.0] * 4, abs=0.21), "each twice as long as the one before, give or take a fifth"
    assert {fault.reason for fault in worker.faults} == {reason}
    assert words in worker.faults[0].cause
    assert SECRET not in repr(worker.faults)


@far_and_near
def test_when_a_relay_that_worked_closes_its_door_one_connection_at_a_time_sees_it(round_trip_s: float):
    # Given ten connections at work, until the relay ends each and lets nobody in again
    server = ScriptedRelay(round_trip_s=round_trip_s)

    class Shut(On):
        def applies(self, event: str, line: str) -> bool:
            return len(server.taken) > 40 and event == self.event

    server.scenario += [Shut("connect", b"421 4.3.2 gone\r\n", CLOSE), Shut("mail", b"421 4.3.2 gone\r\n", CLOSE)]

    async def story() -> tuple[Desk, int]:
        async with server, desk(relay_for(server, connections=10)) as worker:
            worker.pool.submit(mails(200))
            await worker.pool.drained()
            seen = server.connections
            assert worker.pool.fault is not None
            return worker, seen

    worker, seen = run(story())

    # Then whoever lost its line did not knock beside the others
    assert server.most_open == 10
    assert seen <= 10 + 2
    assert set(worker.states()) == {Permanence.ACCEPTED, Permanence.UNSENT}


@far_and_near
def test_a_relay_that_allows_five_gets_five_and_is_asked_for_more_by_one_after_a_while(round_trip_s: float):
    # Given 421 to whoever comes while five are there
    crowd = On("connect", b"421 4.7.0 too many connections\r\n", CLOSE, skip=5)
    server = ScriptedRelay([crowd], round_trip_s=round_trip_s)

    async def story() -> None:
        async with server:
            relay = relay_for(server, connections=10, per_connection=10_000)
            async with desk(relay) as worker:
                await worker.give(60)
                await worker.give(60)
                refused = server.connections - 5
                assert worker.pool.connections == 5
                assert refused <= 5, "those that were on their way together"

                # When mails go on, nobody is refused again
                await worker.give(60)
                assert server.connections == 5 + refused

                # When a while is over, one more is tried
                worker.clock[0] += UNCAP_AFTER_S + 1
                await worker.give(60)
                await worker.give(60)
                assert server.connections == 5 + refused + 1
                assert worker.states() == {Permanence.ACCEPTED: 300}
                assert worker.faults == []

    run(story())


def test_a_line_that_hangs_in_a_body_does_not_excuse_that_all_others_are_refused():
    # Given a relay that takes one mail, never answers the next one, and lets nobody else in
    server = ScriptedRelay([On("body", HANG, skip=1), On("connect", b"421 4.7.0 go away\r\n", CLOSE, skip=1)])

    async def story() -> None:
        async with server:
            handed = Handed()
            pool = Pool(
                relay_for(server, connections=10),
                arm=handed.arm,
                record=handed.record,
                pauses=Pauses(first_s=60.0, silent_s=0.5),
            )
            # When
            pool.submit(mails(300))
            while pool.fault is None:
                await asyncio.sleep(0.01)

            # Then all but the one that hangs are given back, with the cause
            assert "421 4.7.0 go away" in pool.fault.cause
            await pool.below(3)  # the one that hangs, and the one that rides behind it
            await pool.close(0.0)

    run(story())


def test_a_relay_that_lies_silent_is_told_of_before_its_last_deadline_is_over():
    # Given a relay that accepts and never greets, and the usual patience of a minute
    server = ScriptedRelay([On("connect", HANG)])

    async def story() -> None:
        async with server:
            handed = Handed()
            pauses = Pauses(first_s=60.0, silent_s=0.05)
            pool = Pool(relay_for(server, connections=10), arm=handed.arm, record=handed.record, pauses=pauses)
            pool.submit(mails(300))
            await pool.drained()
            assert pool.fault is not None
            assert (pool.fault.reason, pool.fault.phase) == (Reason.SILENT, Phase.CONNECT)
            assert "smtps://" in pool.fault.cause
            assert (server.connections, server.open) == (1, 1), "the attempt itself goes on"
            await pool.close(0.0)

    run(story())


@pytest.mark.parametrize(
    ("step", "words"),
    [
        pytest.param(
            On("mail", CLOSE), "breaks every connection before it takes a mail: the relay closed the connection",
            id="before a mail",
        ),
        pytest.param(
            On("body", CLOSE), "breaks every connection after a mail's text, before it answers for it",
            id="after a text",
        ),
    ],
)  # fmt: skip
def test_a_relay_that_breaks_each_connection_is_told_with_where_it_does(step: On, words: str):
    # Given
    server = ScriptedRelay([step])

    async def story() -> RelayFault:
        async with server, desk(relay_for(server), Pauses(first_s=0.0)) as worker:
            while worker.pool.fault is None:
                await worker.give(10)
            return worker.pool.fault

    # When
    fault = run(story())

    # Then
    assert fault.cause == f"{fault.relay} {words}"
    assert (fault.reason, fault.phase, fault.code) == (Reason.CLOSED, Phase.MAIL, None)
