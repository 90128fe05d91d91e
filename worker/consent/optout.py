"""Leaving: the one way out that every channel takes, and the reader's way back.

In: a subscription's number, proven by a signed token or named by an operator. Out: what ended, and which copies came
too late to be stopped. The wish is written to the opt-out log, then committed durably; only then is anything answered.
A crash before the commit leaves a log line and no end: the reader was answered nothing and presses again, and a replay
of the log after a restore ends what the reader wanted ended. RFC 8058; Gmail and Yahoo bulk sender rules, 2024.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from worker.clock import monotonic, utcnow
from worker.compose.template import without_values
from worker.consent import optout_log
from worker.domain.address import Address, read_address
from worker.domain.subscription import Channel, Scope, Subscription
from worker.domain.suppression import SuppressionReason
from worker.errors import NotFoundError, Remedy
from worker.storage import acts, publications
from worker.storage.engine import Database
from worker.storage.people import subscribers, subscriptions, suppressions
from worker.storage.people.subscriptions import Changed, LateCopy

POLL_S = 0.03
"""Between two queries about a copy in flight: a mail takes 10 to 200 ms, and one waiting reader costs one query."""

ARRIVED_AFTER = timedelta(hours=1)
"""Then a copy handed over just after the end is in the mailbox or never will be: no page needs to mention it."""


@dataclass(frozen=True)
class Wish:
    """To leave, or to take that back: which subscription, or with `ALL` every one of its reader's; how and by whom."""

    subscription_id: int
    channel: Channel
    actor: str
    issue_id: int | None = None
    """The issue whose link was followed, if any."""
    scope: Scope = Scope.ONE


@dataclass(frozen=True)
class OptOut:
    """What one wish to leave did. `settled` is False while a copy is still being handed over."""

    changed: tuple[str, ...]
    """Titles of the publications this very wish ended."""
    already: bool
    """Nothing was left to end: a repeat, or the reader is erased."""
    on_its_way: tuple[str, ...]
    """Subjects of the issues whose copy could not be stopped any more."""
    since: datetime
    """When the subscription ended, aware UTC."""
    settled: bool = True


@dataclass(frozen=True)
class Suppressed:
    """A batch of addresses that get nothing any more: how many are new, or were on the list already, and how many
    copies could not be stopped."""

    added: int
    already: int
    on_their_way: int


def opt_out(database: Database, wish: Wish, state_dir: Path, wait_s: float) -> OptOut:
    """End what the wish names, and wait up to `wait_s` for a copy that is leaving just now.

    Idempotent; any generation's link ends the subscription as it is today. Blocks the thread while it waits: async
    callers walk `leave` instead.
    """
    for outcome in leave(database, wish, state_dir, wait_s):
        answer = outcome
        if not outcome.settled:
            time.sleep(POLL_S)
    return answer


def leave(database: Database, wish: Wish, state_dir: Path, wait_s: float) -> Iterator[OptOut]:
    """`opt_out` in steps: commits before the first value, then asks once a step until settled or `wait_s` is over.

    The last value is the answer. Whoever walks it pauses POLL_S between two steps, in its own colour.
    """
    here, reach = _reach(database, wish)
    if here is None:
        yield OptOut((), already=True, on_its_way=(), since=utcnow())
        return
    changed = _end(database, reach, wish, state_dir)
    with database.read() as conn:
        ended = subscriptions.find(conn, wish.subscription_id)
    since = utcnow() if ended is None or ended.ended_at is None else ended.ended_at
    deadline = monotonic() + wait_s
    while True:
        # A repeat asks too: the first wish may still be waiting for the very same copy.
        copies = copies_on_their_way(database, [one.id for one in reach], since)
        settled = not any(copy.open for copy in copies)
        yield OptOut(
            changed=_titles(reach, changed),
            already=not changed,
            on_its_way=tuple(without_values(copy.subject) for copy in copies),
            since=since,
            settled=settled,
        )
        if settled or monotonic() >= deadline:
            return


def copies_on_their_way(database: Database, subscription_ids: Sequence[int], since: datetime) -> list[LateCopy]:
    """Copies that an end at `since` came too late for; none once they are so old that they have long arrived.

    Opens a transaction of its own: the query must not see the ledger as it was before the end was committed.
    """
    with database.read() as conn:
        if database.now(conn) - since > ARRIVED_AFTER:
            return []
        return subscriptions.copies_leaving(conn, subscription_ids, since)


def undo(database: Database, wish: Wish, state_dir: Path) -> tuple[str, ...]:
    """The reader takes an opt-out back: the subscription goes on, one generation later, so its old links still end it.

    Only what this very link ended comes back (the wish's issue is the link's); with `ALL` all of that. Not undone: an
    end by an operator, a mail or a complaint, one older than UNDO_DAYS or after MOST_UNDOS undos, of an erased reader,
    or of a suppressed address. Returns the titles of what came back; empty when nothing may.
    """
    here, reach = _reach(database, wish)
    together = [one for one in reach if here is not None and ended_together(one, here, wish.issue_id)]
    if not together:
        return ()
    ids = [one.id for one in together]
    evidence = "undo on the leaving page"
    with database.write_durably() as conn:
        restored = subscriptions.restore(conn, ids, channel=wish.channel, issue_id=wish.issue_id, evidence=evidence)
        for one in restored:
            acts.record(conn, wish.actor, "subscription.undo", f"subscription:{one.id}", {"restored": 1})
    # After the commit: a line without its undo would let a restore bring back somebody who left.
    optout_log.append(state_dir, "undo", restored)
    return _titles(together, restored)


