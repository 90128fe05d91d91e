"""Which database this state directory belongs to, and how far that was: `<state dir>/instance.json`.

Written anew as a whole and renamed, so that it is one state or the next, never half of one.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from worker.errors import UnreachableError

FILE_NAME = "instance.json"


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
    made = state_dir / f"{FILE_NAME}.{os.getpid()}"
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, json.dumps(asdict(memory)).encode())
            os.fsync(file)
        finally:
            os.close(file)
        made.replace(state_dir / FILE_NAME)
        folder = os.open(state_dir, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UnreachableError("journal.cannot_be_kept", place=str(state_dir), why=error.strerror) from error
