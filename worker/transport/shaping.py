"""How fast a relay may be used, and whose mailbox provider a domain is. Pure.

A rate such as `20/s, 300/min` is kept over all workers and restarts by leasing *slots* from one row per relay in the
database (the SQL is elsewhere). A slot at s may be used from s to s + 0.1 s of database time, once. The shortest window
spaces the slots; each longer one limits how many were granted. What was leased and not used is spent.
"""

import math
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from worker.domain.provider import Provider

TOLERANCE_S = 0.1
"""How late after its time a slot may be used; every window is kept longer by as much, so lateness cannot exceed it."""

_KEPT_LONGER_S = TOLERANCE_S + 0.001
"""The millisecond is for rounding: seconds since 1970 as a float are exact to a quarter of a microsecond only."""

_LENGTHS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"([0-9]{1,9})\s*/\s*(s|min|h|d)", re.ASCII)
_CELLS = 60
"""Into how many parts a long window's past is divided; it loses at most one part of its rate."""
_AHEAD_S = 60.0
"""Leases reach a second ahead, and two databases behind one name differ by less than a minute."""

_DRIFT = 2e-4
"""How far two good clocks part per second; twice what a bad quartz does."""

_DOMAINS = {
    Provider.GMAIL: ("gmail.com", "googlemail.com"),
    Provider.OUTLOOK: ("outlook.*", "hotmail.*", "live.*", "msn.com"),
    Provider.YAHOO: ("yahoo.*", "ymail.com", "rocketmail.com", "aol.*"),
    Provider.ICLOUD: ("icloud.com", "me.com", "mac.com"),
    Provider.GMX: ("gmx.*", "web.de", "mail.com"),
    Provider.T_ONLINE: ("t-online.de", "magenta.de"),
    Provider.ORANGE: ("orange.fr", "wanadoo.fr"),
    Provider.COMCAST: ("comcast.net",),
    Provider.PROTON: ("proton.me", "protonmail.com", "protonmail.ch", "pm.me"),
    Provider.QQ: ("qq.com", "foxmail.com"),
}
_PAIRS = [(domain, provider) for provider, domains in _DOMAINS.items() for domain in domains]
_EXACT = {domain: provider for domain, provider in _PAIRS if not domain.endswith(".*")}
_FAMILIES = {domain[:-2]: provider for domain, provider in _PAIRS if domain.endswith(".*")}
_COUNTRY = re.compile(r"[a-z]{2,3}|com?\.[a-z]{2}")


def provider_of(domain: str) -> Provider:
    """Who runs the mailboxes of a domain as far as its name tells.

    `yahoo.co.jp` and `yahoo.de` are yahoo; `yahoo.example.org` is not.
    """
    domain = domain.lower().rstrip(".")
    if domain in _EXACT:
        return _EXACT[domain]
    name, _, rest = domain.partition(".")
    return _FAMILIES.get(name, Provider.OTHER) if _COUNTRY.fullmatch(rest) else Provider.OTHER


@dataclass(frozen=True, slots=True)
class Window:
    """At most `count` mails in any `length_s` seconds."""

    count: int
    length_s: int


@dataclass(frozen=True, slots=True)
class RateWindows:
    """The windows of one relay, shortest first; none means no limit of ours."""

    windows: tuple[Window, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.windows)

    def __str__(self) -> str:
        names = {seconds: name for name, seconds in _LENGTHS.items()}
        return ", ".join(f"{window.count}/{names[window.length_s]}" for window in self.windows) or "none"

    @property
    def per_second(self) -> float:
        """The long-run rate that the tightest window allows, in mails a second; infinite without windows."""
        return min((window.count / (window.length_s + _KEPT_LONGER_S) for window in self.windows), default=math.inf)


def parse_rates(text: str) -> RateWindows:
    """Read `20/s, 300/min, 5000/h, 20000/d`, any subset in any order, or `none`.

    Raises ValueError with a sentence that names the value and the allowed forms.
    """
    allowed = "allowed: any of N/s, N/min, N/h, N/d with N from 1 to 999999999, separated by commas, or none"
    if text.strip().lower() == "none":
        return RateWindows()
    counts: dict[int, int] = {}
    for part in text.split(","):
        match = _RATE.fullmatch(part.strip().lower())
        if match is None or int(match[1]) < 1:
            raise ValueError(f"the rate {part.strip()[:40]!r} cannot be read; {allowed}")
        length = _LENGTHS[match[2]]
        if length in counts:
            raise ValueError(f"the rate {text.strip()[:80]!r} names two limits per {match[2]}; {allowed}")
        counts[length] = int(match[1])
    return RateWindows(tuple(Window(counts[length], length) for length in sorted(counts)))


@dataclass(frozen=True, slots=True)
class RateState:
    """What the row of a relay remembers, in seconds of database time.

    A bucket (start, count) reaches to the next one's start; a count of 0 closes an idle stretch, and the last always
    has one. Buckets are one second wide while the shortest long window needs them, then merged as only longer ones do.
    """

    next_slot_at: float = 0.0
    buckets: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """What a worker got: its slots, the row's new state, and when to ask again if there was none."""

    slots: tuple[float, ...]
    state: RateState
    not_before: float | None = None


