"""Wishes to leave that came while the database was away: on disk before they are answered, fulfilled when it is back.

A line per wish in `<state dir>/optouts.noted`: `TIME SUBSCRIPTION CHANNEL SCOPE ISSUE`, ids only. Every process of the
host fulfils them before it asks the ledger what may leave, so nothing leaves to whoever was answered. A crash in the
middle leaves lines that are fulfilled already: a wish can be fulfilled twice.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worker import durable
from worker.clock import utcnow
from worker.consent import optout
from worker.consent.optout import Wish
from worker.consent.preferences import may_stop_all
from worker.domain.subscription import Channel, Scope
from worker.log import logger
from worker.storage.engine import Database

FILE_NAME = "optouts.noted"

ACTOR = "reader"  # only who holds a signed link can have one noted

MOST_OCTETS = 64 * 1024 * 1024
"""A million wishes: beyond that somebody plays, and the disk belongs to the database too."""

_LINE = re.compile(r"\S+ ([0-9]{1,18}) (\S+) (\S+) ([0-9]{1,9})")

_log = logger("consent.noted")


def note(state_dir: Path, wish: Wish, *, sync: Callable[[int], None] = os.fsync) -> bool:
    """Write a wish down. True when it is on disk, so that it may be answered; False when the disk refuses it."""
    line = f"{utcnow().isoformat()} {wish.subscription_id} {wish.channel} {wish.scope} {wish.issue_id or 0}\n".encode()
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(state_dir / FILE_NAME) as file:
            if os.fstat(file).st_size + len(line) > MOST_OCTETS:
                return False
            os.lseek(file, 0, os.SEEK_END)
            durable.append(file, line)
            sync(file)
        folder = os.open(state_dir, os.O_RDONLY)
        try:
            sync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        _log.error("a wish to leave could not be noted", why=error.strerror, subscription=wish.subscription_id)
        return False
    return True


def has_any(state_dir: Path) -> bool:
    """Whether wishes wait; costs one look at a file's size."""
    try:
        return os.stat(state_dir / FILE_NAME).st_size > 0
    except OSError:
        return False


def fulfil(database: Database, state_dir: Path) -> int:
    """End what was noted. Returns how many wishes. Raises UnreachableError while the database is away: they stay.

    Who only has to know that nothing waits pays a look at the file's size.
    """
    if not has_any(state_dir):
        return 0
    with _locked(state_dir / FILE_NAME) as file:
        taken = _whole_lines(os.pread(file, MOST_OCTETS, 0))
    count = 0
    for wish in _read(taken):
        if wish.scope is Scope.ALL and not may_stop_all(database, wish.subscription_id, wish.issue_id):
            wish = Wish(wish.subscription_id, wish.channel, wish.actor, wish.issue_id)  # never refused, but no more
        optout.opt_out(database, wish, state_dir, wait_s=0.0)
        count += 1
    with _locked(state_dir / FILE_NAME) as file:
        now = os.pread(file, MOST_OCTETS, 0)
        # What came meanwhile stays; when another process was faster, its own wishes went with it.
        if now.startswith(taken):
            rest = now[len(taken) :]
            os.pwrite(file, rest, 0)
            os.ftruncate(file, len(rest))
            os.fsync(file)
    if count:
        _log.info("wishes to leave were fulfilled that came while the database was away", count=count)
    return count


def _whole_lines(octets: bytes) -> bytes:
    return octets[: octets.rfind(b"\n") + 1]


def _read(lines: bytes) -> Iterator[Wish]:
    """A line that cannot be read is said and left out: it must not hold up the others for ever."""
    for line in lines.decode("utf-8", "replace").splitlines():
        try:
            if (found := _LINE.fullmatch(line)) is None:
                raise ValueError
            yield Wish(int(found[1]), Channel(found[2]), ACTOR, int(found[4]) or None, Scope(found[3]))
        except ValueError:
            _log.error("a noted wish cannot be read", line=line[:200])


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)
