"""Sentences about what is typed: options, times, files to write, confirmations. Pure."""

from collections.abc import Callable

SENTENCES: dict[str, str | Callable[..., str]] = {}
