"""The metrics port: which one, who is told, and what silent connections cost."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.programs import free_port
from worker import metrics_port
from worker.metrics_port import MOST_CONNECTIONS, MetricsPort, Target

PAGE = b"corranto_build_info 1.0\n"


@contextmanager
def shown(state_dir: Path, role: str = "worker", first: int = 0) -> Iterator[MetricsPort]:
    port = metrics_port.start("127.0.0.1", first or free_port(), lambda: PAGE, role, state_dir)
    try:
        yield port
    finally:
        port.stop()


def address(port: MetricsPort) -> tuple[str, int]:
    assert port.place is not None
    url = httpx.URL(port.place)
    assert url.port is not None
    return url.host, url.port


def test_metrics_take_the_first_free_port_and_say_so(tmp_path: Path) -> None:
    # Given a taken port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]

        # When two processes start from it upward
        with shown(tmp_path, "web", first) as web, shown(tmp_path, "scheduler", first) as scheduler:
            found = metrics_port.targets(tmp_path)
            files = [json.loads(path.read_text()) for path in (tmp_path / "metrics").glob("*.json")]

            # Then each has its own, and the files say which, as Prometheus' file discovery reads them
            assert len({web.place, scheduler.place, f"http://127.0.0.1:{first}/metrics", None}) == 4
            assert web.place
            assert httpx.get(web.place).content == PAGE
            assert httpx.head(web.place).headers["content-length"] == str(len(PAGE))
            assert [each.role for each in found] == ["scheduler", "web"]
            assert {f"http://{each.address}/metrics" for each in found} == {web.place, scheduler.place}
            assert sorted(one[0]["labels"]["role"] for one in files) == ["scheduler", "web"]

    # And nobody is listed who ended
    assert metrics_port.targets(tmp_path) == []
    assert list((tmp_path / "metrics").iterdir()) == []


def test_a_host_of_another_machine_is_named_and_is_no_trouble_of_ports(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert metrics_port.start("192.0.2.7", free_port(), lambda: PAGE, "web", tmp_path).place is None

    (said,) = caplog.messages
    assert "metrics_host must be an address of this machine" in said
    assert "port" not in said


def test_zero_shows_nothing(tmp_path: Path) -> None:
    assert metrics_port.start("127.0.0.1", 0, lambda: PAGE, "web", tmp_path).place is None
    assert metrics_port.targets(tmp_path) == []


def test_the_file_of_a_dead_process_is_passed_over_and_swept(tmp_path: Path) -> None:
    # Given files that nobody holds: of a killed process, half written, and somebody else's
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "worker-1.json").write_text('[{"targets": ["127.0.0.1:1"], "labels": {"role": "worker"}}]')
    (folder / "worker-2.json").write_text("[{")
    (folder / "notes.txt").write_text("kept")

    # When they are listed, and another process starts
    assert metrics_port.targets(tmp_path) == []
    with shown(tmp_path) as port:
        left = sorted(path.name for path in folder.iterdir())

        # Then only the living one is there
        assert left[0] == "notes.txt"
        assert len(left) == 2
        assert metrics_port.targets(tmp_path) == [Target("worker", ":".join(map(str, address(port))))]


def test_a_folder_that_cannot_be_written_costs_the_file_only(tmp_path: Path) -> None:
    # Given a state directory that is a file
    blocked = tmp_path / "state"
    blocked.write_text("")

    # When
    with shown(blocked) as port:
        # Then
        assert port.place is not None
        assert httpx.get(port.place).content == PAGE


@pytest.mark.parametrize("words", [b"", b"GET /met"])
def test_any_number_of_silent_connections_costs_few_descriptors_and_keeps_no_scraper_out(
    tmp_path: Path, words: bytes
) -> None:
    # Given a process, and dozens who connect and say nothing, or half a word
    with shown(tmp_path) as port:
        lines = []
        for _ in range(60):
            line = socket.create_connection(address(port), timeout=15)
            lines.append(line)
            line.sendall(words)

        # When Prometheus comes
        answer = httpx.get(str(port.place), timeout=15)
        mine = len(os.listdir("/proc/self/fd")) - len(lines)

        # Then it is answered, and what the process holds is bounded (ours are in the same one)
        assert answer.content == PAGE
        for line in lines:
            line.close()
        assert mine < 100 + MOST_CONNECTIONS


@pytest.mark.parametrize(
    "raw",
    [b"POST /metrics HTTP/1.1\r\n\r\n", b"GET /other HTTP/1.1\r\n\r\n", b"\x00\x01\r\n\r\n", b"\r\n\r\n",
     b"GET /metrics " + b"a" * 100_000],
)  # fmt: skip
def test_what_is_no_scrape_gets_no_page(tmp_path: Path, raw: bytes) -> None:
    with shown(tmp_path) as port:
        # When
        with closing(socket.create_connection(address(port), timeout=15)) as line:
            said = b""
            try:
                line.sendall(raw)
                while more := line.recv(4096):
                    said += more
            except ConnectionError:
                pass

        # Then
        assert PAGE not in said
        assert httpx.get(str(port.place)).content == PAGE


def test_a_page_that_cannot_be_made_ends_nothing(tmp_path: Path) -> None:
    # Given a ledger that fails once
    pages = iter([lambda: 1 / 0, lambda: PAGE])
    port = metrics_port.start("127.0.0.1", free_port(), lambda: next(pages)(), "web", tmp_path)  # type: ignore[return-value]

    # When it is scraped twice
    try:
        with pytest.raises(httpx.TransportError):
            httpx.get(str(port.place))

        # Then the second is answered
        assert httpx.get(str(port.place)).content == PAGE
    finally:
        port.stop()
