"""The opt-out host is dead: an issue that is being sent stops, but not because a web process starts a second late."""

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import update

from tests.support.ledgers import planned_issue
from tests.support.lists import Nudges
from tests.support.programs import free_port
from tests.support.publication import ANYWHERE
from tests.support.readers import settings_for
from worker.dispatch.nudger import Nudger, open_broker
from worker.dispatch.probe import is_wanted, probe_optout
from worker.dispatch.tick import DEAD_AFTER_S, Tick
from worker.domain.issue import IssueState
from worker.storage import schema
from worker.storage.engine import Database
from worker.storage.ledger import issues
from worker.tokens import Keyring, Purpose, Token

LONG_AGO = datetime(2026, 1, 2, tzinfo=UTC)


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


def test_a_tick_wakes_what_was_forgotten_and_asks_the_way_out_no_oftener_than_it_has_to(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given an issue that nobody claims from, though a nudge went out long ago
    issue_id = planned_issue(sqlite_database, 3)
    with sqlite_database.write() as conn:
        conn.execute(update(schema.issue).values(last_claim_at=LONG_AGO, last_nudged_at=LONG_AGO))
    _Answering.asked = []
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        base_url = f"http://127.0.0.1:{server.server_port}"
        settings = settings_for(sqlite_url, tmp_path / "state", base_url=base_url, probe_base_url="always")
        nudges = Nudges()
        tick = Tick(sqlite_database, settings, nudges, "t1")
        thread = threading.Thread(target=server.handle_request)
        thread.start()

        # When it ticks twice at once
        tick.run()
        thread.join()
        tick.run()

    # Then
    assert [(actor, ids["issue_id"]) for actor, ids in nudges.waiting] == [("send", issue_id)]
    assert len(_Answering.asked) == 1
    with sqlite_database.read() as conn:
        assert issues.get(conn, issue_id).state is IssueState.SENDING


@pytest.mark.parametrize(("status", "serves"), [(200, True), (204, True), (302, False), (404, False), (500, False)])
def test_a_way_out_is_asked_as_a_mail_program_asks_and_a_redirect_is_no_answer(status: int, serves: bool) -> None:
    # Given a web process that answers so, at a base_url below a path
    _Answering.status, _Answering.asked = status, []
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        base_url = f"http://127.0.0.1:{server.server_port}/news"
        settings = settings_for("sqlite:///none", ANYWHERE, base_url=base_url)
        thread = threading.Thread(target=server.handle_request)
        thread.start()

        # When
        cause = probe_optout(settings)
        thread.join()
    gone = probe_optout(settings)
    _Answering.status = 200

    # Then it was the one-click POST of RFC 8058 with a token that ends nothing
    ((path, kind, body),) = _Answering.asked
    folder, _, token = path.rpartition("/")
    assert (folder, kind, body) == ("/news/u", "application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click")
    assert Keyring(settings.keys).read(token, Purpose.PROBE) == Token(Purpose.PROBE)
    said = f"{base_url} answers a one-click unsubscribe with {status} instead of 200"
    assert cause == (None if serves else said)
    assert gone == f"{base_url} does not answer a one-click unsubscribe: [Errno 111] Connection refused"


@pytest.mark.parametrize(
    ("probed", "relay", "wanted"),
    [
        ("always", "smtp://127.0.0.1:2525", True),
        ("auto", "smtp://127.0.0.1:2525", False),
        ("auto", "smtp://relay.example.net:2525", True),
    ],
)
def test_sending_depends_on_the_way_out_unless_the_relay_is_this_machine(probed: str, relay: str, wanted: bool) -> None:
    settings = settings_for("sqlite:///none", ANYWHERE, probe_base_url=probed, smtp_url=relay)
    assert is_wanted(settings) == wanted


class _Answering(BaseHTTPRequestHandler):
    status = 200
    asked: ClassVar[list[tuple[str, str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, self.headers["Content-Type"], body))
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", self.path)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
