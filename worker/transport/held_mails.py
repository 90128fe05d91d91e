"""The mails one session holds, from `take` to a result: each is recorded or given back exactly once.

What comes in is the order of a session's steps; what goes out are calls to its source of mails. Nothing here waits.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

from worker.transport.handshake import Offer
from worker.transport.replies import Outcome, Permanence, Phase, Reply, Scope, in_doubt, judge, unsent
from worker.transport.transaction import Transaction, envelope_commands, refuse_here
from worker.transport.wordings import Limit


class MailSource(Protocol):
    """Where a session gets its mails and leaves their results. All but `pace` are called on the loop and never wait;
    none may raise."""

    def take(self) -> Transaction | None: ...

    async def pace(self) -> bool: ...

    def arm(self, transaction: Transaction, port: int) -> bool: ...

    def record(self, transaction: Transaction, outcome: Outcome) -> None: ...

    def give_back(self, transaction: Transaction, outcome: Outcome) -> None: ...


class HeldMails:
    """At most one mail in each place: unchecked, current, rider, sent."""

    def __init__(self, source: MailSource, offer: Offer, taken: int = 0) -> None:
        self.source = source
        self.offer = offer
        self._unchecked: Transaction | None = None  # just taken; stays only if looking at it fails
        self.current: Transaction | None = None
        """Its envelope is written or about to be, its body not begun."""
        self.is_ready = False
        """The current one's MAIL and RCPT were answered 2yz."""
        self.rider: Transaction | None = None
        """Taken so that its envelope rides behind the current one's body; not written yet."""
        self.sent: Transaction | None = None
        """Its body is begun and not judged."""
        self.judged = 0
        """How many a reply has judged."""
        self.taken = taken
        """How many the relay has taken over on this connection."""
        self.doubts = 0
        """How many bodies got no answer that could be read."""
        self.is_worn = False
        """The relay says that this connection has carried what it may; what it said it of goes to another one."""

    def begin_next(self) -> bool:
        """Take the next current one. False when there is none."""
        self.current = self._take()
        self.is_ready = False
        return self.current is not None

    def take_rider(self) -> bytes:
        """The commands of the next mail's envelope, b"" when there is none."""
        self.rider = self._take()
        return b"".join(envelope_commands(self.rider, self.offer)) if self.rider else b""

    def begin_body(self) -> None:
        """The current one's body leaves now; the rider becomes current."""
        self.sent, self.current, self.rider = self.current, self.rider, None
        self.is_ready = False

    def record_sent(self, outcome: Outcome) -> None:
        """The sent one was judged."""
        transaction, self.sent = self.sent, None
        assert transaction is not None
        if self._is_worn_by(outcome):
            # Refused as a whole: it has not been taken, and another connection may have it.
            self.source.give_back(transaction, replace(outcome, permanence=Permanence.UNSENT))
            return
        if outcome.permanence is Permanence.DOUBT:
            self.doubts += 1
        elif outcome.code is not None:
            self.judged += 1
            self.taken += outcome.permanence is Permanence.ACCEPTED
        self.source.record(transaction, _of_first_mail(outcome))

    def refuse_current(self, outcome: Outcome) -> None:
        """The current one was refused before its body. After 421 (RFC 5321 3.8) it has done nothing wrong."""
        transaction, self.current = self.current, None
        assert transaction is not None
        self.is_ready = False
        is_plain_goodbye = outcome.code == 421 and outcome.limit in (Limit.NONE, Limit.SESSION)
        if self._is_worn_by(outcome) or is_plain_goodbye:
            # Between two mails it is said of the connection; of its first one it may be this mail's doing.
            is_between = self.taken or self.judged
            self.source.give_back(transaction, replace(outcome, phase=Phase.LOCAL) if is_between else outcome)
        else:
            self.judged += 1
            self.source.record(transaction, _of_first_mail(outcome))

    def return_sent(self, why: str) -> None:
        """The sent one was certainly not taken, through no fault of its own: it is written again in another form."""
        transaction, self.sent = self.sent, None
        assert transaction is not None
        self.source.give_back(transaction, unsent(Phase.LOCAL, why))

    def return_current(self, why: str) -> None:
        """The same for the current one, before its body."""
        transaction, self.current = self.current, None
        assert transaction is not None
        self.is_ready = False
        self.source.give_back(transaction, unsent(Phase.LOCAL, why))

    def withhold_current(self, outcome: Outcome) -> None:
        """The current one's body must not leave; the rider moves up."""
        transaction, self.current, self.rider = self.current, self.rider, None
        assert transaction is not None
        self.is_ready = False
        self.source.record(transaction, outcome)

    def settle(self, why: str, replies: Mapping[Phase, Reply], phase: Phase, *, body_is_stuck: bool) -> None:
        """The session is over: settle every mail by the replies that came, else as doubt or as not sent.

        `phase` is where it ended. One that cannot be settled does not keep the others from it.
        """
        with ExitStack() as steps:  # the last one pushed is the first one done
            if self.current is not None:
                steps.callback(self._settle_current, why, replies, phase)
            if self.rider is not None:
                steps.callback(self._give_back_rider, why)
            if self.sent is not None:
                steps.callback(self._settle_sent, why, replies.get(Phase.BODY), body_is_stuck=body_is_stuck)

    def settle_after_error(self, why: str) -> None:
        """An error of our own ended the session. No reply is judged again: the error may have come from it.

        A body that had begun is in doubt. The mail that was being prepared gets the strike, so that a mail nobody can
        write ends alone.
        """
        suspect = self._unchecked or self.rider
        if suspect is not None:
            self._unchecked = self.rider = None
            self.source.give_back(suspect, unsent(Phase.MAIL, why))
        is_innocent = suspect is not None or self.sent is not None
        self.settle(why, {}, Phase.LOCAL if is_innocent else Phase.MAIL, body_is_stuck=False)

    def _is_worn_by(self, outcome: Outcome) -> bool:
        """A limit of the connection can only be met by one that has carried mails."""
        self.is_worn |= outcome.limit is Limit.SESSION and self.taken > 0
        return self.is_worn and outcome.limit is Limit.SESSION

    def _take(self) -> Transaction | None:
        """The next mail that this relay can carry at all; the others are refused by our own rules."""
        while (transaction := self.source.take()) is not None:
            self._unchecked = transaction
            refusal = refuse_here(transaction, self.offer)
            self._unchecked = None
            if refusal is None:
                return transaction
            self.source.record(transaction, refusal)
        return None

    def _settle_sent(self, why: str, reply: Reply | None, *, body_is_stuck: bool) -> None:
        outcome = in_doubt(why)
        try:
            if reply is not None:
                outcome = judge(Phase.BODY, reply)
            elif body_is_stuck:
                outcome = Outcome(Permanence.TRANSIENT, Scope.SESSION, Phase.BODY, None, None, why)
        finally:
            self.record_sent(outcome)

    def _give_back_rider(self, why: str) -> None:
        transaction, self.rider = self.rider, None
        assert transaction is not None
        self.source.give_back(transaction, unsent(Phase.LOCAL, why))

    def _settle_current(self, why: str, replies: Mapping[Phase, Reply], phase: Phase) -> None:
        refusal: Outcome | None = None
        try:
            for asked in (Phase.MAIL, Phase.RCPT, Phase.DATA):
                reply = replies.get(asked)
                if reply is not None and reply.code >= 400:
                    refusal = judge(asked, reply)
                    break
        finally:
            if refusal is not None:
                self.refuse_current(refusal)
            else:
                transaction, self.current = self.current, None
                assert transaction is not None
                self.source.give_back(transaction, unsent(phase, why))


def _of_first_mail(outcome: Outcome) -> Outcome:
    """Said of a connection's first mail, a limit of the connection is one of the account: too much, too fast."""
    return replace(outcome, limit=Limit.RATE) if outcome.limit is Limit.SESSION else outcome
