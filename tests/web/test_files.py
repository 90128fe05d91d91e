"""Pictures and files: whole, in parts, not at all; and what those cost who never read them."""

import re
import selectors
import socket
import threading
from pathlib import Path

import pytest

from tests.support.readers import settings_for
from tests.support.web_server import exchange, running_web
from tests.web.conftest import Desk
from tests.web.test_pages_server import port_of, web_process
from worker.storage import media
from worker.storage.engine import Database
from worker.storage.media import MediaRow
from worker.web.files import MOST_AT_ONCE
from worker.web.protocol import PatientProtocol

MOST_RSS_MIB = 200
DATA = bytes(range(256)) * 4_300  # some pieces, and a rest


@pytest.fixture
def path(desk: Desk) -> str:
    return "/media/" + desk.readers.media(DATA, "pdf", "application/pdf", "a.pdf")


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-", 10, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        (f"bytes=-{len(DATA) * 2}", 0, len(DATA)),
        (f"bytes=600000-{len(DATA) * 3}", 600_000, len(DATA)),
        ("BYTES = 524287-524289", 524_287, 524_290),
    ],
)
def test_a_part_of_a_file_is_that_part(desk: Desk, path: str, asked: str, first: int, stop: int) -> None:
    # When a part is asked for, also by whom it knows the file
    for extra in ({}, {"If-Range": f'"{path[7:71]}"'}):
        answer = desk.client.get(path, headers={"Range": asked, **extra})

        # Then it is exactly that, unless it is the whole
        assert answer.content == DATA[first:stop]
        assert answer.headers["content-length"] == str(stop - first)
        if stop - first < len(DATA):
            assert answer.status_code == 206
            assert answer.headers["content-range"] == f"bytes {first}-{stop - 1}/{len(DATA)}"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Range": "bytes=0-1,5-6"},
        {"Range": "bytes=5-1"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=" + "9" * 400 + "-"},
        {"Range": "bytes=-"},
        {"Range": "\xb2\xb3"},
        {"Range": "bytes=0-1", "If-Range": '"another"'},
        {"If-None-Match": '"another"'},
    ],
)
def test_what_names_no_one_part_gets_the_whole(desk: Desk, path: str, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = desk.client.get(path, headers=raw)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", "bytes=-0"])
def test_a_part_behind_the_end_is_refused_with_the_size(desk: Desk, path: str, asked: str) -> None:
    answer = desk.client.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")


def test_a_head_says_what_a_get_would_and_sends_nothing(desk: Desk, path: str) -> None:
    head, whole = desk.client.head(path), desk.client.get(path)
    assert head.content == b""
    assert {k: v for k, v in head.headers.items() if k != "date"} == {
        k: v for k, v in whole.headers.items() if k != "date"
    }


@pytest.mark.parametrize("known", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
def test_who_knows_a_file_is_not_sent_it_again(desk: Desk, path: str, known: str) -> None:
    answer = desk.client.get(path, headers={"If-None-Match": known.format(path[7:71])})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"{path[7:71]}"'


def test_nobody_knows_a_file_that_is_not_there(desk: Desk) -> None:
    name = "0" * 64
    assert desk.client.get(f"/media/{name}.png", headers={"If-None-Match": f'"{name}"'}).status_code == 404


@pytest.mark.parametrize("size", [0, 1, 524_288, 524_289, 1_048_576])
def test_a_file_of_any_size_arrives_whole_from_either_database(
    database: Database, database_url: str, tmp_path: Path, size: int
) -> None:
    # Given a file around the size of a piece
    data = b"\x00\xffz" * (size // 3 + 1)
    row = MediaRow("a" * 64, "bin", "application/octet-stream", None, None, "a.bin", data[:size])
    with database.write() as conn:
        media.put(conn, row)

    # When
    with running_web(settings_for(database_url, tmp_path / "state"), database) as place:
        request = f"GET /media/{row.file_name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = exchange(place, request.encode())

    # Then
    assert answer.partition(b"\r\n\r\n")[2] == data[:size]


def test_who_stops_reading_is_cut_off_long_before_the_answers_end(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given a web process with little patience for a pause
    is_gone = threading.Event()

    class Hasty(PatientProtocol):
        stall_s = 0.2

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


def test_a_hundred_who_ask_for_a_large_file_and_do_not_read_cost_little_memory(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given a web process, and a file as large as they get
    row = MediaRow("a" * 64, "pdf", "application/pdf", None, None, "a.pdf", b"%" * 19_900_000)
    with sqlite_database.write() as conn:
        media.put(conn, row)
    with web_process(sqlite_url, tmp_path) as process, selectors.DefaultSelector() as ready:
        place = ("127.0.0.1", port_of(process))
        lines = [socket.create_connection(place, timeout=30) for _ in range(100)]
        for line in lines:
            line.sendall(f"GET /media/{row.file_name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            ready.register(line, selectors.EVENT_READ)

        # When as many as are served at once have begun to get it
        begun: set[int] = set()
        while len(begun) < MOST_AT_ONCE:
            for key, _ in ready.select(30):
                begun.add(key.fd)
                ready.unregister(key.fileobj)

        # Then the process is as small as ever, and answers others
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        answer = exchange(place, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for line in lines:
            line.close()
    assert found is not None
    assert int(found[1]) // 1024 < MOST_RSS_MIB
    assert answer[9:12] == b"200"
