"""When what the relay does to an issue pauses it: a broken relay must not condemn a list. Pure."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from worker.transport.replies import Outcome, Permanence, Phase, Scope

OURS_IN_A_ROW = 10
"""Refusals that name us, one after the other with nothing accepted between, before the issue is paused."""

ANY_IN_A_ROW = 50
"""Refusals for good of any kind in a row: a relay that refuses everybody must not condemn a list. Both count over all
workers: each stops at its share."""

SMALLEST_SHARE = 5
"""A few dead addresses one after the other are no sign of anything, however many workers there are."""

DOUBTS_IN_A_ROW = 3
"""Times that a body found no answer. Bodies that were on the wire together count once: a relay that restarts cuts
all its lines, and takes the next mail."""

_SHOWN = 200


@dataclass
class Breaker:
    """Counts what went wrong in a row, per issue and process; says when to pause and why."""

    fixed_return_path: bool = False
    fellows: int = 1
    """Worker processes that send, this one among them."""
    ours: int = 0
    total: int = 0
    doubts: int = 0
    last: Outcome | None = None
    _began: dict[Hashable, int] = field(default_factory=dict)
    """Bodies on the wire, and how many rounds of doubt there had been when they left."""
    _round: int = 0

    def begin(self, key: Hashable) -> None:
        """A body leaves."""
        self._began[key] = self._round

    def forget(self, key: Hashable) -> None:
        """It did not leave after all."""
        self._began.pop(key, None)

    def feed(self, outcome: Outcome, key: Hashable = None) -> str | None:
        """The sentence that pauses the issue, or None."""
        began = self._began.pop(key, self._round)
        if outcome.permanence is Permanence.ACCEPTED:
            self.ours = self.total = self.doubts = 0
        elif outcome.permanence is Permanence.DOUBT:
            return self._feed_doubt(outcome, began)
        elif outcome.permanence is Permanence.PERMANENT and outcome.phase is not Phase.LOCAL:
            return self._feed_refusal(outcome)
        return None

    def _feed_doubt(self, outcome: Outcome, began: int) -> str | None:
        if began < self._round:
            return None
        self._round += 1
        self.doubts += 1
        if self.doubts < DOUBTS_IN_A_ROW:
            return None
        self.doubts = 0
        return (
            f"safety stop: {DOUBTS_IN_A_ROW} times in a row the relay took a mail's text and did not answer for it"
            f" ({outcome.text[:_SHOWN]}); the copies in doubt may have arrived or not"
        )

    def _feed_refusal(self, outcome: Outcome) -> str | None:
        self.total += 1
        self.ours += outcome.scope is Scope.SENDER
        self.last = outcome
        if self.ours < self._share(OURS_IN_A_ROW) and self.total < self._share(ANY_IN_A_ROW):
            return None
        count = self.total
        self.ours = self.total = 0
        said = f"safety stop: the relay refused {count} mails in a row, last with: {outcome.text[:_SHOWN]}"
        return f"{said}. {self._about_return_path()}" if outcome.names_return_path else said

    def _share(self, limit: int) -> int:
        return max(limit // max(self.fellows, 1), min(limit, SMALLEST_SHARE))

    def _about_return_path(self) -> str:
        if self.fixed_return_path:
            return (
                "It does not let this login send from the publication's bounce address: "
                "give the publication one that belongs to the login"
            )
        return (
            "It refuses the return path of Corranto, which differs for each reader: such a relay takes only addresses"
            ' of its login. Set return_path = "fixed" (CORRANTO_RETURN_PATH=fixed) for every worker, start them again,'
            " then retry the failed copies and resume"
        )
