"""The opt-out host is dead: an issue that is being sent stops, but not because a web process starts a second late."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
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


def test_two_failures_with_a_success_between_are_not_two_in_a_row(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given an issue that is being sent; the web process is dead, then there, then dead again
    issue_id = planned_issue(sqlite_database, 3)
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    settings = settings_for(sqlite_url, tmp_path / "state", base_url=base_url, probe_base_url="always")
    tick = Tick(sqlite_database, settings, Nudger(open_broker(sqlite_database, settings)), "t1")

    # When
    tick.pause_where_nobody_can_leave(now=100.0)
    with HTTPServer(("127.0.0.1", port), _Answering) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        tick.pause_where_nobody_can_leave(now=110.0)
        thread.join()
    tick.pause_where_nobody_can_leave(now=100.0 + DEAD_AFTER_S + 1)

    # Then
    with sqlite_database.read() as conn:
        assert issues.get(conn, issue_id).state is IssueState.SENDING


class _Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
