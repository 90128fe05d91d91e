"""Addresses that get no mail from any publication. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class SuppressionReason(StrEnum):
    """Why nothing may be sent to an address; each names its cause, and a session-level reply is never one."""

    BOUNCED = "bounced"
    """The mailbox does not exist (RFC 3463 x.1.x)."""
    COMPLAINED = "complained"
    """The reader reported our mail as abuse."""
    ERASED = "erased"
    """The reader's data was erased; the hash remembers the no."""
    MANUAL = "manual"
    """Put there by hand or by a file."""


@dataclass(frozen=True)
class Suppression:
    """One suppressed mailbox. The address itself is kept only until erasure; the keyed hash stays.

    Of several causes the first stays, with `evidence` (a line of words) and `created_at` (aware UTC); erasure alone
    puts its own reason and evidence in their place.
    """

    id: int
    address: str | None
    reason: SuppressionReason
    evidence: str
    created_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        return {"address": self.address, "reason": self.reason, "since": self.created_at, "evidence": self.evidence}
