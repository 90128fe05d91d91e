"""What a relay's reply means: how final it is, and whose trouble it is. Pure.

`judge` turns one reply in its phase into an `Outcome`. SMTP trouble is a value here, never an exception: the ledger
decides with it. RFC 5321 4.2, 3463, 2034.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

MAX_TEXT = 500  # what is kept of a relay's words

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?=\s|$)", re.ASCII)
_RATE_WORDS = re.compile(
    r"too (?:many|much|fast)|rate.?limit|unusual rate|throttl|temporarily deferred|server busy"
    r"|exceeded the (?:rate|limit)|connection limit|limit exceeded|slow down|\[(?:IP)?TSS?\d\d\]|trop de connexions",
    re.IGNORECASE,
)
_THROTTLE_CODES = frozenset({421, 450, 451, 452, 454})
_RECIPIENT_IS_WRONG = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1", "7.17", "7.18"})
"""Enhanced subjects and details that speak of the mailbox itself, whatever was sent (RFC 3463 3.2, 3.3, 7505, 7293)."""
_SENDER_IS_WRONG = frozenset({"1.7", "1.8"})  # RFC 3463 3.2: the return path's syntax or its system
_TOO_BIG = frozenset({"2.3", "3.4"})  # RFC 3463 3.3, 3.4: for the mailbox, for the system
_SESSION_CODES = frozenset({421, 500, 501, 502, 503, 504, 530, 534, 535, 538})
"""Syntax, sequence, sign-in and closing: said about the dialogue, not about a mail (RFC 5321 4.2.2, 4954 6)."""


class Permanence(StrEnum):
    """How final an outcome is."""

    ACCEPTED = "accepted"
    """2yz to end of data: the relay has taken over responsibility."""
    TRANSIENT = "transient"
    """4yz: try the same again later."""
    PERMANENT = "permanent"
    """5yz, or refused by our own rules before anything was written: trying the same again is pointless."""
    DOUBT = "doubt"
    """The line broke, or spoke nonsense, after the body had left: it may have been taken."""
    UNSENT = "unsent"
    """No body left and nobody is to blame: give the row back."""


class Scope(StrEnum):
    """Whom an outcome speaks about; only RECIPIENT ever counts against a reader."""

    RECIPIENT = "recipient"  # this mailbox: other recipients of the same mail may be taken
    MESSAGE = "message"  # this mail, its size, form or content: another one may be taken
    SENDER = "sender"
    """Our address, reputation or policy: every mail of the issue will meet it."""
    SESSION = "session"
    """The relay or the line: every mail through it will meet it."""


class Phase(StrEnum):
    """Where in the dialogue something happened, in walking order."""

    LOCAL = "local"
    """Before a word was written: our own rules."""
    CONNECT = "connect"  # from looking up the relay's name to an open TCP connection
    GREETING = "greeting"  # the relay's 220, before we say anything
    EHLO = "ehlo"  # our name, answered by what the relay offers
    STARTTLS = "starttls"  # TLS, be it asked for or from the first octet
    AUTH = "auth"  # signing in with user name and password (RFC 4954)
    RSET = "rset"  # back to the beginning of a transaction; also the fence after EHLO
    MAIL = "mail"  # the return path
    RCPT = "rcpt"  # the recipient's address
    DATA = "data"  # asking to write the body; 354 lets us
    BODY = "body"
    """From the body's first octet to the final reply."""
    QUIT = "quit"  # the goodbye


