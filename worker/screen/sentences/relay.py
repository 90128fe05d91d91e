"""Sentences about the relay: its URL, its answers, its faults. Pure."""

from collections.abc import Callable

SENTENCES: dict[str, str | Callable[..., str]] = {
    "relay.fault": "{cause}",
}
