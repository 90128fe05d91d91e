"""The opt-out log: one line for each wish to leave, beside the database, so that no restore brings a reader back.

`TIME out|undo ID:GENERATION ...` of subscriptions, `TIME erased ID` of a reader, `TIME suppressed:REASON HASH ...` and
`TIME lifted HASH` of addresses on the do-not-mail list: ids and keyed hashes, no address. A line is on disk when
`append` returns: the file, and the folder that names it, are synced. `TIME did ...` with the same ids (of hashes the
first) follows once the database has it: a line without it may be of a process that died in between, one with it that
the database does not know proves that the database is an older one. What a full disk tore off is marked by the next
line: a number without its last digits is another reader's.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from worker import durable
from worker.clock import utcnow
from worker.domain.subscription import Subscription
from worker.domain.suppression import SuppressionReason
from worker.log import logger
from worker.storage.people.subscriptions import Changed

LOG_NAME = "optouts.log"

_log = logger("consent.optout_log")


def append(
    state_dir: Path,
    word: Literal["out", "undo"],
    moved: Sequence[Subscription | Changed],
    *,
    sync: Callable[[int], None] = os.fsync,
) -> None:
    """Write one line about what ends or goes on, and wait until the disk has it; nothing for nobody.

    A disk that refuses the line must not keep a reader on the list: the database still takes the wish, and somebody
    is told to look. `sync` puts what an open descriptor holds on disk.
    """
    if moved:
        _append(state_dir, word, " ".join(f"{one.id}:{one.generation}" for one in moved), sync)


def append_erased(state_dir: Path, subscriber_id: int, *, sync: Callable[[int], None] = os.fsync) -> None:
    """Write that a reader is erased, so that a restored copy does not bring the data back."""
    _append(state_dir, "erased", str(subscriber_id), sync)


def append_suppressed(state_dir: Path, reason: SuppressionReason, hashes: Sequence[bytes]) -> None:
    """Write which addresses are to get nothing any more; nothing for nobody."""
    if hashes:
        _append(state_dir, f"suppressed:{reason}", " ".join(hashed.hex() for hashed in hashes), os.fsync)


def append_lifted(state_dir: Path, hashed: bytes) -> None:
    """Write that an address may get mail again; once the database says so, or a restore would lift too much."""
    _append(state_dir, "lifted", hashed.hex(), os.fsync)


def confirm(state_dir: Path, ids: Sequence[str]) -> None:
    """The database has what the line with these ids says. Not synced: without it the line only says less."""
    if ids:
        _append(state_dir, "did", " ".join(ids), lambda _: None)


def _append(state_dir: Path, word: str, ids: str, sync: Callable[[int], None]) -> None:
    line = f"{utcnow().isoformat()} {word} {ids}\n".encode()
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One write to an append-only descriptor: lines of several web processes never mix.
        with _opened(state_dir / LOG_NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
            durable.append(descriptor, line)
            sync(descriptor)
        # The file's name itself must survive a power cut: a new file is lost with its folder's unsynced entry.
        with _opened(state_dir, os.O_RDONLY) as folder:
            sync(folder)
    except OSError as error:
        _log.error("optout_log_unwritable", file=LOG_NAME, why=error.strerror, ids=ids)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
