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
    """Started by a file of readers."""
    ADDED = "added"
    """Started by hand."""
    ENDED = "ended"
    """The reader's no."""
    UNDONE = "undone"
    """The reader took the no back."""
    IMPORT_UNDONE = "import_undone"
    """An editor took an import back: nobody's no."""
    ERASED = "erased"
    """Ended for good, with the address."""


class Scope(StrEnum):
    """How far a wish to leave goes."""

    ONE = "one"
    ALL = "all"
    """Every subscription of the reader."""


class Channel(StrEnum):
    """The way a wish reached us."""

    ONE_CLICK = "one_click"
    """The mail program's own button (RFC 8058)."""
    PAGE = "page"
    """A button of the reader's own page."""
    CLI = "cli"
    """An operator, for a reader who asked by another way."""
    IMPORT = "import"
    """A file of readers, or taking one back."""
    COMPLAINT = "complaint"
    """An abuse report (RFC 5965): no link undoes it."""
    MAILTO = "mailto"
    """A mail to the unsubscribe address (RFC 2369 3.2)."""

    @property
    def is_a_link(self) -> bool:
        """Whether the wish was made with a link of a mail: only such an end may the very same link take back."""
        return self in (Channel.ONE_CLICK, Channel.PAGE)


@dataclass(frozen=True)
class Subscription:
    """Subscriber × publication as its reader's page needs it, with what the publication is called.

    Imports and `subscriber add` begin one; `consent.optout`, erasure or an import taken back end it. Ids never change.
    """

    id: int
    subscriber_id: int
    publication_id: int
    generation: int
    """Grows by one each time it starts again after an end; links carry it."""
    state: SubscriptionState
    ended_at: datetime | None
    """Aware UTC; set exactly while `state` is ended."""
    ended_by: str | None
    """The channel of the end."""
    ended_issue_id: int | None
    """The issue whose link was used for it, if any."""
    title: str
    language: str
    contact: str
    promise: str
    """These four are the publication's."""
    address: str | None
    """The reader's; None after erasure."""
    undoable: bool
    """Whether the link that ended it may take that back: lately, not too often, and the address not suppressed."""

    @property
    def is_active(self) -> bool:
        return self.state is not SubscriptionState.ENDED

    def is_undoable_by(self, issue_id: int | None) -> bool:
        """Whether the link of this issue may take the end back: it was this link's own press."""
        return self.undoable and self.ended_issue_id == issue_id

    @property
    def is_a_no(self) -> bool:
        """Whether the reader ended it. Undoing an import ends subscriptions too, but is nobody's wish."""
        return self.state is SubscriptionState.ENDED and self.ended_by != Channel.IMPORT
