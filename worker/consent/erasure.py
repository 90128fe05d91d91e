"""Erasing a reader: out of everything first, then the data goes (GDPR 17).

Two transactions. Before the first a crash leaves all as it was. After it the reader gets nothing more, and is still
there to be erased: repeating goes on from there. After the second nothing is left that names anybody, and repeating
finds nobody. In between, up to `wait_s` may pass while a copy that is leaving just now arrives or is stopped.
"""

from dataclasses import replace
from pathlib import Path

from worker.consent import optout, optout_log
from worker.consent.optout import Wish
from worker.consent.readers import find_reader
from worker.domain.subscription import Channel, Scope, SubscriptionState
from worker.storage.engine import Database
from worker.storage.people import subscribers, subscriptions
from worker.storage.people.subscribers import Erased


def erase_reader(
    database: Database, address: str, *, actor: str, state_dir: Path, wait_s: float, keep_no: bool = True
) -> Erased:
    """Remove one reader's address, name and attributes for good. With `keep_no` no import brings them back.

    Raises UsageError for what is no address, NotFoundError for an unknown one.
    """
    reader = find_reader(database, address)
    with database.read() as conn:
        theirs = subscriptions.of_reader(conn, reader.id)
    on_its_way: tuple[str, ...] = ()
    if theirs:
        # The way out first, so that a copy just leaving is waited for like at any other opt-out.
        wish = Wish(theirs[0].id, Channel.CLI, actor, scope=Scope.ALL)
        on_its_way = optout.opt_out(database, wish, state_dir, wait_s).on_its_way
    optout_log.append_erased(state_dir, reader.id)
    with database.write_durably() as conn:
        erased = subscribers.erase_subscriber(conn, reader.id, actor=actor, keep_no=keep_no)
    optout_log.confirm(state_dir, [str(reader.id)])
    # SQLite's log beside the file still holds the row as it was.
    database.checkpoint()
    ended = sum(each.state is not SubscriptionState.ENDED for each in theirs)  # by leaving, just now
    return replace(erased, subscriptions=ended + erased.subscriptions, on_its_way=on_its_way)
