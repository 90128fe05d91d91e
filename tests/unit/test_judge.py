"""What an outcome makes of a row, and when a breaker pauses an issue."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.dispatch.breaker import ANY_IN_A_ROW, OURS_IN_A_ROW, Breaker
from worker.dispatch.judge import judge, not_the_same, skipped, unbuildable, undecided
from worker.domain.delivery import TRANSITIONS, DeliveryState, DoubtReason, FailureReason, SkipReason
from worker.domain.subscriber import Recipient
from worker.storage.ledger.deliveries import Due
from worker.storage.ledger.settlements import Result
from worker.transport.replies import Outcome, Permanence, Phase, Scope

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
LIFE = timedelta(hours=48)
READER = Recipient(
    n=4, subscriber_id=1, subscription_id=1, generation=1, address="anna@gmail.com", name="", language="",
    consent_date="", attributes={},
)  # fmt: skip


def due(state: DeliveryState = DeliveryState.WAITING, tries: int = 0, first_try: datetime | None = None) -> Due:
    return Due(READER, state, tries, first_try, None, None, None)


def judged(outcome: Outcome, row: Due | None = None) -> Result | None:
    return judge(row or due(), outcome, now=NOW, rng=random.Random(1), life=LIFE, fingerprint=b"8 octets")


def outcome(
    permanence: Permanence,
    scope: Scope = Scope.RECIPIENT,
    phase: Phase = Phase.RCPT,
    code: int | None = None,
    enhanced: str | None = None,
) -> Outcome:
    return Outcome(permanence, scope, phase, code, enhanced, "the relay's words")


PERMANENT = Permanence.PERMANENT
MEANINGS = [
    # A taken mail; its words are not kept.
    (outcome(Permanence.ACCEPTED, Scope.MESSAGE, Phase.BODY, 250), "accepted", None),
    # Doubt: the line broke, or spoke nonsense.
    (outcome(Permanence.DOUBT, Scope.SESSION, Phase.BODY), "in_doubt", "line_broke"),
    (outcome(Permanence.DOUBT, Scope.SESSION, Phase.BODY, 354), "in_doubt", "reply_unclear"),
    # Only a refusal that speaks of the recipient makes a bounce.
    (outcome(PERMANENT, Scope.RECIPIENT, Phase.RCPT, 550), "bounced", "at_handover"),
    (outcome(PERMANENT, Scope.RECIPIENT, Phase.BODY, 550, "5.1.1"), "bounced", "at_handover"),
    # Everything else for good is ours.
    (outcome(PERMANENT, Scope.SENDER, Phase.MAIL, 550), "failed", "sender_refused"),
    (outcome(PERMANENT, Scope.MESSAGE, Phase.BODY, 554), "failed", "message_refused"),
    (outcome(PERMANENT, Scope.MESSAGE, Phase.MAIL, 552, "5.3.4"), "failed", "too_big"),
    (outcome(PERMANENT, Scope.MESSAGE, Phase.LOCAL, None, "5.3.4"), "failed", "too_big"),
    (outcome(PERMANENT, Scope.RECIPIENT, Phase.LOCAL, None, "5.6.7"), "failed", "no_smtputf8"),
    # Our own refusal of an address that cannot stand in a command has nothing to do with SMTPUTF8.
    (outcome(PERMANENT, Scope.RECIPIENT, Phase.LOCAL, None, "5.1.3"), "failed", "unbuildable"),
    # Trouble of the session costs time and blames nobody, however final it sounds.
    (outcome(PERMANENT, Scope.SESSION, Phase.MAIL, 503), "deferred", None),
    (outcome(Permanence.TRANSIENT, Scope.RECIPIENT, Phase.RCPT, 451), "deferred", None),
]


@pytest.mark.parametrize(("what", "state", "reason"), MEANINGS)
def test_an_outcome_means_one_state(what: Outcome, state: str, reason: str | None) -> None:
    result = judged(what)
    assert result is not None
    assert (result.state, result.reason, result.code) == (state, reason, what.code)
    assert (result.n, result.old, result.provider, result.tried) == (4, "waiting", "gmail", 1)
    assert result.text == ("" if state == "accepted" else "the relay's words")
    assert (result.fingerprint is not None) == (state == "in_doubt")


REPEATED = Due(READER, DeliveryState.DEFERRED, 3, NOW, None, b"8 octets", None)


@pytest.mark.parametrize(
    ("judge_row", "expected"),
    [
        (
            lambda: skipped(REPEATED, SkipReason.SUPPRESSED),
            Result(4, DeliveryState.DEFERRED, DeliveryState.SKIPPED, SkipReason.SUPPRESSED, tried=0, first_try=NOW),
        ),
        (
            lambda: unbuildable(REPEATED, "a name too long"),
            Result(
                *(4, DeliveryState.DEFERRED, DeliveryState.FAILED, FailureReason.UNBUILDABLE),
                phase="local",
                text="a name too long",
            ),
        ),
        (
            lambda: not_the_same(REPEATED),
            Result(
                *(4, DeliveryState.DEFERRED, DeliveryState.IN_DOUBT, DoubtReason.NOT_THE_SAME),
                first_try=NOW,
                tried=0,
                fingerprint=b"8 octets",
            ),
        ),
        (
            lambda: undecided(4, DeliveryState.DEFERRED),
            Result(4, DeliveryState.DEFERRED, DeliveryState.IN_DOUBT, DoubtReason.REPLY_UNCLEAR),
        ),
        (
            lambda: judged(outcome(Permanence.ACCEPTED, Scope.MESSAGE, Phase.BODY, 250, "2.0.0"), REPEATED),
            Result(
                *(4, DeliveryState.DEFERRED, DeliveryState.ACCEPTED, None, 250, "2.0.0", "gmail"),
                first_try=NOW,
                phase="body",
            ),
        ),
    ],
)
def test_a_result_says_of_its_row_what_the_ledger_keeps(
    judge_row: Callable[[], Result | None], expected: Result
) -> None:
    assert judge_row() == expected


def test_what_never_left_is_given_back_as_it_was() -> None:
    assert judged(outcome(Permanence.UNSENT, Scope.SESSION, Phase.CONNECT)) is None


def test_a_first_deferral_begins_the_life_of_retries() -> None:
    result = judged(outcome(Permanence.TRANSIENT))
    assert result is not None
    assert result.first_try == NOW
    assert result.next_try is not None
    assert timedelta(minutes=4) <= result.next_try - NOW <= timedelta(minutes=6)


def test_a_later_deferral_keeps_it_and_waits_longer() -> None:
    first = NOW - timedelta(hours=1)
    result = judged(outcome(Permanence.TRANSIENT), due(DeliveryState.DEFERRED, 3, first))
    assert result is not None
    assert (result.old, result.first_try) == ("deferred", first)
    assert result.next_try is not None
    assert timedelta(minutes=32) <= result.next_try - NOW <= timedelta(minutes=48)


def test_a_copy_whose_next_try_would_come_too_late_expires() -> None:
    result = judged(outcome(Permanence.TRANSIENT), due(DeliveryState.DEFERRED, 9, NOW - LIFE + timedelta(minutes=1)))
    assert result is not None
    assert (result.state, result.next_try) == ("expired", None)


@given(
    st.builds(
        Outcome,
        st.sampled_from(Permanence),
        st.sampled_from(Scope),
        st.sampled_from(Phase),
        st.one_of(st.none(), st.integers(200, 599)),
        st.one_of(st.none(), st.from_regex(r"\A[245]\.\d{1,3}\.\d{1,3}\Z")),
        st.text(max_size=20),
    ),
    st.sampled_from([DeliveryState.WAITING, DeliveryState.DEFERRED]),
)
def test_every_outcome_is_a_legal_move_with_the_columns_it_requires(what: Outcome, old: DeliveryState) -> None:
    result = judged(what, due(old, 1 if old is DeliveryState.DEFERRED else 0, NOW))
    if result is None:
        return
    assert result.state in TRANSITIONS[old]
    reasons = {"failed": tuple(FailureReason), "in_doubt": tuple(DoubtReason), "bounced": ("at_handover",)}
    assert result.reason in reasons.get(result.state, (None,))
    assert (result.next_try is not None) == (result.state is DeliveryState.DEFERRED)
    if result.state is DeliveryState.BOUNCED:
        assert what.scope is Scope.RECIPIENT


REFUSED = outcome(PERMANENT, Scope.RECIPIENT, Phase.RCPT, 550)
OURS = outcome(PERMANENT, Scope.SENDER, Phase.MAIL, 550)
TAKEN = outcome(Permanence.ACCEPTED, Scope.MESSAGE, Phase.BODY, 250)


@pytest.mark.parametrize(("what", "limit"), [(REFUSED, ANY_IN_A_ROW), (OURS, OURS_IN_A_ROW)])
def test_so_many_refusals_in_a_row_pause_the_issue(what: Outcome, limit: int) -> None:
    breaker = Breaker()
    said = [breaker.feed(what) for _ in range(limit)]
    assert said[:-1] == [None] * (limit - 1)
    assert said[-1] == f"safety stop: the relay refused {limit} mails in a row, last with: the relay's words"
    assert breaker.feed(what) is None


@pytest.mark.parametrize(("workers", "limit"), [(1, 50), (2, 25), (4, 12), (10, 5), (100, 5)])
def test_each_worker_stops_at_its_share_of_all_refusals(workers: int, limit: int) -> None:
    breaker = Breaker(fellows=workers)
    said = [breaker.feed(REFUSED) for _ in range(limit)]
    assert [each is None for each in said] == [True] * (limit - 1) + [False]


@pytest.mark.parametrize(("what", "limit"), [(REFUSED, ANY_IN_A_ROW), (OURS, OURS_IN_A_ROW)])
def test_one_mail_taken_in_between_begins_the_count_anew(what: Outcome, limit: int) -> None:
    breaker = Breaker()
    said = [breaker.feed(each) for each in ([what] * (limit - 1) + [TAKEN]) * 3]
    assert set(said) == {None}


@pytest.mark.parametrize(
    "what",
    [
        outcome(Permanence.TRANSIENT),
        outcome(Permanence.UNSENT, Scope.SESSION),
        outcome(PERMANENT, Scope.RECIPIENT, Phase.LOCAL),
    ],
)
def test_what_the_relay_did_not_refuse_for_good_is_not_counted(what: Outcome) -> None:
    breaker = Breaker()
    assert {breaker.feed(what) for _ in range(200)} == {None}


DOUBT = outcome(Permanence.DOUBT, Scope.SESSION, Phase.BODY)


def test_bodies_without_an_answer_three_times_in_a_row_pause_the_issue() -> None:
    breaker = Breaker()
    said = []
    for n in range(3):
        breaker.begin(n)
        said.append(breaker.feed(DOUBT, n))
    assert said[:2] == [None, None]
    assert said[2] == (
        "safety stop: 3 times in a row the relay took a mail's text and did not answer for it (the relay's words);"
        " the copies in doubt may have arrived or not"
    )


def test_bodies_that_were_on_the_wire_together_count_once() -> None:
    # Given ten lines that break in one moment, as when a relay restarts
    breaker = Breaker()
    for n in range(10):
        breaker.begin(n)
    assert {breaker.feed(DOUBT, n) for n in range(10)} == {None}

    # Then it takes two more mails without an answer
    breaker.begin(10)
    assert breaker.feed(DOUBT, 10) is None
    breaker.begin(11)
    assert breaker.feed(DOUBT, 11) is not None


def test_a_mail_taken_between_two_doubts_begins_the_count_anew() -> None:
    breaker = Breaker()
    for n in range(50):
        breaker.begin(n)
        assert breaker.feed(TAKEN if n % 3 == 2 else DOUBT, n) is None
        breaker.forget(n)
    assert breaker._began == {}


@pytest.mark.parametrize(
    ("fixed", "hint"),
    [
        (
            False,
            "It refuses the return path of Corranto, which differs for each reader: such a relay takes only addresses"
            ' of its login. Set return_path = "fixed" (CORRANTO_RETURN_PATH=fixed) for every worker, start them again,'
            " then retry the failed copies and resume",
        ),
        (
            True,
            "It does not let this login send from the publication's bounce address: give the publication one that"
            " belongs to the login",
        ),
    ],
)
def test_a_stop_for_the_return_path_names_what_turns_it_off(fixed: bool, hint: str) -> None:
    breaker = Breaker(fixed)
    words = "Sender address rejected: not owned by user"
    refused = Outcome(PERMANENT, Scope.SENDER, Phase.MAIL, 553, "5.7.1", words)
    said = [breaker.feed(refused) for _ in range(OURS_IN_A_ROW)][-1]
    assert said == f"safety stop: the relay refused 10 mails in a row, last with: {words}. {hint}"
