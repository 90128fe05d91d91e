"""One sending process: journal, row, heartbeat, tick and sender, from start to an orderly end.

Order of beginning: the journal's lock, then the row that names it; of the end: everything settled and released, then
the row, then the journal. So a row without a lock always means a dead process.
"""

import os
import socket
import threading
import uuid
from collections.abc import Callable
from datetime import datetime

import dramatiq

from worker import clock, log
from worker.dispatch.claim import release_unknown
from worker.dispatch.events import Hook
from worker.dispatch.lock import Others, begin, watch
from worker.dispatch.nudger import Nudger
from worker.dispatch.outfit import outfit_of
from worker.dispatch.plan import plan
from worker.dispatch.send import Slice
from worker.dispatch.sender import Sender, clocks_differ
from worker.dispatch.tick import TICK_S, Tick
from worker.domain.process import SILENT_AFTER_S, WorkerState
from worker.errors import Trouble, UnreachableError
from worker.journal.memory import recall
from worker.journal.own import MOST_SLOTS, Journal
from worker.metrics import relay_closed
from worker.settings import Settings
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.epochs import Progress
from worker.transport.door import Reason
from worker.transport.pool import RelayFault
from worker.transport.relay import relay_of

BEAT_S = 1.0  # a tenth of domain.process.SILENT_AFTER_S: a few lost ones alarm nobody
MOST_CLAIMS_A_THREAD = 4
"""A slice claims the next rows while half of the last are on the wire; what waits for the database comes on top."""

_log = log.logger("dispatch.process")


def slots_for(settings: Settings) -> int:
    """Slots of a journal: more than the copies that may be under way and not yet in the ledger."""
    return min(MOST_CLAIMS_A_THREAD * settings.claim_size * settings.worker_threads, MOST_SLOTS)


