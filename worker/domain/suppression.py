"""Addresses that get no mail from any publication. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SuppressionReason(StrEnum):
    """Why nothing may be sent to an address; each names its cause, and a session-level reply is never one."""

    BOUNCED = "bounced"
    COMPLAINED = "complained"
    ERASED = "erased"
    MANUAL = "manual"


@dataclass(frozen=True)
class Suppression:
    """One suppressed mailbox. The address itself is kept only until erasure; the keyed hash stays."""

    id: int
    address: str | None
    reason: SuppressionReason
    evidence: str
    created_at: datetime
