"""A person's mailbox, and what is known of the person. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Subscriber:
    """One mailbox. Imports and `subscriber add` change name, language and attributes; erasure empties all but `id`."""

    id: int
    address: str | None
    """Addr-spec, the local part as typed; None after erasure."""
    name: str
    """As the reader wrote it, may be empty."""
    language: str | None
    """BCP 47 tag; None when not known."""
    attributes: Mapping[str, str]
    """What texts may use, by name."""

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        return {**asdict(self), "attributes": dict(self.attributes)}


@dataclass(frozen=True, slots=True)
class Recipient:
    """A subscriber inside one issue: all that personalising one mail needs.

    `n` is the delivery's number within the issue (1..N). `consent_date` is the ISO date the reader asked, or "" when
    there is no dated evidence. The rest is the subscriber's and the subscription's as they were read for this copy:
    `language` is a BCP 47 tag or "", `generation` goes into links.
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


class ImportRow(NamedTuple):
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