class SendingProcess:
    """Everything a worker process owns. `start` once, `drain` when told to stop, `stop` at the end."""

    def __init__(
        self, database: Database, settings: Settings, broker: dramatiq.Broker, hook: Hook | None = None
    ) -> None:
        self.database, self.settings, self._hook = database, settings, hook
        self.id = str(uuid.uuid4())
        self.nudger = Nudger(broker)
        self.must_end = threading.Event()
        """Set when this process cannot go on; whoever runs it stops it, and its supervisor starts another."""
        self.on_must_end: Callable[[], None] = lambda: None
        """Called once from the heartbeat's thread when must_end is set."""
        self._is_lost = False
        self._others = Others()
        self.seen: Progress | None = None
        """How far the database has come, as the heartbeat's thread last saw; None while it is locked."""
        self._relay_trouble: Reason | None = None
        self._active = 0
        self._idle = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Lock the journal, register, connect nothing yet. Raises UnreachableError or RefusedError."""
        self._refuse_wrong_clock()
        self.journal = Journal(self.settings.state_dir, self.id, slots_for(self.settings))
        self.sender = Sender(
            self.database, self.settings, relay_of(self.settings), self.journal, self.id, self.nudger, self._hook
        )
        if recall(self.settings.state_dir) is None and self._others.look(self.database):
            self._ended.wait(BEAT_S + TICK_S)  # a machine that joins: do the others live?
        self.sender.lock = self._begin()
        self.sender.wishes.look_back()
        self._tick = Tick(self.database, self.settings, self.nudger, self.id)
        with self.database.write() as conn:
            label = f"{socket.gethostname()}:{os.getpid()}"
            workers.register(conn, self.id, self.journal.host_id, label, outfit_of(self.settings))
        self._thread.start()
        hand_over = self.sender.hand_over
        _log.info("worker ready", worker=self.id, relay=hand_over.relay.key, limit=hand_over.gate.limits or "none")

    def _begin(self) -> Trouble | None:
        """A new epoch, or why nothing may be sent from this database: said once, the process waits to be unlocked."""
        lock = begin(self.database, self.settings.state_dir, "corranto", self._others)
        if lock is not None and lock != self.sender.lock:
            _log.critical("nothing is sent: the database is not the one this machine knows", cause=str(lock))
        elif lock is None and self.sender.lock is not None:
            _log.warning("the database may be sent from", after=str(self.sender.lock))
            self.sender.batches.beats = 0
        return lock

    def plan(self, issue_id: int) -> None:
        """Actor body: write the next pages of an issue's ledger."""
        if self._may_plan():
            plan(self.database, self.nudger, issue_id, self.settings.shard_size, go_on=self._may_go_on_planning)

    def _may_plan(self) -> bool:
        return not self.sender.draining.is_set() and self.sender.lock is None

    def _may_go_on_planning(self) -> bool:
        """At once: not on SQLite, where an opt-out would wait behind page after page."""
        return self._may_plan() and self.database.dialect == "postgresql"

    def send(self, issue_id: int, nudge_no: int) -> None:
        """Actor body: work one slice."""
        with self._idle:
            if self.sender.draining.is_set():
                return
            self._active += 1
        try:
            self.sender.note = None
            Slice(self.sender, issue_id).run(nudge_no)
        except UnreachableError as error:
            self.sender.note_away(error.trouble)
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def drain(self) -> None:
        """Claim nothing new; slices take back what no connection has begun, settle and release."""
        with self._idle:
            self.sender.draining.set()

    def stop(self) -> bool:
        """Wait for the slices, cut what is left after drain_s, leave no trace. Whether all ended in order.

        A process that cannot hand over any more waits for nothing: what its slices hold stays claimed, its row and
        journal stay behind, and the next worker that looks finds it dead.
        """
        self.drain()
        in_time = self._wait_idle(0.0 if self.sender.hand_over.broken else self.settings.drain_s)
        self.sender.close(grace_s=0.0)
        clean = in_time or self._wait_idle(5.0)
        self._ended.set()
        self._thread.join(5)
        if clean and not self._is_lost:
            try:
                with self.database.write() as conn:
                    workers.remove(conn, self.id)
            except UnreachableError as error:
                _log.warning("the worker's row stays behind", cause=str(error))
            else:
                self.journal.close()
        _log.info("worker stopped", worker=self.id, clean=clean)
        return clean

    def _wait_idle(self, seconds: float) -> bool:
        deadline = clock.monotonic() + seconds
        with self._idle:
            while self._active and (left := deadline - clock.monotonic()) > 0:
                self._idle.wait(left)
            return self._active == 0

    def _live(self) -> None:
        """Heartbeat and tick, until the end. Being taken for dead ends the sending: our claims are in doubt already."""
        beaten_at = 0.0
        while not self._ended.wait(TICK_S):
            try:
                if clock.monotonic() - beaten_at >= BEAT_S:
                    if not self._can_go_on():
                        return
                    beaten_at = clock.monotonic()
                if self.sender.lock is None and not self.sender.draining.is_set():
                    self._tick.run()
            except Exception:
                # Without a heartbeat a living process would be taken for dead.
                _log.exception("the heartbeat met an error of our own")

    def _can_go_on(self) -> bool:
        """Beat once. False when this process was taken for dead. It also has to end when it is unable to hand anything
        over, or when another version took its place: then it goes on beating until all is settled."""
        if self._beat():
            is_outdated = self._look_at_lock()
            broken = self.sender.hand_over.broken
            if self.must_end.is_set() or (broken is None and not is_outdated and self.journal.still_ours()):
                return True
            if is_outdated:
                _log.critical("the database was upgraded, this process ends: start the new version", worker=self.id)
            else:
                _log.critical("nothing can be handed over any more, this process ends", worker=self.id, exc_info=broken)
        else:
            self._is_lost = True
            _log.critical("this process was taken for dead, its claims are in doubt", worker=self.id)
        self.drain()
        self.must_end.set()
        self.on_must_end()
        return not self._is_lost

    def _look_at_lock(self) -> bool:
        """While locked: has somebody unlocked it? Else: is it still the database it was, and how far has it come?

        True when it is one that another version works with: ours would write what that one does not expect.
        """
        try:
            if self.database.has_other_version():
                return True
            if self.sender.lock is None:
                self.seen = watch(self.database, self.settings.state_dir, self.seen)
                if self.seen is not None:
                    self.sender.batches.note_highest(self.seen.highest_claim)
                    if self.sender.wishes.are_known or self.sender.wishes.missing() is None:
                        release_unknown(self.database, self.sender.batches, self.id)
                    if (note := self.sender.note) is not None and note.code.startswith("database."):
                        self.sender.note = None  # it answers; an idle worker has no slice to say so
                    return False
                self.sender.lock_up(Trouble("lock.older", claims=0))
            self.seen = None
            self.sender.lock = self._begin()
        except UnreachableError as error:
            self.sender.note = error.trouble
        return False

    def _beat(self) -> bool:
        fault = self.sender.hand_over.fault
        cause = fault.cause if fault else ""
        self._tell_relay_trouble(fault)
        note = (
            self.sender.lock
            or self.sender.clock_trouble
            or self.sender.note
            or (Trouble("relay.fault", cause=cause) if cause else self.nudger.trouble)
        )
        state = WorkerState.DRAINING if self.sender.draining.is_set() else WorkerState.READY
        try:
            with self.database.write() as conn:
                self._look_at_clock(self.database.now(conn))
                before = self.sender.batches.beats
                beat = workers.beat(conn, self.id, state, note)
                self.sender.batches.fellows = workers.count_alive(conn, SILENT_AFTER_S)
            self._hear(beat, before)
        except UnreachableError as error:
            self.sender.wishes.note(error.trouble)
            return True
        return beat is not None

    def _hear(self, beat: int | None, before: int) -> None:
        """Our own beat, as the database counted it: lower than before, it is an older one, by a restore or failover."""
        if beat is not None and beat <= before and self.sender.lock is None:
            self.sender.refuse_older()
        self.sender.batches.note_beat(beat)

    def _tell_relay_trouble(self, fault: RelayFault | None) -> None:
        """One line when the relay's trouble begins, changes its kind, or is over; a try that fails again says nothing
        new. The metric says it in one word."""
        reason = fault.reason if fault else None
        if reason is self._relay_trouble:
            return
        relay = self.sender.hand_over.relay.key
        if fault is not None:
            _log.warning("nothing can be handed over, the issue waits", relay=relay, cause=fault.cause)
            relay_closed.labels(fault.reason.value).set(1)
        else:
            _log.warning("the relay takes mail again", relay=relay, after=str(self._relay_trouble))
        if self._relay_trouble is not None:
            relay_closed.labels(self._relay_trouble.value).set(0)
        self._relay_trouble = reason

    def _refuse_wrong_clock(self) -> None:
        with self.database.read() as conn:
            trouble = clocks_differ(self.database.now(conn))
        if trouble is not None:
            raise UnreachableError("clock.differs", **trouble.fields)

    def _look_at_clock(self, there: datetime) -> None:
        before = self.sender.clock_trouble
        now = self.sender.note_time(there)
        if now is not None and before is None:
            _log.critical("nothing is sent while the clocks differ", cause=str(now))
        elif before is not None and now is None:
            _log.warning("the clocks agree again")
