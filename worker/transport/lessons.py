"""What a relay's extensions turned out to be worth: some are announced and do not work. Pure. RFC 5321 2.2.

One Lessons per relay. What failed is left out for an hour, then tried again on one connection. Times are seconds of
one monotonic clock, given as `now`.
"""

import re

from worker.transport.handshake import Offer
from worker.transport.replies import Reply, resembles_rcpt

FORGET_AFTER_S = 3600.0
"""A relay is mended or replaced now and then; asking again once an hour costs one connection."""

CHUNKING, PIPELINING = "CHUNKING", "PIPELINING"
MAIL_OPTIONS = ("SIZE", "8BITMIME", "SMTPUTF8")
"""Those that add a parameter to MAIL, the one that is easiest to do without first."""

_UNKNOWN = frozenset({500, 502, 504})
"""The relay does not know the command, or this form of it (RFC 5321 4.2.4)."""
_OUT_OF_PLACE = frozenset({501, 503})
"""What a half-built BDAT answers to its arguments or behind a good RCPT; means something else where BDAT has worked."""

_AHEAD = re.compile(rb"synchroni[sz]|pipelin|out of (?:turn|sequence)", re.IGNORECASE)


ODD_FINALS = 3
"""So many answers to bodies in a row that looked like answers to RCPT, and were none: it is this relay's way."""


class Lessons:
    """What may be used of an offer. Sessions tell what they meet, as they meet it."""

    def __init__(self) -> None:
        self.overlap = True
        """Whether commands may ride behind a body."""
        self.is_proven = False
        """Whether a mail was judged in the present form."""
        self.chunking_works = False
        self._left_out: dict[str, float] = {}
        self._carries: tuple[int, float] | None = None  # mails a connection may carry, and until when that holds
        self._closed_after: int | None = None
        self._trial: object | None = None
        self.knows_finals = False
        """Whether an answer to a body came that could be nothing else."""
        self._odd_finals = 0

    def usable(self, offer: Offer, now: float, who: object) -> Offer:
        """The offer without what does not work. While BDAT is new here only one session uses it: `who`, until
        `end_trial`; a relay that swallows the first body so costs one doubt and not one for each connection."""
        for name in [name for name, until in self._left_out.items() if now >= until]:
            del self._left_out[name]
        for name in self._left_out:
            offer = offer.without(name)
        if not offer.chunking or self.chunking_works:
            return offer
        if self._trial not in (None, who):
            return offer.without(CHUNKING)
        self._trial = who
        return offer

    def leave_out(self, name: str, now: float) -> None:
        """It is announced and does not work."""
        self._left_out[name] = now + FORGET_AFTER_S
        if name == CHUNKING:
            self.chunking_works = False
        if name == PIPELINING:
            self.is_proven = False

    def most(self, configured: int, now: float) -> int:
        """How many mails to hand over one connection, of those we would."""
        if self._carries is None or now >= self._carries[1]:
            self._carries = None
            return configured
        return min(configured, self._carries[0])

    def note_limit(self, mails: int, now: float) -> None:
        """The relay says that a connection carries so many mails and no more."""
        self._carries = max(mails, 1), now + FORGET_AFTER_S

    def note_close(self, mails: int, now: float) -> None:
        """It closed a connection behind so many, without a reason. The same number twice in a row is a limit."""
        if mails == self._closed_after:
            self.note_limit(mails, now)
        self._closed_after = mails

    def is_odd_final(self, body: Reply, rcpt: Reply) -> bool:
        """Whether a 2yz to a body must be asked about: it may be a second one to its RCPT, and few here are so."""
        resembles = resembles_rcpt(body, rcpt)
        if not resembles:
            self.knows_finals, self._odd_finals = True, 0
        return resembles and self._odd_finals < ODD_FINALS

    def note_odd_final(self) -> None:
        """It was asked about, and was the body's."""
        self._odd_finals += 1

    def end_trial(self, who: object) -> None:
        """That session is over."""
        if self._trial is who:
            self._trial = None

    def is_bdat_unknown(self, code: int) -> bool:
        """Whether a reply with this code to BDAT says that the relay cannot do it; the mail was not taken."""
        return code in _UNKNOWN or (code in _OUT_OF_PLACE and not self.chunking_works)


def option_in_vain(code: int, used: tuple[str, ...]) -> str | None:
    """Which of the MAIL parameters in `used` to do without, after a reply with this code to MAIL; None when it is not
    about them. 501 may be about the address: it costs SIZE, which is only advice, and nothing else."""
    if code not in (501, 504, 555):
        return None
    name = next((name for name in MAIL_OPTIONS if name in used), None)
    return None if code == 501 and name != "SIZE" else name


def is_about_pipelining(reply: Reply) -> bool:
    """Whether a refusal says that commands were written ahead, where the relay had offered to take them so."""
    return reply.code in (421, 503, 550, 554) and _AHEAD.search(reply.text) is not None
