"""The opt-out log: one line for each wish to leave, beside the database, so that no restore brings a reader back.

`TIME out|undo ID:GENERATION ...`; ids only, no address. A line is on disk when `append` returns: the file, and the
folder that names it, are synced.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from worker.clock import utcnow
from worker.log import logger

LOG_NAME = "optouts.log"

_log = logger("consent.optout_log")


class Moved(Protocol):
    """A subscription that ends or goes on."""

    @property
    def id(self) -> int: ...

    @property
    def generation(self) -> int: ...


def append(
    state_dir: Path,
    word: Literal["out", "undo"],
    moved: Sequence[Moved],
    *,
    sync: Callable[[int], None] = os.fsync,
) -> None:
    """Write one line and wait until the disk has it; nothing for nobody.

    A disk that refuses the line must not keep a reader on the list: the database still takes the wish, and somebody
    is told to look. `sync` puts what an open descriptor holds on disk.
    """
    if not moved:
        return
    ids = " ".join(f"{one.id}:{one.generation}" for one in moved)
    line = f"{utcnow().isoformat()} {word} {ids}\n".encode()
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        # One write to an append-only descriptor: lines of several web processes never mix.
        descriptor = os.open(state_dir / LOG_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            sync(descriptor)
        finally:
            os.close(descriptor)
        _sync_folder(state_dir, sync)
    except OSError as error:
        _log.error("optout_log_unwritable", file=LOG_NAME, why=error.strerror, ids=ids)


def _sync_folder(folder: Path, sync: Callable[[int], None]) -> None:
    """Make the file's name itself survive a power cut: a new file is lost with its folder's unsynced entry."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
