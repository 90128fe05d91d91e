"""One reader is subscribed by hand, with the evidence that they asked. Who left comes back only by their own hand.

Subscriber, subscription, consent line and act are one transaction: a crash leaves all of them or none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from worker import clock
from worker.consent.headings import is_variable
from worker.consent.import_rows import (
    MAX_NAME_CHARS,
    MAX_VALUE_CHARS,
    RowError,
    read_consent,
    typed_language,
    typed_value,
)
from worker.domain.address import Address, mask, read_address
from worker.domain.subscription import SubscriptionState
from worker.errors import RefusedError, Remedy
from worker.storage import acts, publications
from worker.storage.engine import Database
from worker.storage.people import consents, subscribers, subscriptions, suppressions


@dataclass(frozen=True)
class Added:
    """What adding a reader did. `added` is False for one who had the publication already and keeps the subscription."""

    subscriber_id: int
    subscription_id: int
    added: bool
    address: str
    """As stored."""


def add_subscriber(
    database: Database,
    publication: str,
    address: str,
    *,
    name: str = "",
    language: str | None = None,
    attributes: Mapping[str, str] | None = None,
    consent: str,
    actor: str,
) -> Added:
    """Subscribe one address to the publication with this slug, or update name, language and attributes of its reader.

    Raises NotFoundError, UsageError for values that cannot be kept, RefusedError for who left or is suppressed.
    """
    with database.read() as conn:
        publication_id = publications.get_publication(conn, publication).id
    parsed = read_address(address)
    text, consented = read_consent(consent, clock.utcnow())
    values = _read_values(name, language or "", attributes or {})
    with database.write() as conn:
        _refuse_suppressed(conn, database, parsed)
        known = subscribers.find(conn, database.instance(), parsed)
        before = None if known is None else subscriptions.of_pair(conn, known.id, publication_id)
        if before is not None and before.is_a_no:
            raise RefusedError("subscription.left", publication=publication, since=before.ended_at, remedy=Remedy.NONE)
        reader_id = subscribers.put_subscriber(conn, database.instance(), parsed, **values)
        if before is not None and before.state is SubscriptionState.CONFIRMED:
            return Added(reader_id, before.id, added=False, address=parsed.addr_spec)
        # A line of the consent log can not be erased: the reader's address must not stand in it.
        started = consents.start(conn, reader_id, publication_id, _without_address(text, parsed), consented)
        if started is None:  # somebody else, or the reader, was quicker
            raise RefusedError("subscription.changed", address=parsed.addr_spec, remedy=Remedy.REPEAT)
        acts.record(conn, actor, "subscriber.add", f"subscriber:{reader_id}", {"added": 1})
        return Added(reader_id, started, added=True, address=parsed.addr_spec)


def _read_values(name: str, language: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    for variable in attributes:
        if not is_variable(variable):
            raise RowError("attribute.no_name", name=variable)
    kept = {key: typed_value(value, key, MAX_VALUE_CHARS) for key, value in attributes.items()}
    return {
        "name": typed_value(name, "name", MAX_NAME_CHARS),
        "language": typed_language(language.strip()),
        "attributes": {key: value for key, value in kept.items() if value},
    }


def _refuse_suppressed(conn: Connection, database: Database, address: Address) -> None:
    suppression = suppressions.find(conn, database.instance(), address)
    if suppression is not None:
        since, reason = suppression.created_at, suppression.reason
        raise RefusedError("subscription.suppressed", address=address.addr_spec, since=since, reason=reason)


def _without_address(text: str, address: Address) -> str:
    spellings = "|".join(re.escape(spelling) for spelling in (address.addr_spec, address.key))
    return re.sub(spellings, lambda _: mask(address.addr_spec), text, flags=re.IGNORECASE)
