"""What happened to one reader: consent, imports, every copy and why, suppressions. As a timeline, and as export."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from worker.domain.subscription import Channel, ConsentEvent
from worker.storage.schema import (
    consent_log,
    delivery,
    import_batch,
    issue,
    publication,
    reply,
    subscriber,
    subscription,
    suppression,
)

EXPORT_FORMAT = 1  # grows when a key of the export changes its meaning or goes

_CHANNELS = {
    Channel.ONE_CLICK: "by the mail program's unsubscribe button",
    Channel.PAGE: "on the unsubscribe page",
    Channel.CLI: "on the command line",
    Channel.IMPORT: "by an import",
    Channel.COMPLAINT: "by an abuse report",
    Channel.MAILTO: "by mail to the unsubscribe address",
}

_EVENTS = {
    ConsentEvent.IMPORTED: "subscribed",
    ConsentEvent.ADDED: "subscribed",
    ConsentEvent.ENDED: "opted out",
    ConsentEvent.UNDONE: "took the opt-out back",
    ConsentEvent.IMPORT_UNDONE: "import undone",
    ConsentEvent.ERASED: "erased",
}


@dataclass(frozen=True)
class TimelineEntry:
    """One thing that happened. `at` is aware UTC, None for a copy that has not been tried yet.

    `what` is a few words, `detail` a sentence, either may repeat what an editor or a relay typed: escape before
    showing. `publication` and `issue` are slugs.
    """

    at: datetime | None
    what: str
    detail: str
    publication: str | None = None
    issue: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        return asdict(self)


def timeline(conn: Connection, subscriber_id: int) -> list[TimelineEntry]:
    """Everything kept about one subscriber, oldest first; what has no time yet stands last."""
    entries = [*_life(conn, subscriber_id), *_consent(conn, subscriber_id), *_copies(conn, subscriber_id)]
    # Stable: of two lines with one time the order above is the order they happened in.
    return sorted(entries, key=lambda entry: (entry.at is None, entry.at.timestamp() if entry.at else 0.0))


def export_subscriber(conn: Connection, subscriber_id: int) -> dict[str, Any]:
    """All data kept about one subscriber, ready for JSON (GDPR 15 and 20); times in ISO 8601, UTC."""
    row = conn.execute(select(subscriber).where(subscriber.c.id == subscriber_id)).one()._mapping
    kept = ("id", "address", "name", "language", "attributes", "created_at", "erased_at")
    return {
        "schema": EXPORT_FORMAT,
        "subscriber": {name: _plain(row[name]) for name in kept},
        "subscriptions": _rows(conn, _subscriptions().where(subscription.c.subscriber_id == subscriber_id)),
        "consent": _rows(conn, _consent_lines().where(subscription.c.subscriber_id == subscriber_id)),
        "deliveries": _rows(conn, _deliveries().where(delivery.c.subscriber_id == subscriber_id)),
        "replies": _rows(conn, _replies().where(delivery.c.subscriber_id == subscriber_id)),
        "suppressions": _rows(conn, _suppressions().where(subscriber.c.id == subscriber_id)),
    }


def _life(conn: Connection, subscriber_id: int) -> Iterator[TimelineEntry]:
    row = conn.execute(
        select(subscriber.c.created_at, subscriber.c.erased_at).where(subscriber.c.id == subscriber_id)
    ).one()
    yield TimelineEntry(row.created_at, "first known", "the address was stored for the first time")
    for no in conn.execute(_suppressions().where(subscriber.c.id == subscriber_id)):
        yield TimelineEntry(no.created_at, "suppressed", f"{no.reason}: {no.evidence}" if no.evidence else no.reason)
    if row.erased_at is not None:
        yield TimelineEntry(row.erased_at, "erased", "address, name and attributes were removed")


def _consent(conn: Connection, subscriber_id: int) -> Iterator[TimelineEntry]:
    for line in conn.execute(_consent_lines().where(subscription.c.subscriber_id == subscriber_id)):
        parts = [_CHANNELS[Channel(line.channel)]]
        if line.import_id is not None:
            parts.append(f"import {line.import_id} ({line.file_name})")
        if line.issue:
            parts.append(f"from issue {line.issue}")
        if line.evidence:
            parts.append(line.evidence)
        yield TimelineEntry(line.at, _EVENTS[ConsentEvent(line.event)], ": ".join(parts), line.publication, line.issue)


def _copies(conn: Connection, subscriber_id: int) -> Iterator[TimelineEntry]:
    for answer in conn.execute(_replies().where(delivery.c.subscriber_id == subscriber_id)):
        code = " ".join(str(part) for part in (answer.code, answer.enhanced) if part)
        detail = f"try {answer.try_no}, {answer.phase}: {code} {answer.text}".rstrip()
        yield TimelineEntry(answer.at, "relay answered", detail, answer.publication, answer.issue)
    for copy in conn.execute(_deliveries().where(delivery.c.subscriber_id == subscriber_id)):
        detail = copy.state if copy.reason is None else f"{copy.state}: {copy.reason.replace('_', ' ')}"
        if copy.next_try is not None:
            detail += f", next try {copy.next_try:%Y-%m-%d %H:%M} UTC"
        yield TimelineEntry(copy.at, copy.state.replace("_", " "), detail, copy.publication, copy.issue)


def _subscriptions() -> Select[Any]:
    kept = ("id", "generation", "state", "confirmed_at", "ended_at", "ended_by", "paused_until", "consent_at")
    return (
        select(
            publication.c.slug.label("publication"),
            *(subscription.c[name] for name in kept),
            subscription.c.consent_source,
            subscription.c.import_id,
        )
        .join(publication, publication.c.id == subscription.c.publication_id)
        .order_by(subscription.c.id)
    )


def _consent_lines() -> Select[Any]:
    kept = ("generation", "event", "channel", "at", "import_id", "evidence")
    return (
        select(
            publication.c.slug.label("publication"),
            *(consent_log.c[name] for name in kept),
            import_batch.c.file_name,
            issue.c.slug.label("issue"),
        )
        .select_from(consent_log)
        .join(subscription, subscription.c.id == consent_log.c.subscription_id)
        .join(publication, publication.c.id == subscription.c.publication_id)
        .outerjoin(import_batch, import_batch.c.id == consent_log.c.import_id)
        .outerjoin(issue, issue.c.id == consent_log.c.issue_id)
        .order_by(consent_log.c.id)
    )


def _deliveries() -> Select[Any]:
    kept = ("n", "state", "reason", "at", "tries", "first_try", "next_try", "code", "enhanced", "provider")
    return (
        select(
            publication.c.slug.label("publication"),
            issue.c.slug.label("issue"),
            issue.c.subject,
            *(delivery.c[name] for name in kept),
        )
        # From the few issues into the ledger: its unique key answers (issue, subscriber), nothing (subscriber) alone.
        .select_from(issue)
        .join(delivery, delivery.c.issue_id == issue.c.id)
        .join(publication, publication.c.id == issue.c.publication_id)
        .order_by(delivery.c.issue_id)
    )


def _replies() -> Select[Any]:
    kept = ("try_no", "at", "phase", "code", "enhanced", "text")
    return (
        select(publication.c.slug.label("publication"), issue.c.slug.label("issue"), *(reply.c[name] for name in kept))
        .select_from(issue)
        .join(delivery, delivery.c.issue_id == issue.c.id)
        .join(reply, (reply.c.issue_id == delivery.c.issue_id) & (reply.c.n == delivery.c.n))
        .join(publication, publication.c.id == issue.c.publication_id)
        .order_by(reply.c.id)
    )


def _suppressions() -> Select[Any]:
    return (
        select(suppression.c.reason, suppression.c.evidence, suppression.c.created_at)
        .select_from(suppression)
        .join(subscriber, subscriber.c.address_hash == suppression.c.address_hash)
    )


def _rows(conn: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    return [{name: _plain(value) for name, value in row._mapping.items()} for row in conn.execute(query)]


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    return value.isoformat() if isinstance(value, datetime) else value
