"""The relay's rate windows in this process: slots leased from the database, used one by one as bodies are written.

A slot is a moment, not a number: it may be used only within a tolerance after it, so a worker that stumbles loses
slots instead of bunching them. What is leased and not used is spent.
"""

import asyncio
import math
import threading

from worker import clock
from worker.storage import rates
from worker.storage.engine import Database
from worker.storage.rates import Buckets
from worker.transport.shaping import ClockMap, Lease, RateState, Slots, lease, parse_rates

HORIZON_S = 1.0  # how far ahead slots are leased: about a slice's work, and all that a crash can spend unused
LONGEST_WAIT_S = 60.0  # a window of hours or days that is full is asked about again each minute


class RateGate:
    """One per process and relay. `limits` is "" when there are none."""

    def __init__(self, database: Database, relay: str, limits: str) -> None:
        self._database, self._relay = database, relay
        self._windows = parse_rates(limits)
        self.limits = str(self._windows) if self._windows else ""
        self._slots = Slots()
        self._guard = threading.Lock()
        self._clock: ClockMap | None = None

    def reserve(self, want: int) -> tuple[int, float]:
        """(slots leased, seconds to wait when none): asked in a thread, before rows are claimed for them."""

        def decide(next_slot_at: float, buckets: Buckets, now: float) -> tuple[float, Buckets, tuple[Lease, float]]:
            granted = lease(self._windows, RateState(next_slot_at, buckets), now, want, HORIZON_S)
            return granted.state.next_slot_at, granted.state.buckets, (granted, now)

        with self._database.write() as conn:
            asked = clock.monotonic()
            there = rates.epoch(conn)
            sight = ClockMap.seen(asked, there, clock.monotonic())
            granted, now = rates.lease_slots(conn, self._relay, decide)
        with self._guard:
            self._clock = sight if self._clock is None else self._clock.better(sight)
            self._slots.add(granted.slots, self._clock)
        if granted.slots:
            return len(granted.slots), 0.0
        # A slot may be leased HORIZON_S before its time.
        wait_s = (granted.not_before or math.inf) - HORIZON_S - now
        return 0, min(max(wait_s, 0.01), LONGEST_WAIT_S)

    async def pace(self) -> bool:
        """Wait for the next slot. False when the lease is used up: the mail is given back."""
        while True:
            with self._guard:
                turn = self._slots.next(clock.monotonic())
            if turn is None:
                return False
            await asyncio.sleep(turn.wait_s(clock.monotonic()))
            if not turn.is_missed(clock.monotonic()):
                return True
