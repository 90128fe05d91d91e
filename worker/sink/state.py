"""What the sink's dialogues share (`SinkState`) and what one holds of a mail on its way in (`IncomingMail`)."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from worker.sink import commands
from worker.sink.acceptance_log import AcceptedMail
from worker.sink.commands import Extension

MOST_REMEMBERED_TRIES = 100_000
"""Addresses whose deferred tries are counted; the oldest is forgotten, so a flood cannot fill the memory."""


class OpenDialogue(Protocol):
    """What the sink may ask of a dialogue in progress."""

    heard_at: float
    """When the client was last heard, on the monotonic clock."""

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
    tries: OrderedDict[str, int] = field(default_factory=OrderedDict)

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

    def next_try(self, address: str) -> int:
        """1 for the first try of this address, then 2, ..."""
        key = address.lower()
        number = self.tries.pop(key, 0) + 1
        self.tries[key] = number
        if len(self.tries) > MOST_REMEMBERED_TRIES:
            self.tries.popitem(last=False)
        return number


@dataclass(slots=True)
class IncomingMail:
    """One mail on its way in; MAIL has not been said while `mail_from` is None."""

    mail_from: str | None = None
    smtputf8: bool = False
    rcpts: list[str] = field(default_factory=list)
    drops: bool = False
    delay_s: float = 0.0
    data: bytearray | None = None
    data_too_large: bool = False
    chunks: list[bytes] = field(default_factory=list)
    chunk_left: int = 0
    chunk_total: int = 0
    chunk_is_last: bool = False
    chunk_refusal: bytes | None = None
