"""The dates that exports and spreadsheets write. Pure. What cannot be read for certain is not guessed."""

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum


class DateOrder(StrEnum):
    """What comes first in 03/04/2021."""

    DAY_FIRST = "day-first"
    MONTH_FIRST = "month-first"


_TIME = (
    r"(?:[T, ]+(?P<hour>\d{1,2})[:.h](?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r" ?(?P<half>[ap]\.?m\.?)?)?"
)
_ZONE = r" ?(?P<zone>Z|(?:UTC|GMT)?(?: ?[+-]\d{1,2}(?::?\d{2})?)?)?(?: ?\([A-Za-z ]+\))?"
_YEAR_FIRST = re.compile(
    rf"(?P<year>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}}){_TIME}{_ZONE}", re.I | re.A
)
_DOTTED = re.compile(rf"(?P<day>\d{{1,2}})\. ?(?P<month>\d{{1,2}})\. ?(?P<year>\d{{4}}){_TIME}{_ZONE}", re.I | re.A)
_SLASHED = re.compile(rf"(?P<a>\d{{1,2}})[/-](?P<b>\d{{1,2}})[/-](?P<year>\d{{4}}|\d{{2}}){_TIME}{_ZONE}", re.I | re.A)
_WORDED = re.compile(
    r"(?:[a-z]+\.?,? )?"
    r"(?:(?P<day>\d{1,2})\.?[ -](?P<month>[^\W\d]+)\.?,?[ -]|(?P<month2>[^\W\d]+)\.? (?P<day2>\d{1,2}),? )"
    rf"(?P<year>\d{{4}}){_TIME}{_ZONE}",
    re.I,
)
_NUMBER = re.compile(r"\d{5}(?:[.,]\d+)?|\d{10}(?:\.\d+)?|\d{13}", re.A)
_EXCEL_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
_EXCEL_DAYS = range(20_000, 80_000)  # 1954 to 2119: postal codes in a date column are not asked for

_MONTHS = {
    word: number
    for number, words in enumerate(
        ("jan ene gen", "feb fev fév", "mar mär mrt maa", "apr avr abr", "may mai mei mag", "jun juin giu",
         "jul juil lug", "aug aoû aou ago", "sep set", "oct okt ott out", "nov", "dec dez dic déc"), start=1)
    for word in words.split()
}  # fmt: skip
"""By the first letters, in English, German, French, Spanish, Italian, Portuguese and Dutch."""


def read_time(typed: str, now: datetime, order: DateOrder | None = None) -> datetime | None:
    """The time a cell holds, in UTC; without a zone it is taken as UTC. None when it cannot be read for certain.

    `order` settles 03/04/2021. More than a day ahead of `now` is no time at which somebody asked: a day's grace,
    because a local date may lie ahead of UTC.
    """
    try:
        at = _read(" ".join(typed.split()), order)
        if at is None:
            return None
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if at <= now + timedelta(days=1) else None


def _read(text: str, order: DateOrder | None) -> datetime | None:
    if "-" in text:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    if _NUMBER.fullmatch(text):
        return _from_number(text)
    for form in (_YEAR_FIRST, _DOTTED):
        if match := form.fullmatch(text):
            return _from_match(match, int(match["month"]), int(match["day"]))
    if match := _SLASHED.fullmatch(text):
        return _from_slashed(match, order)
    if match := _WORDED.fullmatch(text):
        word = (match["month"] or match["month2"]).lower()
        month = next((_MONTHS[word[:size]] for size in (4, 3) if word[:size] in _MONTHS), None)
        return None if month is None else _from_match(match, month, int(match["day"] or match["day2"]))
    return None


def _from_number(text: str) -> datetime | None:
    """Seconds or milliseconds since 1970, or a spreadsheet's days, with the point or comma of its language."""
    number = float(text.replace(",", "."))
    if int(number) in _EXCEL_DAYS:
        return _EXCEL_EPOCH + timedelta(seconds=round(number * 86_400))
    if number < 1e9:
        return None
    return datetime.fromtimestamp(number / (1_000 if number >= 1e12 else 1), UTC)


def _from_slashed(match: re.Match[str], order: DateOrder | None) -> datetime | None:
    first, second = int(match["a"]), int(match["b"])
    if order is None and (len(match["year"]) == 2 or (first <= 12 and second <= 12 and first != second)):
        return None
    if first > 12 or (order is DateOrder.DAY_FIRST and second <= 12):
        return _from_match(match, second, first)
    return _from_match(match, first, second)


def _from_match(match: re.Match[str], month: int, day: int) -> datetime:
    year = int(match["year"]) + (2_000 if len(match["year"]) == 2 else 0)
    hour, half = int(match["hour"] or 0), (match["half"] or "").lower()[:1]
    if half:
        if not 1 <= hour <= 12:
            raise ValueError("no hour of a half day")
        hour = hour % 12 + (12 if half == "p" else 0)
    part = (match["part"] or "")[:6].ljust(6, "0")
    zone = re.fullmatch(r"(?:UTC|GMT)? ?([+-])(\d{1,2}):?(\d{2})?", match["zone"] or "", re.I)
    offset = timedelta(hours=int(zone[2]), minutes=int(zone[3] or 0)) if zone else timedelta()
    there = timezone(-offset if zone and zone[1] == "-" else offset)
    minute, second = int(match["minute"] or 0), int(match["second"] or 0)
    return datetime(year, month, day, hour, minute, second, int(part), tzinfo=there)
