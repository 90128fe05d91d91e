"""The journal's file: made, locked, and a dead owner known by its lock alone."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.sink import ROOT
from tests.support.words import refuses
from worker import journal
from worker.errors import UnreachableError
from worker.journal import SIZE_OCTETS, Journal, dead_workers, host_id

_OWNER = """
import sys
from pathlib import Path
from worker.journal import Journal
kept = Journal(Path(sys.argv[1]), sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(folder: Path, worker_id: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a journal."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(folder), worker_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_host_is_its_boot_and_its_state_directory(tmp_path: Path) -> None:
    one, other = host_id(tmp_path / "one"), host_id(tmp_path / "other")
    assert one == host_id(tmp_path / "one")
    assert one != other
    assert one.split(".")[0] == other.split(".")[0]
    assert len(one) <= 80


def test_the_file_is_allocated_and_private(tmp_path: Path) -> None:
    kept = Journal(tmp_path, "w1")
    facts = kept.path.stat()
    assert facts.st_size == SIZE_OCTETS
    assert facts.st_blocks * 512 >= SIZE_OCTETS
    assert facts.st_mode & 0o077 == 0
    assert b"w1" in kept.path.read_bytes()
    kept.close()
    assert not kept.path.exists()


def test_a_living_owner_is_not_dead_even_to_itself(tmp_path: Path) -> None:
    mine = Journal(tmp_path, "mine")
    with owner(tmp_path, "theirs"):
        assert dead_workers(tmp_path, mine.host_id, {"mine", "theirs"}) == set()
    mine.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_owner_is_dead_at_once(tmp_path: Path, number: int) -> None:
    with owner(tmp_path, "theirs") as process:
        os.kill(process.pid, number)
        process.wait(20)
        assert dead_workers(tmp_path, host_id(tmp_path), {"theirs"}) == {"theirs"}


def test_a_stopped_owner_is_not_dead(tmp_path: Path) -> None:
    with owner(tmp_path, "theirs") as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert dead_workers(tmp_path, host_id(tmp_path), {"theirs"}) == set()
        os.kill(process.pid, signal.SIGCONT)


def test_a_missing_file_means_dead_and_asking_changes_nothing(tmp_path: Path) -> None:
    with owner(tmp_path, "theirs"):
        for _ in range(3):
            assert dead_workers(tmp_path, host_id(tmp_path), {"theirs", "gone"}) == {"gone"}


def test_only_known_workers_are_asked_about(tmp_path: Path) -> None:
    with owner(tmp_path, "theirs") as process:
        process.kill()
        process.wait(20)
        assert dead_workers(tmp_path, host_id(tmp_path), set()) == set()
        journal.remove(tmp_path, host_id(tmp_path), "theirs")
        journal.remove(tmp_path, host_id(tmp_path), "theirs")
        assert list((tmp_path / host_id(tmp_path)).iterdir()) == []


def test_a_removed_or_replaced_file_is_no_longer_ours(tmp_path: Path) -> None:
    kept = Journal(tmp_path, "w1")
    assert kept.still_ours()
    kept.path.unlink()
    assert not kept.still_ours()
    kept.path.write_bytes(b"another file")
    assert not kept.still_ours()
    kept.close()
    assert kept.path.read_bytes() == b"another file"


def test_no_second_journal_is_made_for_the_same_worker(tmp_path: Path) -> None:
    kept = Journal(tmp_path, "w1")
    with refuses(UnreachableError, match="the journal cannot be kept in"):
        Journal(tmp_path, "w1")
    kept.close()


def test_a_place_that_cannot_hold_it_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refuses(UnreachableError, match=r"file/state: Not a directory.*CORRANTO_STATE_DIR"):
        Journal(tmp_path / "file" / "state", "w1")


def test_a_full_disk_is_known_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with refuses(UnreachableError, match="No space left on device; nothing is sent without it"):
        Journal(tmp_path, "w1")


def test_processes_that_begin_at_once_agree_on_the_host(tmp_path: Path) -> None:
    names = [str(uuid.uuid4()) for _ in range(4)]
    code = "import sys; from pathlib import Path; from worker.journal import host_id; print(host_id(Path(sys.argv[1])))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in names
    ]
    assert {process.communicate()[0] for process in processes} == {f"{host_id(tmp_path)}\n"}
    assert [path.name for path in tmp_path.iterdir()] == ["host-uuid"]
