"""Hand built mails to the relay: what one process needs for it, and the last look before each body.

Connections live on a loop of their own; slices in other threads submit, recall and collect outcomes. `arm` and
`record` run on the loop, in the very calls that write a body and judge its reply.
"""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import cast

from worker import clock, log
from worker.dispatch.judge import Breaker
from worker.dispatch.nudger import Nudger
from worker.dispatch.rates import RateGate
from worker.domain.compiled import CompiledIssue
from worker.journal import Journal
from worker.message.build import MessageBuilder
from worker.message.key_store import load_signer
from worker.settings import Settings
from worker.storage.engine import Database
from worker.storage.ledger import claims, issues
from worker.storage.ledger.claims import Claim
from worker.storage.ledger.deliveries import Due
from worker.storage.ledger.settlements import Result
from worker.tokens import Keyring
from worker.transport.pool import Pool, RelayFault, Transaction
from worker.transport.relay import Relay
from worker.transport.replies import Outcome, Permanence

SETTLE_ROWS = 200
"""Outcomes after which a slice is woken to settle."""

KEPT_BUILDERS = 8

_log = log.logger("dispatch.hand_over")


@dataclass
class Held:
    """A claim in this process: its rows, the last look at them, and what came back. Results are judged on settling."""

    claim: Claim
    due: dict[int, Due] = field(default_factory=dict)
    looked_at: float = -math.inf
    stopped: dict[int, str] = field(default_factory=dict)
    live: bool = False
    """Whether its bodies may leave: the issue is being sent, and nothing told us to stop."""
    ours: bool = True
    """False once the ledger says that the claim was taken from us: nothing can be settled or released then."""
    unsure: bool = False
    """The last settlement may have been committed although the line broke before it was confirmed."""
    fingerprints: dict[int, bytes] = field(default_factory=dict)
    outcomes: deque[tuple[int, Outcome]] = field(default_factory=deque)
    results: list[Result] = field(default_factory=list)
    flying: int = 0
    """Submitted and not yet recorded; counted on the loop thread only after submission."""


