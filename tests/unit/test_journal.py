"""The journal: made, locked, its slots written and read, a dead owner known by its lock alone."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sink import ROOT
from tests.support.words import refuses
from worker.errors import UnreachableError
from worker.journal import others
from worker.journal.host import host_id
from worker.journal.marks import ClaimLog, read_marks
from worker.journal.memory import Memory, recall, remember
from worker.journal.others import is_dead
from worker.journal.own import HEADER_OCTETS, Journal
from worker.journal.slot import OCTETS, Mark, Slot, pack, seed_of, unpack, whereabouts

_OWNER = """
import sys
from pathlib import Path
from worker.journal.own import Journal
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
    kept = Journal(tmp_path, "w1", slots=100)
    facts = kept.path.stat()
    assert facts.st_size == HEADER_OCTETS + 100 * OCTETS
    assert facts.st_blocks * 512 >= facts.st_size
    assert facts.st_mode & 0o077 == 0
    assert b"w1" in kept.path.read_bytes()
    kept.close()
    assert not kept.path.exists()


def test_a_living_owner_is_not_dead_even_to_itself(tmp_path: Path) -> None:
    mine = Journal(tmp_path, "mine")
    with owner(tmp_path, "theirs"):
        assert not is_dead(tmp_path, mine.host_id, "mine")
        assert not is_dead(tmp_path, mine.host_id, "theirs")
    mine.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_owner_is_dead_at_once(tmp_path: Path, number: int) -> None:
    with owner(tmp_path, "theirs") as process:
        os.kill(process.pid, number)
        process.wait(20)
        assert is_dead(tmp_path, host_id(tmp_path), "theirs")


def test_a_stopped_owner_is_not_dead(tmp_path: Path) -> None:
    with owner(tmp_path, "theirs") as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert not is_dead(tmp_path, host_id(tmp_path), "theirs")
        os.kill(process.pid, signal.SIGCONT)


def test_a_missing_file_means_dead_and_proves_nothing(tmp_path: Path) -> None:
    with others.dead(tmp_path, host_id(tmp_path), "gone") as left:
        assert left is not None
        assert not left.is_whole
        assert not left.copies


def test_two_processes_never_deal_with_the_same_file(tmp_path: Path) -> None:
    dying(tmp_path)
    host = host_id(tmp_path)
    with others.dead(tmp_path, host, "w1") as mine, others.dead(tmp_path, host, "w1") as second:
        assert mine is not None
        assert second is None


def test_files_are_found_and_removed(tmp_path: Path) -> None:
    host = host_id(tmp_path)
    assert others.workers_with_a_file(tmp_path, host) == set()
    dying(tmp_path)
    assert others.workers_with_a_file(tmp_path, host) == {"w1"}
    others.remove(tmp_path, host, "w1")
    others.remove(tmp_path, host, "w1")
    assert others.workers_with_a_file(tmp_path, host) == set()


def dying(folder: Path, act: Callable[[Journal], object] = lambda kept: None, slots: int = 8) -> Path:
    """A journal whose owner did something and died."""
    kept = Journal(folder, "w1", slots)
    act(kept)
    kept.let_go()
    return kept.path


def left_by(folder: Path) -> others.Left:
    with others.dead(folder, host_id(folder), "w1") as left:
        assert left is not None
        return left


def test_a_dead_ones_slots_tell_what_was_under_way(tmp_path: Path) -> None:
    # Given
    def act(kept: Journal) -> None:
        assert kept.claim(7, 3, 1, 400)
        for n in (1, 2, 3, 4):
            assert kept.arm((7, n), 2525, 1_800_000_000.0, b"12345678")
        kept.answer((7, 2), "alb", 250, "2.0.0")
        kept.disarm((7, 3))
        kept.answer((7, 4), "alb", 250, None)
        kept.free([(7, 4)])

    # When
    dying(tmp_path, act)
    left = left_by(tmp_path)

    # Then
    assert left.is_whole
    assert {n: slot.mark for (_, n), slot in left.copies.items()} == {
        1: Mark.ARMED,
        2: Mark.ANSWERED,
        3: Mark.FREED,
        4: Mark.ANSWERED,
    }
    assert left.copies[7, 2] == Slot(
        Mark.ANSWERED, 7, 2, 2525, 1_800_000_000.0, b"12345678", verdict="alb", code=250, enhanced="2.0.0"
    )
    assert (left.claims[7].issue, left.claims[7].n, left.claims[7].to_n) == (3, 1, 400)
    assert whereabouts(2525, 1_800_000_000.0) == "it left from our port 2525 at 08:00:00 UTC"


def test_a_copy_armed_again_after_it_came_back_is_under_way(tmp_path: Path) -> None:
    def act(kept: Journal) -> None:
        kept.arm((7, 1), 1, 0.0, None)
        kept.disarm((7, 1))
        kept.arm((7, 2), 1, 0.0, None)
        kept.arm((7, 1), 2, 0.0, None)

    dying(tmp_path, act)
    assert left_by(tmp_path).copies[7, 1].mark is Mark.ARMED


