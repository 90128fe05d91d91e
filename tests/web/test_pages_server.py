"""The web process itself: its start, its limits, its end."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.readers import KEY, Readers, settings_for
from tests.support.web_server import exchange, running_web
from tests.web.conftest import Desk
from worker.storage import media
from worker.storage.engine import Database
from worker.storage.media import MediaRow
from worker.tokens import Keyring
from worker.web.protocol import PatientProtocol

SERVE = "import sys; from worker.cli import main; sys.exit(main(['web']))"


@contextmanager
def web_process(url: str, state_dir: Path, **values: str) -> Iterator[subprocess.Popen[str]]:
    """A web process of its own; ended when the block ends."""
    environment = {
        **os.environ,
        "CORRANTO_DATABASE_URL": url,
        "CORRANTO_SECRET_KEYS": KEY,
        "CORRANTO_STATE_DIR": str(state_dir),
        "CORRANTO_WEB_PORT": "0",
        "CORRANTO_METRICS_PORT": "0",
        "CORRANTO_LOG_FORMAT": "json",
        **{f"CORRANTO_{key.upper()}": value for key, value in values.items()},
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r'"port": (\d+)', line):
            return int(found[1])
    raise AssertionError("the web process ended before it was ready")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_web_process_ends_with_zero_when_told_to_and_logs_no_token_or_address(
    sqlite_url: str, sqlite_database: Database, tmp_path: Path, number: signal.Signals
) -> None:
    # Given a web process that answered a reader, whose browser keeps its connection open
    readers = Readers(sqlite_database, Keyring([KEY]))
    (here,) = readers.reader("jane.invented@example.org", readers.publication("newsline"))
    link = readers.link(here)
    with web_process(sqlite_url, tmp_path) as process:
        port = port_of(process)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            client.get(f"/u/{link}")
            client.get("/u/a-damaged-link")
            client.post(f"/u/{link}", content=b"List-Unsubscribe=One-Click")

            # When it is told to end
            process.send_signal(number)
            _, said = process.communicate(timeout=60)

    # Then that is no failure, and the log names the subscription only
    assert process.returncode == 0
    assert "opted_out" in said
    for secret in (link, "jane", "example.org", "a-damaged-link", KEY):
        assert secret not in said
    assert readers.state(here)[0] == "ended"


def test_a_taken_port_is_said_with_its_remedy(sqlite_url: str, sqlite_database: Database, tmp_path: Path) -> None:
    # Given a port somebody else has
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        # When web is to listen there
        with web_process(sqlite_url, tmp_path, web_port=port) as process:
            _, said = process.communicate(timeout=60)

    # Then it refuses in one sentence
    assert process.returncode != 0
    assert f"web cannot listen on 127.0.0.1:{port}" in said
    assert "CORRANTO_WEB_PORT" in said


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Bomb: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n0\r\n\r\n",
    ],
    ids=["header bomb", "long path", "TLS", "two lengths"],
)
def test_a_broken_request_is_refused_and_the_next_one_answered(desk: Desk, raw: bytes) -> None:
    # Given bytes that are no request we take
    # When they arrive
    answer = exchange(desk.place, raw)

    # Then they are refused or cut off, and readers notice nothing
    assert answer[9:12] in (b"", b"400", b"404", b"405", b"431")
    assert desk.client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "path", [f"/u/%2e%2e/{'a' * 44}", "/u/../livez", "//u//x", "/u/x%00y", "/u/x%0d%0aSet-Cookie:a=b", "/media/../../x"]
)
def test_confusing_paths_reach_no_other_page(desk: Desk, path: str) -> None:
    # Given a path that could be read in two ways
    # When it is sent as it is
    answer = exchange(desk.place, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    # Then it is no page, and writes no header
    assert answer[9:12] == b"404"
    assert b"set-cookie" not in answer.partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n"],
    ids=["silence", "half a head", "a body nobody asked for"],
)
def test_who_never_ends_a_request_is_cut_off(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path, beginning: bytes
) -> None:
    # Given a web process with little patience
    class Hasty(PatientProtocol):
        head_deadline_s = 0.3

    settings = settings_for(sqlite_url, tmp_path / "state")
    with running_web(settings, sqlite_database, Hasty) as place, socket.create_connection(place, timeout=15) as line:
        # When somebody begins and goes on letter by letter, without an end
        line.sendall(beginning)
        line.settimeout(0.05)
        is_open = True
        for _ in range(300):
            try:
                line.sendall(b"X"[: len(beginning)])
                is_open = line.recv(4096) != b""
            except TimeoutError:
                continue
            except ConnectionError:
                is_open = False
            if not is_open:
                break

    # Then the place is free for others
    assert not is_open


def test_who_never_reads_an_answer_is_cut_off(sqlite_database: Database, sqlite_url: str, tmp_path: Path) -> None:
    # Given a web process with little patience, and a file larger than what the network holds for us
    is_gone = threading.Event()

    class Hasty(PatientProtocol):
        answer_deadline_s = 0.3

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            is_gone.set()

    row = MediaRow("a" * 64, "pdf", "application/pdf", None, None, "a.pdf", b"%" * 15_000_000)
    with sqlite_database.write() as conn:
        media.put(conn, row)
    settings = settings_for(sqlite_url, tmp_path / "state")
    with running_web(settings, sqlite_database, Hasty) as place, socket.create_connection(place, timeout=15) as line:
        # When somebody asks for it and does not read
        line.sendall(f"GET /media/{row.file_name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        # Then the place is free for others
        assert is_gone.wait(15)
