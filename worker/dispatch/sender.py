"""What the slices of one process share: the way to the relay, the register of claims, builders, journal, nudges."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from worker import clock, log
from worker.dispatch.batches import Batches
from worker.dispatch.build import Builders
from worker.dispatch.events import Hook, Step
from worker.dispatch.hand_over import HandOver
from worker.dispatch.lock import insist
from worker.dispatch.nudger import Nudger
from worker.dispatch.rates import RateGate
from worker.dispatch.room import Room
from worker.dispatch.wishes import NotedWishes
from worker.errors import Trouble
from worker.journal.marks import ClaimLog
from worker.journal.own import Journal
from worker.settings import Settings
from worker.storage import epochs
from worker.storage.engine import Database
from worker.storage.ledger.settlements import Result
from worker.transport.relay import Relay

CLOCK_SKEW_S = 300.0
"""A Date further off than this makes receivers doubt the mail (and our own deadlines)."""

_log = log.logger("dispatch.sender")


def clocks_differ(there: datetime) -> Trouble | None:
    """Why no mail may get a Date from this machine's clock while the database says it is `there`."""
    off_s = abs((clock.utcnow() - there).total_seconds())
    return Trouble("clock.differs", off_s=round(off_s)) if off_s > CLOCK_SKEW_S else None


class Sender:
    """Made once per process and relay, before the first slice; closed after the last."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        relay: Relay,
        journal: Journal,
        worker_id: str,
        nudger: Nudger,
        hook: Hook | None = None,
    ) -> None:
        self.database, self.settings, self.journal = database, settings, journal
        self.claim_log = ClaimLog(settings.state_dir)
        self.worker_id, self.nudger, self.hook = worker_id, nudger, hook
        self.draining = threading.Event()
        """Set when told to stop: nothing new is claimed."""
        self.lock: Trouble | None = None
        """Why nothing may be sent from this database, until an operator unlocks it; the heartbeat's thread takes it
        back."""
        self._refusing = threading.Lock()
        self.clock_trouble: Trouble | None = None
        """Why no mail may get a Date from this machine's clock; the heartbeat's thread writes."""
        self._seen = clock.utcnow(), clock.monotonic()
        """The database's time, and ours when it said so; replaced as one value."""
        self.note: Trouble | None = None
        """What this process waits for. Every slice's thread writes, the heartbeat's reads: the last word counts."""
        self.on_result: Callable[[Result], None] = lambda result: None
        """Told of each settled result, for metrics."""
        self._unrecorded = ""
        self.batches = Batches(fixed_return_path=settings.return_path == "fixed")
        self.room = Room()
        self.wishes = NotedWishes(database, settings.state_dir)
        self.builders = Builders(database, settings)
        gate = RateGate(database, relay.key, settings.rate)
        self.hand_over = HandOver(
            relay, gate, self.batches, journal, self.draining, fresh_s=settings.optout_fresh_s, hook=hook
        )

    def note_time(self, there: datetime) -> Trouble | None:
        """The database says what time it is; the trouble when ours is far from it. Nothing begins while it stands."""
        self._seen = there, clock.monotonic()
        self.clock_trouble = clocks_differ(there)
        return self.clock_trouble

    def now(self) -> datetime:
        """The database's time, by which tries are due; as it was last seen, and what has passed since."""
        there, seen_at = self._seen
        return there + timedelta(seconds=clock.monotonic() - seen_at)

    def note_unrecorded(self, why: str) -> None:
        """What begins cannot be written down, or "" when it can: said once, and once when it is over."""
        before, self._unrecorded = self._unrecorded, why
        if why and not before:
            _log.error("nothing is sent, because what begins cannot be written down", why=why)
        elif before and not why:
            _log.warning("what begins can be written down again")

    def lock_up(self, why: Trouble) -> None:
        """It is not the database it was: nothing is claimed, and nothing that is held leaves any more. Any thread."""
        _log.critical(
            "nothing is sent: the database is not as it was, and what is held is stopped",
            worker=self.worker_id,
            cause=str(why),
        )
        self.lock = why
        self.batches.stop_all()

    def refuse_older(self, claims: int = 0) -> None:
        """What we saw committed is not there: this database is an older one, and stays locked until `unlock`."""
        why = Trouble("lock.older", claims=claims)
        with self._refusing:
            if self.lock is not None:
                self.batches.stop_all()
                return  # said and written down; once more after `unlock` would lock it again
            self.lock = why  # before the question below, which may take its time
            self.batches.stop_all()
            try:
                with self.database.read() as conn:
                    insist(self.settings.state_dir, epochs.read_progress(conn))
            finally:
                self.lock_up(why)

    def note_away(self, trouble: Trouble) -> None:
        """Something that a slice or a recheck cannot do without did not answer."""
        self.note = trouble
        self.wishes.note(trouble)

    def tell(self, step: Step, claim_id: int, number: int) -> None:
        if self.hook is not None:
            self.hook(step, claim_id, number)

    def close(self, grace_s: float) -> None:
        """End the connections; what is cut off is recorded before this returns."""
        self.hand_over.close(grace_s)
        self.builders.close()
        self.claim_log.close()
