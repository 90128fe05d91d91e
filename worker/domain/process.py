"""A worker process as the ledger knows it: its states, and how long one may be silent. Pure."""

from enum import StrEnum

SILENT_AFTER_S = 10.0
"""A process beats every second: one not heard for this long is hung, cut off or dead, and counts as not working."""


class WorkerState(StrEnum):
    """Where a worker process stands."""

    READY = "ready"
    """Takes nudges. It moves itself on when told to stop."""
    DRAINING = "draining"
    """Told to stop: claims nothing new, settles and releases. Its row is removed at the end."""
    LOST = "lost"
    """Taken for dead by another process; its claims were dealt with. Removed after a day."""


def is_alive(state: str, silent_s: float) -> bool:
    """Whether a process in that state, last heard so many seconds ago, can be counted on."""
    return state != WorkerState.LOST and silent_s <= SILENT_AFTER_S
