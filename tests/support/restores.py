"""Backups of an installation, and what takes its place when they are put back."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import select
from sqlalchemy.engine import make_url

from tests.support.lists import Hand, Newsroom
from tests.support.readers import KEY
from worker.consent.optout import Wish, opt_out
from worker.consent.subscribe import add_subscriber
from worker.dispatch import lock, orders
from worker.domain.subscription import Channel
from worker.operations.backup import back_up, restore
from worker.storage import copies, schema
from worker.storage.engine import Database, open_database

READERS = 600


@contextmanager
def empty_url(desk: Newsroom) -> Iterator[str]:
    """A database of the same kind that has nothing yet."""
    if desk.database.dialect == "sqlite":
        yield f"sqlite:///{desk.folder / 'restored' / 'corranto.sqlite3'}"
        return
    server, _, name = desk.given["database_url"].rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}_restored TEMPLATE template0")
        yield f"{server}/{name}_restored"
        conn.execute(f"DROP DATABASE {name}_restored WITH (FORCE)")


@contextmanager
def restored(desk: Newsroom, folder: Path) -> Iterator[Newsroom]:
    """The installation as the backup has it, on the same machine and with the same relay."""
    with empty_url(desk) as url:
        restore(folder, url, state_of(desk), desk.folder / "keys")
        database = open_database(url, [KEY])
        yield Newsroom(database, desk.folder, {**desk.given, "database_url": url}, desk.relay)
        database.close()


def state_of(desk: Newsroom) -> Path:
    return desk.folder / "state"


def begin(desk: Newsroom) -> str | None:
    """A worker starts: why it may not send, or None."""
    trouble = lock.begin(desk.database, state_of(desk), "test")
    return trouble.code if trouble else None


def backup_of(desk: Newsroom) -> Path:
    folder = desk.folder / "backup"
    back_up(desk.database, desk.given["database_url"], state_of(desk), folder)
    return folder


def leave(desk: Newsroom, address: str) -> None:
    with desk.database.read() as conn:
        query = select(schema.subscription.c.id).join(
            schema.subscriber, schema.subscriber.c.id == schema.subscription.c.subscriber_id
        )
        number = conn.execute(query.where(schema.subscriber.c.address == address)).scalar_one()
    opt_out(desk.database, Wish(number, Channel.ONE_CLICK, "reader"), state_of(desk), 0.0)


def subscribe(desk: Newsroom, address: str) -> None:
    add_subscriber(desk.database, "rivers", address, consent="a form", actor="an editor")


def put_back(desk: Newsroom, folder: Path) -> None:
    """The copy takes the database's place under its very name, while others have it open."""
    url = desk.given["database_url"]
    if desk.database.dialect == "postgresql":
        dump = str(folder / "corranto.dump")
        copies._run(["pg_restore", "-O", "-x", "-e", "-1", "--clean", "--if-exists", dump], url)
        return
    with (
        contextlib.closing(sqlite3.connect(folder / "corranto.sqlite3")) as copy,
        contextlib.closing(sqlite3.connect(make_url(url).database or "")) as file,
    ):
        copy.backup(file)


def states_of_readers(database: Database) -> list[str]:
    with database.read() as conn:
        query = select(schema.subscription.c.state).order_by(schema.subscription.c.id)
        return list(conn.execute(query).scalars())


def resume_and_send(desk: Newsroom, slug: str = "spring") -> None:
    with desk.hand() as hand:
        orders.resume(desk.database, hand.nudges, slug, "an editor")
        hand.send()


@contextmanager
def planned(desk: Newsroom, readers: int = READERS) -> Iterator[Hand]:
    """An issue is planned whose every claim takes 200 copies, and a worker is about to take the first."""
    desk.readers(readers)
    desk.queue()
    assert begin(desk) is None
    with desk.hand(claim_size="200") as hand:
        hand.tick()
        hand.work(most=1)
        yield hand
