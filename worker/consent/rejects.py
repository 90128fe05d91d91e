"""Rows that did not come in, as a file that can be mended and imported again.

Before the file's own columns stand line, value and reason, which an import leaves out. The file holds addresses, so
only its owner may read it, also when it was there before.
"""

import csv
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from worker.consent.cells import neutral_cell
from worker.consent.headings import REJECTS
from worker.errors import Trouble, UsageError

Words = Callable[[Trouble], str]
"""How the caller's face says what is wrong with a row."""


@dataclass(frozen=True)
class Reject:
    """A row that was not imported: where it begins, its address as typed, why, and all its cells."""

    line: int
    value: str
    reason: Trouble
    cells: Sequence[str] = ()


def open_private(path: Path, flags: int) -> IO[str]:
    """A text file to write that only its owner can read, whoever could before. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="")


@contextmanager
def writing(
    path: Path | None, source: Path, words: Words, header: Sequence[str]
) -> Iterator[Callable[[Reject], object]]:
    """Takes rejected rows into a CSV file at `path`, if any. `header` is the source's first line."""
    if path is None:
        yield lambda row: None
        return
    try:
        if path.exists() and path.samefile(source):
            raise UsageError("rejects.is_source", file=path.name)
        file = open_private(path, 0)
    except OSError as error:
        raise UsageError("rejects.unwritable", path=str(path), why=error.strerror) from error
    again = tuple(text.strip().lower() for text in header[: len(REJECTS)]) == REJECTS
    skip = len(REJECTS) if again else 0
    with file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow([*REJECTS, *header[skip:]])

        def write(row: Reject) -> None:
            first = (str(row.line), neutral_cell(row.value), neutral_cell(words(row.reason)))
            writer.writerow([*first, *row.cells[skip:]])

        yield write