def test_without_a_free_slot_nothing_leaves_and_freed_ones_are_used_again(tmp_path: Path) -> None:
    kept = Journal(tmp_path, "w1", slots=2)
    assert kept.arm((1, 1), 0, 0.0, None)
    assert kept.arm((1, 2), 0, 0.0, None)
    assert not kept.arm((1, 3), 0, 0.0, None)
    kept.answer((1, 1), "alb", 250, None)
    kept.free([(1, 1), (1, 9)])
    assert kept.arm((1, 3), 0, 0.0, None)
    kept.close()


def test_a_disk_that_refuses_a_slot_stops_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Journal(tmp_path, "w1")
    assert kept.arm((1, 1), 0, 0.0, None)

    def refuse(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", refuse)
    assert not kept.arm((1, 2), 0, 0.0, None)
    monkeypatch.undo()
    assert kept.broken is not None
    assert not kept.arm((1, 3), 0, 0.0, None)
    kept.close()


@pytest.mark.parametrize(
    ("harm", "known"),
    [
        (lambda whole: whole[:HEADER_OCTETS] + bytes(OCTETS) + whole[HEADER_OCTETS + OCTETS :], {2}),
        (lambda whole: whole[: HEADER_OCTETS + OCTETS] + whole[HEADER_OCTETS:-OCTETS], {1}),
        (lambda whole: whole[: HEADER_OCTETS + OCTETS], {1}),
        (lambda whole: whole[: HEADER_OCTETS + OCTETS + 30], {1}),
        (lambda whole: b"corranto journal 3\n" + whole[19:], set()),
        (lambda whole: b"", set()),
        (lambda whole: whole + b"more", {1, 2}),
    ],
    ids=["zeroed slot", "moved slots", "cut", "torn", "another version", "empty", "longer"],
)
def test_a_damaged_file_proves_nothing_about_the_rest(
    tmp_path: Path, harm: Callable[[bytes], bytes], known: set[int]
) -> None:
    # Given
    def act(kept: Journal) -> None:
        kept.arm((7, 1), 0, 0.0, None)
        kept.arm((7, 2), 0, 0.0, None)

    path = dying(tmp_path, act)

    # When
    path.write_bytes(harm(path.read_bytes()))
    left = left_by(tmp_path)

    # Then
    assert not left.is_whole
    assert {n for _, n in left.copies} == known


def test_a_file_of_another_worker_is_not_believed(tmp_path: Path) -> None:
    path = dying(tmp_path, lambda kept: kept.arm((7, 1), 0, 0.0, None))
    path.rename(path.with_name("w2.journal"))
    with others.dead(tmp_path, host_id(tmp_path), "w2") as left:
        assert left is not None
        assert not left.is_whole
        assert not left.copies


slots = st.builds(
    Slot,
    st.sampled_from(Mark),
    claim=st.integers(0, 2**63 - 1),
    n=st.integers(0, 2**32 - 1),
    port=st.integers(0, 65_535),
    at=st.floats(allow_nan=False),
    fingerprint=st.none() | st.binary(min_size=8, max_size=8).filter(lambda octets: octets.strip(b"\0")),
    verdict=st.sampled_from(["", "alb", "prr"]),
    code=st.none() | st.integers(200, 599),
    enhanced=st.none() | st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True),
    issue=st.integers(0, 2**32 - 1),
    to_n=st.integers(0, 2**32 - 1),
)


@given(slots, st.integers(0, 1000))
def test_what_is_written_is_read(slot: Slot, place: int) -> None:
    octets = pack(slot, seed_of("w", place))
    assert len(octets) == OCTETS
    assert unpack(octets, seed_of("w", place)) == slot
    assert unpack(octets, seed_of("w", place + 1)) is None
    assert unpack(octets, seed_of("v", place)) is None


