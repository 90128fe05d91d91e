"""One reader, or a list of them, as editors see them. Reads only; `subscribe`, `optout` and `erasure` change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.domain.address import read_address
from worker.domain.subscriber import Subscriber
from worker.domain.subscription import Subscription, SubscriptionState
from worker.errors import NotFoundError
from worker.storage import publications
from worker.storage.engine import Database
from worker.storage.people import subscribers, subscriptions, suppressions, timelines
from worker.storage.people.subscribers import ListedSubscriber
from worker.storage.people.timelines import TimelineEntry

PAGE = 1_000
"""Readers a query: a long list is read in pages, so that no single query grows with it."""


@dataclass(frozen=True)
class Reader:
    """Everything kept about one person, in the order it happened."""

    subscriber: Subscriber
    subscriptions: Sequence[Subscription]
    timeline: Sequence[TimelineEntry]

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        return {
            "subscriber": self.subscriber.as_dict(),
            "subscriptions": [{"publication": one.title, "state": one.state} for one in self.subscriptions],
            "timeline": [entry.as_dict() for entry in self.timeline],
        }


@dataclass(frozen=True)
class ReaderList:
    """The first readers that match, oldest first; `more` says that there are others."""

    readers: Sequence[ListedSubscriber]
    more: bool

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        return {"subscribers": [reader.as_dict() for reader in self.readers], "more": self.more}


def find_reader(database: Database, address: str) -> Subscriber:
    """Who has this address. Raises UsageError for no address, NotFoundError for an unknown one."""
    with database.read() as conn:
        return subscribers.find_by_address(conn, database.instance(), address)


def show_reader(database: Database, address: str) -> Reader:
    """One reader with subscriptions and timeline. Raises UsageError, NotFoundError.

    Who is nobody's reader may be on the do-not-mail list, also after an erasure; the error says so.
    """
    with database.read() as conn:
        try:
            reader = subscribers.find_by_address(conn, database.instance(), address)
        except NotFoundError:
            no = suppressions.find(conn, database.instance(), read_address(address))
            if no is None:
                raise
            raise NotFoundError("subscriber.only_suppressed", reason=no.reason, since=no.created_at.date()) from None
        theirs = subscriptions.of_reader(conn, reader.id)
        return Reader(reader, theirs, timelines.timeline(conn, reader.id))


def list_readers(
    database: Database,
    *,
    publication: str | None = None,
    state: SubscriptionState | None = None,
    domain: str | None = None,
    limit: int = 100,
) -> ReaderList:
    """At most `limit` readers of one publication (its slug) or of all, in one state or any, at one domain or any.

    Raises NotFoundError for an unknown publication, UsageError for what is no domain.
    """
    rows: list[ListedSubscriber] = []
    with database.read() as conn:
        publication_id = None if publication is None else publications.get_publication(conn, publication).id
        while len(rows) <= limit:
            page = subscribers.list_subscribers(
                conn,
                publication_id=publication_id,
                state=state,
                domain=domain,
                after_id=rows[-1].subscriber.id if rows else 0,
                limit=min(PAGE, limit + 1 - len(rows)),
            )
            if not page:
                break
            rows += page
    return ReaderList(rows[:limit], more=len(rows) > limit)
