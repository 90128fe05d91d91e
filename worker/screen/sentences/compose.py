"""Sentences about issue files, their pictures, lint, preview and proof. Pure."""

from collections.abc import Callable

SENTENCES: dict[str, str | Callable[..., str]] = {}
