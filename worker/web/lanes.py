"""Threads for each kind of work, so that none waits behind another: leaving never stands behind a file or a check.

Together they are fewer than the database's connections, so no lane starves at the pool either.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

PAGE_THREADS = 20
"""For whatever names no lane: the pages."""

LEAVING = CapacityLimiter(16)  # the reserve for opt-outs
FILES = CapacityLimiter(4)

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def run_in(lane: CapacityLimiter, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The result of blocking work, done in a thread of this lane."""
    return await anyio.to_thread.run_sync(lambda: work(*args, **kwargs), limiter=lane)


def narrow_pages() -> None:
    """Give the framework's own threads their number; called inside the running loop."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = PAGE_THREADS
