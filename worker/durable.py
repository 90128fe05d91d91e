"""Files whose words must outlive a crash: a line is there whole or not at all, and on disk when it is said to be."""

import errno
import os
from pathlib import Path

TORN = b" torn\n"
"""Ends a line that has no end, so that it neither swallows the next one nor reads as a whole one."""


def append(file: int, lines: bytes) -> None:
    """Write whole lines behind what an open descriptor holds, which stands at its end, in one write; not synced.

    What a full disk tore off before is marked first. Raises OSError, also when only a part fitted.
    """
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        lines = TORN + lines
    if os.write(file, lines) != len(lines):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder. Raises OSError."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
