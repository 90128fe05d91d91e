"""Sentences about settings, database, broker, processes, journal, sink, keys, the demo. Pure."""

from collections.abc import Callable

SENTENCES: dict[str, str | Callable[..., str]] = {
    "settings.wrong": lambda problems: "\n".join(map(str, problems)),
}
