"""Instants in words: in a zone, with its offset, and in UTC. Pure, and the same whatever the process's locale."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class When:
    """An instant (aware, UTC) and the IANA zone in which it is spoken of."""

    at: datetime
    zone: str

    def spell(self) -> str:
        """Tue 24 Nov 2026, 09:00 Europe/Paris (UTC+1, 08:00 UTC)."""
        local = self.at.astimezone(ZoneInfo(self.zone))
        if self.zone == "UTC":
            return f"{spell_day(local)}, {local:%H:%M} UTC"
        if not local.utcoffset():
            return f"{spell_day(local)}, {local:%H:%M} {self.zone} (UTC)"
        there = f"{self.at:%H:%M}" if self.at.date() == local.date() else f"{spell_day(self.at)} {self.at:%H:%M}"
        return f"{spell_day(local)}, {local:%H:%M} {self.zone} ({spell_offset(local)}, {there} UTC)"

    def spell_second(self) -> str:
        """2026-11-24 09:00:00 Europe/Paris (UTC+1): for columns. WET or IST tell few people."""
        local = self.at.astimezone(ZoneInfo(self.zone))
        return f"{local:%Y-%m-%d %H:%M:%S} {self.zone}" + ("" if self.zone == "UTC" else f" ({spell_offset(local)})")


def spell_offset(local: datetime) -> str:
    """UTC+1, UTC-3:30, UTC."""
    minutes = round((local.utcoffset() or timedelta(0)).total_seconds() / 60)
    if minutes == 0:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02d}" if rest else "")


def spell_day(moment: datetime) -> str:
    """Tue 24 Nov 2026."""
    return f"{_WEEKDAYS[moment.weekday()]} {moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
