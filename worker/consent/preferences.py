"""Where a reader stands with every publication, as the pages show it. Reads only; `optout` changes.

A subscription's number comes from a verified token. The address leaves this room masked only.
"""

from dataclasses import dataclass
from datetime import timedelta

from worker.consent.optout import ended_together
from worker.domain.address import mask
from worker.domain.subscription import Channel, Subscription
from worker.storage.engine import Database
from worker.storage.people import subscriptions

OWNER_FOR = timedelta(hours=1)
"""How long a press of the mail program's own button lets its link's page reach the reader's other publications."""


@dataclass(frozen=True)
class Preferences:
    """One reader, seen from the link that was opened."""

    here: Subscription
    masked: str
    still: tuple[Subscription, ...]
    """The reader's other subscriptions that go on; nothing unless the link is proven to be in its owner's hands."""
    ended_together: tuple[Subscription, ...]
    """Others that this link ended and may bring back together with this one."""
    may_stop_all: bool
    """Whether this link may end the reader's other subscriptions too."""


def read_preferences(database: Database, subscription_id: int, issue_id: int | None) -> Preferences | None:
    """What the link of this issue may show. None when nothing is left: subscription deleted, or reader erased."""
    with database.read() as conn:
        here = subscriptions.find(conn, subscription_id)
        if here is None or here.address is None:
            return None
        now = database.now(conn)
        everything = subscriptions.of_reader(conn, here.subscriber_id)
    others = [one for one in everything if one.id != here.id]
    owner = (
        here.ended_at is not None
        and here.ended_by == Channel.ONE_CLICK
        and here.ended_issue_id == issue_id
        and now - here.ended_at <= OWNER_FOR
    )
    return Preferences(
        here=here,
        masked=mask(here.address),
        still=tuple(one for one in others if owner and one.is_active),
        ended_together=tuple(one for one in others if ended_together(one, here, issue_id)),
        may_stop_all=owner,
    )


def may_stop_all(database: Database, subscription_id: int, issue_id: int | None) -> bool:
    """Whether the link of this issue may end all of its reader's subscriptions."""
    reader = read_preferences(database, subscription_id, issue_id)
    return reader is not None and reader.may_stop_all
