"""Nudges: ids only, safe to lose, repeat or forge. Always sent after the row they speak of was committed."""

import hashlib

import dramatiq

from worker import clock, log
from worker.broker.build import build_broker
from worker.broker.nudges import send_nudge
from worker.errors import Trouble, UnreachableError
from worker.settings import Settings
from worker.storage.engine import Database

QUEUE = "dispatch"
"""One queue for all: polling costs per queue and process, and turns are fair within one."""

PLAN_ACTOR = "plan"
SEND_ACTOR = "send"

_log = log.logger("dispatch.nudger")


def open_broker(database: Database, settings: Settings) -> dramatiq.Broker:
    """The broker in force; connects when first used. Sealed with a key the broker's host does not have."""
    secret = hashlib.sha256(b"corranto nudge " + settings.keys[0].encode()).digest()
    return build_broker(
        settings.broker_url.get_secret_value(),
        database=lambda: database,
        secret=secret,
        namespace=f"corranto.{database.instance().uuid}",
    )


class Nudger:
    """Sends nudges through a broker; a dead broker costs delay only, because the tick nudges again."""

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._broker = broker
        self.trouble: Trouble | None = None
        """Why the last nudge could not be sent; None when it was."""
        self._again_at = 0.0

    def plan(self, issue_id: int) -> bool:
        """Wake a process to write the issue's next ledger page."""
        return self.wake(PLAN_ACTOR, issue_id=issue_id)

    def send(self, issue_id: int, nudge_no: int) -> bool:
        """Wake a process to work one slice of the issue."""
        return self.wake(SEND_ACTOR, issue_id=issue_id, nudge_no=nudge_no)

    def wake(self, actor: str, **ids: int) -> bool:
        """Send one nudge. Whether the broker took it; it is safe to lose.

        After a failure nothing is tried for as long as that failure took: a tick with many issues must not wait for a
        broker that hangs with each of them, or the heartbeat behind it would come so late that a process is buried.
        """
        began = clock.monotonic()
        if began < self._again_at:
            return False
        try:
            send_nudge(self._broker, actor, QUEUE, **ids)
        except UnreachableError as error:
            if self.trouble is None:
                _log.warning("broker unreachable, nothing is lost", cause=str(error))
            self.trouble = error.trouble
            failed = clock.monotonic()
            self._again_at = failed + (failed - began)
            return False
        if self.trouble is not None:
            _log.info("broker answers again")
        self.trouble = None
        return True
