"""One SMTP session: hands mail after mail to the relay in the fastest form it announces.

| relay announces         | written                                                        | round trips |
| CHUNKING and PIPELINING | body of n as BDAT LAST, in the same write MAIL + RCPT of n + 1 | 1.1         |
| PIPELINING              | MAIL + RCPT + DATA, then the body                              | 2           |
| neither                 | one command at a time (BDAT for DATA if CHUNKING)              | 3 or 4      |

A body leaves only after its own RCPT was answered 2yz, and never a second body in flight. Whatever ends a session, each
transaction it took is either recorded or given back, once. A crash here costs what `arm` has written down.
RFC 5321, 2920, 3030, 1870, 6531.
"""

import re
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from worker.domain.envelope import Envelope
from worker.transport.handshake import Offer
from worker.transport.next_hop import Relay
from worker.transport.replies import Outcome, Permanence, Phase, Reply, Scope, in_doubt, judge, refused_here, unsent
from worker.transport.wire import Broken, Cause, Wire

MAX_REFUSALS = 4
"""Non-2yz replies before a connection is closed: Postfix delays each reply after a few errors by seconds."""

_UNSAFE_PATH = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]|^(?!\").*[<>]")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One mail to hand over. `body` is the complete message with CRLF lines and a final CRLF.

    `vetted` says that whoever built the body proved it free of bare CR, bare LF, NUL and lines that begin with a dot;
    without it every octet is looked at (about 40 µs for 22 KB).
    """

    key: Hashable
    envelope: Envelope
    body: bytes
    vetted: bool = False


class Desk(Protocol):
    """Where a session gets its work and leaves the results; all but `pace` are called on the loop and never wait."""

    pace: Callable[[], Awaitable[bool]] | None
    arm: Callable[[Transaction], bool]

    def take(self) -> Transaction | None: ...

    def record(self, transaction: Transaction, outcome: Outcome) -> None: ...

    def give_back(self, transaction: Transaction, outcome: Outcome) -> None: ...


class Session:
    """A fenced line and the mails on it."""

    def __init__(self, relay: Relay, wire: Wire, offer: Offer, *, overlap: bool = True, pipeline: bool = True) -> None:
        self._times = relay.timeouts
        self._left = relay.per_connection
        self._wire = wire
        self._offer = offer
        self._pipeline = pipeline and offer.pipelining
        self._overlap = overlap and self._pipeline and offer.chunking
        self._refusals = 0
        self._must_reset = False
        self._is_over = False
        self._phases: tuple[Phase, ...] = ()
        self._opened: Transaction | None = None  # envelope written or about to be, body not begun
        self._is_ready = False  # the opened one's MAIL and RCPT were answered 2yz
        self._next: Transaction | None = None  # taken to ride behind the opened one's body, not written yet
        self._sent: Transaction | None = None  # body begun, not judged
        self.judged = 0
        """Transactions this session has judged by a reply: 0 marks a relay that only talks."""
        self.misfit: Phase | None = None
        """The first pipelined command a relay left unanswered, with the line otherwise alive."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more should be sent here: broken, worn out by refusals, or at its limit of mails."""
        return self._is_over or self._wire.broken is not None or self._left < 1 or self._refusals >= MAX_REFUSALS

    @property
    def form(self) -> str:
        """How mails are written here, in words."""
        if self._overlap:
            return "CHUNKING with PIPELINING, one round trip a mail"
        if self._pipeline:
            return "PIPELINING, two round trips a mail"
        return f"one command at a time, {3 if self._offer.chunking else 4} round trips a mail"

    async def serve(self, desk: Desk) -> None:
        """Hand over what the desk gives until it has no more or the session is over. Does not raise Broken."""
        try:
            while not self.is_over and (self._opened or self._open_next(desk)):
                if self._is_ready or await self._open_envelope(desk):
                    await self._hand_over(desk)
        except Broken as broken:
            self._note_misfit(broken)
        finally:
            self._settle_rest(desk)

    async def quit(self) -> None:
        """Close in good order if the line is whole; at most quit_s seconds, and never raises Broken."""
        try:
            self._wire.send(b"QUIT\r\n", 1, self._times.quit_s, self._times.quit_s)
            await self._wire.replies()
        except Broken:
            pass  # every result is recorded already
        finally:
            self._wire.break_off(Cause.LET_GO, "the session was ended")

    def _open_next(self, desk: Desk) -> bool:
        self._opened = self._take(desk)
        self._is_ready = False
        return self._opened is not None

    def _take(self, desk: Desk) -> Transaction | None:
        """The next transaction that this relay can carry at all; the others are refused by our own rules."""
        while (transaction := desk.take()) is not None:
            refusal = self._refuse_here(transaction)
            if refusal is None:
                return transaction
            desk.record(transaction, refusal)
        return None

    def _refuse_here(self, transaction: Transaction) -> Outcome | None:
        envelope, body, offer = transaction.envelope, transaction.body, self._offer
        if _UNSAFE_PATH.search(envelope.mail_from) or _UNSAFE_PATH.search(envelope.rcpt_to) or not envelope.rcpt_to:
            return refused_here(Scope.RECIPIENT, "5.1.3", "an address in the envelope cannot be written safely")
        if envelope.needs_smtputf8 and not offer.smtputf8:
            return refused_here(Scope.RECIPIENT, "5.6.7", "the relay cannot take this address: it offers no SMTPUTF8")
        if offer.size_limit is not None and len(body) > offer.size_limit:
            why = f"the message has {len(body)} bytes, the relay takes at most {offer.size_limit}"
            return refused_here(Scope.MESSAGE, "5.3.4", why)
        if not body.endswith(b"\r\n") or (not transaction.vetted and _has_bare_controls(body)):
            return refused_here(Scope.MESSAGE, "5.6.0", "the message has a bare CR, LF or NUL, or no end of line")
        if not body.isascii() and not offer.eight_bit:
            return refused_here(Scope.MESSAGE, "5.6.3", "the message has 8-bit text and the relay offers no 8BITMIME")
        return None

    def _envelope_bytes(self, transaction: Transaction) -> tuple[bytes, bytes]:
        envelope = transaction.envelope
        options = f" SIZE={len(transaction.body)}" if self._offer.takes_size else ""
        if not transaction.body.isascii():
            options += " BODY=8BITMIME"
        if envelope.needs_smtputf8:
            options += " SMTPUTF8"
        mail = f"MAIL FROM:<{envelope.mail_from}>{options}\r\n".encode()
        return mail, f"RCPT TO:<{envelope.rcpt_to}>\r\n".encode()

    async def _open_envelope(self, desk: Desk) -> bool:
        """Bring the opened transaction to where its body may follow; False when it was settled instead."""
        transaction = self._opened
        assert transaction is not None
        mail, rcpt = self._envelope_bytes(transaction)
        steps = [(Phase.MAIL, mail), (Phase.RCPT, rcpt)]
        if self._must_reset:
            steps.insert(0, (Phase.RSET, b"RSET\r\n"))
        if not self._offer.chunking:
            steps.append((Phase.DATA, b"DATA\r\n"))
        replies = await self._walk(steps)
        self._must_reset = False
        if steps[0][0] is Phase.RSET:
            if not replies[0].is_positive:
                raise self._out_of_step("the relay refused RSET")
            replies = replies[1:]
        self._check_order(replies)
        if self._settle_refusal(desk, replies):
            if len(replies) == 3 and replies[2].code == 354:
                await self._leave_data()
            return False
        self._is_ready = True
        return True

    async def _walk(self, steps: list[tuple[Phase, bytes]]) -> list[Reply]:
        """The replies to `steps`: in one write when pipelining, else one by one until one is refused."""
        wait_s = self._times.command_s
        if self._pipeline:
            self._phases = tuple(phase for phase, _ in steps)
            self._wire.send(b"".join(command for _, command in steps), len(steps), wait_s, wait_s)
            return await self._wire.replies()
        replies: list[Reply] = []
        for phase, command in steps:
            self._phases = (phase,)
            self._wire.send(command, 1, wait_s, wait_s)
            replies += await self._wire.replies()
            if not replies[-1].is_positive:
                break
        return replies

    def _check_order(self, replies: list[Reply]) -> None:
        """Raises Broken on replies that no server in step gives to MAIL, RCPT and DATA."""
        mail, rest = replies[0], replies[1:]
        if 300 <= mail.code < 400 or (rest and 300 <= rest[0].code < 400):
            raise self._out_of_step("the relay answered MAIL or RCPT as if it were DATA")
        if rest and rest[0].is_positive and not mail.is_positive:
            raise self._out_of_step("the relay accepted a recipient without a sender")
        if len(rest) > 1 and (rest[1].is_positive or (rest[1].code < 400 and rest[1].code != 354)):
            raise self._out_of_step("the relay answered DATA with neither 354 nor a refusal")

    def _settle_refusal(self, desk: Desk, replies: list[Reply]) -> bool:
        """Settle the opened transaction by the first refusal among the replies to MAIL, RCPT, DATA, if there is one."""
        for phase, reply in zip((Phase.MAIL, Phase.RCPT, Phase.DATA), replies, strict=False):
            if reply.is_positive or (phase is Phase.DATA and reply.code == 354):
                continue
            self._refuse_opened(desk, judge(phase, reply))
            return True
        return False

    def _refuse_opened(self, desk: Desk, outcome: Outcome) -> None:
        transaction, self._opened = self._opened, None
        assert transaction is not None
        self._must_reset = True
        self._is_ready = False
        self._refusals += 1
        if outcome.code == 421:  # RFC 5321 3.8: the relay is closing; this mail has done nothing wrong
            self._is_over = True
            self._wire.break_off(Cause.CLOSED, "the relay closes the session (421)")
            desk.give_back(transaction, outcome)
        else:
            self.judged += 1
            desk.record(transaction, outcome)

    async def _leave_data(self) -> None:
        """A relay that refused the recipient and still wants data gets a lone dot; its answer means nothing
        (RFC 2920 3.1)."""
        self._phases = (Phase.DATA,)
        self._wire.send(b".\r\n", 1, self._times.final_s, self._times.final_s)
        await self._wire.replies()

    async def _hand_over(self, desk: Desk) -> None:
        transaction = self._opened
        assert transaction is not None
        if desk.pace is not None and not await desk.pace():
            self._withhold(desk, "the rate window is used up")
            return
        self._check_before_body()
        following = b""
        if self._overlap and self._left > 1 and (next_one := self._take(desk)) is not None:
            self._next = next_one
            following = b"".join(self._envelope_bytes(next_one))
        data = self._body_bytes(transaction)
        if not desk.arm(transaction):
            self._withhold(desk, "it was no longer allowed to leave")
            return
        self._write_body(transaction, data, following)
        self._judge_group(desk, await self._wire.replies())

    def _check_before_body(self) -> None:
        """A relay that gave up between 354 and the body is believed; the mail has not left."""
        broken = self._wire.broken
        if broken is not None and self._wire.surplus and self._wire.surplus[0].code >= 400:
            self._wire.answered = [self._wire.surplus[0]]
            self._phases = (Phase.DATA,)
        self._wire.require_quiet()

    def _body_bytes(self, transaction: Transaction) -> bytes:
        body = transaction.body
        if self._offer.chunking:
            return b"BDAT %d LAST\r\n%b" % (len(body), body)
        if not transaction.vetted and (body.startswith(b".") or b"\n." in body):
            body = body.replace(b"\r\n.", b"\r\n..")  # RFC 5321 4.5.2
            body = b"." + body if body.startswith(b".") else body
        return body + b".\r\n"

    def _write_body(self, transaction: Transaction, data: bytes, following: bytes) -> None:
        times = self._times
        self._sent, self._opened, self._next = transaction, self._next, None
        self._is_ready = False
        self._left -= 1
        self._phases = (Phase.BODY, Phase.MAIL, Phase.RCPT) if following else (Phase.BODY,)
        wait_s = times.body_s + len(data) / times.body_bytes_per_s + times.final_s
        self._wire.send(data + following, len(self._phases), wait_s, times.command_s, tail=len(following))

    def _judge_group(self, desk: Desk, replies: list[Reply]) -> None:
        body, envelope = replies[0], replies[1:]
        if envelope:
            # Overlapped: one reply too many would shift every later one, so the whole group must be in step.
            if self._wire.broken is not None and self._wire.broken.cause is not Cause.CLOSED:
                raise self._wire.broken
            if body.is_positive:
                self._check_order(envelope)
        self._record_sent(desk, judge(Phase.BODY, body))
        if not body.is_positive:
            self._after_refused_body(body)
        elif envelope and not self._settle_refusal(desk, envelope):
            self._is_ready = True

    def _record_sent(self, desk: Desk, outcome: Outcome) -> None:
        transaction, self._sent = self._sent, None
        assert transaction is not None
        if outcome.permanence is not Permanence.DOUBT and outcome.code is not None:
            self.judged += 1
        desk.record(transaction, outcome)

    def _after_refused_body(self, body: Reply) -> None:
        # What was prepared behind it is dropped with RSET and written again: after a failed BDAT the relay's state
        # is not defined (RFC 3030 2).
        self._must_reset = True
        self._refusals += 1
        if body.code == 421 or body.code < 400:
            self._is_over = True
            self._wire.break_off(Cause.CLOSED, "the relay closes the session (421)")

    def _withhold(self, desk: Desk, why: str) -> None:
        """Leave the opened transaction without sending its body; the one behind it moves up."""
        transaction, self._opened, self._next = self._opened, self._next, None
        assert transaction is not None
        self._is_ready = False
        self._must_reset = True
        if not self._offer.chunking:
            # After 354 there is no way back but the end of the connection.
            self._wire.break_off(Cause.LET_GO, why)
        desk.record(transaction, unsent(Phase.BODY, why))

    def _out_of_step(self, text: str) -> Broken:
        self._wire.break_off(Cause.SURPLUS, text)
        assert self._wire.broken is not None
        return self._wire.broken

    def _note_misfit(self, broken: Broken) -> None:
        if broken.cause is Cause.DEADLINE and len(self._phases) > 1:
            self.misfit = self._phases[min(len(self._wire.answered), len(self._phases) - 1)]

    def _settle_rest(self, desk: Desk) -> None:
        """Settle what the session still holds: by the replies that came, else as doubt or as not sent."""
        if self._wire.is_waiting:
            self._wire.break_off(Cause.LET_GO, "the sending was stopped")
        broken = self._wire.broken or Broken(Cause.LET_GO, "the session ended")
        stands = broken.cause not in (Cause.MALFORMED, Cause.SURPLUS) or self._phases == (Phase.DATA,)
        came = dict(zip(self._phases, self._wire.answered, strict=False)) if stands else {}
        if self._sent is not None:
            self._record_sent(desk, self._judge_cut_body(came.get(Phase.BODY), broken))
        if self._next is not None:
            transaction, self._next = self._next, None
            desk.give_back(transaction, unsent(Phase.LOCAL, broken.text))
        if self._opened is not None:
            self._settle_opened(desk, came, broken)

    def _settle_opened(self, desk: Desk, came: dict[Phase, Reply], broken: Broken) -> None:
        transaction, self._opened = self._opened, None
        assert transaction is not None
        for phase in (Phase.MAIL, Phase.RCPT, Phase.DATA):
            reply = came.get(phase)
            if reply is not None and reply.code >= 400:
                if reply.code == 421:
                    desk.give_back(transaction, judge(phase, reply))
                else:
                    self.judged += 1
                    desk.record(transaction, judge(phase, reply))
                return
        was_asked = self._wire.broken is not None and self._phases
        phase = self._phases[min(len(self._wire.answered), len(self._phases) - 1)] if was_asked else Phase.LOCAL
        desk.give_back(transaction, unsent(phase, broken.text))

    def _judge_cut_body(self, reply: Reply | None, broken: Broken) -> Outcome:
        if reply is not None:
            return judge(Phase.BODY, reply)
        if self._wire.body_is_stuck:
            return Outcome(Permanence.TRANSIENT, Scope.SESSION, Phase.BODY, None, None, broken.text)
        return in_doubt(broken.text)


def _has_bare_controls(body: bytes) -> bool:
    """Whether a CR or LF stands alone, or there is a NUL: what SMTP smuggling is made of. Counting beats a pattern 15
    times."""
    ends = body.count(b"\r\n")
    return body.count(b"\n") != ends or body.count(b"\r") != ends or b"\0" in body
