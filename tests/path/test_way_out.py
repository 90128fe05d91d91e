"""The opt-out host is dead: an issue that is being sent stops, but not because a web process starts a second late."""

from pathlib import Path

from tests.support.ledgers import planned_issue
from tests.support.programs import free_port
from tests.support.readers import settings_for
from worker.dispatch.nudger import Nudger, open_broker
from worker.dispatch.tick import DEAD_AFTER_S, Tick
from worker.domain.issue import IssueState
from worker.storage.engine import Database
from worker.storage.ledger import issues


def test_one_failed_probe_is_forgiven_and_a_later_one_pauses(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given an issue that is being sent, and nobody at base_url
    issue_id = planned_issue(sqlite_database, 3)
    settings = settings_for(
        sqlite_url,
        tmp_path / "state",
        base_url=f"http://127.0.0.1:{free_port()}",
        probe_base_url="always",
    )
    tick = Tick(sqlite_database, settings, Nudger(open_broker(sqlite_database, settings)), "t1")

    def state() -> IssueState:
        with sqlite_database.read() as conn:
            return issues.get(conn, issue_id).state

    # When / Then
    tick.pause_where_nobody_can_leave(now=100.0)
    assert state() is IssueState.SENDING
    tick.pause_where_nobody_can_leave(now=100.0 + DEAD_AFTER_S)
    assert state() is IssueState.PAUSED
    with sqlite_database.read() as conn:
        assert "readers cannot leave" in issues.get(conn, issue_id).stopped_reason
