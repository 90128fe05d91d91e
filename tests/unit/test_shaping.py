"""Rates: how they are written, and that leased slots never exceed a window."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.provider import Provider
from worker.transport.shaping import (
    TOLERANCE_S,
    ClockMap,
    RateState,
    RateWindows,
    Slots,
    Window,
    lease,
    parse_rates,
    provider_of,
)


@pytest.mark.parametrize(
    ("domain", "provider"),
    [
        ("gmail.com", "gmail"),
        ("GoogleMail.com.", "gmail"),
        ("yahoo.co.jp", "yahoo"),
        ("yahoo.de", "yahoo"),
        ("hotmail.fr", "outlook"),
        ("live.com.mx", "outlook"),
        ("me.com", "icloud"),
        ("web.de", "gmx"),
        ("yahoo.example.org", "other"),
        ("live.example", "other"),
        ("gmail.com.example.org", "other"),
        ("", "other"),
    ],
)
def test_a_domain_belongs_to_the_provider_its_name_tells(domain: str, provider: str):
    assert provider_of(domain) == provider
    assert provider in set(Provider)


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("20/s, 300/min, 5000/h, 20000/d", ((20, 1), (300, 60), (5000, 3600), (20000, 86400))),
        ("5000/h,20/s", ((20, 1), (5000, 3600))),
        ("  7 / min ", ((7, 60),)),
        ("none", ()),
        ("NONE", ()),
    ],
)
def test_rates_are_read_in_any_order_and_any_subset(text: str, windows: tuple[tuple[int, int], ...]):
    assert parse_rates(text) == RateWindows(tuple(Window(count, length) for count, length in windows))


@pytest.mark.parametrize(
    "text", ["", "20", "20/x", "0/s", "-1/s", "1.5/s", "20/s,30/s", "20/s,", "²/s", "9999999999/s"]
)
def test_a_rate_that_cannot_be_read_is_refused_with_the_allowed_forms(text: str):
    forms = "allowed: any of N/s, N/min, N/h, N/d with N from 1 to 999999999, separated by commas, or none"
    with pytest.raises(ValueError, match=f"; {forms}$"):
        parse_rates(text)


@given(st.dictionaries(st.sampled_from(["s", "min", "h", "d"]), st.integers(1, 10**6)))
@settings(max_examples=100)
def test_rates_read_back_what_they_show(parts: dict[str, int]):
    rates = parse_rates(",".join(f"{n}/{unit}" for unit, n in parts.items()) or "none")
    assert parse_rates(str(rates)) == rates


def _worst_uses(slots: list[float], rng: random.Random) -> list[float]:
    """Each slot used somewhere in its tolerance, as maliciously as may be: early or late at random."""
    return sorted(slot + rng.choice([0.0, TOLERANCE_S, rng.uniform(0, TOLERANCE_S)]) for slot in slots)


def _most_in_any(uses: list[float], length_s: float) -> int:
    most, first = 0, 0
    for last, use in enumerate(uses):
        while uses[first] <= use - length_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def _run(windows: RateWindows, rng: random.Random, until_s: float, pause_odds: float) -> list[float]:
    """Several workers lease in random order with random pauses; a restart is a worker whose lease is thrown away."""
    state, now, granted = RateState(), 1_700_000_000.25, []
    end = now + until_s
    while now < end:
        got = lease(windows, state, now, rng.choice([1, 7, 50, 1000]), rng.choice([0.3, 1.0]))
        state = got.state
        assert len(state.buckets) < 250
        if got.slots:
            granted += got.slots
            assert all(now <= slot <= now + 1.0 for slot in got.slots)
            now += rng.uniform(0, 0.5)
        else:
            assert got.not_before is not None
            assert got.not_before > now
            now = max(now + rng.uniform(0, 0.2), min(got.not_before, now + 3600))
        if rng.random() < pause_odds:
            now += rng.choice([2, 30, 90, 4000])
    return granted


WINDOWS = ["20/s", "5/s,30/min", "20/s,300/min", "3/s,40/min,200/h", "10/min", "2/s,100/h", "4/min,30/h,100/d", "1/s"]


@given(text=st.sampled_from(WINDOWS), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_no_sliding_interval_exceeds_a_window_whatever_the_workers_do(text: str, seed: int):
    # Given
    windows, rng = parse_rates(text), random.Random(seed)

    # When
    uses = _worst_uses(_run(windows, rng, until_s=400.0, pause_odds=0.02), rng)

    # Then
    for window in windows.windows:
        assert _most_in_any(uses, window.length_s) <= window.count


@pytest.mark.parametrize(("text", "until_s"), [("20/s", 30), ("20/s,300/min", 600), ("9/s,60/min,900/h", 12_000)])
def test_no_less_than_85_percent_of_the_binding_window_is_granted(text: str, until_s: int):
    # Given
    windows = parse_rates(text)

    # When
    granted = _run(windows, random.Random(5), until_s, pause_odds=0.0)

    # Then
    possible = min(until_s * window.count / window.length_s for window in windows.windows)
    assert len(granted) >= 0.85 * possible


def test_a_lease_that_cannot_be_given_says_when_to_ask_again():
    # Given a minute that is used up
    windows, state, now = parse_rates("100/s,10/min"), RateState(), 1000.0
    first = lease(windows, state, now, 50)
    assert len(first.slots) == 10

    # When
    refused = lease(windows, first.state, now + 2, 50)

    # Then the answer is exact: nothing before it, something at it
    assert refused.slots == ()
    assert refused.not_before is not None
    assert now + 60 < refused.not_before <= now + 62
    assert lease(windows, refused.state, refused.not_before - 1.5, 1).slots == ()
    assert lease(windows, refused.state, refused.not_before, 1).slots == (refused.not_before,)


def test_an_idle_stretch_gives_its_time_back():
    # Given slots used long ago, and a first one just now
    windows = parse_rates("10/s,20/min")
    state = lease(windows, RateState(), 1000.0, 15, horizon_s=5).state
    state = lease(windows, state, 1050.0, 1).state

    # When
    later = lease(windows, state, 1063.0, 100, horizon_s=5)

    # Then the fifteen are forgotten, the one is not
    assert len(later.slots) == 19


def test_a_lease_without_windows_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="no lease"):
        lease(RateWindows(), RateState(), 0.0, 1)


@given(slot=st.floats(0, 1e9), skew=st.floats(-1e6, 1e6), trip=st.floats(0, 0.09), early=st.floats(0, 1))
@settings(max_examples=100)
def test_a_turn_is_never_used_outside_its_slot_however_the_clocks_differ(
    slot: float, skew: float, trip: float, early: float
):
    # Given a question whose answer was stamped anywhere within its round trip; true offset = skew
    asked = slot + skew
    clock = ClockMap.seen(asked, asked - skew + early * trip, asked + trip)
    slots = Slots()

    # When
    slots.add([slot], clock)
    turn = slots.next(asked - 1)

    # Then both ends of the turn lie within the slot on the database's clock
    assert turn is not None
    assert slot - 1e-6 <= turn.opens - skew
    assert turn.closes - skew <= slot + TOLERANCE_S + 1e-6


def test_slots_are_handed_out_once_in_order_and_missed_ones_are_counted():
    # Given
    slots = Slots()
    slots.add([10.0, 20.0, 30.0], ClockMap(0.0, 0.01, 0.0))

    # When the first has passed
    turn = slots.next(15.0)

    # Then
    assert turn is not None
    assert turn.wait_s(15.0) == pytest.approx(5.01)
    assert not turn.is_missed(20.05)
    assert turn.is_missed(20.095)
    assert slots.missed == 1
    assert slots.next(20.0) is not None
    assert slots.next(20.0) is None


def test_slots_are_all_missed_when_the_database_answers_too_slowly_to_place_them():
    slots = Slots()
    slots.add([10.0], ClockMap.seen(5.0, 5.0, 5.3))
    assert slots.next(0.0) is None
    assert slots.missed == 1


def test_the_surer_sight_of_the_database_clock_is_kept_until_it_is_too_old():
    # Given a sure sight, then a vague one that agrees
    sure, vague = ClockMap(100.0, 0.001, 10.0), ClockMap(100.01, 0.02, 20.0)

    # Then
    assert sure.better(vague).offset_s == 100.0
    assert 0.001 < sure.better(vague).uncertainty_s < 0.02, "and is less sure the older it is"
    assert sure.better(vague).at == vague.at
    assert sure.better(ClockMap(100.01, 0.02, 1000.0)).offset_s == 100.01
    assert sure.better(ClockMap(163.0, 0.02, 20.0)).offset_s == 163.0, "a clock that was set is believed at once"


@pytest.mark.parametrize("back_s", [120.0, 86_400.0, 31_536_000.0])
def test_a_clock_that_was_set_back_keeps_nobody_waiting_for_the_time_it_was(back_s: float):
    # Given windows that are used up at a time that turns out to be wrong
    windows = parse_rates("20/s, 100/min")
    state, now = RateState(), 2e9
    for _ in range(10):
        state, now = lease(windows, state, now, 50).state, now + 1

    # When the clock is set back
    got = lease(windows, state, now - back_s, 50)

    # Then slots are given out at once, and the windows hold from there on
    assert got.slots[0] == now - back_s
    assert len(got.slots) == 19
    assert all(start <= now - back_s + 1 for start, _ in got.state.buckets)


@pytest.mark.parametrize(("text", "spacing_s"), [("1/min", 60), ("1/h", 3_600), ("1/d", 86_400), ("2/h", 1_800)])
def test_a_slow_rate_is_kept_by_whoever_asks_next(text: str, spacing_s: int):
    # Given the one slot of a long stretch is given out
    windows = parse_rates(text)
    first = lease(windows, RateState(), 1e9, 50)
    assert first.slots == (1e9,)

    # Then nobody gets another before the stretch is over
    for later_s in (0.0, 1.0, spacing_s / 2, spacing_s - 2.0):
        got = lease(windows, first.state, 1e9 + later_s, 50)
        assert got.slots == ()
        assert got.not_before is not None
        assert got.not_before >= 1e9 + spacing_s
    assert lease(windows, first.state, first.state.next_slot_at, 50).slots == (first.state.next_slot_at,)
