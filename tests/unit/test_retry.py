"""When a deferred mail comes back, and when it is given up."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.transport.retry import next_try

START = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


class _Steady(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def test_delays_double_from_five_minutes_up_to_four_hours_when_there_is_no_jitter():
    # Given a clock that stands still and no jitter
    delays = [next_try(tries, START, START, _Steady()) - START for tries in range(1, 10)]

    # Then
    minutes = [delay.total_seconds() / 60 for delay in delays]
    assert minutes == pytest.approx([5, 10, 20, 40, 80, 160, 240, 240, 240])


@given(tries=st.integers(1, 10_000), seed=st.integers())
@settings(max_examples=100)
def test_jitter_stays_within_a_fifth_of_the_delay(tries: int, seed: int):
    # Given
    nominal = min(5 * 2 ** min(tries - 1, 20), 240)

    # When
    due = next_try(tries, START, START, random.Random(seed))

    # Then
    assert due is not None
    assert 0.8 * nominal <= (due - START).total_seconds() / 60 <= 1.2 * nominal + 1e-6


def test_gives_up_when_the_next_try_would_fall_after_the_mails_life():
    # Given a mail first tried 47 h ago, with 4 h to its next try
    now = START + timedelta(hours=47)

    # Then
    assert next_try(9, START, now, _Steady()) is None
    assert next_try(7, START, now, _Steady(), life=timedelta(hours=51)) == START + timedelta(hours=51)


@pytest.mark.parametrize(
    ("life", "least"),
    [(timedelta(seconds=60), 1), (timedelta(minutes=4), 1), (timedelta(minutes=5), 1), (timedelta(minutes=40), 2),
     (timedelta(hours=48), 9), (timedelta(hours=120), 18)],
)  # fmt: skip
def test_a_clock_that_jumped_a_year_gives_nobody_up_before_half_the_tries_of_a_life(life: timedelta, least: int):
    # Given a mail that was first tried a year ago, says the clock
    now = START + timedelta(days=365)

    # Then
    tried = [next_try(tries, START, now, _Steady(), life=life) is not None for tries in range(1, 40)]
    assert tried == [True] * (least - 1) + [False] * (40 - least)


def test_a_whole_life_has_about_seventeen_tries():
    # Given a relay that defers always
    tries, now = 1, START

    # When
    while (due := next_try(tries, START, now, _Steady())) is not None:
        tries, now = tries + 1, due

    # Then
    assert tries == 17


def test_a_mail_never_tried_has_no_next_try():
    with pytest.raises(ValueError, match="1 or more"):
        next_try(0, START, START, random.Random(1))
