"""What a relay's reply means: how final it is, and whose trouble it is. Pure.

`judge` turns one reply in its phase into an `Outcome`. SMTP trouble is a value here, never an exception: the ledger
decides with it. RFC 5321 4.2, 3463, 2034.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from worker.transport import wordings
from worker.transport.wordings import Limit

MAX_TEXT = 500  # what is kept of a relay's words

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?=\s|$)", re.ASCII)
_BEGINS_ENHANCED = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}(?:\s|$)")
_AT_THE_END = re.compile(r"\(#([245]\.\d{1,3}\.\d{1,3})\)$", re.ASCII)  # qmail and its kin
_RECIPIENT_IS_WRONG = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1", "7.17", "7.18"})
"""Enhanced subjects and details that speak of the mailbox itself, whatever was sent (RFC 3463 3.2, 3.3, 7505, 7293)."""
_SENDER_IS_WRONG = frozenset({"1.7", "1.8"})  # RFC 3463 3.2: the return path's syntax or its system
_USED_UP = frozenset({"1.90", "7.232", "7.233"})  # Exchange Online: recipients a day, of a mailbox and of a tenant
_RETURN_PATH_IS_WRONG = frozenset({"1.7", "7.60", "2.252"})  # RFC 3463 3.2; Exchange: not allowed to send as
_UNPROVEN_HOST = frozenset({"7.23", "7.24", "7.25", "7.26", "4.62"})
"""RFC 7372: SPF, reverse DNS, several checks; Exchange Online: mail sent to the wrong region."""
_READERS_LIMIT = frozenset({"2.121", "2.122"})  # Exchange Online: what a mailbox may get an hour
_MANY_RECIPIENTS = "5.3"  # RFC 3463 3.6: per transaction; one recipient can only meet a limit of the session
_CONGESTED = "4.5"  # RFC 3463 3.5; Gmail says 5.4.5 of an account's daily limit
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
    limit: Limit = Limit.NONE
    """Which limit of ours was reached."""

    @property
    def names_return_path(self) -> bool:
        """Whether the relay says that the address we send from is not ours."""
        if self.scope is not Scope.SENDER or self.code is None or self.limit is not Limit.NONE:
            return False
        detail = (self.enhanced or "").partition(".")[2]
        return detail in _RETURN_PATH_IS_WRONG or wordings.names_return_path(self.text)

    @property
    def may_suppress(self) -> bool:
        """Whether this may count towards suppressing the recipient: a refusal for good that names the mailbox."""
        if self.permanence is not Permanence.PERMANENT or self.code is None or self.scope is not Scope.RECIPIENT:
            return False
        if wordings.is_unproven_reader(self.text):
            return False
        if self.enhanced is None:
            return self.phase is Phase.RCPT and self.code in (550, 551, 553)
        family, _, detail = self.enhanced.partition(".")
        return family == "5" and detail in _RECIPIENT_IS_WRONG


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
    that fits no phase (354 to a body, or one about an address) is DOUBT for a body and UNSENT otherwise.
    """
    code = reply.code
    text = clean(reply.text)
    written = _ENHANCED.match(text)
    if written is None and code >= 400:
        written = _AT_THE_END.search(text)
    enhanced = None if written is None else written.group(1) if written.re is _AT_THE_END else written.group(0)
    if reply.is_positive:
        # 2.1.x speaks of an address (RFC 3463 3.2): to a body it is a late answer to RCPT, and the body's is to come.
        is_late = phase is Phase.BODY and enhanced is not None and enhanced.startswith("2.1.")
        if is_late:
            return Outcome(Permanence.DOUBT, Scope.SESSION, phase, code, enhanced, text)
        return Outcome(Permanence.ACCEPTED, Scope.MESSAGE, phase, code, enhanced, text)
    if code < 400:
        kind = Permanence.DOUBT if phase is Phase.BODY else Permanence.UNSENT
        return Outcome(kind, Scope.SESSION, phase, code, enhanced, text)
    # The basic code decides how final it is; a contradicting enhanced code only costs the right to suppress.
    permanence = Permanence.TRANSIENT if code < 500 else Permanence.PERMANENT
    detail = enhanced.partition(".")[2] if enhanced else ""
    words = wordings.without_addresses(text)
    limit = _limit(phase, code, detail, words)
    if limit is not Limit.NONE or (code >= 500 and _is_temporary_in_disguise(code, detail, phase, words)):
        permanence = Permanence.TRANSIENT
    scope = _limited_scope(code, limit) if limit else _scope(phase, code, detail, words)
    return Outcome(permanence, scope, phase, code, enhanced, text, limit)


def _is_temporary_in_disguise(code: int, detail: str, phase: Phase, words: str) -> bool:
    # A full mailbox empties (RFC 5321 4.5.3.1.10 has clients read 552 to RCPT as 452), a busy one calms down.
    if detail == "2.2" or detail in _READERS_LIMIT:
        return True
    if code == 552 and not detail and _is_full(phase, words):
        return True
    return phase in (Phase.RCPT, Phase.BODY) and not detail.startswith("1.") and wordings.names_readers_pace(words)