def lease(windows: RateWindows, state: RateState, now: float, want: int, horizon_s: float = 1.0) -> Lease:
    """Grant up to `want` slots between `now` and `now + horizon_s`, all in database seconds.

    `windows` must not be empty. The caller holds the row locked and stores the new state with the grant.
    Why no sliding interval exceeds a window: uses lie within TOLERANCE_S after their slots, so n + 1 uses inside a
    window W would need n + 1 slots inside W + TOLERANCE_S, and the shortest window's spacing and each longer window's
    count refuse exactly that.
    """
    if not windows:
        raise ValueError("a relay without rate windows needs no lease")
    shortest, *longer = windows.windows
    spacing = (shortest.length_s + _KEPT_LONGER_S) / shortest.count
    if state.next_slot_at > now + spacing + _AHEAD_S:  # the clock was set back since: nobody waits for what it was
        state = RateState(now, tuple((start, count) for start, count in state.buckets if start <= now))
    pasts = [_Past(window, state.buckets) for window in longer]
    slots: list[float] = []
    at = max(state.next_slot_at, now)
    while len(slots) < want:
        at = max([at, *(past.earliest(at) for past in pasts)])
        if at > now + horizon_s:
            break
        slots.append(at)
        for past in pasts:
            past.granted += 1
        at += spacing
    next_slot_at = slots[-1] + spacing if slots else state.next_slot_at
    buckets = _compact(_add(state.buckets, slots), longer, now) if longer else ()
    return Lease(tuple(slots), RateState(next_slot_at, buckets), None if slots else at)


@dataclass(frozen=True, slots=True)
class ClockMap:
    """Where the database's clock stands against our monotonic one: offset ± uncertainty seconds, as seen at `at`."""

    offset_s: float
    uncertainty_s: float
    at: float

    @classmethod
    def seen(cls, asked: float, database_now: float, answered: float) -> "ClockMap":
        """From one question: monotonic seconds before and after it, and the time the database gave in between."""
        return cls((asked + answered) / 2 - database_now, max(answered - asked, 0.0) / 2, answered)

    def better(self, newer: "ClockMap") -> "ClockMap":
        """The surer of this and a newer sight, this one less sure the older it is."""
        aged = self.uncertainty_s + _DRIFT * max(newer.at - self.at, 0.0)
        is_surer = aged < newer.uncertainty_s and abs(self.offset_s - newer.offset_s) <= aged + newer.uncertainty_s
        return ClockMap(self.offset_s, aged, newer.at) if is_surer else newer


@dataclass(frozen=True, slots=True)
class Turn:
    """One slot on the monotonic clock, already narrowed by what is uncertain: use it from `opens` to `closes`."""

    opens: float
    closes: float

    def wait_s(self, now: float) -> float:
        """How long to wait; 0.0 = use it now, unless it is missed."""
        return max(self.opens - now, 0.0)

    def is_missed(self, now: float) -> bool:
        """Whether it may not be used any more; to be asked again in the call that writes."""
        return now > self.closes


class Slots:
    """The leased slots of one worker process, handed out in order, each once; a missed one is skipped and counted."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque()
        self.missed = 0

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, slots: Iterable[float], clock: ClockMap) -> None:
        """Append leased slots in database seconds. With a clock less sure than half the tolerance all are missed."""
        for slot in slots:
            opens = slot + clock.offset_s + clock.uncertainty_s
            closes = slot + clock.offset_s + TOLERANCE_S - clock.uncertainty_s
            if opens <= closes:
                self._turns.append(Turn(opens, closes))
            else:
                self.missed += 1

    def next(self, now: float) -> Turn | None:
        """The earliest turn not missed at monotonic `now`; None when the lease is used up."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.is_missed(now):
                return turn
            self.missed += 1
        return None


class _Past:
    """A cursor over the buckets that one long window still counts; it only moves forward."""

    def __init__(self, window: Window, buckets: tuple[tuple[int, int], ...]) -> None:
        self._window = window
        self._reach = window.length_s + _KEPT_LONGER_S
        self._counted = deque((following[0], count) for (_, count), following in pairwise(buckets) if count)
        self.granted = sum(count for _, count in self._counted)

    def earliest(self, at: float) -> float:
        """The first time from `at` on when one more slot fits; infinite when only later leases can know."""
        while self._counted and (self._counted[0][0] <= at - self._reach or self.granted >= self._window.count):
            end, count = self._counted.popleft()
            self.granted -= count
            at = max(at, end + self._reach)
        return at if self.granted < self._window.count else math.inf


def _add(buckets: tuple[tuple[int, int], ...], slots: Iterable[float]) -> list[tuple[int, int]]:
    result = list(buckets)
    for slot in slots:
        second = math.floor(slot)
        if result and result[-1][0] >= second:
            result.pop()  # the closing mark: this second, or the end of this one, is counted again
        if result and result[-1][0] == second:
            result[-1] = (second, result[-1][1] + 1)
        else:
            result.append((second, 1))
        result.append((second + 1, 0))
    return result


def _compact(buckets: list[tuple[int, int]], longer: list[Window], now: float) -> tuple[tuple[int, int], ...]:
    """Drop what no window counts any more and merge what only longer windows do."""
    result: list[tuple[int, int]] = []
    last_cell: tuple[int, int] | None = None
    for index, (start, count) in enumerate(buckets):
        end = buckets[index + 1][0] if index + 1 < len(buckets) else start
        needed_by = next((w.length_s for w in longer if end > now - w.length_s - _KEPT_LONGER_S), None)
        if needed_by is None:
            continue
        width = max(1, needed_by // _CELLS)
        cell = (width, start // width)
        is_last = index + 1 == len(buckets)
        if width > 1 and cell == last_cell and result and not is_last:
            result[-1] = (result[-1][0], result[-1][1] + count)
        elif is_last or count or (result and result[-1][1]):
            result.append((start, count))
        last_cell = cell
    return tuple(result) if any(count for _, count in result) else ()
