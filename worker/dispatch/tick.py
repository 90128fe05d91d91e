"""The tick: everything that time or a crash brings about, one step after the other. Any process may run it.

A lease keeps idle processes from doing the same work; nothing is correct because of it. Each step stands alone: one
that fails is said and does not keep the others from running.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from worker import clock, log
from worker.consent import noted
from worker.dispatch.bury import Observer, bury_dead_workers
from worker.dispatch.nudger import Nudger
from worker.dispatch.probe import is_wanted, probe_optout
from worker.dispatch.reconcile import bring_back, finish, nudge_again, nudge_forgotten, repeat_never_miss
from worker.dispatch.schedule import start_due
from worker.domain.issue import IssueState
from worker.errors import UnreachableError
from worker.settings import Settings
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.ledger import issues

TICK_S = 0.5
"""A mail begins this much after its hold at the latest, plus the broker's own delay."""

SWEEP_EVERY_S = 1.0  # both look at every issue being sent, and nobody waits for either
BURY_EVERY_S = 5.0  # a crash on this host is found this soon; each look tries one lock per process
PROBE_EVERY_S = 20.0  # one request to our own web process; what fails is judged as follows
DEAD_AFTER_S = 19.0
"""One failed probe is a web process that starts or restarts; a second one this much later pauses the issue. Both
together stay below a minute."""

LEASE_S = 3.0  # six ticks: the holder renews it with each, and after its death nobody ticks longer than this

_log = log.logger("dispatch.tick")


class Tick:
    """One process's tick; call `run` every TICK_S."""

    def __init__(self, database: Database, settings: Settings, nudger: Nudger, process_id: str) -> None:
        self._database, self._settings, self._nudger, self._id = database, settings, nudger, process_id
        self._observer = Observer()
        self._due = {"bury": 0.0, "probe": 0.0, "sweep": 0.0}
        self._trouble = ""
        self._is_blind = False
        self._dead_since: float | None = None

    def run(self) -> None:
        """Run the steps that are due. Trouble with the database is said once, and once when it is over."""
        try:
            if self._is_time("bury", BURY_EVERY_S):
                # Outside the lease: only a process of the same host can see its journals' locks.
                self._bury()
            noted.fulfil(self._database, self._settings.state_dir)
            with self._database.read() as conn:
                if not issues.is_anything_open(conn):
                    return
            with self._database.write() as conn:
                mine = workers.take_lease(conn, "tick", self._id, LEASE_S)
            if mine:
                self._run_steps()
        except UnreachableError as error:
            if not self._trouble:
                _log.warning("database unreachable, waiting", cause=str(error))
            self._trouble = str(error)
            return
        if self._trouble:
            _log.info("database answers again")
        self._trouble = ""

    def _bury(self) -> None:
        life = timedelta(seconds=self._settings.retry_life_s)
        try:
            buried = bury_dead_workers(self._database, self._settings.state_dir, life, self._observer)
        except UnreachableError as error:
            if error.trouble.code != "journal.cannot_be_kept":
                raise
            # Only this machine's dead workers need the folder; what is due begins all the same.
            if not self._is_blind:
                _log.error("this host's dead workers cannot be looked for", cause=str(error))
            self._is_blind = True
            return
        self._is_blind = False
        for issue_id in buried.given_back:
            nudge_again(self._database, self._nudger, issue_id)

    def _run_steps(self) -> None:
        steps: list[Callable[[], object]] = [
            partial(start_due, self._database, self._nudger, self._settings.late_grace_s),
            partial(nudge_forgotten, self._database, self._nudger),
        ]
        if self._is_time("sweep", SWEEP_EVERY_S):
            steps += [partial(bring_back, self._database), partial(repeat_never_miss, self._database)]
            steps.append(partial(finish, self._database))
        if is_wanted(self._settings) and self._is_time("probe", PROBE_EVERY_S):
            steps.append(partial(self.pause_where_nobody_can_leave, clock.monotonic()))
        for step in steps:
            try:
                step()
            except UnreachableError:
                raise
            except Exception:
                _log.exception("a step of the tick failed", step=getattr(step, "func", step).__name__)

    def _is_time(self, what: str, every_s: float) -> bool:
        now = clock.monotonic()
        if now < self._due[what]:
            return False
        self._due[what] = now + every_s
        return True

    def pause_where_nobody_can_leave(self, now: float) -> None:
        """A sending issue stops when readers cannot leave: the opt-out host was dead twice. `now` is monotonic."""
        with self._database.read() as conn:
            sending = issues.list_issues(conn, [IssueState.SENDING])
        if not sending:
            return
        cause = probe_optout(self._settings)
        if cause is None:
            self._dead_since = None
            return
        if self._dead_since is None or now - self._dead_since > 3 * PROBE_EVERY_S:
            self._dead_since = now
        if now - self._dead_since < DEAD_AFTER_S:
            _log.warning("readers may not be able to leave, asking again", cause=cause)
            return
        with self._database.write() as conn:
            for issue in sending:
                issues.move(
                    conn,
                    issue.id,
                    [IssueState.SENDING],
                    IssueState.PAUSED,
                    stopped_reason=f"safety stop: readers cannot leave: {cause}",
                )
        _log.error("issues paused, because readers cannot leave", cause=cause, issues=len(sending))
