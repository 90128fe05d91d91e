"""When refusals that are about us make everything else wait, and for how long."""

import pytest

from worker.transport.refusals import IN_A_ROW, QUOTA_FIRST_S, QUOTA_LONGEST_S, Refusals
from worker.transport.replies import Outcome, Permanence, Phase, Reply, Scope, judge

TAKEN = Outcome(Permanence.ACCEPTED, Scope.MESSAGE, Phase.BODY, 250)
DEAD = judge(Phase.RCPT, Reply(550, b"5.1.1 user unknown"))


def said(phase: Phase, reply: str) -> Outcome:
    return judge(phase, Reply(int(reply[:3]), reply[4:].encode()))


@pytest.mark.parametrize("reply", ["550 5.4.5 Daily user sending limit exceeded", "450 4.7.1 rate limit exceeded"])
def test_one_limit_said_to_mail_is_enough_and_three_said_of_readers(reply: str) -> None:
    assert Refusals("relay:25").feed(said(Phase.MAIL, reply)) is not None

    refusals = Refusals("relay:25")
    rests = [refusals.feed(said(Phase.RCPT, reply)) for _ in range(IN_A_ROW)]
    assert [rest is None for rest in rests] == [True, True, False]


@pytest.mark.parametrize(
    "reply",
    [
        "530 5.7.0 Authentication required",
        "452 4.3.1 Insufficient system storage",
        "450 4.1.8 Sender address rejected: Domain not found",
        "451 4.3.5 Server configuration problem",
        "503 5.5.1 out of sequence",
        "502 5.7.0 Your SMTP account is not yet activated",
    ],
)
def test_what_every_mail_will_meet_is_waited_for_after_three(reply: str) -> None:
    refusals = Refusals("relay:25")
    rests = [refusals.feed(said(Phase.MAIL, reply)) for _ in range(IN_A_ROW)]
    assert rests[:2] == [None, None]
    assert rests[2] is not None
    assert rests[2].cause.startswith(f"relay:25 takes no mail of ours for now: {reply[:3]} ")


@pytest.mark.parametrize(
    "outcome",
    [
        DEAD,
        said(Phase.RCPT, "450 4.2.0 Greylisted"),
        said(Phase.BODY, "451 4.7.1 Greylisting in action"),
        said(Phase.RCPT, "452 4.2.2 mailbox full"),
        said(Phase.BODY, "550 5.7.1 blocked by policy"),
        said(Phase.BODY, "554 5.6.0 bad content"),
    ],
)
def test_what_is_meant_for_one_mail_or_is_final_is_not_waited_for(outcome: Outcome) -> None:
    refusals = Refusals("relay:25")
    assert {refusals.feed(outcome) for _ in range(100)} == {None}


def test_a_quota_is_asked_about_ever_more_rarely_until_a_mail_is_taken() -> None:
    refusals, used_up = Refusals("relay:25"), said(Phase.MAIL, "550 5.4.5 Daily user sending limit exceeded")
    pauses = [rest.pause_s for _ in range(6) if (rest := refusals.feed(used_up))]
    assert pauses[0] == QUOTA_FIRST_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == QUOTA_LONGEST_S

    refusals.feed(TAKEN)
    again = refusals.feed(used_up)
    assert again is not None
    assert again.pause_s == QUOTA_FIRST_S


def test_dead_addresses_between_two_limits_do_not_hide_them() -> None:
    refusals, slow = Refusals("relay:25"), said(Phase.RCPT, "450 4.7.1 too many messages per minute")
    said_so_far = [refusals.feed(each) for each in (slow, DEAD, slow, DEAD)]
    assert said_so_far == [None] * 4
    assert refusals.feed(slow) is not None


def test_the_cause_holds_no_address() -> None:
    rest = Refusals("relay:25").feed(said(Phase.MAIL, "450 4.7.1 ann@example.org: daily limit reached"))
    assert rest is not None
    assert "ann" not in rest.cause
