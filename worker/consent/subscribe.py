"""One reader is subscribed by hand, with the evidence that they asked. Who left comes back only by their own hand.

Subscriber, subscription, consent line and act are one transaction: a crash leaves all of them or none.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from worker import clock
from worker.consent.import_rows import (
    MAX_NAME_CHARS,
    MAX_VALUE_CHARS,
    RowError,
    is_variable,
    read_consent,
    read_language,
    read_value,
)
from worker.domain.address import Address, mask
from worker.domain.publication import Publication
from worker.domain.subscription import SubscriptionState
from worker.errors import RefusedError, UsageError
from worker.storage import acts
from worker.storage.engine import Database
from worker.storage.people import consents, subscribers, suppressions


@dataclass(frozen=True)
class Added:
    """What adding a reader did. `added` is False for one who had the publication already and keeps the subscription."""

    subscriber_id: int
    subscription_id: int
    added: bool


def add_subscriber(
    database: Database,
    publication: Publication,
    address: str,
    *,
    name: str = "",
    language: str | None = None,
    attributes: Mapping[str, str] | None = None,
    consent: str,
    actor: str,
) -> Added:
    """Subscribe one address to one publication, or update the name, language and attributes of one who has it.

    Raises UsageError for values that cannot be kept, RefusedError for a reader who left or is suppressed.
    """
    parsed = subscribers.read_address(address)
    text, consented = read_consent(consent, clock.utcnow())
    values = _read_values(name, language or "", attributes or {})
    with database.write() as conn:
        _refuse_suppressed(conn, database, parsed)
        known = subscribers.find(conn, database.instance(), parsed)
        before = None if known is None else consents.find(conn, known.id, publication.id)
        if before is not None and before.is_a_no:
            _refuse_left(publication, before.ended_at)
        found = subscribers.put_subscriber(conn, database.instance(), parsed, **values)
        if before is not None and before.state is SubscriptionState.CONFIRMED:
            return Added(found.id, before.id, added=False)
        # A line of the consent log can not be erased: the reader's address must not stand in it.
        started = consents.start(conn, found.id, publication.id, _without_address(text, parsed), consented)
        if started is None:  # somebody else, or the reader, was quicker
            raise RefusedError(f"{parsed.addr_spec} changed just now: look with `corranto subscriber show` and repeat")
        acts.record(conn, actor, "subscriber.add", f"subscriber:{found.id}", {"added": 1})
        return Added(found.id, started, added=True)


def _read_values(name: str, language: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    folds: Counter[str] = Counter()
    try:
        for variable in attributes:
            if not is_variable(variable):
                raise RowError(f"{variable!r} is no name for an attribute (small letters, digits, underscores)")
        return {
            "name": read_value(name, "name", MAX_NAME_CHARS, folds),
            "language": read_language(language.strip()),
            "attributes": {
                variable: kept
                for variable, value in attributes.items()
                if (kept := read_value(value, variable, MAX_VALUE_CHARS, folds))
            },
        }
    except RowError as error:
        raise UsageError(str(error)) from error


def _refuse_suppressed(conn: Connection, database: Database, address: Address) -> None:
    found = suppressions.find(conn, database.instance(), address)
    if found is not None:
        raise RefusedError(
            f"{address.addr_spec} is on the do-not-mail list since {found.created_at:%Y-%m-%d} ({found.reason}): "
            "`corranto suppression remove` lifts that, if the reader wants it"
        )


def _refuse_left(publication: Publication, since: datetime | None) -> None:
    when = f" on {since:%Y-%m-%d}" if since else ""
    raise RefusedError(
        f"this reader left {publication.slug}{when}, so only the reader can come back, by Undo on the unsubscribe page"
    )


def _without_address(text: str, address: Address) -> str:
    lowered = text.lower()
    for spelling in (address.addr_spec, address.key):
        while (at := lowered.find(spelling.lower())) >= 0:
            text = text[:at] + mask(address.addr_spec) + text[at + len(spelling) :]
            lowered = text.lower()
    return text