@given(slots, st.integers(0, OCTETS * 8 - 1))
def test_no_single_bit_changes_unnoticed(slot: Slot, bit: int) -> None:
    octets = bytearray(pack(slot, 1))
    octets[bit // 8] ^= 1 << (bit % 8)
    assert unpack(bytes(octets), 1) is None


def test_a_removed_or_replaced_file_is_no_longer_ours(tmp_path: Path) -> None:
    kept = Journal(tmp_path, "w1")
    assert kept.still_ours()
    kept.path.unlink()
    assert not kept.still_ours()
    kept.path.write_bytes(b"another file")
    assert not kept.still_ours()
    kept.close()
    assert kept.path.read_bytes() == b"another file"


def test_no_journal_is_seen_without_its_lock(tmp_path: Path) -> None:
    # Given: somebody who looks for dead owners all the time, and clears up what they left
    host, over, seen = host_id(tmp_path), threading.Event(), set[str]()

    def look() -> None:
        while not over.is_set():
            others.clear_up(tmp_path, host)
            seen.update(each for each in others.workers_with_a_file(tmp_path, host) if is_dead(tmp_path, host, each))

    looks = threading.Thread(target=look)
    looks.start()
    try:
        # When
        journals = [Journal(tmp_path, str(uuid.uuid4()), 4) for _ in range(300)]
    finally:
        over.set()
        looks.join()

    # Then
    assert all(journal.still_ours() for journal in journals)
    assert not seen
    for journal in journals:
        journal.close()
    assert not any((tmp_path / host).iterdir())


def test_a_file_whose_maker_died_is_cleared_up(tmp_path: Path) -> None:
    journal = Journal(tmp_path, str(uuid.uuid4()), 4)
    journal.path.with_name(f"{uuid.uuid4()}.unnamed").write_bytes(b"half")
    others.clear_up(tmp_path, journal.host_id)
    assert list(journal.path.parent.iterdir()) == [journal.path]
    assert journal.still_ours()
    journal.close()


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
    code = (
        "import sys; from pathlib import Path; from worker.journal.host import host_id\n"
        "print(host_id(Path(sys.argv[1])))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in names
    ]
    assert {process.communicate()[0] for process in processes} == {f"{host_id(tmp_path)}\n"}
    assert {path.name for path in tmp_path.iterdir()} == {"host-uuid", "instance.lock"}


def test_a_line_that_a_full_disk_tore_off_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / "claims.log").write_text("1 1 1-200\n2 1 201-4")
    log = ClaimLog(tmp_path)
    assert log.note(3, 1, (401, 600)) == ""
    log.close()
    assert read_marks(tmp_path).begun == {1: ((1, 200), (401, 600))}
    assert read_marks(tmp_path).highest_claim == 3


def test_a_long_claim_log_is_melted_down_to_what_had_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr("worker.journal.marks.COMPACT_OCTETS", 60)
    (tmp_path / "claims.log").write_text(
        "1 1 1-200\n2 1 201-400\n3 2 1-50\n4 1 402-402\n7 2 60,61,70\nnonsense\n8 1 403-"
    )
    before = read_marks(tmp_path)

    # When
    log = ClaimLog(tmp_path)

    # Then
    after = read_marks(tmp_path)
    assert after.begun == before.begun == {1: ((1, 400), (402, 402)), 2: ((1, 50), (60, 61), (70, 70))}
    assert after.highest_claim == before.highest_claim == 7
    assert len((tmp_path / "claims.log").read_text().splitlines()) == 5
    assert log.note(9, 3, [5, 6, 8]) == ""
    assert read_marks(tmp_path).begun[3] == ((5, 6), (8, 8))
    assert (tmp_path / "claims.log").stat().st_mode & 0o077 == 0
    log.close()


def test_a_claim_log_that_somebody_writes_to_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ClaimLog(tmp_path)
    assert first.note(1, 1, (1, 200)) == ""
    monkeypatch.setattr("worker.journal.marks.COMPACT_OCTETS", 1)
    second = ClaimLog(tmp_path)
    assert first.note(2, 1, (201, 400)) == ""
    assert second.note(3, 1, (401, 600)) == ""
    assert read_marks(tmp_path).begun == {1: ((1, 600),)}
    assert set(read_marks(tmp_path).claims) == {1, 2, 3}
    first.close()
    second.close()
    third = ClaimLog(tmp_path)
    assert read_marks(tmp_path).begun == {1: ((1, 600),)}
    assert (tmp_path / "claims.log").read_text() == "3 1 1-600\n"
    third.close()


@pytest.mark.parametrize("make", [ClaimLog, host_id, lambda place: remember(place, Memory("i", 1, 2))])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, make: Callable[[Path], object]) -> None:
    (tmp_path / "file").write_text("")
    with refuses(UnreachableError, str(tmp_path / "file" / "state")):
        make(tmp_path / "file" / "state")
    made = tmp_path / "one" / "two"
    make(made)
    assert made.stat().st_mode & 0o077 == 0
    assert [path for path in made.iterdir() if path.stat().st_mode & 0o077 and path.name != "host-uuid"] == []


def test_what_is_remembered_comes_back_whole(tmp_path: Path) -> None:
    remember(tmp_path, Memory("an instance", 7, 4711))
    assert recall(tmp_path) == Memory("an instance", 7, 4711)
    (tmp_path / "instance.json").write_text('{"instance": "x", "epoch": "no"}')
    assert recall(tmp_path) is None


def test_a_host_is_this_machine_since_its_boot_with_this_folder(tmp_path: Path) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert host_id(tmp_path).startswith(f"{boot}.")
    assert len(host_id(tmp_path)) <= 80
    assert host_id(tmp_path) == host_id(tmp_path)
    assert host_id(tmp_path / "other") != host_id(tmp_path)


def test_a_copied_folder_is_another_host(tmp_path: Path) -> None:
    here = host_id(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "copy")
    assert host_id(tmp_path / "copy") != here
    (tmp_path / "here").rename(tmp_path / "moved")
    assert host_id(tmp_path / "moved") == here
    (tmp_path / "moved" / "host-uuid").write_text("")
    assert host_id(tmp_path / "moved") == host_id(tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved")
    shutil.copytree(tmp_path / "copy", tmp_path / "here")
    assert host_id(tmp_path / "here") != here
