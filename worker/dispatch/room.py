"""How much of a process's work may be under way at once. Safe to share between threads. No settings, no IO."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from worker import clock

MOST_SLICES = 2
"""One whose mails are on the wire, and one that reads and builds meanwhile. What a third would claim only lies in
memory, and is given back or looked at again when the process dies."""

LOOK_S = 0.1  # a thread that waits for its turn hears the word to stop this soon


class Stop(Protocol):
    """Says when nobody waits any more: a threading.Event."""

    def is_set(self) -> bool: ...


class Room:
    """Places for slices."""

    def __init__(self, places: int = MOST_SLICES) -> None:
        self._free = places
        self._changed = threading.Condition()

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """A place until the end, and whether there was one."""
        with self._changed:
            inside = self._free > 0
            self._free -= inside
        try:
            yield inside
        finally:
            if inside:
                with self._changed:
                    self._free += 1
                    self._changed.notify()

    def wait(self, seconds: float, stop: Stop) -> None:
        """Until a place is free, so many seconds at most."""
        until = clock.monotonic() + seconds
        with self._changed:
            while not self._free and not stop.is_set() and (left := until - clock.monotonic()) > 0:
                self._changed.wait(min(left, LOOK_S))
