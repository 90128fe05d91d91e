"""A process as the database knows it: its role, a worker's states, and how long one may be silent. Pure."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

SILENT_AFTER_S = 10.0
"""A process beats every second: one not heard for this long is hung, cut off or dead, and counts as not working."""


class Role(StrEnum):
    """What a process that holds no claims is there for."""

    WEB = "web"
    """Answers readers; while the database is away it notes who wants to leave."""
    SCHEDULER = "scheduler"
    """Notices the time."""


class WorkerState(StrEnum):
    """Where a worker process stands."""

    READY = "ready"
    """Takes nudges. It moves itself on when told to stop."""
    DRAINING = "draining"
    """Told to stop: claims nothing new, settles and releases. Its row is removed at the end."""
    LOST = "lost"
    """Taken for dead by another process; its claims were dealt with. Removed after half a day."""


def is_alive(state: str, silent_s: float) -> bool:
    """Whether a process in that state, last heard so many seconds ago, can be counted on."""
    return state != WorkerState.LOST and silent_s <= SILENT_AFTER_S


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a process works with, in words without secrets."""

    relay: str
    """`host:port`."""
    limits: str
    """Its rate windows towards the relay, "" for none."""
    broker: str
    """Where nudges lie."""
    key: str
    """A mark of the key that signs: equal keys have equal marks."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> "Outfit | None":
        """None for what another version wrote, or nothing."""
        try:
            return cls(**{name: str(value)[:200] for name, value in json.loads(text or "").items()})
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None

    def differs(self, other: "Outfit") -> list[str]:
        """Names of what keeps the two from working on the same issues; limits may differ."""
        return [name for name in ("relay", "broker", "key") if getattr(self, name) != getattr(other, name)]
