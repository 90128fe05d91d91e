"""What time alone brings about: planned starts, ends of holds. One statement each; any process may run them."""

from datetime import timedelta

from worker import log
from worker.dispatch.nudger import Nudger
from worker.storage.engine import Database
from worker.storage.ledger import issues

_log = log.logger("dispatch.schedule")


def start_due(database: Database, nudger: Nudger, late_grace_s: int) -> None:
    """Move scheduled issues on to their hold (or to held_late), and held ones to sending, by the database's clock."""
    with database.write() as conn:
        _, late = issues.due_to_hold(conn, timedelta(seconds=late_grace_s))
        started = issues.start_held(conn)
    for issue_id in late:
        _log.error("issue missed its time, an editor must decide", issue=issue_id)
    for issue_id in started:
        _log.info("hold is over, planning", issue=issue_id)
        nudger.plan(issue_id)
