"""What the sink's dialogues share."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from worker.sink import commands
from worker.sink.acceptance_log import AcceptedMail
from worker.sink.commands import Extension
from worker.sink.faults import Fault, FaultKind
from worker.sink.incoming import IncomingMail

MOST_IN_FLIGHT = 40_000_000
"""Octets of mails on their way in, over all dialogues: one of the largest size and many usual ones."""
ALWAYS_ROOM = 32 * 1024
"""Octets each dialogue may hold whatever others do, so that large mails never stand in a newsletter's way."""
SPARE_IDLE_S = 10.0
"""A dialogue without an open mail that was silent for so long gives way to a newcomer when all places are taken."""
MOST_REMEMBERED_TRIES = 20_000
"""Addresses whose deferred tries are counted; the oldest is forgotten, so a flood cannot fill the memory."""


class OpenDialogue(Protocol):
    """What the sink may ask of a dialogue in progress."""

    heard_at: float
    """When the client was last heard, on the monotonic clock."""
    mail_since: float | None
    """When the mail that is on its way in began, None while there is none."""
    is_greeted: bool
    """Whether the client has said who it is."""

    @property
    def is_held(self) -> bool:
        """Whether a slow reply is being waited for, which is no idleness."""

    def dismiss(self, reply: bytes) -> None:
        """Say a last word and hang up."""

    def abort(self) -> None:
        """Drop the line."""


@dataclass
class Counts:
    """What the sink has seen since it started; HELP shows it."""

    accepted: int = 0
    refused: int = 0
    dropped: int = 0
    octets: int = 0


@dataclass
class SinkState:
    """Shared by all dialogues of one sink. `keep` stores one mail and raises OSError when it cannot."""

    extensions: frozenset[Extension]
    keep: Callable[[AcceptedMail], None]
    counts: Counts = field(default_factory=Counts)
    dialogues: set[OpenDialogue] = field(default_factory=set)
    judge_every: int = 1
    """One body in so many is searched for bare CR or LF, long lines and the like: more than 1 only to measure speed."""
    judged: int = 0
    most_dialogues: int = 1_000
    most_in_flight: int = MOST_IN_FLIGHT
    in_flight: int = 0
    """Octets that all dialogues hold of mails on their way in."""
    tries: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def has_room(self, mail: IncomingMail, octets: int) -> bool:
        """Take room for so many more octets of a mail; False when too much is on its way in everywhere."""
        if mail.held + octets > ALWAYS_ROOM and self.in_flight + octets > self.most_in_flight:
            return False
        mail.held += octets
        self.in_flight += octets
        return True

    def give_back(self, mail: IncomingMail) -> None:
        """The room of a mail that is kept or given up."""
        self.in_flight -= mail.held
        mail.held = 0

    def fault_reply(self, fault: Fault, address: str) -> bytes | None:
        """The refusal that a scripted recipient asks for, None when its tries are over."""
        if fault.kind is FaultKind.BOUNCE:
            return b"550 5.1.1 No such mailbox"
        if fault.kind is FaultKind.FULL:
            return b"452 4.2.2 Mailbox full"
        if fault.amount is not None and self.next_try(address) > fault.amount:
            return None
        return b"451 4.7.1 Try again later"

    def body_refusal(self, raw: bytes) -> bytes | None:
        """The reply to a body that breaks the rules, or None."""
        self.judged += 1
        if self.judged % self.judge_every:
            return None
        return commands.body_refusal(raw, self.extensions)

    def dismiss_idle(self, deadline: float) -> None:
        """Send away who was last heard before `deadline` (monotonic) and is not waiting for a slow reply."""
        for dialogue in list(self.dialogues):
            if dialogue.heard_at < deadline and not dialogue.is_held:
                dialogue.dismiss(b"421 4.4.2 Nothing heard for too long")

    def dismiss_slow(self, deadline: float) -> None:
        """Send away whose mail began before `deadline` and is still on its way: it holds room that others need."""
        for dialogue in list(self.dialogues):
            if dialogue.mail_since is not None and dialogue.mail_since < deadline and not dialogue.is_held:
                dialogue.dismiss(b"421 4.4.2 The mail takes too long")

    def dismiss_silent(self, deadline: float) -> None:
        """Send away who connected before `deadline` and never said who it is."""
        for dialogue in list(self.dialogues):
            if not dialogue.is_greeted and dialogue.heard_at < deadline:
                dialogue.dismiss(b"421 4.4.2 No greeting heard")

    def make_place(self, now: float) -> bool:
        """Whether a newcomer may stay; when all places are taken, the idlest dialogue without a mail makes way."""
        if len(self.dialogues) < self.most_dialogues:
            return True
        spare = [
            dialogue
            for dialogue in self.dialogues
            if dialogue.mail_since is None
            and not dialogue.is_held
            and (not dialogue.is_greeted or dialogue.heard_at < now - SPARE_IDLE_S)
        ]
        if not spare:
            return False
        min(spare, key=lambda dialogue: (dialogue.is_greeted, dialogue.heard_at)).dismiss(b"421 4.7.0 Making room")
        return True

    def next_try(self, address: str) -> int:
        """1 for the first try of this address, then 2, ..."""
        key = address.lower()
        number = self.tries.pop(key, 0) + 1
        self.tries[key] = number
        if len(self.tries) > MOST_REMEMBERED_TRIES:
            self.tries.popitem(last=False)
        return number
