"""One preallocated file per worker process, held with flock: the kernel says exactly when its owner died.

`<state dir>/<host id>/<worker uuid>.journal`, where host id = the machine's boot id and the uuid of the state
directory: a rebooted machine or a restored directory is another host. While no file can be written here, nothing is
sent. The file names its owner and holds its lock; it has no slots, so of a dead worker it only says that it is dead,
and all rows it had claimed become in doubt. No fork after `open`: a child would keep the lock alive.
"""

import fcntl
import os
import uuid
from pathlib import Path

from worker.errors import UnreachableError

SIZE_OCTETS = 64 * 1024
_MAGIC = b"corranto journal 1\n"


def host_id(state_dir: Path) -> str:
    """This machine since its boot, with this state directory. Makes the directory's uuid when it is new."""
    boot = _boot_id()
    mark = state_dir / "host-uuid"
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not mark.exists():
            made = state_dir / f"host-uuid.{uuid.uuid4()}"
            made.write_text(str(uuid.uuid4()))
            try:
                os.link(made, mark)  # fails when another process was first; its uuid then counts
            except FileExistsError:
                pass
            made.unlink()
        return f"{boot}.{mark.read_text().strip()}"[:80]
    except OSError as error:
        raise UnreachableError("journal.cannot_be_kept", place=str(state_dir), why=error.strerror) from error


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "no-boot-id"


class Journal:
    """The file of this process. Keep the object as long as the process sends."""

    def __init__(self, state_dir: Path, worker_id: str) -> None:
        """Make, preallocate and lock the file. Raises UnreachableError when the disk refuses."""
        self.host_id = host_id(state_dir)
        self.path = state_dir / self.host_id / f"{worker_id}.journal"
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Allocated, not sparse: a disk that fills up later cannot refuse the second record of a pair.
            os.posix_fallocate(self._file, 0, SIZE_OCTETS)
            os.pwrite(self._file, _MAGIC + worker_id.encode() + b"\n", 0)
            os.fsync(self._file)
        except OSError as error:
            raise UnreachableError("journal.cannot_be_kept", place=str(state_dir), why=error.strerror) from error

    def still_ours(self) -> bool:
        """Whether the file is still the one we locked: a removed or replaced file protects nobody."""
        try:
            here, there = os.fstat(self._file), os.stat(self.path)
        except OSError:
            return False
        return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)

    def close(self) -> None:
        """End in order: every claim was settled or released, so the file has nothing to tell."""
        if self.still_ours():
            self.path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Give up the lock and leave the file, as the end of a process does: others find its owner dead."""
        os.close(self._file)


def dead_workers(state_dir: Path, host: str, known: set[str]) -> set[str]:
    """Which of the `known` workers of this host id hold no lock any more: their process has ended.

    A missing file also means dead: its owner removes it only after it released everything, or somebody else did.
    """
    dead = set()
    for worker_id in known:
        path = state_dir / host / f"{worker_id}.journal"
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            dead.add(worker_id)
            continue
        except OSError:
            continue  # unreadable is not proof of death; doctor shows it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            dead.add(worker_id)
        except OSError:
            pass
        finally:
            os.close(file)
    return dead


def remove(state_dir: Path, host: str, worker_id: str) -> None:
    """Take away a dead worker's file, after its claims were dealt with."""
    (state_dir / host / f"{worker_id}.journal").unlink(missing_ok=True)
