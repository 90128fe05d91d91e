"""What has begun, by claims: `<state dir>/claims.log`, beside the database, so that an older copy of it is noticed.

A line per claim, on disk before anything of it is built: `CLAIM ISSUE N-N`, or `CLAIM ISSUE N,N,...` for single rows.
A restored database lets an issue go on only for numbers that no line names.
"""

import fcntl
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.durable import append, sync
from worker.errors import UnreachableError

FILE_NAME = "claims.log"

COMPACT_OCTETS = 4 * 1024 * 1024
"""A process that begins melts a longer file down to one line an issue: a hundred thousand claims."""

_PART = "[0-9]{1,10}(?:-[0-9]{1,10})?"
_LINE = re.compile(rf"([0-9]{{1,18}}) ([0-9]{{1,9}}) ({_PART}(?:,{_PART})*)")

Range = tuple[int, int]
"""First and last number, both included."""


@dataclass(frozen=True)
class Marks:
    """All that this state directory knows to have begun."""

    highest_claim: int = 0
    claims: Mapping[int, int] = field(default_factory=dict)
    """Claim → issue, as far as lines still name each; issue 0 of one that stands for several."""
    begun: Mapping[int, tuple[Range, ...]] = field(default_factory=dict)
    """Issue → numbers, merged and in order."""


class ClaimLog:
    """The file, open for appending. Safe to share between threads and processes: a line is one write."""

    def __init__(self, state_dir: Path) -> None:
        """Raises UnreachableError when the disk refuses."""
        self._path = state_dir / FILE_NAME
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._compact()
            self._file = self._open()
            sync(state_dir)
        except OSError as error:
            raise UnreachableError("journal.cannot_be_kept", place=str(state_dir), why=error.strerror) from error

    def _open(self) -> int:
        """The file under its name, held: nobody melts it down while somebody writes to it."""
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(file, fcntl.LOCK_SH)
            if os.fstat(file).st_nlink:
                return file
            os.close(file)  # it was replaced between the two

    def note(self, claim_id: int, issue_id: int, numbers: Range | list[int]) -> str:
        """Put a claim on disk. Why it is not there, "" when it is: nothing of it may be built before."""
        said = f"{numbers[0]}-{numbers[1]}" if isinstance(numbers, tuple) else ",".join(map(str, numbers))
        line = f"{claim_id} {issue_id} {said}\n".encode()
        try:
            if not self._is_in_place():
                os.close(self._file)
                self._file = self._open()
            append(self._file, line)
            os.fdatasync(self._file)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def close(self) -> None:
        os.close(self._file)

    def _is_in_place(self) -> bool:
        """Whether the file still has its name: nobody would ever read what is written to one that was taken away."""
        try:
            here, there = os.fstat(self._file), os.stat(self._path)
        except FileNotFoundError:
            return False
        return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)

    def _compact(self) -> None:
        """Only by the first process to begin, while no other holds the file it writes to."""
        if not self._path.exists() or self._path.stat().st_size < COMPACT_OCTETS:
            return
        with self._path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            marks = read_marks(self._path.parent)
            lines = [
                f"{marks.highest_claim} {issue} {first}-{last}\n"
                for issue, ranges in sorted(marks.begun.items())
                for first, last in ranges
            ]
            made = self._path.with_name(f"{FILE_NAME}.new")
            made.touch(0o600)
            made.write_text("".join(lines))
            sync(made)
            made.replace(self._path)


def read_marks(state_dir: Path) -> Marks:
    """What the file says. A line that cannot be read, such as a torn last one, is left out: nothing was built of it.

    Raises UnreachableError for a file that is there and cannot be read.
    """
    path = state_dir / FILE_NAME
    try:
        text = path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return Marks()
    except OSError as error:
        raise UnreachableError("journal.cannot_be_read", place=str(path), why=error.strerror) from error
    highest = 0
    issue_of: dict[int, int] = {}
    begun: dict[int, list[Range]] = defaultdict(list)
    for line in text.split("\n")[:-1]:  # what stands behind the last line end is torn
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        claim_id, issue_id = int(found[1]), int(found[2])
        highest = max(highest, claim_id)
        issue_of[claim_id] = issue_id if issue_of.get(claim_id, issue_id) == issue_id else 0
        for part in found[3].split(","):
            first, _, last = part.partition("-")
            begun[issue_id].append((int(first), int(last or first)))
    return Marks(highest, issue_of, {issue: _merged(ranges) for issue, ranges in begun.items()})


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return tuple(merged)
