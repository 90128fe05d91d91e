"""A person's mailbox, and what is known of the person. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Subscriber:
    """One mailbox. After erasure address and name are None and attributes are empty."""

    id: int
    address: str | None
    name: str
    language: str | None
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recipient:
    """A subscriber inside one issue: all that personalising one mail needs.

    `n` is the delivery's number within the issue (1..N). `consent_date` is the ISO date the reader asked, or "" when
    there is no dated evidence.
    """

    n: int
    subscriber_id: int
    subscription_id: int
    generation: int
    address: str
    name: str
    language: str
    consent_date: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One reader of an imported file, checked and folded.

    `address_hash` has 16 octets; `attributes` is a JSON object of strings; `consent_at` is aware UTC, or None without
    dated evidence.
    """

    address_hash: bytes
    address: str
    name: str
    language: str | None
    attributes: str
    consent_at: datetime | None
