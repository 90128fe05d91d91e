"""Claim rows of an issue for this process: as many as slots of the rate window could be leased, retries first.

The claim commits before anything is read of its rows. A crash right after the commit leaves a claim of a dead worker,
which `reconcile` finds; a lost answer leaves a claim that is ours without our knowing, which `release_unknown` finds.
"""

import threading

from worker import clock
from worker.dispatch.batches import Batch, Batches
from worker.dispatch.rates import RateGate
from worker.errors import RefusedError, UnreachableError
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.ledger import claims, issues

SLOT_POLL_S = 0.25
"""Between asking for slots again, while other workers hold those of the next second."""

LONGEST_SLOT_WAIT_S = 1.0
"""A longer wait is left to the tick; waiting here for seconds would only hold the thread."""


UNSURE_S = 60.0
"""How long to look for a claim whose commit was not confirmed: the server may finish it after its line broke."""


def reserve_slots(gate: RateGate, size: int, draining: threading.Event, *, may_wait: bool) -> tuple[int, float]:
    """(rows that may be claimed, seconds to wait when none). Waits out a short gap between slots if it may."""
    if not gate.limits:
        return size, 0.0
    asked_at = clock.monotonic()
    while True:
        slots, wait_s = gate.reserve(size)
        if slots:
            return slots, 0.0
        if wait_s > LONGEST_SLOT_WAIT_S or clock.monotonic() - asked_at > 2 * LONGEST_SLOT_WAIT_S:
            return 0, wait_s
        # With mails on the wire the slice settles them first.
        if not may_wait or draining.wait(min(wait_s, SLOT_POLL_S)):
            return 0, 0.0


def claim_rows(
    database: Database, batches: Batches, issue_id: int, owner: str, size: int, wake: threading.Event
) -> Batch | None:
    """Commit a claim and register it. None when nothing of the issue can be claimed now.

    Raises RefusedError for a number that was given out before, of the claim or of our beats: the database is an older
    one since.
    """
    with batches.claiming:
        before, beats = batches.highest, batches.beats
        try:
            with database.write() as conn:
                # First, like whoever takes us for dead: its row, then what it holds.
                beat = workers.count_claim(conn, owner)
                if beat is None:
                    return None  # we were, and the heartbeat says so
                if beat <= beats:
                    raise RefusedError("lock.older", claims=0)
                claim = claims.claim_retry(conn, issue_id, owner, size)
                claim = claim or claims.claim_first(conn, issue_id, owner, size)
                if claim is not None and claim.id <= before:
                    raise RefusedError("lock.older", claims=before - claim.id + 1)
        except UnreachableError:
            batches.unsure_until = clock.monotonic() + UNSURE_S
            raise
        batches.note_beat(beat)
        if claim is None:
            return None
        batches.note_highest(claim.id)
        batch = Batch(claim, wake)
        batches.add(batch)
        return batch


def note_claim(database: Database, issue_id: int) -> None:
    """Tell the tick that this issue has a claim. The row is shared by all workers: once a second will do."""
    with database.write() as conn:
        issues.touch_claimed(conn, issue_id)


def release_unknown(database: Database, batches: Batches, owner: str) -> None:
    """Give back claims that are ours in the ledger only: their commit's answer was lost, so nobody works them."""
    if clock.monotonic() > batches.unsure_until:
        return
    with batches.claiming, database.write() as conn:
        for claim in claims.owned_by(conn, [owner]):
            if batches.get(claim.id) is None:
                claims.release(conn, claim, owner)
