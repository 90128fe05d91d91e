"""The demo as one process tree: it adds up, carries on, and leaves nothing behind however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import is_confined
from tests.support.words import refuses
from worker.demo.place import hold
from worker.demo.readers import LANGUAGES, as_csv, count_troubles, invent
from worker.domain.address import parse_address
from worker.errors import RefusedError
from worker.places import HOME

RESERVED = (".example", ".test", "example.org", "example.com", "example.net")
DEMO = [sys.executable, "-P", "-m", "worker.cli", "demo"]
LIMIT_S = 120.0


@pytest.mark.parametrize("number", [1, 7, 200, 5_000])
def test_invented_readers_are_different_and_live_on_reserved_domains(number):
    readers = list(invent(number))

    assert len({parse_address(one.email).key for one in readers}) == number
    assert all(one.email.endswith(RESERVED) for one in readers)
    assert {one.language for one in readers} == set(LANGUAGES[:number])


def test_invented_readers_bring_the_troubles_the_demo_promises():
    troubles = count_troubles(200)
    emails = [one.email for one in invent(200)]

    assert (troubles.bounce, troubles.defer, troubles.drop) == (4, 3, 1)
    assert sum(email.startswith("bounce-550.") for email in emails) == 4
    assert sum(email.startswith("defer-451.") for email in emails) == 3
    assert sum(email.startswith("drop.") for email in emails) == 1
    assert as_csv(200) == as_csv(200)


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("precious", encoding="utf-8")

    with refuses(RefusedError, "not the demo's"), hold(tmp_path, fresh=True, web_port=None):
        pass

    assert mine.read_text(encoding="utf-8") == "precious"


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path):
    folder = tmp_path / "demo"
    first, second = hold(folder, fresh=False, web_port=None), hold(folder, fresh=True, web_port=None)

    with first, refuses(RefusedError, "running"), second:
        pass


def test_a_demo_takes_no_setting_from_another_installation(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRANTO_SMTP_URL", "smtps://user:password@relay.example.net")
    monkeypatch.setenv("CORRANTO_RELAY_RATE", "1/s")

    with hold(tmp_path / "demo", fresh=False, web_port=None) as place:
        assert place.settings["CORRANTO_SMTP_URL"].startswith("smtp://127.0.0.1:")
        assert "CORRANTO_RELAY_RATE" not in place.environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a demo"


@pytest.fixture
def live(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A demo whose processes all answer; its issue is still held."""
    command = [*DEMO, "--folder", str(folder), "--recipients", "30", "--port", str(_free_port())]
    with (folder.parent / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=HOME, start_new_session=True)
    _wait_for((folder / "live.json").exists, process)
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


def test_the_demo_adds_up_and_a_second_run_carries_on(folder):
    first = _run(folder, "--recipients", "50")
    second = _run(folder)

    assert first.returncode == 0, first.stdout
    assert "= 50 ✓ adds up" in first.stdout
    assert "books add up" in first.stdout
    assert second.returncode == 0, second.stdout
    assert "queued earlier" in second.stdout
    assert "= 50 ✓ adds up" in second.stdout
    assert not (folder / "live.json").exists()
    assert _members(folder) == []


def test_a_live_demo_tells_its_settings_and_every_printed_address_answers(live, folder):
    _wait_for(lambda: b"Ctrl-C stops" in (folder.parent / "said").read_bytes(), live)
    told = json.loads((folder / "live.json").read_text(encoding="utf-8"))
    said = (folder.parent / "said").read_text(encoding="utf-8")
    shown = [word for word in said.split() if word.startswith("http://")]

    assert told["pid"] == live.pid
    # Another folder than the one ./run looks in, so the command names it.
    assert (
        f"Next: CORRANTO_CONFIG='{folder}/settings.toml' corranto queue '{folder}/samples/2026-11-statement.md'" in said
    )
    assert "of the web process" in said
    assert told["environment"]["CORRANTO_STATE_DIR"] == str(folder / "state")
    assert len(shown) >= 3
    for url in shown:
        assert _status(url) == 200, url


def test_every_member_keeps_its_files_and_its_memory_to_itself(live, folder):
    members = [live.pid, *_members(folder)]

    assert len(members) == 5
    assert [pid for pid in members if not is_confined(pid)] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_ends_leaves_no_process_and_no_port(live, folder, number):
    ports = [int(told) for told in json.loads((folder / "ports.json").read_text(encoding="utf-8")).values()]
    assert len(_members(folder)) == 4

    live.send_signal(number)
    code = live.wait(LIMIT_S)

    assert code == (-number if number == signal.SIGKILL else 0)
    # The kernel tells the members of a killed parent; only then they end by themselves.
    _wait_for(lambda: _members(folder) == [])
    assert all(_is_free(port) for port in ports)
    assert (folder / "live.json").exists() == (number == signal.SIGKILL)


def test_a_member_that_dies_ends_the_demo_with_its_last_words(live, folder):
    os.kill(_members(folder)[0], signal.SIGKILL)

    code = live.wait(LIMIT_S)

    assert code == 5
    assert "ended by itself" in (folder.parent / "said").read_text(encoding="utf-8")
    assert _members(folder) == []


def _run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [*DEMO, "--exit", "--folder", str(folder), *more]
    return subprocess.run(
        command, cwd=HOME, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False
    )


def _members(folder: Path) -> list[int]:
    """Process ids of this very demo's members: found by the state folder in their environment."""
    mark = f"CORRANTO_STATE_DIR={folder / 'state'}".encode()
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _wait_for(ready, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not ready():
        assert process is None or process.poll() is None, "the demo ended early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _status(url: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", f"import urllib.request as r; print(r.urlopen({url!r}, timeout=5).status)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
