"""A nudge as bytes: JSON under an HMAC, so that whoever can write to the broker still cannot make us call anything.

Only ids travel. A replayed nudge is genuine and harmless, because every actor is idempotent; a forged, damaged,
oversized or foreign one is refused before a parser sees it.
"""

import hmac
from typing import Any

import orjson
from dramatiq import Message

MAX_BODY_OCTETS = 4096  # a nudge has about 150
_TAG_OCTETS = 32


class SealError(ValueError):
    """Raised when a nudge was not sealed by this installation; never repeats its content."""


class Sealer:
    """Seals with a key of its own per namespace, so that two installations on one server do not hear each other."""

    def __init__(self, secret: bytes, namespace: str) -> None:
        self._key = hmac.digest(secret, b"corranto nudge " + namespace.encode(), "sha256")

    def seal(self, message: Message[Any]) -> bytes:
        """Tag and JSON of one nudge. Raises ValueError when it would not be read again."""
        fields = {
            "queue": message.queue_name,
            "actor": message.actor_name,
            "ids": message.kwargs,
            "id": message.message_id,
        }
        body = orjson.dumps(fields)
        if len(body) + _TAG_OCTETS > MAX_BODY_OCTETS:
            raise ValueError("a nudge carries ids only")
        return self._tag(body) + body

    def unseal(self, data: bytes) -> Message[Any]:
        """The nudge `seal` was given, with no options: none can name a follow-up. Raises SealError."""
        if not _TAG_OCTETS < len(data) <= MAX_BODY_OCTETS:
            raise SealError("a nudge of an impossible size")
        tag, body = data[:_TAG_OCTETS], data[_TAG_OCTETS:]
        if not hmac.compare_digest(self._tag(body), tag):
            raise SealError("a nudge that this installation did not seal")
        try:
            fields = orjson.loads(body)
            return Message(fields["queue"], fields["actor"], (), dict(fields["ids"]), {}, fields["id"])
        except (KeyError, TypeError, ValueError) as error:
            raise SealError("a nudge of another version") from error

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")
