"""When refusals pause an issue: a broken relay must not condemn a list. Pure."""

from dataclasses import dataclass

from worker.transport.replies import Outcome, Permanence, Phase, Scope

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
