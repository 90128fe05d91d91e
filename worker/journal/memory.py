"""Which database this state directory belongs to, and how far that was: `<state dir>/instance.json`.

Written anew as a whole and renamed, so that it is one state or the next, never half of one.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from worker.durable import TORN, sync
from worker.errors import UnreachableError

FILE_NAME = "instance.json"
_LOCK_NAME = "instance.lock"


@dataclass(frozen=True)
class Memory:
    """What was true when a process last looked."""

    instance: str
    """The installation's uuid."""
    epoch: int
    """Starts of workers, of all machines; grows only."""
    highest_claim: int = 0
    """Of all machines."""


def recall(state_dir: Path) -> Memory | None:
    """None when there is none, or it cannot be read: then nothing is known here."""
    try:
        found = json.loads((state_dir / FILE_NAME).read_text())
        return Memory(str(found["instance"]), int(found["epoch"]), int(found["highest_claim"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(state_dir: Path, memory: Memory) -> None:
    """On disk when this returns. Raises UnreachableError."""
    made = state_dir / f"{FILE_NAME}.{uuid4()}"  # containers that share the folder have the same process ids
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, json.dumps(asdict(memory)).encode())
            os.fsync(file)
        finally:
            os.close(file)
        made.replace(state_dir / FILE_NAME)
        sync(state_dir)
    except OSError as error:
        raise UnreachableError("journal.cannot_be_kept", place=str(state_dir), why=error.strerror) from error


def change_hands(state_dir: Path, names: Iterable[str], before: str, after: str) -> None:
    """Files that speak of instance `before` are kept under its name; those kept of `after` are in force again.

    Their numbers mean other people and other issues in another database. Safe to run twice. Raises UnreachableError.
    """
    try:
        for name in names:
            here, kept, ours = state_dir / name, state_dir / f"{name}.{before}", state_dir / f"{name}.{after}"
            if here.exists() and kept.exists():
                with kept.open("ab") as file, here.open("rb") as more:
                    file.write(TORN)
                    shutil.copyfileobj(more, file)
                here.unlink()
            elif here.exists():
                here.rename(kept)
            if ours.exists():
                ours.rename(here)
        sync(state_dir)
    except OSError as error:
        raise UnreachableError("journal.cannot_be_kept", place=str(state_dir), why=error.strerror) from error


@contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Of several processes that would change what this folder knows, the others wait. Raises UnreachableError."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(state_dir / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnreachableError("journal.cannot_be_kept", place=str(state_dir), why=error.strerror) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