class Sender:
    """What one process needs to send: connections on a loop of its own, journal, rate gate, builders per issue."""

    def __init__(
        self, database: Database, settings: Settings, relay: Relay, journal: Journal, worker_id: str, nudger: Nudger
    ) -> None:
        self.database, self.settings, self.relay = database, settings, relay
        self.journal, self.worker_id, self.nudger = journal, worker_id, nudger
        self.draining = threading.Event()
        self.note = ""
        self.accepted = 0
        self._keyring = Keyring(settings.keys)
        self._builders: dict[int, tuple[str, MessageBuilder]] = {}
        self._builders_guard = threading.Lock()
        self._signing = ThreadPoolExecutor(2, thread_name_prefix="dkim")
        self.held: dict[int, tuple[Held, threading.Event]] = {}
        self.claiming = threading.Lock()
        """Held from a claim's commit until it stands in `held`, so that no other is ours in the ledger."""
        self.claims_unsure = threading.Event()
        """A claim may have been committed although the line broke before it was confirmed."""
        self.breakers: dict[int, Breaker] = {}
        self.stops: dict[int, str] = {}
        """Issues that a breaker stopped, with the reason, until a slice has written it down."""
        self.gate = RateGate(database, relay.key, settings.rate)
        self.on_result: Callable[[Result], None] = lambda result: None
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="smtp", daemon=True)
        self._thread.start()
        self.pool: Pool = asyncio.run_coroutine_threadsafe(self._make_pool(), self.loop).result()

    def close(self, grace_s: float) -> None:
        """End the connections; everything submitted was recorded before."""
        asyncio.run_coroutine_threadsafe(self.pool.close(grace_s), self.loop).result(grace_s + 10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self._signing.shutdown(wait=False)

    def builder(self, issue_id: int, fingerprint: str) -> MessageBuilder:
        """The issue's compiled pieces, kept while its fingerprint stays (an undone draft may be queued again)."""
        with self._builders_guard:
            kept = self._builders.get(issue_id)
            if kept is not None and kept[0] == fingerprint:
                return kept[1]
            with self.database.read() as conn:
                compiled = CompiledIssue.from_json(issues.compiled_body(conn, issue_id))
            made = MessageBuilder(
                compiled,
                keyring=self._keyring,
                issue_id=issue_id,
                instance=self.database.instance().pepper,
                base_url=self.settings.base_url,
                signer=load_signer(self.settings.dkim_dir, compiled.from_address),
            )
            while len(self._builders) >= KEPT_BUILDERS:
                del self._builders[next(iter(self._builders))]
            self._builders[issue_id] = (fingerprint, made)
            return made

    @property
    def signing(self) -> ThreadPoolExecutor:
        return self._signing

    def submit(self, transactions: list[Transaction]) -> None:
        self.loop.call_soon_threadsafe(self.pool.submit, transactions)

    def recall(self, claim_ids: set[int]) -> None:
        """Take back what no connection has begun of these claims; it is recorded as unsent."""
        self.loop.call_soon_threadsafe(self._recall, claim_ids)

    def _recall(self, claim_ids: set[int]) -> None:
        others = []
        for transaction in self.pool.recall():
            if _key(transaction)[0] in claim_ids:
                self._record(transaction, None)
            else:
                others.append(transaction)
        self.pool.submit(others)

    def release_unheld(self) -> None:
        """Give back claims that are ours in the ledger only: their commit's answer was lost, so nobody works them."""
        if not self.claims_unsure.is_set():
            return
        with self.claiming, self.database.write() as conn:
            for claim in claims.owned_by(conn, [self.worker_id]):
                if claim.id not in self.held:
                    claims.release(conn, claim, self.worker_id)
        self.claims_unsure.clear()

    def fault(self) -> RelayFault | None:
        """Trouble with the relay that is not worth another try yet."""
        fault = self.pool.fault
        return fault if fault is not None and fault.retry_at > clock.monotonic() else None

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _make_pool(self) -> Pool:
        return Pool(self.relay, arm=self._arm, record=self._record, pace=self.gate.pace if self.gate.limits else None)

    def _arm(self, transaction: Transaction) -> bool:
        """The last look before a body is written: still ours, still wanted, and looked at not longer than S ago."""
        claim_id, n = _key(transaction)
        entry = self.held.get(claim_id)
        if entry is None:
            return False
        held = entry[0]
        fresh = clock.monotonic() - held.looked_at <= self.settings.optout_fresh_s
        return held.live and fresh and n not in held.stopped

    def _record(self, transaction: Transaction, outcome: Outcome | None) -> None:
        claim_id, n = _key(transaction)
        entry = self.held.get(claim_id)
        if entry is None:
            _log.critical("an outcome came back for a claim that is not held", claim=claim_id, n=n)
            return
        held, wake = entry
        if outcome is not None and outcome.permanence is not Permanence.UNSENT:
            held.outcomes.append((n, outcome))
            if reason := self.breakers.setdefault(held.claim.issue_id, Breaker()).feed(outcome):
                self._stop(held.claim.issue_id, reason)
        held.flying -= 1
        if held.flying == 0 or len(held.outcomes) >= SETTLE_ROWS:
            wake.set()

    def _stop(self, issue_id: int, reason: str) -> None:
        """Nothing more of this issue leaves here; its slices write down why. Called in the middle of the pool."""
        self.stops[issue_id] = reason
        ids = set()
        for claim_id, (held, wake) in list(self.held.items()):
            if held.claim.issue_id == issue_id:
                held.live = False
                ids.add(claim_id)
                wake.set()
        self.loop.call_soon(self._recall, ids)


def _key(transaction: Transaction) -> tuple[int, int]:
    """(claim, n): what this room put there."""
    return cast("tuple[int, int]", transaction.key)
