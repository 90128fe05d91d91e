"""What a report on one issue is made of: refusals, doubts, spans of time. Pure."""

from dataclasses import dataclass
from datetime import datetime

from worker.domain.delivery import DeliveryState, DoubtReason

TRIED = (
    DeliveryState.ACCEPTED,
    DeliveryState.BOUNCED,
    DeliveryState.DEFERRED,
    DeliveryState.IN_DOUBT,
    DeliveryState.FAILED,
    DeliveryState.EXPIRED,
)
"""States that came of meeting the relay; the others say nothing about a provider."""


@dataclass(frozen=True)
class Refusal:
    """Rows of one state whose last reply had one code. Counted when asked for, never kept."""

    state: DeliveryState
    code: int | None
    """The reply's three digits (RFC 5321 4.2); None when no reply came."""
    enhanced: str | None
    """The status code after it, such as `5.1.1` (RFC 3463)."""
    rows: int  # copies of the issue
    example: str
    """The relay's words about one of them, cut and escaped."""


@dataclass(frozen=True)
class Doubt:
    """One copy of which nobody knows whether it arrived."""

    n: int
    """Its number in the issue."""
    address: str | None
    """None after erasure."""
    reason: DoubtReason
    since: datetime
    """When the doubt arose: its claim's loss or the broken line, aware UTC."""
    words: str = ""
    """What is known of its hand-over: relay, our port and the time, for whoever searches the relay's log; or ""."""
    message_id: str = ""
    """In its brackets (RFC 5322 3.6.4), one for all its tries."""


@dataclass(frozen=True)
class Leavers:
    """Who left through one issue."""

    people: int
    """Each counted once."""
    subscriptions: int
    """What they ended: "Stop all" ends several at a press."""
    by_channel: dict[str, int]
    """People by the way they took; who took two ways is in both."""
    came_back: int
    """People who took at least one back."""


@dataclass(frozen=True)
class Silence:
    """What became of the copies for readers who left while the issue was being sent."""

    withheld: int
    """Copies that did not leave any more."""
    late: int
    """Copies that the relay had or took after their reader's press: they were on their way."""
    longest_s: float
    """The longest time from a press to the reply for such a copy; 0 without one."""


@dataclass(frozen=True)
class Span:
    """When the first and the last copy of a state became known; None without any."""

    first: datetime | None
    last: datetime | None