class Reply(NamedTuple):
    """One complete reply: its code and its lines' texts joined with LF, as the relay wrote them."""

    code: int
    text: bytes

    @property
    def is_positive(self) -> bool:
        return 200 <= self.code < 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one transaction.

    `enhanced` is the RFC 3463 code as sent ("5.1.1"), even when it contradicts `code`. `text` is the relay's words,
    one line, at most 500 characters, every control character escaped: safe to store, print and show.
    """

    permanence: Permanence
    scope: Scope
    phase: Phase
    code: int | None = None
    enhanced: str | None = None
    text: str = ""

    @property
    def may_suppress(self) -> bool:
        """Whether this may count towards suppressing the recipient: a refusal for good that names the mailbox."""
        if self.permanence is not Permanence.PERMANENT or self.code is None or self.scope is not Scope.RECIPIENT:
            return False
        if self.enhanced is None:
            return self.phase is Phase.RCPT and self.code in (550, 551, 553)
        family, _, detail = self.enhanced.partition(".")
        return family == "5" and detail in _RECIPIENT_IS_WRONG

    @property
    def is_throttle(self) -> bool:
        """Whether the relay or the provider behind it asks us to slow down, rather than greylisting one mail."""
        if self.permanence is not Permanence.TRANSIENT or self.code not in _THROTTLE_CODES:
            return False
        return self.enhanced == "4.7.28" or _RATE_WORDS.search(self.text) is not None


def unsent(phase: Phase, why: str, code: int | None = None) -> Outcome:
    """The outcome of a mail whose body never left, through no fault of its own."""
    return Outcome(Permanence.UNSENT, Scope.SESSION, phase, code, None, clean(why))


def in_doubt(why: str, code: int | None = None) -> Outcome:
    """The outcome of a mail whose body left and whose final reply is unknown."""
    return Outcome(Permanence.DOUBT, Scope.SESSION, Phase.BODY, code, None, clean(why))


def refused_here(scope: Scope, enhanced: str, why: str) -> Outcome:
    """The outcome of a mail that must not be written to this relay at all; code None marks it as our own verdict."""
    return Outcome(Permanence.PERMANENT, scope, Phase.LOCAL, None, enhanced, clean(why))


def judge(phase: Phase, reply: Reply) -> Outcome:
    """Read one reply to MAIL, RCPT, DATA or the body.

    A positive reply counts as ACCEPTED whatever its phase; the session only asks about bodies and refusals. A reply
    that fits no phase (354 to a body) is DOUBT for a body and UNSENT otherwise.
    """
    code = reply.code
    text = clean(reply.text)
    written = _ENHANCED.match(text)
    enhanced = written.group(0) if written else None
    if reply.is_positive:
        return Outcome(Permanence.ACCEPTED, Scope.MESSAGE, phase, code, enhanced, text)
    if code < 400:
        kind = Permanence.DOUBT if phase is Phase.BODY else Permanence.UNSENT
        return Outcome(kind, Scope.SESSION, phase, code, enhanced, text)
    # The basic code decides how final it is; a contradicting enhanced code only costs the right to suppress.
    permanence = Permanence.TRANSIENT if code < 500 else Permanence.PERMANENT
    detail = enhanced.partition(".")[2] if enhanced else ""
    if code >= 500 and _is_temporary_in_disguise(code, detail, phase):
        permanence = Permanence.TRANSIENT
    return Outcome(permanence, _scope(phase, code, detail), phase, code, enhanced, text)


def _is_temporary_in_disguise(code: int, detail: str, phase: Phase) -> bool:
    # A full mailbox empties (RFC 5321 4.5.3.1.10 has clients read 552 to RCPT as 452); 5.5.3 is a limit per
    # transaction that one recipient cannot meet twice.
    return detail in ("2.2", "5.3") or (phase is Phase.RCPT and code == 552 and not detail)


def _scope(phase: Phase, code: int, detail: str) -> Scope:
    if code in _SESSION_CODES and not (code == 501 and phase is Phase.RCPT):
        return Scope.SESSION
    if detail in _TOO_BIG or (code == 552 and phase is not Phase.RCPT and detail != "2.2"):
        return Scope.MESSAGE
    if phase is Phase.MAIL:
        return Scope.SENDER
    if detail in _RECIPIENT_IS_WRONG:
        return Scope.RECIPIENT
    if detail in _SENDER_IS_WRONG:
        return Scope.SENDER
    by_subject = {"1": Scope.RECIPIENT, "2": Scope.RECIPIENT, "6": Scope.MESSAGE, "7": Scope.SENDER}
    by_subject |= {"3": Scope.SESSION, "5": Scope.SESSION}
    default = Scope.RECIPIENT if phase is Phase.RCPT else Scope.MESSAGE
    # Greylisting answers RCPT with 450 or 451 4.7.1 and means this one recipient, not our standing.
    if phase is Phase.RCPT and code < 500:
        return default
    return by_subject.get(detail.partition(".")[0], default)


def out_of_step(replies: Sequence[Reply]) -> str | None:
    """What no server in step says to MAIL, RCPT and DATA, in that order, as far as it came; None when all fits."""
    mail, rest = replies[0], replies[1:]
    if 300 <= mail.code < 400 or (rest and 300 <= rest[0].code < 400):
        return "the relay answered MAIL or RCPT as if it were DATA"
    if rest and rest[0].is_positive and not mail.is_positive:
        return "the relay accepted a recipient without a sender"
    if len(rest) > 1 and (rest[1].is_positive or (rest[1].code < 400 and rest[1].code != 354)):
        return "the relay answered DATA with neither 354 nor a refusal"
    return None


def clean(words: bytes | str) -> str:
    """A relay's words as one harmless line: controls, escapes and line separators spelled out, 500 characters."""
    text = words if isinstance(words, str) else words[: 4 * MAX_TEXT].decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = " ".join(text.split("\n"))
        text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    text = text.strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
