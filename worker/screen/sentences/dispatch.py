"""Sentences about issues: queueing, orders, what stands in the way of a mail. Pure."""

from collections.abc import Callable

SENTENCES: dict[str, str | Callable[..., str]] = {}
