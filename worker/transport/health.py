"""How a relay fares: how many connections it bears, when to try again, what trouble there is to tell. Pure.

Times are seconds of one monotonic clock, given as `now`. One RelayHealth per relay.
"""

import random
from dataclasses import dataclass, replace

from worker.transport.next_hop import Relay
from worker.transport.replies import Phase

MAX_BARREN = 4
"""Connections that may break in a row, without any mail judged meanwhile, before the relay itself is at fault; above
`waiting.MAX_STRIKES`, so that one poisonous mail alone never looks like it."""
UNCAP_AFTER_S = 60.0
"""After a further connection was refused or a lane died, how long the number is kept to what worked."""


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


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pause before a new try, in seconds: doubled each time, up to the longest, each ± 20 %."""

    first_s: float = 1.0  # a relay that restarts is back within seconds
    longest_s: float = 60.0  # one that is down is asked about once a minute

    def after(self, last_s: float) -> float:
        """The pause that follows one of `last_s` seconds, 0 = none yet; without the ± 20 %."""
        return min(last_s * 2 or self.first_s, self.longest_s)


USUAL_PAUSES = Pauses()


class RelayHealth:
    """What the ends of connections and the replies say about one relay.

    A relay in trouble rests, then gets one lane until a mail is judged. A refused further connection, or a lane of
    ours that died, only keeps the number of lanes low for a while.
    """

    def __init__(self, relay: Relay, pauses: Pauses, rng: random.Random) -> None:
        self._relay = relay
        self._pauses = pauses
        self._rng = rng
        self.fault: RelayFault | None = None
        self.barren = 0
        """Connections that broke in a row before any mail was judged."""
        self.restart_at = 0.0
        """No new lane before this time, because one died."""
        self._fault_pause_s = 0.0  # 0 = the relay works, as far as we know
        self._death_pause_s = 0.0
        self._deaths_forgotten_at = 0.0
        self._cap = relay.connections
        self._cap_until = 0.0
        self._is_probing = False  # a mail is in doubt: one connection, until a mail is taken

    def limit(self, now: float) -> int:
        """How many lanes there may be."""
        if self._fault_pause_s or self._is_probing:
            return 1
        if now >= self._cap_until:
            self._cap = self._relay.connections
        return self._cap

    def may_begin(self, now: float) -> bool:
        """Whether a new lane may be tried now; several may still be too many."""
        return now >= self.restart_at

    def is_resting(self, now: float) -> bool:
        """Whether the trouble is too fresh for another try."""
        return self.fault is not None and now < self.fault.retry_at

    def note_connected(self) -> None:
        """A connection stands; that alone clears no relay that breaks each of them."""
        if self.barren < MAX_BARREN:
            self.fault = None

    def note_answer(self) -> bool:
        """A mail was judged by a reply: the relay works. Whether that ended a trouble."""
        self.barren = 0
        if not self._fault_pause_s:
            return False
        self._fault_pause_s = 0.0
        self.fault = None
        return True

    def note_refused_connection(
        self, cause: str, phase: Phase, code: int | None, *, live: int, connecting: int, now: float
    ) -> None:
        """No session could be opened, while `live` others work and `connecting` others are on their way."""
        if live or connecting:
            # It talks to us on other connections, or may do so yet: it allows fewer than we wanted.
            self._cap = live or connecting
            self._cap_until = now + UNCAP_AFTER_S
        else:
            self._set_fault(cause, phase, code, now)

    def note_barren(self, cause: str, now: float) -> None:
        """A connection broke before any of its mails was judged."""
        self.barren += 1
        if self.barren >= MAX_BARREN:
            self._set_fault(cause, Phase.MAIL, None, now)

    def note_doubt(self) -> None:
        """A line broke after a body: until a mail is taken, no more than one at a time may share its fate."""
        self._is_probing = True

    def note_taken(self) -> bool:
        """A mail was taken. Whether that ended a probing."""
        was_probing, self._is_probing = self._is_probing, False
        return was_probing

    def note_refused_mails(self, cause: str, phase: Phase, code: int | None, pause_s: float, now: float) -> None:
        """The relay talks to us and takes nothing of ours: it rests for so long."""
        self._set_fault(cause, phase, code, now)
        assert self.fault is not None
        self._fault_pause_s = pause_s
        self.fault = replace(self.fault, retry_at=now + self._spread(pause_s))

    def note_death(self, lanes_left: int, now: float) -> None:
        """A lane died of an error of our own: after a growing pause one more may be tried beside those left."""
        cap = self.limit(now)
        if now >= self._deaths_forgotten_at:
            self._death_pause_s = 0.0
        self._death_pause_s = self._pauses.after(self._death_pause_s)
        self.restart_at = now + self._spread(self._death_pause_s)
        self._cap = min(cap, lanes_left + 1)
        self._cap_until = self._deaths_forgotten_at = self.restart_at + UNCAP_AFTER_S

    def _set_fault(self, cause: str, phase: Phase, code: int | None, now: float) -> None:
        self._fault_pause_s = self._pauses.after(self._fault_pause_s)
        self._cap_until = now  # nobody is let in: how many would be, the next answers tell
        since = self.fault.since if self.fault else now
        self.fault = RelayFault(self._relay.key, cause, phase, since, now + self._spread(self._fault_pause_s), code)

    def _spread(self, pause_s: float) -> float:
        return pause_s * self._rng.uniform(0.8, 1.2)