def _limit(phase: Phase, code: int, detail: str, words: str) -> Limit:
    """The limit of ours that this reply speaks of. What is said of a mailbox is none."""
    if detail in _USED_UP or (detail == _CONGESTED and code >= 500):
        return Limit.QUOTA
    if detail in _RECIPIENT_IS_WRONG and detail != "2.1":
        return Limit.NONE
    if detail in _TOO_BIG or detail in _READERS_LIMIT or wordings.is_size(words) or wordings.is_greylisting(words):
        return Limit.NONE
    if phase in (Phase.RCPT, Phase.BODY) and _speaks_of_mailbox(code, detail, words):
        return Limit.NONE
    found = wordings.limit_in(words, bare_quota=phase is Phase.MAIL or detail[:1] not in ("", "2") or detail == "2.0")
    if detail == _MANY_RECIPIENTS and found is not Limit.QUOTA:
        return Limit.RATE if "per second" in words or "per minute" in words else Limit.SESSION
    if found is Limit.NONE and detail == _CONGESTED:
        return Limit.RATE
    if found is Limit.RATE and code >= 500 and wordings.names_sender(words):
        return Limit.NONE  # "too many complaints": time does not heal it
    return found


def _is_full(phase: Phase, words: str) -> bool:
    """552 without more: to RCPT the mailbox is full, to a body only if the words say so."""
    if phase is Phase.BODY and not wordings.is_size(words):
        return wordings.names_quota(words) or wordings.names_dead_reader(words)
    return phase is Phase.RCPT


def _speaks_of_mailbox(code: int, detail: str, words: str) -> bool:
    if detail == "2.2" or wordings.names_readers_pace(words):
        return True
    if code == 552 and not detail:
        return True
    return wordings.names_dead_reader(words) and not _names_our_limit(words)


def _names_our_limit(words: str) -> bool:
    """Of an account that is ours: "your account has exceeded its daily limit"."""
    is_ours = wordings.names_sender(words) or wordings.names_send_limit(words)
    return is_ours and wordings.limit_in(words, bare_quota=False) is Limit.QUOTA


def _limited_scope(code: int, limit: Limit) -> Scope:
    return Scope.SESSION if code in _SESSION_CODES or limit is Limit.SESSION else Scope.SENDER


def _scope(phase: Phase, code: int, detail: str, words: str) -> Scope:
    if code in _SESSION_CODES and not (code == 501 and (phase is Phase.RCPT or detail[:2] == "1.")):
        return Scope.SESSION
    if detail in _TOO_BIG or (code == 552 and detail != "2.2" and (detail or not _is_full(phase, words))):
        return Scope.RECIPIENT if phase is Phase.RCPT and detail not in _TOO_BIG else Scope.MESSAGE
    if code == 552 and not detail:
        return Scope.RECIPIENT
    if code < 500 and _is_relays_own(detail, words):
        return Scope.SESSION
    if phase is Phase.MAIL:
        return Scope.SENDER
    if detail in _RECIPIENT_IS_WRONG:
        is_ours = wordings.names_sender_surely(words) and not wordings.names_dead_reader(words)
        return Scope.SENDER if is_ours else Scope.RECIPIENT
    if detail in _SENDER_IS_WRONG or detail in _RETURN_PATH_IS_WRONG:
        return Scope.SENDER
    by_subject = {"1": Scope.RECIPIENT, "2": Scope.RECIPIENT, "6": Scope.MESSAGE, "7": Scope.SENDER}
    by_subject |= {"3": Scope.SESSION, "5": Scope.SESSION}
    default = Scope.RECIPIENT if phase is Phase.RCPT else Scope.MESSAGE
    # Greylisting answers RCPT with 450 or 451 4.7.1 and means this one recipient, not our standing.
    # A host without a name or a record that proves it (RFC 7372) is refused for every recipient alike.
    if code < 500 and (phase is Phase.RCPT or wordings.is_greylisting(words)):
        is_ours = detail in _UNPROVEN_HOST or (wordings.names_sender_surely(words) and detail[:2] != "2.")
        return Scope.SENDER if is_ours and not wordings.is_greylisting(words) else Scope.RECIPIENT
    if code >= 500:
        if wordings.names_sender(words) and detail[:1] in ("", "0", "1", "2", "4"):
            return Scope.SENDER
        if wordings.names_dead_reader(words) and not wordings.names_sender(words) and detail[:2] != "6.":
            return Scope.RECIPIENT
    return by_subject.get(detail.partition(".")[0], default)


def _is_relays_own(detail: str, words: str) -> bool:
    """Whether a reply that puts off speaks of the relay: 4.3.x is its system (RFC 3463 3.4), 4.3.0 says no more."""
    is_readers = wordings.names_readers_pace(words) or "recipient" in words
    if is_readers or wordings.is_greylisting(words) or detail[:2] in ("1.", "2.") or detail in _TOO_BIG:
        return False
    return (detail.startswith("3.") and detail != "3.0") or wordings.names_relays_state(words)


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


def resembles_rcpt(body: Reply, rcpt: Reply) -> bool:
    """Whether a 2yz to a body may be a second one to its RCPT: the same words, or no enhanced code where RCPT's had one
    (RFC 2034 4: all have one, or none). What names an address needs no such guess."""
    if _BEGINS_ENHANCED.match(body.text):
        return body.text == rcpt.text and not body.text.startswith(b"2.1.")
    return body.text == rcpt.text or _BEGINS_ENHANCED.match(rcpt.text) is not None


def clean(words: bytes | str) -> str:
    """A relay's words as one harmless line: controls, escapes and line separators spelled out, 500 characters."""
    text = words if isinstance(words, str) else words[: 4 * MAX_TEXT].decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = " ".join(text.split("\n"))
        text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    text = text.strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
