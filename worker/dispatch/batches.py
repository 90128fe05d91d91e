"""The claims of this process while their mails are on the way: one Batch each, and the register of them all.

Two threads meet here. A slice's thread claims, rechecks, builds, settles and releases; the loop's thread arms bodies
and records outcomes. Each field of a Batch has one writer; a stop may come from anywhere and is never taken back.
Every slice has a thread and batches of its own; breakers belong to the loop, of which there is one a relay.
"""

import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.dispatch.breaker import Breaker
from worker.domain.delivery import SkipReason
from worker.storage.ledger.claims import Claim
from worker.storage.ledger.deliveries import Due
from worker.storage.ledger.settlements import Result
from worker.transport.replies import Outcome


@dataclass(frozen=True, slots=True)
class Recheck:
    """What the ledger said of a batch. `asked_at` was taken before the query was sent, in monotonic seconds."""

    asked_at: float = -math.inf
    is_live: bool = False
    """The issue is being sent and the claim is ours."""
    skips: Mapping[int, SkipReason] = field(default_factory=dict)
    """Row number → why it must not leave after all; only grows."""


@dataclass
class Batch:
    """One claim in this process. The comment of each group names its only writer."""

    claim: Claim
    wake: threading.Event
    """Set to have the slice look at this batch: outcomes came, or it was stopped."""

    # The slice's thread.
    due: dict[int, Due] = field(default_factory=dict)
    fingerprints: dict[int, bytes] = field(default_factory=dict)
    recheck: Recheck = field(default_factory=Recheck)
    """Replaced as a whole, so that the loop never sees a new age with old skips."""
    results: list[Result] = field(default_factory=list)
    """Judged, not committed."""
    settled: int = 0
    """Rows whose result the database has taken."""
    is_ours: bool = True
    """False once the ledger says that the claim was taken from us: nothing can be settled or released then."""
    is_unsure: bool = False
    """The last settlement may have been committed although the line broke before it was confirmed."""
    is_stuck: bool = False
    """Its rows could not be settled nor put in doubt: the claim stays ours until this process ends."""
    is_building: bool = False
    """More of it is to be submitted."""
    submitted: int = 0
    """Mails given to the connections."""

    # The loop's thread.
    recorded: int = 0
    """Mails that came back from them, with whatever result."""

    # The loop's thread appends, the slice's thread takes away.
    outcomes: deque[tuple[int, Outcome]] = field(default_factory=deque)

    # Any thread, from False to True only.
    is_stopped: bool = False

    @property
    def is_live(self) -> bool:
        """Whether its bodies may leave as far as anybody here knows."""
        return self.is_ours and not self.is_stopped and self.recheck.is_live

    @property
    def flying(self) -> int:
        """Submitted and not yet recorded."""
        return self.submitted - self.recorded

    @property
    def unsettled(self) -> int:
        return len(self.outcomes) + len(self.results)

    def stop(self) -> None:
        """No further body leaves; what a recheck says later does not matter."""
        self.is_stopped = True
        self.wake.set()

    def may_leave(self, n: int, now: float, fresh_s: float) -> bool:
        """The last question before a body is written; `now` in monotonic seconds."""
        seen = self.recheck
        return self.is_live and now - seen.asked_at <= fresh_s and n not in seen.skips


class Batches:
    """Every batch of this process by its claim's id, and the issues that a breaker stopped here."""

    def __init__(self, *, fixed_return_path: bool = False) -> None:
        self._by_claim: dict[int, Batch] = {}
        self._fixed_return_path = fixed_return_path
        self._breakers: dict[int, Breaker] = {}
        self._stops: dict[int, str] = {}
        self.fellows = 1
        """Worker processes that send, this one among them; the heartbeat's thread writes."""
        self.claiming = threading.Lock()
        """Held from a claim's commit until its batch is added, so that no other claim is ours in the ledger."""
        self.unsure_until = -math.inf
        """Until then (monotonic seconds) a claim of ours may turn up in the ledger whose commit was never confirmed."""

        self.highest = 0
        """Of all claims this process knows of: a new one has a higher number, or the database is an older one."""

        self.beats = 0
        """Of this process, as the database counted them: a later one counted lower is an older database's."""

    def note_beat(self, beat: int | None) -> None:
        """Any thread: whoever counts again says which number it knew before it asked."""
        self.beats = max(self.beats, beat or 0)

    def note_highest(self, claim_id: int) -> None:
        """Any thread: a number that is a moment behind proves a little less."""
        self.highest = max(self.highest, claim_id)

    def stop_all(self) -> None:
        """Nothing of any claim leaves any more. Any thread."""
        for batch in list(self._by_claim.values()):
            batch.stop()

    def add(self, batch: Batch) -> None:
        self._by_claim[batch.claim.id] = batch

    def get(self, claim_id: int) -> Batch | None:
        return self._by_claim.get(claim_id)

    def remove(self, batch: Batch) -> None:
        self._by_claim.pop(batch.claim.id, None)

    def breaker(self, issue_id: int) -> Breaker:
        """What counts the outcomes of an issue. The loop's thread."""
        breaker = self._breakers.get(issue_id)
        if breaker is None:
            breaker = self._breakers[issue_id] = Breaker(self._fixed_return_path)
        breaker.fellows = self.fellows
        return breaker

    def stop_issue(self, issue_id: int, reason: str) -> set[int]:
        """Nothing more of this issue leaves here. Returns the claims that were stopped. Any thread."""
        self._stops[issue_id] = reason
        return self._stop_batches(issue_id)

    def stop_reason(self, issue_id: int) -> str | None:
        """Why a breaker stopped an issue, until the ledger has it."""
        return self._stops.get(issue_id)

    def note_stop_written(self, issue_id: int) -> None:
        """The ledger says paused: claims from now on learn it from their recheck, earlier ones are stopped here.

        The thread of the slice that wrote it.
        """
        self._stop_batches(issue_id)
        self._stops.pop(issue_id, None)

    def _stop_batches(self, issue_id: int) -> set[int]:
        stopped = [batch for batch in list(self._by_claim.values()) if batch.claim.issue_id == issue_id]
        for batch in stopped:
            batch.stop()
        return {batch.claim.id for batch in stopped}
