"""Journals of other processes of this host: whether their owner lives, and what a dead one's file tells.

The lock is kept while a file is read and dealt with, so that two processes never deal with the same one; whoever dies
over it leaves it to the next.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from worker.journal.own import HEADER, HEADER_OCTETS, MOST_SLOTS, UNNAMED, Key, header
from worker.journal.slot import OCTETS, Mark, Slot, seed_of, unpack

_SUFFIX = ".journal"
_STRENGTH = {Mark.FREED: 1, Mark.ARMED: 2, Mark.ANSWERED: 3}


@dataclass(frozen=True)
class Left:
    """What a worker wrote down, mostly a dead one."""

    worker_id: str
    copies: Mapping[Key, Slot] = field(default_factory=dict)
    """Per copy the strongest that is known of it."""
    claims: Mapping[int, Slot] = field(default_factory=dict)
    """Claims by id."""
    is_whole: bool = False
    """False when the file is gone, or anything in it cannot be read: then silence about a copy proves nothing."""


def workers_with_a_file(state_dir: Path, host: str) -> set[str]:
    """Whose journals lie in this host's folder, living or dead."""
    try:
        return {path.stem for path in (state_dir / host).iterdir() if path.suffix == _SUFFIX}
    except OSError:
        return set()


@contextmanager
def dead(state_dir: Path, host: str, worker_id: str) -> Iterator[Left | None]:
    """What this worker left, locked meanwhile; None while its process lives, or while another one deals with it.

    A missing file also means dead: its owner removes it only after it released everything, or somebody else did.
    """
    path = state_dir / host / f"{worker_id}{_SUFFIX}"
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield Left(worker_id)
        return
    except OSError:
        yield None  # unreadable is not proof of death; doctor shows it
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
            return
        yield _read(file, worker_id)
    finally:
        os.close(file)


def look(state_dir: Path, host: str, worker_id: str) -> Left:
    """What a worker's journal says, living or dead; of a living one a slot may just be changing."""
    try:
        file = os.open(state_dir / host / f"{worker_id}{_SUFFIX}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return Left(worker_id)
    try:
        return _read(file, worker_id)
    finally:
        os.close(file)


def is_dead(state_dir: Path, host: str, worker_id: str) -> bool:
    """Whether its lock is free, in this moment."""
    with dead(state_dir, host, worker_id) as left:
        return left is not None


def living(state_dir: Path, host: str) -> int:
    """How many workers hold their journals here, in this moment."""
    return sum(not is_dead(state_dir, host, each) for each in workers_with_a_file(state_dir, host))


def remove(state_dir: Path, host: str, worker_id: str) -> None:
    """Take away a dead worker's file, after its claims were dealt with."""
    (state_dir / host / f"{worker_id}{_SUFFIX}").unlink(missing_ok=True)


def clear_up(state_dir: Path, host: str) -> None:
    """Take away files whose maker died before it named them."""
    for path in (state_dir / host).glob(f"*{UNNAMED}"):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # named meanwhile, or not ours to touch
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except OSError:
            pass  # it is being made
        finally:
            os.close(file)


def _read(file: int, worker_id: str) -> Left:
    try:
        whole = os.pread(file, HEADER_OCTETS + MOST_SLOTS * OCTETS, 0)
    except OSError:
        return Left(worker_id)
    count = HEADER.unpack_from(whole.ljust(HEADER.size, b"\0"))[2]
    if count > MOST_SLOTS or whole[:HEADER_OCTETS] != header(worker_id, count):
        return Left(worker_id)
    copies: dict[Key, Slot] = {}
    claims: dict[int, Slot] = {}
    is_whole = len(whole) == HEADER_OCTETS + count * OCTETS
    for place in range(count):
        start = HEADER_OCTETS + place * OCTETS
        slot = unpack(whole[start : start + OCTETS], seed_of(worker_id, place))
        if slot is None:
            is_whole = False
        elif slot.mark is Mark.CLAIMED:
            claims[slot.claim] = slot
        elif slot.mark is not Mark.EMPTY:
            key = slot.claim, slot.n
            before = copies.get(key)
            if before is None or _STRENGTH[before.mark] < _STRENGTH[slot.mark]:
                copies[key] = slot
    return Left(worker_id, copies, claims, is_whole)
