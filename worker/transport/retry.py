"""When a deferred mail is tried again. Pure.

First after 5 minutes, then twice as long each time up to 4 hours, each ± 20 % so that a list deferred in one second
does not come back in one second. It gives up when the next try would fall after the mail's life, but not before half
the tries that a life has room for: a clock that jumped, or a weekend without workers, gives up nobody.
"""

import random
from datetime import datetime, timedelta

FIRST_DELAY = timedelta(minutes=5)  # what greylisting asks for; the 30 minutes of RFC 5321 4.5.4.1 make news late
LONGEST_DELAY = timedelta(minutes=240)  # near the two or three hours of RFC 5321 4.5.4.1; six tries a day bother nobody
JITTER = 0.2  # see above: the share by which a delay is shortened or lengthened at most
DEFAULT_LIFE = timedelta(hours=48)
"""News older than two days is no news; general mail waits 4 to 5 days (RFC 5321 4.5.4.1)."""


def next_try(
    tries: int,
    first_tried_at: datetime,
    now: datetime,
    rng: random.Random,
    life: timedelta = DEFAULT_LIFE,
) -> datetime | None:
    """The aware time of the next try after `tries` (1 = the first just failed), or None to give up.

    Without jitter: 5, 10, 20, 40, 80, 160, 240, 240 … minutes. Raises ValueError when `tries` is below 1.
    """
    if tries < 1:
        raise ValueError(f"tries must be 1 or more, not {tries}")
    doubled = FIRST_DELAY * 2 ** min(tries - 1, 10)  # 2**10 is far above the cap and keeps timedelta in range
    delay = min(doubled, LONGEST_DELAY) * rng.uniform(1 - JITTER, 1 + JITTER)
    due = now + delay
    return due if due <= first_tried_at + life or tries < _tries_in(life) / 2 else None


def _tries_in(life: timedelta) -> int:
    """How many tries fit into a life, without jitter."""
    tries, at = 1, FIRST_DELAY
    while at <= life:
        tries, at = tries + 1, at + min(FIRST_DELAY * 2 ** min(tries, 10), LONGEST_DELAY)
    return tries
