"""One edition of a publication: its states and the text an editor wrote. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from worker.domain.delivery import DoubtPolicy


class IssueState(StrEnum):
    """Where an issue stands; the sentences shown for each live with the screens."""

    DRAFT = "draft"
    """Undone or unscheduled: nothing will leave. Queueing the file again starts it anew."""
    HOLDING = "holding"
    """Queued; undo loses nothing until hold_until. The tick moves it to sending."""
    SCHEDULED = "scheduled"
    """Waits for due_at. The tick moves it to holding."""
    HELD_LATE = "held_late"
    """Missed due_at by more than the grace time; an editor decides."""
    SENDING = "sending"
    """Being planned and sent."""
    PAUSED = "paused"
    """Stopped by an editor or a safety stop; nothing new is claimed. Resume goes on where it was."""
    FINISHED = "finished"
    """Planned completely and no copy is open any more."""
    CANCELLED = "cancelled"
    """Stopped for good; what had not left never will."""


ISSUE_TRANSITIONS: dict[IssueState, frozenset[IssueState]] = {
    IssueState.DRAFT: frozenset({IssueState.HOLDING, IssueState.SCHEDULED}),
    IssueState.HOLDING: frozenset({IssueState.DRAFT, IssueState.SENDING, IssueState.CANCELLED}),
    IssueState.SCHEDULED: frozenset({IssueState.DRAFT, IssueState.HOLDING, IssueState.HELD_LATE, IssueState.CANCELLED}),
    IssueState.HELD_LATE: frozenset({IssueState.DRAFT, IssueState.HOLDING, IssueState.SCHEDULED, IssueState.CANCELLED}),
    IssueState.SENDING: frozenset({IssueState.PAUSED, IssueState.FINISHED, IssueState.CANCELLED}),
    IssueState.PAUSED: frozenset({IssueState.SENDING, IssueState.CANCELLED, IssueState.FINISHED}),
    IssueState.FINISHED: frozenset({IssueState.SENDING}),
    IssueState.CANCELLED: frozenset(),
}


class IssueKind(StrEnum):
    """Which layout carries the text."""

    NEWSLETTER = "newsletter"
    STATEMENT = "statement"


class AudienceKind(StrEnum):
    """Whom an issue is for."""

    ALL = "all"
    REST_OF = "rest_of"
    """Recipients of another issue whose copy was cancelled, failed or expired before it left."""
    ACCEPTED_OF = "accepted_of"
    """Recipients of another issue whose copy was accepted (corrections)."""


class WaitReason(StrEnum):
    """Why nothing of a sending issue may leave before its nudge_at; stored as such, worded by each face."""

    NONE = ""
    """Nothing keeps it: nudge_at is not set, or set to now."""
    LATER_TRIES = "later_tries"
    """Only deferred copies are left, and their time has not come."""
    RATE_LIMIT = "rate_limit"
    """The relay's rate windows are used up; the detail names them (`20/s`)."""
    RELAY = "relay"
    """The relay cannot be used; the detail is the cause in one sentence."""
    OWN_FAULT = "own_fault"
    """A slice ended in an error of ours; the worker's log has it."""


@dataclass(frozen=True)
class Picture:
    """A picture beside text. `src` is relative to the issue file; `width`/`height` in CSS pixels, None = natural."""

    src: str
    alt: str
    width: int | None = None
    height: int | None = None
    decorative: bool = False


@dataclass(frozen=True)
class Card:
    """A teaser. Without `link`, its `text` opens on the issue's web page."""

    title: str
    blurb: str
    link: str | None = None
    text: str | None = None
    tag: str | None = None
    picture: Picture | None = None
    line: int = 0


@dataclass(frozen=True)
class Figure:
    """A picture with caption that opens larger at /figure/{id}. `large` is the file behind it, default `src`."""

    src: str
    alt: str
    caption: str
    credit: str = ""
    large: str | None = None
    line: int = 0


@dataclass(frozen=True)
class Signatory:
    """Who signs a statement."""

    name: str
    role: str
    organisation: str = ""
    signature: str | None = None
    portrait: str | None = None


@dataclass(frozen=True)
class Enclosure:
    """What comes after the signature: a card (link) or a hosted file (`file`, relative path); never attached."""

    title: str
    blurb: str = ""
    link: str | None = None
    file: str | None = None
    tag: str | None = None
    picture: Picture | None = None
    line: int = 0


@dataclass(frozen=True)
class IssueText:
    """An issue file as read: front matter and Markdown body. `line` fields are 1-based lines of the file."""

    path: str
    slug: str
    kind: IssueKind
    publication: str
    subject: str
    preheader: str
    body: str
    body_line: int
    intro: str = ""
    lead: Card | None = None
    cards: tuple[Card, ...] = ()
    place: str = ""
    date: str = ""
    standfirst: str = ""
    figures: tuple[Figure, ...] = ()
    signatory: Signatory | None = None
    enclosures: tuple[Enclosure, ...] = ()
    waived: tuple[str, ...] = ()
    waived_why: str = ""
    language: str | None = None
    raw: str = ""
    lines: dict[str, int] = field(default_factory=dict)
    """Front-matter key → line, for findings."""


@dataclass(frozen=True)
class Issue:
    """An issue as stored. Times are aware UTC; `due_at` is None unless scheduled."""

    id: int
    publication_id: int
    slug: str
    kind: IssueKind
    subject: str
    state: IssueState
    doubt: DoubtPolicy
    fingerprint: str
    queued_at: datetime
    hold_s: int
    hold_until: datetime | None
    due_at: datetime | None
    zone: str
    started_at: datetime | None
    finished_at: datetime | None
    stopped_reason: str
    plan_cursor: int | None
    audience: int
    nudge_no: int
    nudge_at: datetime | None
    wait_reason: WaitReason
    wait_detail: str
    last_progress_at: datetime | None
