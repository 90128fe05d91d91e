"""Times as people type them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.words import refuses
from worker.cli.times import find_zone, parse_span, parse_when
from worker.errors import UsageError
from worker.screen.instants import When
from worker.screen.sentences import word

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("2026-11-24 09:00", "2026-11-24T08:00"),
        ("2026-11-24T09:00", "2026-11-24T08:00"),
        ("2026-07-01 9:05", "2026-07-01T07:05"),
        ("2026-11-24T09:00Z", "2026-11-24T09:00"),
        ("2026-11-24 09:00+05:30", "2026-11-24T03:30"),
        ("2026-11-24T09:00:30-0800", "2026-11-24T17:00:30"),
        ("tomorrow 9:00", "2026-01-06T08:00"),
        ("Today 23:30", "2026-01-05T22:30"),
        ("+2h", "2026-01-05T14:00"),
        ("+1h30m", "2026-01-05T13:30"),
        ("+ 2d", "2026-01-07T12:00"),
    ],
)
def test_a_time_is_read_in_the_zone(typed, expected):
    when = parse_when(typed, "Europe/Paris", NOW)

    assert when.at == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "soon",
        "9:00",
        "24.11.2026 9:00",
        "2026-13-01 09:00",
        "2026-02-30 09:00",
        "2026-11-24 25:00",
        "+",
        "+2x",
        "-2h",
    ],
)
def test_an_unreadable_time_is_refused_in_a_sentence(typed):
    with refuses(UsageError, r"'.*'"):
        parse_when(typed, "Europe/Paris", NOW)


def test_a_skipped_local_time_is_refused_with_both_choices():
    with pytest.raises(UsageError) as caught:
        parse_when("2026-03-29 02:30", "Europe/Paris", NOW)

    assert "does not exist" in word(caught.value)
    assert '"2026-03-29 01:30" or "2026-03-29 03:30"' in word(caught.value)


def test_a_repeated_local_time_is_refused_with_both_choices_which_are_readable():
    with pytest.raises(UsageError) as caught:
        parse_when("2026-10-25 02:30", "Europe/Paris", NOW)

    assert "2026-10-25T02:30+02:00 (the first)" in word(caught.value)
    first = parse_when("2026-10-25T02:30+02:00", "Europe/Paris", NOW)
    second = parse_when("2026-10-25T02:30+01:00", "Europe/Paris", NOW)
    assert second.at - first.at == timedelta(hours=1)


def test_a_past_time_is_refused_with_how_long_ago_it_was():
    with refuses(UsageError, "which is 3 h ago"):
        parse_when("2026-01-05 10:00", "Europe/Paris", NOW)


@pytest.mark.parametrize(
    ("typed", "near"), [("Paris", "Europe/Paris"), ("europe/paris", "Europe/Paris"), ("Europe/Pariss", "Europe/Paris")]
)
def test_an_unknown_zone_is_refused_with_a_near_one(typed, near):
    with refuses(UsageError, near):
        find_zone(typed)


def test_a_time_is_spelled_in_its_zone_and_in_utc():
    assert When(datetime(2026, 11, 24, 8, tzinfo=UTC), "Europe/Paris").spell() == (
        "Tue 24 Nov 2026, 09:00 Europe/Paris (UTC+1, 08:00 UTC)"
    )
    assert When(datetime(2026, 11, 24, 22, tzinfo=UTC), "Asia/Kolkata").spell() == (
        "Wed 25 Nov 2026, 03:30 Asia/Kolkata (UTC+5:30, Tue 24 Nov 2026 22:00 UTC)"
    )
    assert When(datetime(2026, 11, 24, 8, tzinfo=UTC), "Europe/Lisbon").spell() == (
        "Tue 24 Nov 2026, 08:00 Europe/Lisbon (UTC)"
    )
    assert When(datetime(2026, 11, 24, 8, tzinfo=UTC), "UTC").spell() == "Tue 24 Nov 2026, 08:00 UTC"


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("60", 60),
        ("60s", 60),
        ("10m", 600),
        ("10 min", 600),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("0", 0),
        ("1.5h", 5400),
    ],
)
def test_a_span_is_read(typed, seconds):
    assert parse_span(typed) == seconds


@given(st.text(max_size=30))
@settings(max_examples=200)
def test_any_text_is_a_future_time_or_a_usage_error(text):
    try:
        when = parse_when(text, "America/St_Johns", NOW)
    except UsageError:
        return
    assert when.at > NOW
    assert when.at.utcoffset() == timedelta(0)


@given(
    st.datetimes(min_value=datetime(2026, 2, 1), max_value=datetime(2030, 1, 1)),
    st.sampled_from(["Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
@settings(max_examples=200)
def test_a_read_local_time_shows_the_same_clock_again(typed, zone):
    text = f"{typed:%Y-%m-%d %H:%M}"
    try:
        when = parse_when(text, zone, NOW)
    except UsageError as error:
        assert ("does not exist" in word(error)) or ("comes twice" in word(error))  # noqa: PT017 - one of two outcomes
        return
    assert f"{when.at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" == text


def test_tomorrow_is_tomorrow_where_the_readers_are():
    late = datetime(2026, 1, 5, 23, 30, tzinfo=UTC)

    assert parse_when("tomorrow 9:00", "Asia/Tokyo", late).at == datetime(2026, 1, 7, 0, 0, tzinfo=UTC)
    assert parse_when("today 23:00", "America/New_York", late).at == datetime(2026, 1, 6, 4, 0, tzinfo=UTC)


def test_now_is_not_a_time_to_come():
    for typed in ("+0s", "2026-01-05T12:00Z", "2026-01-05 13:00"):
        with refuses(UsageError, "ago"):
            parse_when(typed, "Europe/Paris", NOW)


@pytest.mark.parametrize("typed", ["", "h", "10 y", "1h30", "-5m", "1,5h", "12345678", "१०m"])
def test_what_is_no_span_is_refused_with_the_forms_there_are(typed):
    with refuses(UsageError, "is not a span of time: write it like 60s, 10m, 1h30m or 2d"):
        parse_span(typed)


def test_a_zone_that_resembles_none_is_refused_with_a_form():
    with refuses(UsageError, "there is no time zone 'Qqqqq': write it like Europe/Paris"):
        find_zone("Qqqqq")
