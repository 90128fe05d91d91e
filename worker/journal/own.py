"""The journal of this process: one preallocated file of slots, held with flock: the kernel says when its owner died.

`<state dir>/<host id>/<worker uuid>.journal`. A slot is armed in the call that writes a copy's body, answered in the
call that judges its reply, and free again once the ledger has the result. While no slot can be written, nothing is
sent. No fsync: what a power cut takes belongs to a host id that is gone, and all its claims are in doubt.
No fork after it is opened: a child would keep the lock alive.
"""

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from worker import log
from worker.errors import UnreachableError
from worker.journal.host import host_id
from worker.journal.slot import OCTETS, Mark, Slot, Where, pack, pack_copy, seed_of, whereabouts

HEADER_OCTETS = 4096  # a page, so that no slot shares one with it
UNNAMED = ".unnamed"
"""Instead of `.journal` while a file is made; what a crash leaves of it is cleared up by whoever looks for the dead."""

MAGIC = b"corranto journal 2\n"
HEADER = struct.Struct("<20s36sII")
"""Magic, owner, number of slots, checksum of these."""

MOST_SLOTS = 1 << 17
"""8 MiB: more than the largest claims of the most threads can hold."""

Key = tuple[int, int]
"""(claim, n); n is 0 for the claim itself, and numbers begin with 1."""

_ARMED, _ANSWERED, _FREED = Mark.ARMED.value, Mark.ANSWERED.value, Mark.FREED.value

_log = log.logger("journal")


class Journal:
    """The file of this process. Keep the object as long as the process sends.

    `arm`, `answer` and `disarm` belong to the loop's thread, the others to that of the claim's slice: a copy's slot is
    freed only after its answer was written, so no two threads ever hold the same one.
    """

    def __init__(self, state_dir: Path, worker_id: str, slots: int = 1024) -> None:
        """Make, allocate and lock the file. `slots` bounds the copies under way and not yet in the ledger.

        Raises UnreachableError when the disk refuses.
        """
        self.host_id = host_id(state_dir)
        self.path = state_dir / self.host_id / f"{worker_id}.journal"
        self.broken: OSError | None = None
        """What the disk answered when it did not take a slot: nothing leaves after that, and the process ends."""
        self._seeds = [seed_of(worker_id, place) for place in range(slots)]
        self._free = list(range(slots - 1, -1, -1))
        self._held: dict[Key, tuple[int, Where]] = {}
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            whole = header(worker_id, slots) + b"".join(pack(Slot(Mark.EMPTY), seed) for seed in self._seeds)
            self._file = _make(self.path, whole)
        except OSError as error:
            raise UnreachableError("journal.cannot_be_kept", place=str(state_dir), why=error.strerror) from error

    def claim(self, claim_id: int, issue_id: int, from_n: int, to_n: int) -> bool:
        """Write down a claim, before anything of it is built; False when nothing of it may leave."""
        slot = Slot(Mark.CLAIMED, claim_id, from_n, issue=issue_id, to_n=to_n)
        return self._take((claim_id, 0), (claim_id, from_n, 0, 0.0, None), lambda seed: pack(slot, seed))

    def arm(self, key: Key, port: int, at: float, fingerprint: bytes | None) -> bool:
        """Write down that this copy's body leaves now; False when it must not, because nobody could know of it."""
        where = key[0], key[1], port, at, fingerprint
        return self._take(key, where, lambda seed: pack_copy(_ARMED, where, seed=seed))

    def answer(self, key: Key, verdict: str, code: int | None, enhanced: str | None) -> None:
        """Write down what became of an armed copy; nothing for one that was not."""
        if held := self._held.get(key):
            place, where = held
            self._write(place, pack_copy(_ANSWERED, where, verdict, code, enhanced, seed=self._seeds[place]))

    def whereabouts(self, key: Key) -> str:
        """Over which connection an armed copy left, and when, in words."""
        if (held := self._held.get(key)) is None:
            return "over an unknown connection"
        _, (_, _, port, at, _) = held
        return whereabouts(port, at)

    def disarm(self, key: Key) -> None:
        """An armed copy was certainly not taken after all, and may be armed again; nothing for one that was not."""
        if held := self._held.pop(key, None):
            place, where = held
            if self._write(place, pack_copy(_FREED, where, seed=self._seeds[place])):
                self._free.append(place)

    def free(self, keys: Iterable[Key]) -> None:
        """The ledger has the results of these. What the slots say stays true, so they are only used again."""
        for key in keys:
            if held := self._held.pop(key, None):
                self._free.append(held[0])

    def forget(self, claim_id: int) -> None:
        """Nothing will ask what the slots of this claim say."""
        self.free([key for key in list(self._held) if key[0] == claim_id])

    def end_claim(self, claim_id: int) -> None:
        """The ledger has ended this claim, or given it back."""
        self.free([(claim_id, 0)])

    def _take(self, key: Key, where: Where, packed: Callable[[int], bytes]) -> bool:
        if self.broken is not None or not self._free:
            return False
        place = self._free.pop()
        if not self._write(place, packed(self._seeds[place])):
            return False
        self._held[key] = place, where
        return True

    def _write(self, place: int, octets: bytes) -> bool:
        try:
            if os.pwrite(self._file, octets, HEADER_OCTETS + place * OCTETS) == OCTETS:
                return True
            raise OSError(0, "written in part")
        except OSError as error:
            if self.broken is None:
                _log.critical("the journal takes no record, nothing is sent", why=error.strerror)
            self.broken = error
            return False

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


def _make(path: Path, whole: bytes) -> int:
    """The descriptor of a locked file of these octets. It gets its name when it is locked: between its making and its
    lock another process would take its owner for dead.
    """
    unnamed = path.with_suffix(UNNAMED)
    while True:
        file = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # who clears up holds it for a moment
            # Allocated, not sparse: a disk that fills up later cannot refuse the second record of a pair.
            os.posix_fallocate(file, 0, len(whole))
            if os.pwrite(file, whole, 0) != len(whole):
                raise OSError(0, "written in part")
            os.fsync(file)
            unnamed.rename(path)
        except FileNotFoundError:
            os.close(file)  # cleared up before it was locked
        except OSError:
            os.close(file)
            unnamed.unlink(missing_ok=True)
            raise
        else:
            return file


def header(worker_id: str, slots: int) -> bytes:
    """The file's first page."""
    facts = HEADER.pack(MAGIC, worker_id.encode(), slots, 0)[:-4]
    return (facts + struct.pack("<I", zlib.crc32(facts))).ljust(HEADER_OCTETS, b"\0")
