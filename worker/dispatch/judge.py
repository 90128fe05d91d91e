"""What an outcome means for a ledger row. Pure: outcome, row, time and randomness in, the row's next state out.

Permanence says how final, scope says whom it blames. Only a refusal that speaks of the recipient makes a bounce; one
that speaks of us makes the copy `failed (our side)`; trouble of the session costs time and blames nobody.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worker.domain.address import domain_of
from worker.domain.delivery import BounceKind, DeliveryState, DoubtReason, FailureReason
from worker.storage.ledger.deliveries import Due
from worker.storage.ledger.settlements import Result
from worker.transport.replies import Outcome, Permanence, Phase, Scope
from worker.transport.retry import next_try
from worker.transport.shaping import provider_of


def judge(
    due: Due, outcome: Outcome, *, now: datetime, rng: random.Random, life: timedelta, fingerprint: bytes | None
) -> Result | None:
    """The row's result, or None when nothing of the mail left and the row is given back as it was."""
    if outcome.permanence is Permanence.UNSENT:
        return None
    common: dict[str, Any] = {
        "n": due.recipient.n,
        "old": due.state,
        "code": outcome.code,
        "enhanced": outcome.enhanced,
        "provider": provider_of(domain_of(due.recipient.address)),
        "first_try": due.first_try,
        "phase": str(outcome.phase),
        "text": outcome.text,
    }
    if outcome.permanence is Permanence.ACCEPTED:
        return Result(**{**common, "text": ""}, state=DeliveryState.ACCEPTED)
    if outcome.permanence is Permanence.DOUBT:
        reason = DoubtReason.LINE_BROKE if outcome.code is None else DoubtReason.REPLY_UNCLEAR
        return Result(**common, state=DeliveryState.IN_DOUBT, reason=reason, fingerprint=fingerprint)
    if outcome.permanence is Permanence.PERMANENT and outcome.scope is not Scope.SESSION:
        if outcome.scope is Scope.RECIPIENT and outcome.phase is not Phase.LOCAL:
            return Result(**common, state=DeliveryState.BOUNCED, reason=BounceKind.AT_HANDOVER)
        return Result(**common, state=DeliveryState.FAILED, reason=_fault(outcome))
    first = due.first_try or now
    again = next_try(due.tries + 1, first, now, rng, life)
    if again is None:
        return Result(**common, state=DeliveryState.EXPIRED)
    return Result(**{**common, "first_try": first}, state=DeliveryState.DEFERRED, next_try=again)


def _fault(outcome: Outcome) -> FailureReason:
    detail = (outcome.enhanced or "").partition(".")[2]
    if detail in ("2.3", "3.4"):
        return FailureReason.TOO_BIG
    if outcome.phase is Phase.LOCAL:
        return FailureReason.NO_SMTPUTF8 if detail == "6.7" else FailureReason.UNBUILDABLE
    return FailureReason.SENDER_REFUSED if outcome.scope is Scope.SENDER else FailureReason.MESSAGE_REFUSED


OURS_IN_A_ROW = 10
"""Refusals that name us, one after the other with nothing accepted between, before the issue is paused."""

ANY_IN_A_ROW = 50
"""Refusals for good of any kind in a row: a relay that refuses everybody must not condemn a list."""


@dataclass
class Breaker:
    """Counts refusals for good in a row, per issue and process; says when to pause and why."""

    ours: int = 0
    total: int = 0
    last: str = ""

    def feed(self, outcome: Outcome) -> str | None:
        """The sentence that pauses the issue, or None."""
        if outcome.permanence is Permanence.ACCEPTED:
            self.ours = self.total = 0
        elif outcome.permanence is Permanence.PERMANENT and outcome.phase is not Phase.LOCAL:
            self.total += 1
            self.ours += outcome.scope is Scope.SENDER
            self.last = outcome.text
        if self.ours >= OURS_IN_A_ROW or self.total >= ANY_IN_A_ROW:
            count = self.total
            self.ours = self.total = 0
            return f"safety stop: the relay refused {count} mails in a row, last with: {self.last[:200]}"
        return None
