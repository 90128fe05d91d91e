"""Handing mails to a scripted relay and keeping what became of each."""

import asyncio
import datetime
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trustme

from tests.support.scripted_smtp import ALL, ScriptedRelay
from worker.domain.envelope import Envelope
from worker.transport.pool import Pool, RelayFault
from worker.transport.relay import Relay, Timeouts
from worker.transport.replies import Outcome
from worker.transport.transaction import Transaction

FORMS = {
    "overlapped": ALL,
    "pipelined": ("PIPELINING", "8BITMIME", "SIZE 10485760"),
    "chunked": ("CHUNKING", "8BITMIME"),
    "stepwise": ("8BITMIME", "SIZE"),
}
PATIENT = Timeouts()
HASTY = Timeouts(
    connect_s=1.0, greeting_s=1.0, hello_s=0.25, tls_s=0.4, auth_s=0.25, command_s=0.25,
    body_s=0.1, body_bytes_per_s=1e9, final_s=0.25, quit_s=0.2, idle_s=5.0,
)  # fmt: skip
"""For rows in which the relay is silent on purpose: the deadline itself is what is tested."""

AUTHORITY = trustme.CA()
_T = TypeVar("_T")


def server_tls(name: str = "127.0.0.1", authority: trustme.CA = AUTHORITY, *, expired: bool = False) -> ssl.SSLContext:
    """A server's TLS with a certificate for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ended = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) if expired else None
    begun = datetime.datetime(2019, 1, 1, tzinfo=datetime.UTC) if expired else None
    authority.issue_cert(name, not_after=ended, not_before=begun).configure_cert(context)
    return context


def mails(count: int, body: bytes = b"Subject: hello\r\n\r\nA short text.\r\n") -> list[Transaction]:
    """`count` transactions with keys from 0 to readers r0, r1, …"""
    return [Transaction(n, Envelope(f"bounces+{n}@example.org", f"r{n}@example.org"), body) for n in range(count)]


@dataclass
class Handed:
    """What became of the mails of one test."""

    outcomes: dict[Any, Outcome] = field(default_factory=dict)
    armed: list[Any] = field(default_factory=list)
    fault: RelayFault | None = None

    def record(self, transaction: Transaction, outcome: Outcome) -> None:
        assert transaction.key not in self.outcomes, "recorded twice"
        self.outcomes[transaction.key] = outcome

    def arm(self, transaction: Transaction, port: int) -> bool:
        self.armed.append(transaction.key)
        return True


def relay_for(server: ScriptedRelay, timeouts: Timeouts = PATIENT, connections: int = 1, **more: Any) -> Relay:
    """The relay as a value; one connection, so that the order of things is known."""
    return Relay("127.0.0.1", server.port, timeouts=timeouts, connections=connections, **more)


async def hand(
    relay: Relay,
    transactions: list[Transaction],
    *,
    arm: Callable[[Transaction, int], bool] | None = None,
    pace: Callable[[], Awaitable[bool]] | None = None,
) -> Handed:
    """Hand all over through one pool and close it in good order."""
    handed = Handed()
    pool = Pool(relay, arm=arm or handed.arm, record=handed.record, pace=pace)
    pool.submit(transactions)
    await pool.drained()
    handed.fault = pool.fault
    await pool.close(1.0)
    assert pool.outstanding == 0
    return handed


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run one test's story, at most 20 s, and fail on tasks it leaves behind."""

    async def bounded() -> _T:
        async with asyncio.timeout(20):
            result = await coroutine
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, left
        return result

    return asyncio.run(bounded())
