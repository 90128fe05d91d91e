"""The only place that reads time. Everything pure takes `now` as an argument.

Due times and leases use the database's now() (see `storage.engine`); ages use `monotonic`; a mail's Date uses `utcnow`.
"""

import time
from datetime import UTC, datetime


def utcnow() -> datetime:
    """The process clock, aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds on a clock that never steps; only differences mean anything."""
    return time.monotonic()