def ended_together(one: Subscription, here: Subscription, issue_id: int | None) -> bool:
    """Whether the link of this issue ended both and may bring `one` back."""
    # A link that names no issue is told from others only by the moment: one statement ends all that an act ends.
    same = issue_id is not None or one.ended_at == here.ended_at
    return same and one.is_undoable_by(issue_id)


def opt_out_address(
    database: Database,
    *,
    address: str,
    publication: str | None,
    actor: str,
    state_dir: Path,
    wait_s: float,
) -> OptOut:
    """An operator ends the subscription of an address to one publication (its slug), or to all when None.

    Raises UsageError for something that is no address, NotFoundError for an unknown publication, or when the address
    has no such subscription.
    """
    parsed = read_address(address)
    with database.read() as conn:
        only = None if publication is None else publications.get_publication(conn, publication).id
        reader = subscribers.find(conn, database.instance(), parsed)
        theirs = [] if reader is None else subscriptions.of_reader(conn, reader.id)
    ids = [one.id for one in theirs if only in (None, one.publication_id)]
    if not ids:
        raise NotFoundError(
            "subscription.none", address=parsed.addr_spec, publication=publication, remedy=Remedy.OTHER_ORDER
        )
    wish = Wish(ids[0], Channel.CLI, actor, scope=Scope.ALL if publication is None else Scope.ONE)
    return opt_out(database, wish, state_dir, wait_s)


def suppress(
    database: Database,
    addresses: Iterable[Address],
    *,
    evidence: str,
    actor: str,
    state_dir: Path,
    wait_s: float,
    reason: SuppressionReason = SuppressionReason.MANUAL,
) -> Suppressed:
    """Put addresses on the do-not-mail list, in pages, then wait once for all copies to them that are leaving now."""
    with database.read() as conn:
        since = database.now(conn)
    added, asked = 0, 0
    rest = iter(addresses)
    # A page at a time: a file of a million of them is not kept in memory.
    while page := {address.key: address for address in islice(rest, suppressions.PAGE)}:
        asked += len(page)
        added += _suppress_page(database, list(page.values()), reason, evidence, actor, state_dir)
    deadline = monotonic() + wait_s
    while True:
        with database.read() as conn:
            leaving = subscriptions.suppressed_leaving(conn, since) if added else 0
        if not leaving or monotonic() >= deadline:
            return Suppressed(added, asked - added, leaving)
        time.sleep(POLL_S)


def _suppress_page(
    database: Database,
    page: Sequence[Address],
    reason: SuppressionReason,
    evidence: str,
    actor: str,
    state_dir: Path,
) -> int:
    """Log, then commit, those that are not on the list; how many."""
    wanted = suppressions.hashes_of(database.instance(), page)
    with database.read() as conn:
        new = suppressions.not_listed(conn, wanted)
    optout_log.append_suppressed(state_dir, reason, new)
    with database.write_durably() as conn:
        added = suppressions.add(conn, wanted, reason, evidence, actor=actor)
    optout_log.confirm(state_dir, [hashed.hex() for hashed in new[:1]])
    return added


def _reach(database: Database, wish: Wish) -> tuple[Subscription | None, list[Subscription]]:
    """The subscription a wish names, None when there is no such row (any more), and all that the wish is about."""
    with database.read() as conn:
        here = subscriptions.find(conn, wish.subscription_id)
        if here is None:
            return None, []
        return here, [here] if wish.scope == Scope.ONE else subscriptions.of_reader(conn, here.subscriber_id)


def _titles(of: Sequence[Subscription], changed: Sequence[Changed]) -> tuple[str, ...]:
    ids = {one.id for one in changed}
    return tuple(one.title for one in of if one.id in ids)


def _end(database: Database, reach: Sequence[Subscription], wish: Wish, state_dir: Path) -> list[Changed]:
    """Log, then commit, the end of what the reader has not ended yet; nothing for a repeat."""
    news = [one for one in reach if not one.is_a_no]
    # A no by another way than a link stands on its own, also over a link's: or that link's Undo would lift both.
    is_other = not wish.channel.is_a_link and wish.channel is not Channel.IMPORT
    again = [one for one in reach if is_other and one.is_a_no]
    if not news and not again:
        return []
    optout_log.append(state_dir, "out", news)
    ids, evidence = [one.id for one in news], f"by {wish.actor}"
    with database.write_durably() as conn:
        if again:
            subscriptions.harden(conn, [one.id for one in again], channel=wish.channel, evidence=evidence)
        changed = subscriptions.end(conn, ids, channel=wish.channel, issue_id=wish.issue_id, evidence=evidence)
        for one in changed:
            acts.record(conn, wish.actor, "subscription.end", f"subscription:{one.id}", {"ended": 1})
    optout_log.confirm(state_dir, [f"{one.id}:{one.generation}" for one in news])
    return changed
