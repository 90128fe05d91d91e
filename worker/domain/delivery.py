"""One recipient's copy of an issue: its states, its reasons, and who may move it. Pure.

The database holds the same table as CHECKs (`storage.schema`) and each UPDATE names its expected old state; a test
keeps table, CHECKs and the picture in ARCHITECTURE.md equal.
"""

from dataclasses import dataclass
from enum import StrEnum


class DeliveryState(StrEnum):
    """The stored states. `sending` is not among them: it is derived from an owned claim."""

    WAITING = "waiting"
    """Not tried yet, or given back. A claim moves it on."""
    ACCEPTED = "accepted"
    """The relay answered 2xx to end-of-data (RFC 5321 4.2.5). Says nothing about the inbox."""
    BOUNCED = "bounced"
    """Refused for good, `at_handover` by the relay or `returned` later by a report. An editor's retry reopens it."""
    DEFERRED = "deferred"
    """Refused for now (4yz); claimable again at next_try."""
    IN_DOUBT = "in_doubt"
    """The line broke after end-of-data: it may have arrived. Evidence, a late journal or an editor moves it on."""
    FAILED = "failed"
    """Our own fault: the mail could not be built or handed over as it is. An editor's retry reopens it."""
    SKIPPED = "skipped"
    """Left out on purpose, for one of SkipReason."""
    CANCELLED = "cancelled"
    """The issue was stopped before this copy's turn."""
    EXPIRED = "expired"
    """Still deferred when the issue's time to try was over."""


class SkipReason(StrEnum):
    """Why a recipient was left out; the list is closed, and no order moves a row out of it."""

    OPTED_OUT = "opted_out"  # the subscription was not confirmed, or not any more, when it was looked at last
    SUPPRESSED = "suppressed"  # the address gets no mail from any publication
    PAUSED = "paused"  # the subscription rests until a date that lies ahead
    ERASED = "erased"  # the reader's data is gone, the address with it


class BounceKind(StrEnum):
    """When the refusal was learnt."""

    AT_HANDOVER = "at_handover"  # by the relay's reply, while we were handing over
    RETURNED = "returned"  # by a report to the return path (RFC 3464), after the relay had accepted it


class FailureReason(StrEnum):
    """Our own faults: why a copy is `failed (our side)`."""

    UNBUILDABLE = "unbuildable"
    """The mail could not be built."""
    MESSAGE_REFUSED = "message_refused"
    """Refused for its content."""
    SENDER_REFUSED = "sender_refused"
    """Refused for who we are: authentication, reputation, policy."""
    NO_SMTPUTF8 = "no_smtputf8"
    """The address needs SMTPUTF8 (RFC 6531), which the relay lacks."""
    TOO_BIG = "too_big"
    """Larger than the relay takes (RFC 1870)."""


class DoubtReason(StrEnum):
    """Why nobody knows whether a copy arrived."""

    LINE_BROKE = "line_broke"
    """The line broke after end-of-data, before the final reply."""
    REPLY_UNCLEAR = "reply_unclear"
    """The final reply could not be read, or came out of step."""
    WORKER_LOST = "worker_lost"
    """The worker that held it died."""
    HOST_LOST = "host_lost"
    """No process of the worker's machine was heard for a minute."""
    NOT_THE_SAME = "not_the_same"
    """A repeat would not have been the same message, so it was not sent."""


Reason = SkipReason | BounceKind | FailureReason | DoubtReason
"""What a row's reason may say: of skipped, bounced, failed and in_doubt rows, in this order; no other state has one."""


class ClaimKind(StrEnum):
    """How a claim holds its rows."""

    FIRST = "first"
    """A range of numbers never tried: its waiting rows without next_try. Released as a range."""
    RETRY = "retry"
    """Single rows that carry the claim's id: due again, or reopened. Released row by row."""


class DoubtPolicy(StrEnum):
    """What to do about a copy in doubt; chosen per issue when it is queued."""

    NEVER_TWICE = "never-twice"
    """It stays in doubt until evidence or an editor's order."""
    NEVER_MISS = "never-miss"
    """It is sent once more, as the same message, after the settle time."""


_RESULTS = frozenset(DeliveryState) - {DeliveryState.WAITING}

TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.WAITING: _RESULTS,
    DeliveryState.DEFERRED: _RESULTS,
    DeliveryState.ACCEPTED: frozenset({DeliveryState.BOUNCED}),
    DeliveryState.IN_DOUBT: frozenset({DeliveryState.ACCEPTED, DeliveryState.BOUNCED, DeliveryState.WAITING}),
    DeliveryState.FAILED: frozenset({DeliveryState.WAITING}),
    DeliveryState.BOUNCED: frozenset({DeliveryState.WAITING}),
    DeliveryState.SKIPPED: frozenset(),
    DeliveryState.CANCELLED: frozenset(),
    DeliveryState.EXPIRED: frozenset(),
}
"""From each stored state, where a row may go. Nothing else is legal."""

CLAIMABLE = frozenset({DeliveryState.WAITING, DeliveryState.DEFERRED})
OPEN = CLAIMABLE
"""States in which a copy may still leave by itself; an issue with none of them is finished."""


@dataclass(frozen=True)
class Totals:
    """How an issue's audience divides, by the states of these names. Counts of recipients, read from the ledger.

    `audience` is the number of ledger rows; `sending`, rows of an owned claim, is taken out of waiting and deferred.
    """

    audience: int = 0
    waiting: int = 0
    sending: int = 0
    accepted: int = 0
    bounced: int = 0
    deferred: int = 0
    skipped: int = 0
    in_doubt: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0

    @property
    def parts(self) -> dict[str, int]:
        """Every state with its count, in the order screens show them."""
        return {
            "accepted": self.accepted,
            "bounced": self.bounced,
            "deferred": self.deferred,
            "skipped": self.skipped,
            "in_doubt": self.in_doubt,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "expired": self.expired,
            "waiting": self.waiting,
            "sending": self.sending,
        }

    @property
    def to_check(self) -> int:
        """How many recipients somebody should look at: in doubt, failed on our side, or given up."""
        return self.in_doubt + self.failed + self.expired

    @property
    def adds_up(self) -> bool:
        """Whether the states sum to the audience: the ledger's first promise."""
        return sum(self.parts.values()) == self.audience

    def as_dict(self) -> dict[str, int | bool]:
        """The stable shape of `totals` in `issue show --json` and `issue report --json`."""
        return {"audience": self.audience, **self.parts, "adds_up": self.adds_up}
