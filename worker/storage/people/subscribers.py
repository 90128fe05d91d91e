"""Subscribers: found, listed, added, erased. What happened to one of them is told by `timelines`.

The identity is the keyed hash of the folded address; the address itself goes when its owner asks, the hash stays on
the suppression list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.domain.address import Address, read_address
from worker.domain.subscriber import Subscriber
from worker.domain.subscription import Channel, ConsentEvent, SubscriptionState
from worker.domain.suppression import SuppressionReason
from worker.errors import NotFoundError
from worker.storage import acts, proof_mails
from worker.storage.engine import Instance, database_now
from worker.storage.people.traces import remove_traces
from worker.storage.schema import consent_log, publication, subscription, suppression
from worker.storage.schema import subscriber as table
from worker.tokens import instance_hash


@dataclass(frozen=True)
class ListedSubscriber:
    """One line of a list: a subscriber, and the state of each of their subscriptions by the publication's slug."""

    subscriber: Subscriber
    states: Mapping[str, SubscriptionState]

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        kept = ("id", "address", "name", "language")
        states = {slug: str(state) for slug, state in self.states.items()}
        return {**{name: getattr(self.subscriber, name) for name in kept}, "subscriptions": states}


def find_by_address(conn: Connection, instance: Instance, typed: str) -> Subscriber:
    """The subscriber behind an address as typed. Raises UsageError for no address, NotFoundError for an unknown one."""
    subscriber = find(conn, instance, read_address(typed))
    if subscriber is None:
        raise NotFoundError(
            "subscriber.unknown_address", address=typed.strip(), domain=typed.strip().rpartition("@")[2]
        )
    return subscriber


def find(conn: Connection, instance: Instance, address: Address) -> Subscriber | None:
    """The subscriber with this address, or None."""
    hashed = instance_hash(instance.address_key, address.key)
    row = conn.execute(_columns().where(table.c.address_hash == hashed)).one_or_none()
    return None if row is None else Subscriber(**row._mapping)


def list_subscribers(
    conn: Connection,
    *,
    publication_id: int | None = None,
    state: SubscriptionState | None = None,
    domain: str | None = None,
    after_id: int = 0,
    limit: int = 100,
) -> list[ListedSubscriber]:
    """A page in the order they were added; the next begins after the last id. Erased ones are left out.

    `state` means: with that publication, or with any when none is named. `domain` is compared as an A-label.
    """
    query = _columns().where(table.c.id > after_id, table.c.address.is_not(None)).order_by(table.c.id).limit(limit)
    if publication_id is not None or state is not None:
        theirs = select(subscription.c.id).where(subscription.c.subscriber_id == table.c.id)
        if publication_id is not None:
            theirs = theirs.where(subscription.c.publication_id == publication_id)
        if state is not None:
            theirs = theirs.where(subscription.c.state == str(state))
        query = query.where(theirs.exists())
    if domain is not None:
        query = query.where(table.c.address.endswith("@" + _domain(domain), autoescape=True))
    page = [Subscriber(**row._mapping) for row in conn.execute(query)]
    states = _states(conn, [one.id for one in page])
    return [ListedSubscriber(one, states.get(one.id, {})) for one in page]


def put_subscriber(
    conn: Connection,
    instance: Instance,
    address: Address,
    *,
    name: str,
    language: str | None,
    attributes: Mapping[str, str],
) -> int:
    """Add a subscriber, or update the one with this address: what is given replaces, what is empty stays.

    Returns the subscriber's id.
    """
    hashed = instance_hash(instance.address_key, address.key)
    insert_ = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    values = {"address": address.addr_spec, "name": name, "language": language, "attributes": dict(attributes)}
    conn.execute(
        insert_(table)
        .values(**values, address_hash=hashed, created_at=database_now())
        .on_conflict_do_nothing(index_elements=["address_hash"])
    )
    locked = _columns().where(table.c.address_hash == hashed).with_for_update()
    before = conn.execute(locked).one()
    after = {
        "name": name or before.name,
        "language": language or before.language,
        "attributes": {**before.attributes, **attributes},
    }
    conn.execute(update(table).where(table.c.id == before.id).values(**after))
    subscriber_id: int = before.id
    return subscriber_id


@dataclass(frozen=True)
class Erased:
    """What an erasure did."""

    subscriber_id: int
    subscriptions: int
    """How many the erasure itself ended: those that leaving had not ended already."""
    replies: int
    """Relay answers it blanked."""
    suppressed: bool
    """Whether the keyed hash stays on the do-not-mail list."""
    on_its_way: tuple[str, ...] = ()
    """Subjects of the issues whose copy could not be stopped any more; told by `consent.optout`."""


