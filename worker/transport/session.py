"""One SMTP session: hands mail after mail to the relay in the fastest form it announces.

| relay announces         | written                                                        | round trips |
| CHUNKING and PIPELINING | body of n as BDAT LAST, in the same write MAIL + RCPT of n + 1 | 1.1         |
| PIPELINING              | MAIL + RCPT + DATA, then the body                              | 2           |
| neither                 | one command at a time (BDAT for DATA if CHUNKING)              | 3 or 4      |

A body leaves only after its own RCPT was answered 2yz, and never a second body in flight. Whatever ends a session, each
transaction it took is either recorded or given back, once. A crash here costs what `arm` has written down.
RFC 5321, 2920, 3030, 1870, 6531.
"""

from collections.abc import Callable

from worker.clock import monotonic
from worker.transport.handshake import Offer
from worker.transport.held_mails import HeldMails, MailSource
from worker.transport.lessons import CHUNKING, PIPELINING, Lessons, is_about_pipelining, option_in_vain
from worker.transport.next_hop import Relay
from worker.transport.replies import Permanence, Phase, Reply, in_doubt, judge, out_of_step, unsent
from worker.transport.transaction import body_octets, envelope_commands, options_of
from worker.transport.wire import Broken, Cause, Wire

NEXT_REPLY_S = 20.0
"""While PIPELINING is new here: how long the second reply may lie behind the first before it counts as lost."""
MAX_REFUSALS = 4
"""Non-2yz replies before a connection is closed: Postfix delays each reply after a few errors by seconds."""

_GOODBYES = (221, 421)
_BEFORE_ENVELOPE = (Phase.BODY, Phase.RSET, Phase.MAIL)
"""What a write begins with behind which nothing is known of the current mail."""


