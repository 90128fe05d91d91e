"""Where a reader stands with every publication, as the pages show it. Reads only; `optout` changes.

A subscription's number comes from a verified token. The address leaves this room masked only.
"""

from dataclasses import dataclass
from datetime import datetime

from worker.domain.address import mask
from worker.domain.subscription import Subscription
from worker.storage.engine import Database
from worker.storage.people import subscriptions


@dataclass(frozen=True)
class Preferences:
    """One reader, seen from the subscription whose link was opened."""

    here: Subscription
    masked: str
    still: tuple[Subscription, ...]
    """The reader's other subscriptions that go on."""
    ended_together: tuple[Subscription, ...]
    """Others that the same act ended and that may come back with this one."""


def read_preferences(database: Database, subscription_id: int) -> Preferences | None:
    """None when nothing is left to show: the subscription is deleted, or its reader was erased."""
    with database.read() as conn:
        here = subscriptions.find(conn, subscription_id)
        if here is None or here.address is None:
            return None
        everything = subscriptions.of_reader(conn, here.subscriber_id)
    others = [one for one in everything if one.id != here.id]
    return Preferences(
        here=here,
        masked=mask(here.address),
        still=tuple(one for one in others if one.is_active),
        ended_together=tuple(one for one in others if _is_together(one, here.ended_at)),
    )


def _is_together(other: Subscription, ended_at: datetime | None) -> bool:
    # One statement ends them all, so the database's clock gave them the very same time.
    return ended_at is not None and other.ended_at == ended_at and other.undoable
