"""What an SMTP server can do to one mail or one connection, and the class of outcome it must have: one row each.

Classes: OK taken; N not sent, so tried again; S trouble of ours or the relay's, nobody is blamed; R this reader is
refused; D in doubt. The relay's own count of mails it took is the witness, and times are scaled by a hundred.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tests.lab.checker import Violation
from tests.support.lists import Newsroom
from tests.support.scripted_smtp import CLOSE, DRIP, FLOOD, HANG, KEEP, RESET, STOP_READING, USUAL, On, ScriptedRelay
from tests.support.scripted_smtp import Step as Do
from worker.dispatch import orders
from worker.domain.issue import IssueState

READERS = 12
ONE = "reader5@"
"""The reader whose mail meets it."""

TIMES = 0.01
"""Six seconds for the last reply instead of ten minutes."""


class Outcome(StrEnum):
    OK = "OK"
    N = "N"
    S = "S"
    R = "R"
    D = "D"


@dataclass(frozen=True)
class SmtpRow:
    name: str
    outcome: Outcome
    event: str
    steps: tuple[bytes | Do, ...]
    everybody: bool = False
    """It happens to every mail or connection, for ever; else to one mail, once."""
    more: dict[str, object] = field(default_factory=dict)

    def relay(self) -> ScriptedRelay:
        line = ONE if self.event in ("rcpt", "body") and not self.everybody else ""
        once = On(self.event, *self.steps, line=line, times=None if self.everybody else 1)
        return ScriptedRelay([once], **self.more)  # type: ignore[arg-type]


def _rows(outcome: Outcome, event: str, *, everybody: bool = False, **named: tuple[bytes | Do, ...]) -> list[SmtpRow]:
    return [SmtpRow(f"{event} {name}", outcome, event, steps, everybody) for name, steps in named.items()]


OK, N, S, R, D = Outcome
NO_CHUNKING = {"extensions": ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")}
PLAIN: dict[str, object] = {"extensions": ()}

ROWS: Sequence[SmtpRow] = (
    *_rows(
        S,
        "connect",
        closes=(CLOSE,),
        resets=(RESET,),
        says_421=(b"421 4.3.2 busy\r\n", CLOSE),
        says_450=(b"450 later\r\n", CLOSE),
        says_554=(b"554 no service\r\n", CLOSE),
        hangs=(HANG,),
    ),
    *_rows(S, "connect", everybody=True, refuses_all=(b"554 5.7.1 no service for you\r\n", CLOSE)),
    *_rows(OK, "connect", speaks_in_lines=(b"220-one\r\n220-two\r\n220 three\r\n",)),
    *_rows(
        S, "ehlo", says_421=(b"421 4.3.2 no\r\n", CLOSE), closes=(CLOSE,), floods=(FLOOD,), garbage=(b"2x0 no\r\n",)
    ),
    *_rows(
        S,
        "mail",
        says_421=(b"421 4.3.2 no\r\n", CLOSE),
        says_450=(b"450 4.3.0 later\r\n",),
        says_452=(b"452 4.3.1 storage\r\n",),
        closes=(CLOSE,),
        hangs=(HANG,),
    ),
    *_rows(
        S, "mail", everybody=True, says_550=(b"550 5.7.1 sender refused\r\n",), says_530=(b"530 5.7.0 sign in\r\n",)
    ),
    *_rows(
        N,
        "rcpt",
        says_421=(b"421 4.3.2 no\r\n", CLOSE),
        greylists=(b"450 4.2.0 greylisted\r\n",),
        says_451=(b"451 4.3.0 later\r\n",),
        says_452=(b"452 4.2.2 full\r\n",),
        says_552=(b"552 5.2.2 full\r\n",),
        closes=(CLOSE,),
        resets=(RESET,),
        hangs=(HANG,),
    ),
    *_rows(R, "rcpt", unknown=(b"550 5.1.1 no such user\r\n",), moved=(b"551 5.1.6 moved\r\n",)),
    *_rows(S, "rcpt", policy=(b"550 5.7.1 blocked for reputation\r\n",)),
    *_rows(OK, "rcpt", will_forward=(b"251 2.1.5 will forward\r\n",), cannot_verify=(b"252 2.1.5 will try\r\n",)),
    *(
        SmtpRow(f"data {name}", N, "data", steps, more=NO_CHUNKING)
        for name, steps in {
            "says_421": (b"421 4.3.2 no\r\n", CLOSE),
            "says_451": (b"451 4.3.0 later\r\n",),
            "closes": (CLOSE,),
            "hangs": (HANG,),
            "250_instead_of_354": (b"250 2.0.0 ok\r\n", CLOSE),
        }.items()
    ),
    *(
        SmtpRow(f"data {name} without pipelining", N, "data", steps, more=PLAIN)
        for name, steps in {
            "354_and_250_at_once": (b"354 go on\r\n250 2.0.0 taken\r\n", HANG),
            "closes": (CLOSE,),
        }.items()
    ),
    SmtpRow("body stops being read", D, "body_begins", (STOP_READING,), more=PLAIN | {"receive_buffer": 2048}),
    *_rows(
        OK,
        "body",
        says_251=(KEEP, b"251 2.0.0 taken\r\n"),
        taken_then_closes=(USUAL, CLOSE),
        taken_then_421=(USUAL, b"421 4.4.2 enough\r\n", CLOSE),
    ),
    *_rows(
        N,
        "body",
        says_421=(b"421 4.3.2 no\r\n", CLOSE),
        says_450=(b"450 4.2.0 later\r\n",),
        says_451=(b"451 4.3.0 later\r\n",),
        says_454=(b"454 4.7.0 throttled\r\n",),
    ),
    *_rows(R, "body", unknown=(b"550 5.1.1 no such user\r\n",)),
    *_rows(S, "body", spam=(b"554 5.7.1 looks like spam\r\n",), no_code=(b"500 what\r\n",)),
    *_rows(
        D,
        "body",
        silence=(HANG,),
        closes=(CLOSE,),
        resets=(RESET,),
        taken_and_closes=(KEEP, CLOSE),
        cut_250=(KEEP, b"250", CLOSE),
        two_digits=(KEEP, b"25\r\n"),
        four_digits=(KEEP, b"2500 x\r\n"),
        letter=(KEEP, b"250x\r\n"),
        mixed_codes=(b"554-no\r\n250 taken\r\n",),
        says_354=(b"354 go on\r\n",),
        says_199=(b"199 hm\r\n",),
        says_600=(b"600 hm\r\n",),
        floods=(FLOOD,),
        drips=(DRIP,),
    ),
    *_rows(S, "rset", closes=(CLOSE,), extra=(b"250 ok\r\n250 ok\r\n",), says_421=(b"421 4.4.2 idle\r\n", CLOSE)),
    *_rows(OK, "quit", hangs=(HANG,), says_500=(b"500 no\r\n",), closes=(CLOSE,)),
)


def run_row(desk: Newsroom, row: SmtpRow, number: int) -> list[Violation]:
    """Send an issue past it, whatever is due brought forward; what does not hold."""
    slug, relay = f"row{number}", row.relay()
    if number == 0:
        desk.readers(READERS)
    desk.queue(slug)
    with desk.relayed_by(relay, times=TIMES, smtp_connections="2") as hand:
        for _ in range(6):
            hand.send()
            if desk.issue(slug).state is not IssueState.SENDING:
                break
            desk.bring_forward(slug)
    found = [Violation(what, row.name) for what in _judge(desk, row, relay, slug)]
    if desk.issue(slug).state is not IssueState.FINISHED:
        orders.cancel(desk.database, desk.settings, slug, "lab", margin_s=0.0)
    return found


def _judge(desk: Newsroom, row: SmtpRow, relay: ScriptedRelay, slug: str) -> list[str]:
    states, issue = desk.states(slug), desk.issue(slug)
    taken: dict[str, int] = {}
    for mail in relay.taken:
        taken[mail.mail] = taken.get(mail.mail, 0) + 1
    wrong = []
    if any(count > 1 for count in taken.values()):
        wrong.append("taken more often than allowed")
    if states["bounced"] != (row.outcome is R):
        wrong.append(f"blamed for what the relay did not say of them: {dict(states)}")
    if states["in_doubt"] != (row.outcome is D):
        wrong.append(f"in doubt, or not: {dict(states)}")
    if row.outcome in (OK, N) and states["accepted"] != READERS:
        wrong.append(f"not all were taken: {dict(states)} {issue.state}")
    if row.outcome in (R, D) and states["accepted"] != READERS - 1:
        wrong.append(f"others paid for it: {dict(states)} {issue.state}")
    is_told = (issue.state is IssueState.PAUSED and issue.stopped_reason) or desk.wait_reason(slug)
    if row.everybody and (states["accepted"] or not is_told):
        wrong.append(f"nobody is told why nothing leaves: {dict(states)} {issue.state}")
    return wrong
