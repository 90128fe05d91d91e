"""When replies about us mean that the relay takes no mail of ours for a while: then the rest of the list waits. Pure.

One refusal may be meant for one reader, whatever its words. Three in a row that name us, with nothing taken between,
or one to MAIL, where no reader was named yet, are about us: going on would put off reader after reader.
"""

from dataclasses import dataclass

from worker.transport.replies import Outcome, Permanence, Phase, Scope
from worker.transport.wordings import Limit, without_addresses

IN_A_ROW = 3
FIRST_S, LONGEST_S = 1.0, 60.0  # a pace is forgiven within seconds
QUOTA_FIRST_S, QUOTA_LONGEST_S = 900.0, 3600.0  # a quota is an hour's or a day's; who asks too often is locked out
_BEFORE_READERS = (Phase.MAIL, Phase.DATA)
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Rest:
    """How long no mail is offered, and why: one sentence without an address."""

    cause: str
    pause_s: float


def is_about_us(outcome: Outcome) -> bool:
    """Whether a reply put a mail off for a reason that the next mail will meet as well."""
    if outcome.code is None or outcome.permanence in (Permanence.ACCEPTED, Permanence.UNSENT, Permanence.DOUBT):
        return False
    if outcome.scope is Scope.SESSION:
        return True
    return outcome.scope is Scope.SENDER and outcome.permanence is Permanence.TRANSIENT


class Refusals:
    """Counts over all connections to one relay."""

    def __init__(self, relay: str) -> None:
        self._relay = relay
        self._in_a_row = 0
        self._pause_s = 0.0

    def feed(self, outcome: Outcome) -> Rest | None:
        """The rest that begins with this outcome, or None."""
        if outcome.permanence is Permanence.ACCEPTED:
            self._in_a_row = 0
            self._pause_s = 0.0
            return None
        if not is_about_us(outcome):
            return None
        self._in_a_row += 1
        is_plain = outcome.limit is not Limit.NONE and outcome.phase in _BEFORE_READERS
        if self._in_a_row < IN_A_ROW and not is_plain:
            return None
        self._in_a_row = IN_A_ROW - 1  # the next one is asked alone, and decides alone
        is_quota = outcome.limit is Limit.QUOTA
        first, longest = (QUOTA_FIRST_S, QUOTA_LONGEST_S) if is_quota else (FIRST_S, LONGEST_S)
        self._pause_s = min(max(self._pause_s * 2, first), longest)
        return Rest(self._sentence(outcome), self._pause_s)

    def _sentence(self, outcome: Outcome) -> str:
        words = without_addresses(outcome.text)[:_SHOWN]
        what = {
            Limit.QUOTA: "says that our sending limit there is used up",
            Limit.RATE: "asks us to send more slowly",
        }.get(outcome.limit, "takes no mail of ours for now")
        return f"{self._relay} {what}: {outcome.code} {words}".rstrip()
