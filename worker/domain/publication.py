"""What one subscribes to. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Publication:
    """A publication as stored. Addresses are addr-specs; `zone` is an IANA name; `language` a BCP 47 tag."""

    id: int
    slug: str
    title: str
    from_name: str
    from_address: str
    postal_address: str
    reply_to: str | None
    bounce_address: str | None
    contact: str
    promise: str
    privacy_url: str | None
    language: str
    zone: str
    description: str


DEFAULT_PROMISE = (
    "Your address is used only to send what you asked for. It is never passed on. "
    "This mail contains no tracking. One click ends it."
)
