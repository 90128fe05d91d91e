"""Sentences about publications, readers, imports, suppressions, opt-outs. Pure."""

from collections.abc import Callable

SENTENCES: dict[str, str | Callable[..., str]] = {}
