"""One edition of a publication: its states and the text an editor wrote. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from worker.domain.delivery import DoubtPolicy
from worker.errors import Trouble


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
"""From each state, where an issue may go. Nothing else is legal; a test keeps the picture in ARCHITECTURE.md equal."""


class IssueKind(StrEnum):
    """Which layout carries the text."""

    NEWSLETTER = "newsletter"  # an intro, a lead story and cards around the body
    STATEMENT = "statement"  # one text with place and date, signed, with enclosures behind the signature


class AudienceKind(StrEnum):
    """Whom an issue is for."""

    ALL = "all"  # everyone whose subscription to the publication is confirmed
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
    """A picture beside text. `src` is relative to the issue file; `width`/`height` in CSS pixels, None = natural.

    `alt` is what it says to who does not see it; a `decorative` one says nothing and is sent with an empty one.
    Like every value of an issue's text: read once from the file by `compose.source`, and never changed.
    """

    src: str
    alt: str
    width: int | None = None
    height: int | None = None
    decorative: bool = False


@dataclass(frozen=True)
class Card:
    """A teaser. Without `link`, its `text` opens on the issue's web page.

    `title` and `tag` (a word or two above it) are single lines, `blurb` and `text` Markdown; `picture` stands beside.
    """

    title: str
    blurb: str
    link: str | None = None
    text: str | None = None
    tag: str | None = None
    picture: Picture | None = None
    line: int = 0


@dataclass(frozen=True)
class Figure:
    """A picture with caption that opens larger at /figure/{id}. `large` is the file behind it, default `src`.

    Both are relative to the issue file; `alt` describes it, `credit` names who made it, "" = not named.
    """

    src: str
    alt: str
    caption: str
    credit: str = ""
    large: str | None = None
    line: int = 0


@dataclass(frozen=True)
class Signatory:
    """Who signs a statement, as printed; `signature` and `portrait` are pictures relative to the issue file."""

    name: str
    role: str
    organisation: str = ""
    signature: str | None = None
    portrait: str | None = None


@dataclass(frozen=True)
class Enclosure:
    """What comes after the signature: a card (link) or a hosted file (`file`, relative path); never attached.

    The other fields are those of Card.
    """

    title: str
    blurb: str = ""
    link: str | None = None
    file: str | None = None
    tag: str | None = None
    picture: Picture | None = None
    line: int = 0


@dataclass(frozen=True)
class IssueText:
    """An issue file as read: front matter and Markdown body. `line` fields are 1-based lines of the file, 0 = none."""

    path: str
    """The file as the author named it; pictures are looked for beside it."""
    slug: str  # as the author wrote it, else made of the file's name
    kind: IssueKind
    publication: str
    """The slug of one."""
    subject: str  # one line, with recipient expressions
    preheader: str
    """What an inbox shows after the subject."""
    body: str
    """Markdown, with recipient expressions."""
    body_line: int  # where the body begins
    intro: str = ""
    """Markdown above the cards (newsletter)."""
    lead: Card | None = None
    cards: tuple[Card, ...] = ()
    place: str = ""
    """Where a statement was made."""
    date: str = ""
    """As it is to be read, in the author's words."""
    standfirst: str = ""
    """The paragraph that sums a statement up."""
    figures: tuple[Figure, ...] = ()
    signatory: Signatory | None = None
    enclosures: tuple[Enclosure, ...] = ()
    waived: tuple[str, ...] = ()
    """Codes of lint rules whose findings do not block this issue."""
    waived_why: str = ""  # the author's reason for them
    language: str | None = None
    """BCP 47; None = the publication's."""
    raw: str = ""
    """The file's whole text, stored with the queued issue."""
    lines: dict[str, int] = field(default_factory=dict)
    """Front-matter key → line, for findings."""
    faults: tuple[tuple[int, Trouble], ...] = ()
    """Line, and what is wrong there: lint shows all of them; nothing is compiled of a file that has one."""


@dataclass(frozen=True)
class Issue:
    """An issue as stored. Times are aware UTC. What has no other name beside it is set by `queue` and never changes."""

    id: int
    """Never used again; part of Message-IDs and links."""
    publication_id: int
    slug: str
    """Its name in commands and web addresses; an undone draft gives it to the file queued next."""
    kind: IssueKind
    subject: str
    """As written, before a reader's values are filled in."""
    state: IssueState
    """Moved by orders, by the tick (hold, time, finish) and by safety stops."""
    doubt: DoubtPolicy
    fingerprint: str
    """64 hex digits over the compiled issue: the same fingerprint, the same mails."""
    queued_at: datetime
    """Who left after it still gets a row, skipped."""
    hold_s: int
    """Seconds in which undo loses nothing."""
    hold_until: datetime | None
    """When sending begins: set by queue, or by the tick when due_at comes. None while scheduled or undone."""
    due_at: datetime | None
    """The wished time; None unless scheduled. Changed by queueing the draft again."""
    zone: str
    """IANA name of the time zone in which due_at was wished, and is shown."""
    started_at: datetime | None
    """When the tick moved it to sending."""
    finished_at: datetime | None
    """When the tick found nothing open any more; None again after a retry that reopened rows."""
    stopped_reason: str
    """Why it is paused, held late or cancelled, or "": set by whoever stopped it, cleared by resume."""
    plan_cursor: int | None
    """Highest subscription id planned so far, moved by `plan`; None when the audience is complete or not begun."""
    audience: int
    """Ledger rows written so far; `plan` adds each page."""
    nudge_no: int
    """Grows with each nudge: who gets an older one drops it."""
    nudge_at: datetime | None
    """Nothing may be sent before; set by a worker that has to wait, cleared by the next nudge or claim."""
    wait_reason: WaitReason
    """Why nudge_at lies ahead; written and cleared with it."""
    wait_detail: str
    """What the reason names: the rate windows, the relay's cause. Written and cleared with it."""
    last_progress_at: datetime | None
    """When rows were planned or settled last, to the second: written by workers."""
