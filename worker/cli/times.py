"""Times and spans as people type them. Pure: `now` and the zone come in.

A local time that a clock change skips or repeats is refused with both possible meanings, never guessed.
"""

import difflib
import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from worker.errors import UsageError
from worker.screen.instants import When

FORMS = '"2026-11-24 09:00" with --tz Europe/Paris, 2026-11-24T08:00Z, "tomorrow 9:00" or +2h'

_SPAN_PART = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(d|h|min|m|s)", re.ASCII)
_SPAN = re.compile(r"(?:\d{1,6}(?:\.\d{1,3})?\s*(?:d|h|min|m|s)\s*)+", re.ASCII)
_UNIT_S = {"d": 86_400, "h": 3_600, "min": 60, "m": 60, "s": 1}
_LOCAL = re.compile(r"(\d{4}-\d{2}-\d{2}|today|tomorrow)[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII | re.IGNORECASE)
_EXACT = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}(?::\d{2})?)\s*(Z|[+-]\d{2}:?\d{2})", re.ASCII | re.IGNORECASE)


def parse_span(text: str) -> int:
    """Seconds of `60s`, `10m`, `1h30m`, `2d` or a bare number of seconds. Raises UsageError."""
    stripped = text.strip().lower()
    if re.fullmatch(r"\d{1,7}", stripped, re.ASCII):
        return int(stripped)
    if not _SPAN.fullmatch(stripped):
        raise UsageError("span.unreadable", typed=text)
    return round(sum(float(number) * _UNIT_S[unit] for number, unit in _SPAN_PART.findall(stripped)))


def parse_when(text: str, zone: str, now: datetime) -> When:
    """The instant a person means by `text` in `zone` (IANA name). Raises UsageError: unreadable, skipped by a clock
    change, repeated by one, or past."""
    stripped = text.strip()
    place = find_zone(zone)
    if stripped.startswith("+"):
        at = now + timedelta(seconds=parse_span(stripped[1:]))
    elif exact := _EXACT.fullmatch(stripped):
        at = _exact(text, *exact.groups())
    elif local := _LOCAL.fullmatch(stripped):
        at = _local(text, local, place, now)
    else:
        raise UsageError("time.unreadable", typed=text, forms=FORMS)
    if at <= now:
        raise UsageError("time.past", typed=text, at=at, zone=zone, seconds=(now - at).total_seconds())
    return When(at, zone)


def find_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises UsageError naming near ones: `CET` and `Paris` are typical slips."""
    known = available_timezones()
    if name in known:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            pass
    folded = {zone.lower(): zone for zone in known}
    cities = {zone.rpartition("/")[2].lower(): zone for zone in sorted(known)}
    wanted = name.lower().replace(" ", "_")
    near = [folded[wanted]] if wanted in folded else [cities[wanted]] if wanted in cities else []
    near = near or [folded[zone] for zone in difflib.get_close_matches(wanted, folded, n=2)]
    raise UsageError("zone.unknown", typed=name, near=near)


def _exact(text: str, day: str, clock: str, offset: str) -> datetime:
    try:
        return datetime.fromisoformat(f"{day}T{clock}{offset.upper().replace('Z', '+00:00')}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError("time.not_in_calendar", typed=text, why=str(error)) from None


def _local(text: str, parts: re.Match[str], zone: ZoneInfo, now: datetime) -> datetime:
    day, hour, minute, second = parts.groups()
    try:
        typed = datetime.combine(_date(day, zone, now), time(int(hour), int(minute), int(second or 0)))
    except ValueError as error:
        raise UsageError("time.not_in_calendar", typed=text, why=str(error)) from None
    first, later = (typed.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == later:
        return first
    one, two = first.astimezone(zone), later.astimezone(zone)
    # PEP 495: in a gap, fold 0 counts with the old offset and lands after it; in a repeat, fold 0 is the earlier one.
    if one.replace(tzinfo=None) != typed:
        raise UsageError("time.skipped", local=typed, zone=zone.key, before=two, after=one)
    raise UsageError("time.repeated", local=typed, zone=zone.key, first=one, second=two)


def _date(word: str, zone: ZoneInfo, now: datetime) -> date:
    today = now.astimezone(zone).date()
    days = {"today": 0, "tomorrow": 1}.get(word.lower())
    return date.fromisoformat(word) if days is None else today + timedelta(days)
