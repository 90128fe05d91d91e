"""Erasing a reader: out of everything first, then the data goes (GDPR 17).

Two transactions. Before the first a crash leaves all as it was. After it the reader gets nothing more, and is still
there to be erased: repeating goes on from there. After the second nothing is left that names anybody, and repeating
finds nobody. In between, up to `wait_s` may pass while a copy that is leaving just now arrives or is stopped.
"""

from dataclasses import dataclass
from pathlib import Path

from worker.consent import optout
from worker.consent.readers import find_reader
from worker.domain.subscription import Channel
from worker.storage.engine import Database
from worker.storage.people import subscribers, subscriptions


@dataclass(frozen=True)
class ErasedReader:
    """What an erasure did."""

    subscriber_id: int
    subscriptions: int
    """How many the erasure itself ended: those that leaving had not ended already."""
    suppressed: bool
    """Whether the keyed hash stays on the do-not-mail list."""
    on_its_way: tuple[str, ...]
    """Subjects of the issues whose copy could not be stopped any more."""


def erase_reader(
    database: Database, address: str, *, actor: str, state_dir: Path, wait_s: float, keep_no: bool = True
) -> ErasedReader:
    """Remove one reader's address, name and attributes for good. With `keep_no` no import brings them back.

    Raises UsageError for what is no address, NotFoundError for an unknown one.
    """
    reader = find_reader(database, address)
    with database.read() as conn:
        theirs = subscriptions.of_reader(conn, reader.id)
    on_its_way: tuple[str, ...] = ()
    if theirs:
        # The way out first, so that a copy just leaving is waited for like at any other opt-out.
        on_its_way = optout.opt_out(
            database,
            subscription_id=theirs[0].id,
            channel=Channel.CLI,
            issue_id=None,
            actor=actor,
            state_dir=state_dir,
            scope="all",
            wait_s=wait_s,
        ).on_its_way
    with database.write_durably() as conn:
        erased = subscribers.erase_subscriber(conn, reader.id, actor=actor, keep_no=keep_no)
    return ErasedReader(erased.subscriber_id, erased.subscriptions, erased.suppressed, on_its_way)