class Session:
    """A fenced line and the mails on it."""

    def __init__(
        self,
        relay: Relay,
        wire: Wire,
        offer: Offer,
        *,
        lessons: Lessons | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._times = relay.timeouts
        self._left = relay.per_connection
        self._wire = wire
        self._lessons, self._now = lessons or Lessons(), now
        self._offer = self._lessons.usable(offer, now(), self)
        self._pipeline = self._offer.pipelining
        self._overlap = self._lessons.overlap and self._pipeline and self._offer.chunking
        self._refusals = 0
        self._must_reset = False
        self._is_over = False
        self._phases: tuple[Phase, ...] = ()  # what the commands of the last write were
        self._rcpt = Reply(250, b"")  # what was said to the current mail's RCPT
        self._taken = 0
        self.judged = 0
        """Transactions this session has judged by a reply: 0 marks a relay that only talks."""
        self.has_learned = False
        """Whether it ended because an extension turned out not to work."""
        self.doubts = 0
        """Bodies of this session that nobody knows the fate of."""
        self.found_limit: int | None = None
        """After how many mails the relay said that a connection carries no more."""
        self.closed_after: int | None = None
        """After how many mails the relay closed the line between two, without a reason."""
        self.failed = False
        """Whether an error of our own ended it."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more should be sent here: broken, worn out by refusals, or at its limit of mails."""
        return self._is_over or self._wire.broken is not None or self._left < 1 or self._refusals >= MAX_REFUSALS

    @property
    def is_barren(self) -> bool:
        """Whether it ended before any mail was judged. A line that we let go of says nothing about the relay."""
        broken = self._wire.broken
        was_let_go = broken is not None and broken.cause is Cause.LET_GO and not self.failed
        return self.is_over and not self.judged and not was_let_go and not self.has_learned

    @property
    def broken(self) -> Broken | None:
        """Why its line is over, None while it is whole."""
        return self._wire.broken

    @property
    def form(self) -> str:
        """How mails are written here, in words."""
        if self._overlap:
            return "CHUNKING with PIPELINING, one round trip a mail"
        if self._pipeline:
            return "PIPELINING, two round trips a mail"
        return f"one command at a time, {3 if self._offer.chunking else 4} round trips a mail"

    async def serve(self, source: MailSource) -> None:
        """Hand over what the source gives until it has no more or the session is over.

        Does not raise Broken. Any other error is ours: the line is cut and every mail settled before it is raised.
        """
        mails = HeldMails(source, self._offer, self._taken)
        was_whole = self._wire.broken is None  # a line that idled too long says nothing about how many it carries
        try:
            while not self.is_over and (mails.current or mails.begin_next()):
                if mails.is_ready or await self._send_envelope(mails):
                    await self._hand_over(mails)
        except Broken:
            pass  # judged below
        except Exception:
            self.failed = True
            raise
        finally:
            if not self.failed:
                self._learn(mails)
            self._settle_rest(mails, was_whole=was_whole)
            self.judged += mails.judged
            self.doubts += mails.doubts
            self._taken = mails.taken
            self._lessons.is_proven |= self.judged > 0
            if self.is_over:
                self._lessons.end_trial(self)

    async def quit(self) -> None:
        """Close in good order if the line is whole; at most quit_s seconds, and never raises Broken."""
        try:
            self._wire.send(b"QUIT\r\n", 1, self._times.quit_s, self._times.quit_s)
            await self._wire.replies()
        except Broken:
            pass  # every result is recorded already
        finally:
            self._wire.break_off(Cause.LET_GO, "the session was ended")

    async def _send_envelope(self, mails: HeldMails) -> bool:
        """Bring the current mail to where its body may follow; False when it was settled instead."""
        assert mails.current is not None
        mail, rcpt = envelope_commands(mails.current, self._offer)
        steps = [(Phase.MAIL, mail), (Phase.RCPT, rcpt)]
        if self._must_reset:
            steps.insert(0, (Phase.RSET, b"RSET\r\n"))
        if not self._offer.chunking:
            steps.append((Phase.DATA, b"DATA\r\n"))
        replies = await self._walk(steps)
        self._must_reset = False
        if steps[0][0] is Phase.RSET:
            if not replies[0].is_positive:
                raise self._break_step("the relay refused RSET")
            replies = replies[1:]
        self._check_order(replies)
        if self._settle_refusal(mails, replies):
            if len(replies) == 3 and replies[2].code == 354:
                await self._leave_data()
            return False
        self._rcpt = replies[1]
        mails.is_ready = True
        return True

    async def _walk(self, steps: list[tuple[Phase, bytes]]) -> list[Reply]:
        """The replies to `steps`: in one write when pipelining, else one by one until one is refused."""
        wait_s = self._times.command_s
        if self._pipeline:
            self._phases = tuple(phase for phase, _ in steps)
            then_s = wait_s if self._lessons.is_proven else min(wait_s, NEXT_REPLY_S)
            self._wire.send(b"".join(command for _, command in steps), len(steps), wait_s, then_s)
            return await self._wire.replies()
        replies: list[Reply] = []
        for phase, command in steps:
            self._phases = (phase,)
            self._wire.send(command, 1, wait_s, wait_s)
            replies += await self._wire.replies()
            if not replies[-1].is_positive or replies[-1].code == 221:
                break
        return replies

    def _settle_refusal(self, mails: HeldMails, replies: list[Reply]) -> bool:
        """Settle the current mail by the first refusal of MAIL, RCPT or DATA, if there is one."""
        for phase, reply in zip((Phase.MAIL, Phase.RCPT, Phase.DATA), replies, strict=False):
            if reply.code == 221:
                reply = reply._replace(code=421)
            if reply.is_positive or (phase is Phase.DATA and reply.code == 354):
                continue
            self._must_reset = True
            if self._is_form_refused(mails, phase, reply):
                mails.return_current("the relay does not take what it announces")
                return True
            if reply.code == 421:
                self._close_on_421()
            else:
                self._refusals += 1
            mails.refuse_current(judge(phase, reply))
            self._retire_if_worn(mails)
            return True
        return False

    def _is_form_refused(self, mails: HeldMails, phase: Phase, reply: Reply) -> bool:
        """Whether this reply is about an extension that is announced and does not work; it is left out from now on."""
        assert mails.current is not None
        if phase is Phase.MAIL and (vain := option_in_vain(reply.code, options_of(mails.current, self._offer))):
            self._lessons.leave_out(vain, self._now())
            self._offer = mails.offer = self._offer.without(vain)
            return True
        if self._pipeline and not self._lessons.is_proven and not self.judged and is_about_pipelining(reply):
            self._give_up(PIPELINING, "the relay does not take commands written ahead")
            return True
        return False

    def _give_up(self, extension: str, why: str) -> None:
        self._lessons.leave_out(extension, self._now())
        self.has_learned = True
        self._phases = ()
        self._wire.break_off(Cause.LET_GO, why)

    async def _leave_data(self) -> None:
        """A relay that refused the recipient and still wants data gets a lone dot; its answer means nothing
        (RFC 2920 3.1)."""
        self._phases = (Phase.DATA,)
        self._wire.send(b".\r\n", 1, self._times.final_s, self._times.final_s)
        await self._wire.replies()

    async def _hand_over(self, mails: HeldMails) -> None:
        assert mails.current is not None
        if not await mails.source.pace():
            self._withhold(mails, "the rate window is used up")
            return
        await self._check_before_body()
        data = body_octets(mails.current, self._offer)
        following = mails.take_rider() if self._overlap and self._left > 1 else b""
        if not mails.source.arm(mails.current, self._wire.local_port):
            self._withhold(mails, "it was no longer allowed to leave")
            return
        mails.begin_body()
        self._write_body(data, following)
        replies = await self._wire.replies()
        self._judge_group(mails, replies, is_fenced=await self._doubt_a_stray(mails, replies))

    async def _doubt_a_stray(self, mails: HeldMails, replies: list[Reply]) -> bool:
        """Is this 2yz the body's, or one too many to RCPT? In doubt where it cannot be the body's; True when it had to
        be asked, which ends the envelope written behind. Raises Broken."""
        body = replies[0]
        if not body.is_positive:
            return False
        if self._wire.is_early:
            broken = self._break_step("the relay answered before it had the whole mail")
            mails.record_sent(in_doubt(broken.text, body.code))
            raise broken
        if (replies[1:] and out_of_step(replies[1:])) or not self._lessons.is_odd_final(body, self._rcpt):
            return False  # what is out of step is judged as a group
        # Were it a stray, the true answer would come as the next one.
        self._phases = (Phase.RSET,)
        try:
            self._wire.send(b"RSET\r\n", 1, self._times.command_s, self._times.command_s)
            if not (await self._wire.replies())[0].is_positive:
                raise self._break_step("the relay refused what it had just accepted")
            self._lessons.note_odd_final()
        except Broken as broken:
            if broken.cause is not Cause.CLOSED or self._lessons.knows_finals:
                raise
        return True

    async def _check_before_body(self) -> None:
        """A relay that gave up between 354 and the body is believed; the mail has not left."""
        await self._wire.catch_up()
        if self._wire.broken is not None and self._wire.surplus and self._wire.surplus[0].code >= 400:
            self._wire.answered = [self._wire.surplus[0]]
            self._phases = (Phase.DATA,)
        self._wire.require_quiet()

    def _write_body(self, data: bytes, following: bytes) -> None:
        times = self._times
        self._left -= 1
        self._phases = (Phase.BODY, Phase.MAIL, Phase.RCPT) if following else (Phase.BODY,)
        wait_s = times.body_s + len(data) / times.body_bytes_per_s + times.final_s
        self._wire.send(data + following, len(self._phases), wait_s, times.command_s, tail=len(following))

    def _judge_group(self, mails: HeldMails, replies: list[Reply], *, is_fenced: bool) -> None:
        body, envelope = replies[0], replies[1:]
        if not body.is_positive and self._is_bdat_refused(body):
            return  # `_learn` settles it: whatever the relay makes of the rest, the line is of no more use
        if envelope:
            # Overlapped: one reply too many would shift every later one, so the whole group must be in step.
            if self._wire.broken is not None and self._wire.broken.cause is not Cause.CLOSED:
                raise self._wire.broken
            if body.is_positive:
                self._check_order(envelope)
        elif not body.is_positive and self._wire.surplus and self._wire.surplus[0].is_positive:
            raise self._break_step("the relay refused and accepted in one breath")
        if body.is_positive and self._offer.chunking:
            self._lessons.chunking_works = True
        outcome = judge(Phase.BODY, body)
        mails.record_sent(outcome)
        self._retire_if_worn(mails)
        if body.is_positive and outcome.permanence is Permanence.DOUBT:
            raise self._break_step("the relay answered for an address where it should have for the mail")
        if not body.is_positive:
            self._after_refused_body(body)
        elif envelope and not self._settle_refusal(mails, envelope) and not is_fenced:
            self._rcpt = envelope[1]
            mails.is_ready = True

    def _after_refused_body(self, body: Reply) -> None:
        # What was prepared behind it is dropped with RSET and written again: after a failed BDAT the relay's state
        # is not defined (RFC 3030 2).
        self._must_reset = True
        self._refusals += 1
        if body.code == 421 or body.code < 400:
            self._close_on_421()

    def _retire_if_worn(self, mails: HeldMails) -> None:
        if mails.is_worn:
            self._is_over = True
            self.found_limit = mails.taken

    def _withhold(self, mails: HeldMails, why: str) -> None:
        """Leave the current mail without sending its body; the one behind it moves up."""
        self._must_reset = True
        if not self._offer.chunking:
            # After 354 there is no way back but the end of the connection.
            self._wire.break_off(Cause.LET_GO, why)
        mails.withhold_current(unsent(Phase.BODY, why))

    def _close_on_421(self) -> None:
        self._wire.break_off(Cause.CLOSED, "the relay closes the session (421)")

    def _check_order(self, replies: list[Reply]) -> None:
        """Raises Broken on replies that no server in step gives to MAIL, RCPT and DATA."""
        if trouble := out_of_step(replies):
            raise self._break_step(trouble)

    def _break_step(self, text: str) -> Broken:
        self._wire.break_off(Cause.SURPLUS, text)
        assert self._wire.broken is not None
        return self._wire.broken

    def _is_bdat_refused(self, body: Reply) -> bool:
        """Whether the relay does not know BDAT after all; it then reads the body as commands, and is left."""
        if not (self._offer.chunking and self._lessons.is_bdat_unknown(body.code)):
            return False
        self._wire.break_off(Cause.LET_GO, "the relay announces CHUNKING and does not know BDAT")
        return True

    def _learn(self, mails: HeldMails) -> None:
        """When the line is over: did an extension break it that was announced and does not work?"""
        broken, answered, phases = self._wire.broken, self._wire.answered, self._phases
        if broken is None or not phases:
            return
        is_proven = self._lessons.is_proven or self.judged + mails.judged > 0
        in_body = phases[0] is Phase.BODY and mails.sent is not None
        if in_body and answered and self._is_bdat_refused(answered[0]):
            mails.return_sent(broken.text)
            self._give_up(CHUNKING, broken.text)
        elif in_body and not answered and self._offer.chunking and not self._lessons.chunking_works:
            self._lessons.leave_out(CHUNKING, self._now())  # the body stays in doubt: it may have been taken
        elif broken.cause is Cause.DEADLINE and len(phases) > 1:
            lost = phases[min(len(answered), len(phases) - 1)]
            if lost is Phase.MAIL and self._overlap and is_proven:
                self._lessons.overlap = False
            elif not is_proven:
                self._lessons.leave_out(PIPELINING, self._now())
        elif len(phases) > 1 and not is_proven and any(map(is_about_pipelining, answered)):
            self._give_up(PIPELINING, broken.text)

    def _settle_rest(self, mails: HeldMails, *, was_whole: bool) -> None:
        if self.failed:
            self._wire.break_off(Cause.LET_GO, "an error of our own ended the connection")
            mails.settle_after_error("an error of our own ended the connection")
            return
        if self._wire.is_waiting:
            self._wire.break_off(Cause.LET_GO, "the sending was stopped")
        broken = self._wire.broken
        why = broken.text if broken else "the session ended"
        is_in_step = broken is None or broken.cause not in (Cause.MALFORMED, Cause.SURPLUS)
        stands = is_in_step or self._phases == (Phase.DATA,)
        stands = stands and not mails.is_worn  # what followed the end of a connection's limit means nothing
        replies = dict(zip(self._phases, self._wire.answered, strict=False)) if stands else {}
        if (body := replies.get(Phase.BODY)) and body.is_positive:
            is_odd = self._lessons.is_odd_final(body, self._rcpt) and self._lessons.knows_finals
            if is_odd or self._wire.is_early:
                del replies[Phase.BODY]
        phase = Phase.LOCAL
        is_goodbye = self._is_goodbye(self.judged + mails.judged)
        if broken is not None and self._phases and not is_goodbye:
            phase = self._phases[min(len(self._wire.answered), len(self._phases) - 1)]
        mails.settle(why, replies, phase, body_is_stuck=self._wire.body_is_stuck)
        if is_goodbye and was_whole and mails.taken and not self._refusals:
            self.closed_after = mails.taken

    def _is_goodbye(self, judged: int) -> bool:
        """Whether the relay ended the line between two mails: it has judged some, and said of the one that was prepared
        nothing but that it goes (RFC 5321 3.8). Then that mail has no part in it."""
        broken, said = self._wire.broken, self._wire.answered
        if broken is None or not self._phases or self._phases[0] not in _BEFORE_ENVELOPE:
            return False
        if self._phases[0] is Phase.BODY:
            if not said:
                return False
            judged, said = judged + 1, said[1:]
        unasked = self._wire.surplus
        is_end = broken.cause is Cause.CLOSED or (broken.cause is Cause.SURPLUS and bool(unasked))
        return is_end and judged > 0 and all(reply.code in _GOODBYES for reply in (*said, *unasked))
