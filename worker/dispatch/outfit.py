"""What a process works with, in words without secrets: told by each worker, compared by whoever looks at it."""

import hashlib
from urllib.parse import urlsplit

from worker.domain.process import Outfit
from worker.settings import Settings
from worker.transport.relay import relay_of
from worker.transport.shaping import parse_rates


def outfit_of(settings: Settings) -> Outfit:
    """The outfit of a process with these settings."""
    return Outfit(
        relay=relay_of(settings).key,
        limits=str(parse_rates(settings.rate) or ""),
        broker=_broker_place(settings.broker_url.get_secret_value()),
        # 32 bits of a digest over a key that nobody can guess: enough to tell keys apart, useless for anything else.
        key=hashlib.sha256(b"corranto outfit " + settings.keys[0].encode()).hexdigest()[:8],
    )


def _broker_place(url: str) -> str:
    if url == "sql":
        return url
    try:
        parts = urlsplit(url)
        return f"redis {parts.hostname or ''}:{parts.port or 6379}{parts.path}"
    except ValueError:
        return "redis"
