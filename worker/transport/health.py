"""How a relay fares: how many connections it bears, when to try again, what trouble there is to tell. Pure.

Times are seconds of one monotonic clock, given as `now`. One RelayHealth per relay.
"""

import random
from dataclasses import dataclass, replace

from worker.transport.door import OpeningError, Reason
from worker.transport.next_hop import Relay
from worker.transport.replies import Phase

MAX_BARREN = 4
"""Connections that may break in a row, without any mail judged meanwhile, before the relay itself is at fault; above
`waiting.MAX_STRIKES`, so that one poisonous mail alone never looks like it."""
UNCAP_AFTER_S = 60.0
"""After a further connection was refused or a lane died, how long the number is kept to what worked; each time the
relay refuses again it is kept twice as long, up to sixteen times."""

AT_ONCE_STEP = 3
"""How many more connections may be opened beside each other after each that stands: ten stand after three rounds."""


@dataclass(frozen=True, slots=True)
class RelayFault:
    """Trouble with the relay itself. `cause` is one sentence without secrets; times are monotonic seconds."""

    relay: str
    """Its key, `host:port`."""
    cause: str
    phase: Phase
    since: float
    retry_at: float
    code: int | None = None
    reason: Reason = Reason.CLOSED


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pause before a new try, in seconds: doubled each time, up to the longest, each ± 20 %."""

    first_s: float = 1.0  # a relay that restarts is back within seconds
    longest_s: float = 300.0  # who refuses for long wants to be left alone; some lock out whoever knocks more often
    silent_s: float = 3.0
    """Without any answer for so long, silence is said, and a refusal is no longer excused by the other lines."""

    def after(self, last_s: float) -> float:
        """The pause that follows one of `last_s` seconds, 0 = none yet; without the ± 20 %."""
        return min(last_s * 2 or self.first_s, self.longest_s)


USUAL_PAUSES = Pauses()


class RelayHealth:
    """What the ends of connections and the replies say about one relay.

    A relay that is new or in trouble gets one lane until a mail is judged; then connections are opened one beside the
    other, twice as many with each round that succeeds, and one at a time again after each that fails. A refused further
    connection, or a lane of ours that died, only keeps the number of lanes low for a while.
    """

    def __init__(self, relay: Relay, pauses: Pauses, rng: random.Random) -> None:
        self._relay = relay
        self.pauses = pauses
        self._rng = rng
        self.fault: RelayFault | None = None
        self.barren = 0
        """Connections that broke in a row before any mail was judged."""
        self.restart_at = 0.0
        """No new connection before this time, because a lane died or a connection was refused beside others."""
        self.is_proven = False
        """Whether a mail was judged since the beginning, or since the last trouble."""
        self._at_once = 1  # connections that may be opened beside each other
        self.setbacks = 0
        """Connections that were refused or broke so far."""
        self.answers = 0
        """Mails judged by a reply so far; that it grows is what shows a relay at work."""
        self._fault_pause_s = 0.0  # 0 = the relay works, as far as we know
        self._death_pause_s = 0.0
        self._deaths_forgotten_at = 0.0
        self._cap = relay.connections
        self._cap_until = 0.0
        self._cap_for_s = 0.0
        self._is_probing = False  # a mail is in doubt: one connection, until a mail is taken

    def limit(self, now: float) -> int:
        """How many lanes there may be."""
        if self._is_probing:
            return 1
        if now >= self._cap_until and self._cap < self._relay.connections:
            self._cap, self._at_once = self._relay.connections, 1
        return self._cap

    def may_begin(self, now: float) -> bool:
        """Whether a new lane may be tried now; several may still be too many."""
        return now >= self.restart_at

    def may_open(self, opening: int) -> bool:
        """Whether one more connection may be opened while `opening` others are on their way."""
        return opening < self._at_once

    def is_resting(self, now: float) -> bool:
        """Whether the trouble is too fresh for another try."""
        return self.fault is not None and now < self.fault.retry_at

    def note_connected(self, setbacks: int) -> None:
        """One stands that began after so many setbacks; that alone clears no relay that breaks each of them."""
        if setbacks == self.setbacks:
            self._at_once = min(self._at_once + AT_ONCE_STEP, self._relay.connections)
        if self.barren < MAX_BARREN:
            self.fault = None

    def note_answer(self) -> bool:
        """A mail was judged by a reply: the relay works. Whether that is news."""
        self.answers += 1
        self.barren = 0
        if self.is_proven and not self._fault_pause_s:
            return False
        self.is_proven = True
        self._fault_pause_s = 0.0
        self.fault = None
        return True

    def note_refused_connection(self, error: OpeningError, *, working: int, connecting: int, now: float) -> None:
        """No session could be opened, while `working` others get answers and `connecting` others are on their way."""
        self._set_back()
        if working or connecting:
            # It talks to us on other connections, or may do so yet: it allows fewer than we wanted.
            self._cap = working + connecting
            if now >= self._cap_until:  # else it is one of those that were on their way together
                self._cap_for_s = min(self._cap_for_s * 2 or UNCAP_AFTER_S, 16 * UNCAP_AFTER_S)
            self._cap_until = now + self._cap_for_s
            self.restart_at = max(self.restart_at, now + self._spread(self.pauses.first_s))
        else:
            self._set_fault(error, now)

    def note_silence(self, error: OpeningError, now: float) -> None:
        """Nothing came for `silent_s` from whoever was to answer: the cause is told before the last deadline."""
        self._set_fault(error, now)

    def note_all_open(self) -> None:
        """As many connections stand as we want: what was learned of a smaller number is forgotten."""
        self._cap_for_s = 0.0

    def note_barren(self, error: OpeningError, now: float) -> None:
        """A connection broke before any of its mails was judged; `error` says so in words."""
        self._set_back()
        self.barren += 1
        if self.barren >= MAX_BARREN:
            self._set_fault(error, now)

    def note_broken(self) -> None:
        """A connection that had worked broke: what happens to one more is seen before others are opened."""
        self._set_back()

    def _set_back(self) -> None:
        self._at_once = 1
        self.setbacks += 1

    def note_doubt(self) -> None:
        """A line broke after a body: until a mail is taken, no more than one at a time may share its fate."""
        self._is_probing = True

    def note_taken(self) -> bool:
        """A mail was taken. Whether that ended a probing."""
        was_probing, self._is_probing = self._is_probing, False
        return was_probing

    def note_refused_mails(self, cause: str, phase: Phase, code: int | None, pause_s: float, now: float) -> None:
        """The relay talks to us and takes nothing of ours: it rests for so long."""
        self._set_fault(OpeningError(phase, cause, code, reason=Reason.REFUSED), now)
        assert self.fault is not None
        self._fault_pause_s = pause_s
        self.fault = replace(self.fault, retry_at=now + self._spread(pause_s))

    def note_death(self, lanes_left: int, now: float) -> None:
        """A lane died of an error of our own: after a growing pause one more may be tried beside those left."""
        cap = self.limit(now)
        if now >= self._deaths_forgotten_at:
            self._death_pause_s = 0.0
        self._death_pause_s = self.pauses.after(self._death_pause_s)
        self.restart_at = now + self._spread(self._death_pause_s)
        self._cap = min(cap, lanes_left + 1)
        self._cap_until = self._deaths_forgotten_at = self.restart_at + UNCAP_AFTER_S

    def _set_fault(self, error: OpeningError, now: float) -> None:
        self._fault_pause_s = self.pauses.after(self._fault_pause_s)
        self._cap_until = now  # nobody is let in: how many would be, the next answers tell
        self.is_proven = False
        since = self.fault.since if self.fault else now
        retry_at = now + self._spread(self._fault_pause_s)
        self.fault = RelayFault(self._relay.key, error.cause, error.phase, since, retry_at, error.code, error.reason)

    def _spread(self, pause_s: float) -> float:
        return pause_s * self._rng.uniform(0.8, 1.2)