def not_erased(conn: Connection, ids: Sequence[int], page: int) -> list[int]:
    """Which of these readers still have their data."""
    found: list[int] = []
    for at in range(0, len(ids), page):
        here = (table.c.id.in_(ids[at : at + page]), table.c.erased_at.is_(None))
        found += conn.execute(select(table.c.id).where(*here).order_by(table.c.id)).scalars()
    return found


def erase_subscriber(conn: Connection, subscriber_id: int, *, actor: str, keep_no: bool = True) -> Erased:
    """Remove address, name, language and attributes, and whatever repeats them (GDPR 17). Call in `write_durably`.

    Ledger rows stay, naming nobody. With `keep_no` the keyed hash goes on the suppression list, so that a later import
    brings nobody back; an earlier suppression stays in any case, without its address. Copies on their way are
    `consent.optout`'s business. Raises NotFoundError when there is nobody, or nobody any more.
    """
    row = conn.execute(
        select(table.c.address, table.c.name, table.c.address_hash).where(table.c.id == subscriber_id).with_for_update()
    ).one_or_none()
    if row is None or row.address_hash is None:
        raise NotFoundError("subscriber.erased_already", id=subscriber_id)
    hashed = bytes(row.address_hash)
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete = ON")  # a freed page keeps its bytes otherwise
    conn.execute(
        update(table)
        .where(table.c.id == subscriber_id)
        .values(address=None, address_hash=None, name="", language=None, attributes={}, erased_at=database_now())
    )
    ended = _end_all(conn, subscriber_id)
    blanked = remove_traces(conn, subscriber_id, row.address, row.name)
    proof_mails.forget_address(conn, row.address)
    kept = _keep_no(conn, hashed, keep_no=keep_no)
    counts = {"subscriptions": ended, "replies": blanked, "suppressed": int(kept)}
    acts.record(conn, actor, "subscriber.erase", f"subscriber:{subscriber_id}", counts)
    return Erased(subscriber_id, ended, blanked, kept)


def _end_all(conn: Connection, subscriber_id: int) -> int:
    """End what is not ended yet, and write that down for each subscription. Returns how many this call ended."""
    mine = subscription.c.subscriber_id == subscriber_id
    ended = {"state": SubscriptionState.ENDED, "ended_at": database_now(), "ended_by": Channel.CLI}
    count = conn.execute(
        update(subscription)
        .where(mine, subscription.c.state != SubscriptionState.ENDED)
        .values(**ended, paused_until=None)
    ).rowcount
    said = (str(ConsentEvent.ERASED), str(Channel.CLI), "address, name and attributes removed")
    columns = ["subscription_id", "generation", "at", "event", "channel", "evidence"]
    lines = select(subscription.c.id, subscription.c.generation, database_now(), *map(literal, said)).where(mine)
    conn.execute(insert(consent_log).from_select(columns, lines))
    return count


def _keep_no(conn: Connection, hashed: bytes, *, keep_no: bool) -> bool:
    insert_ = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    erased = {"address": None, "reason": SuppressionReason.ERASED, "evidence": "erased at the reader's wish"}
    if keep_no:
        conn.execute(
            insert_(suppression)
            .values(address_hash=hashed, created_at=database_now(), **erased)
            .on_conflict_do_update(index_elements=["address_hash"], set_=erased)
        )
        return True
    done = conn.execute(update(suppression).where(suppression.c.address_hash == hashed).values(**erased))
    return done.rowcount > 0


def _states(conn: Connection, ids: list[int]) -> dict[int, dict[str, SubscriptionState]]:
    query = (
        select(subscription.c.subscriber_id, publication.c.slug, subscription.c.state)
        .join(publication, publication.c.id == subscription.c.publication_id)
        .where(subscription.c.subscriber_id.in_(ids))
        .order_by(publication.c.id)
    )
    states: dict[int, dict[str, SubscriptionState]] = {}
    for subscriber_id, slug, state in conn.execute(query):
        states.setdefault(subscriber_id, {})[slug] = SubscriptionState(state)
    return states


def _domain(typed: str) -> str:
    return read_address("a@" + typed.strip().lstrip("@")).domain


def _columns() -> Select[Any]:
    return select(table.c.id, table.c.address, table.c.name, table.c.language, table.c.attributes)
