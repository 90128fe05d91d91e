"""What an outcome means for a ledger row. Pure: outcome, row, time and randomness in, the row's next state out.

Permanence says how final, scope says whom it blames. Only a refusal that speaks of the recipient makes a bounce; one
that speaks of us makes the copy `failed (our side)`; trouble of the session costs time and blames nobody.
"""

import random
from datetime import datetime, timedelta
from typing import Any

from worker.domain.address import domain_of
from worker.domain.delivery import BounceKind, DeliveryState, DoubtReason, FailureReason, SkipReason
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
        return Result(**common, state=DeliveryState.FAILED, reason=_failure(outcome))
    first = due.first_try or now
    again = next_try(due.tries + 1, first, now, rng, life)
    if again is None:
        return Result(**common, state=DeliveryState.EXPIRED)
    return Result(**{**common, "first_try": first}, state=DeliveryState.DEFERRED, next_try=again)


def skipped(due: Due, reason: SkipReason) -> Result:
    """A row that must not be sent after all; it was not tried."""
    return Result(due.recipient.n, due.state, DeliveryState.SKIPPED, reason, tried=0, first_try=due.first_try)


def unbuildable(due: Due, why: str) -> Result:
    """A row whose mail could not be built: our own fault."""
    n = due.recipient.n
    return Result(n, due.state, DeliveryState.FAILED, FailureReason.UNBUILDABLE, phase=str(Phase.LOCAL), text=why)


def not_the_same(due: Due) -> Result:
    """A repeat that would differ from the copy in doubt: it stays in doubt, with its first fingerprint."""
    return Result(
        due.recipient.n,
        due.state,
        DeliveryState.IN_DOUBT,
        DoubtReason.NOT_THE_SAME,
        fingerprint=due.fingerprint,
        tried=0,
        first_try=due.first_try,
    )


def undecided(n: int, old: DeliveryState) -> Result:
    """A row whose outcome we could not judge: its body may have left, so nobody may send it again unasked."""
    return Result(n, old, DeliveryState.IN_DOUBT, DoubtReason.REPLY_UNCLEAR)


def _failure(outcome: Outcome) -> FailureReason:
    detail = (outcome.enhanced or "").partition(".")[2]
    if detail in ("2.3", "3.4"):
        return FailureReason.TOO_BIG
    if outcome.phase is Phase.LOCAL:
        return FailureReason.NO_SMTPUTF8 if detail == "6.7" else FailureReason.UNBUILDABLE
    return FailureReason.SENDER_REFUSED if outcome.scope is Scope.SENDER else FailureReason.MESSAGE_REFUSED
