"""Sentences about settings, database, broker, processes, journal, sink, keys, the demo. Pure."""

from collections.abc import Callable

SENTENCES: dict[str, str | Callable[..., str]] = {
    "process.note": "{text}",
    "settings.wrong": lambda problems: "\n".join(map(str, problems)),
}
