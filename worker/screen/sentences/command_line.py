"""Sentences about what is typed: options, times, files to write, confirmations. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime

from worker.quantities import spell_span
from worker.screen.instants import When, spell_day

TIME_FORMS = '"2026-11-24 09:00" with --tz Europe/Paris, 2026-11-24T08:00Z, "tomorrow 9:00" or +2h'


def _unknown_command(command: str, near: Sequence[str]) -> str:
    return f"there is no command {command}" + (
        f"; did you mean {' or '.join(near)}?" if near else "; see: corranto --help"
    )


def _past(typed: str, at: datetime, zone: str, seconds: float) -> str:
    return f"{typed!r} means {When(at, zone).spell()}, which is {spell_span(seconds)} ago"


def _unknown_zone(typed: str, near: Sequence[str]) -> str:
    hint = f": did you mean {' or '.join(near)}?" if near else ": write it like Europe/Paris"
    return f"there is no time zone {typed!r}{hint}"


def _skipped(local: datetime, zone: str, before: datetime, after: datetime) -> str:
    return (
        f"{local:%H:%M} does not exist on {spell_day(local)} in {zone}, because clocks go forward: "
        f'say "{before:%Y-%m-%d %H:%M}" or "{after:%Y-%m-%d %H:%M}"'
    )


def _repeated(local: datetime, zone: str, first: datetime, second: datetime) -> str:
    one, two = first.isoformat(timespec="minutes"), second.isoformat(timespec="minutes")
    return (
        f"{local:%H:%M} comes twice on {spell_day(local)} in {zone}, because clocks go back: "
        f"say {one} (the first) or {two} (the second)"
    )


def _exclusive(options: Sequence[str]) -> str:
    *first, last = options
    return f"choose one of {', '.join(first)} and {last}"


SENTENCES: dict[str, str | Callable[..., str]] = {
    "command.unknown": _unknown_command,
    "confirm.nobody_here": (
        "{question} Nobody can answer here: say --yes to go on without asking. Nothing was changed"
    ),
    "confirm.other_answer": "that was not {answer}; nothing was changed",
    "option.exclusive": _exclusive,
    "option.zone_alone": "--tz says in which zone --at is meant: give both, or neither",
    "option.hold_too_long": "--hold {typed} is longer than a day; use --at for a later start",
    "span.unreadable": "{typed!r} is not a span of time: write it like 60s, 10m, 1h30m or 2d",
    "time.unreadable": lambda typed: f"{typed!r} is not a time Corranto can read: write {TIME_FORMS}",
    "time.not_in_calendar": "{typed!r} is not a time of the calendar: {why}",
    "time.past": _past,
    "time.skipped": _skipped,
    "time.repeated": _repeated,
    "zone.unknown": _unknown_zone,
    "delivery.unknown_state": lambda typed, known: f"there is no state {typed}; there are {', '.join(known)}",
    "file.unwritable": "{path} cannot be written ({why}): name a file in a folder of yours",
}
