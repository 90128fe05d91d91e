"""What a report on one issue is made of: refusals, doubts, spans of time. Pure."""

from dataclasses import dataclass
from datetime import datetime

from worker.domain.delivery import DeliveryState

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
    """Rows of one state whose last reply had one code. `example` is the relay's words about one of them."""

    state: DeliveryState
    code: int | None
    enhanced: str | None
    rows: int
    example: str


@dataclass(frozen=True)
class Doubt:
    """One copy whose final reply was cut off. `address` is None after erasure."""

    n: int
    address: str | None
    reason: str
    since: datetime


@dataclass(frozen=True)
class Span:
    """When the first and the last copy of a state became known; None without any."""

    first: datetime | None
    last: datetime | None
