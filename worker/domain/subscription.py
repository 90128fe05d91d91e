"""A subscriber's standing with one publication: consent, its evidence, its end. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SubscriptionState(StrEnum):
    """Where a subscription stands."""

    PENDING = "pending"
    """Asked for, not confirmed: gets nothing."""
    CONFIRMED = "confirmed"
    """Gets every issue planned from now on."""
    ENDED = "ended"
    """Left. Only the reader (or an undo by the reader) moves it back; no import ever does."""


class ConsentEvent(StrEnum):
    """One line of the append-only consent log."""

    IMPORTED = "imported"
    ADDED = "added"
    ENDED = "ended"
    UNDONE = "undone"
    IMPORT_UNDONE = "import_undone"
    ERASED = "erased"


class Channel(StrEnum):
    """The way a wish reached us."""

    ONE_CLICK = "one_click"
    PAGE = "page"
    CLI = "cli"
    IMPORT = "import"
    COMPLAINT = "complaint"
    MAILTO = "mailto"


@dataclass(frozen=True)
class Subscription:
    """Subscriber × publication. `generation` grows by one each time it starts again after an end."""

    id: int
    subscriber_id: int
    publication_id: int
    generation: int
    state: SubscriptionState
    confirmed_at: datetime | None
    ended_at: datetime | None
    consent_at: datetime | None
    consent_source: str
