"""From a filled 0002 to 0003: a dump no longer tells whose hash it holds, and no wish is lost. On both databases."""

import hmac
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from tests.storage.test_migration_0002 import bring_to, run_scripts
from tests.support.readers import KEY
from tests.support.words import refuses
from worker.domain.address import parse_address
from worker.domain.suppression import SuppressionReason
from worker.errors import SettingsError
from worker.storage import migrations, schema
from worker.storage.engine import Database, open_database, sqlite_path
from worker.storage.migrations.upgrade import current, upgrade
from worker.storage.people import subscribers, suppressions
from worker.storage.sqlite import create_file

AT = datetime(2026, 5, 1, 8, tzinfo=UTC)
READERS = [f"reader{n}@example.org" for n in range(7)]
ERASED = "gone@example.org"
NEXT_KEY = "the-key-after-it-for-tests-0123456789"


def as_0002_hashed(pepper: bytes, address: str) -> bytes:
    """The hash that 0002 kept, which anybody with the pepper can try addresses against."""
    return hmac.digest(pepper, b"address " + address.encode(), "sha256")[:16]


@pytest.fixture
def filled(empty_url: str) -> str:
    """A database of schema 0002 with readers and the no of an erased one."""
    if empty_url.startswith("sqlite"):
        create_file(sqlite_path(make_url(empty_url)))
    database = open_database(empty_url)
    bring_to(database, "0002")
    with database.write() as conn:
        pepper = bytes(conn.scalar(select(schema.instance.c.pepper)))
        for address in READERS:
            hashed = as_0002_hashed(pepper, address)
            known = {"address": address, "name": "", "attributes": {}, "created_at": AT}
            conn.execute(schema.subscriber.insert().values(address_hash=hashed, **known))
        hashed = as_0002_hashed(pepper, ERASED)
        known = {"address": None, "reason": "erased", "evidence": "", "created_at": AT}
        conn.execute(schema.suppression.insert().values(address_hash=hashed, **known))
    database.close()
    return empty_url


def opened(url: str, *secrets: str) -> Database:
    database = open_database(url, secrets)
    database.check()
    return database


def die_after_the_scripts(database: Database) -> None:
    with database.write() as conn:
        run_scripts(conn, "0003", secrets=(KEY,), place=database.place)
        raise ZeroDivisionError


def knows_all(database: Database) -> bool:
    """Whether every reader is found, and the erased one's no too."""
    instance = database.instance()
    with database.read() as conn:
        found = [subscribers.find(conn, instance, parse_address(address)) for address in READERS]
        gone = suppressions.find(conn, instance, parse_address(ERASED))
    return all(found) and gone is not None and gone.reason is SuppressionReason.ERASED


def test_readers_and_a_no_are_found_after_an_upgrade_which_repeats_without_a_change(filled: str) -> None:
    assert upgrade(filled, [KEY]) == ("0002", migrations.HEAD)
    assert upgrade(filled, [KEY]) == (migrations.HEAD, migrations.HEAD)
    database = opened(filled, KEY)
    assert knows_all(database)
    database.close()


def test_nothing_in_the_database_confirms_a_guessed_address(filled: str) -> None:
    # Given
    upgrade(filled, [KEY])
    database = opened(filled, KEY)

    # When
    with database.read() as conn:
        row = conn.execute(select(schema.instance)).one()._asdict()
        stored = {bytes(hashed) for hashed in conn.scalars(select(schema.subscriber.c.address_hash))}
        stored |= {bytes(hashed) for hashed in conn.scalars(select(schema.suppression.c.address_hash))}
    database.close()

    # Then
    assert len(stored) == len(READERS) + 1
    keys = [bytes(value) for value in row.values() if isinstance(value, bytes | memoryview)]
    keys += [row["uuid"].encode(), *(keys[1][:32] for _ in keys[1:])]
    for address in [*READERS, ERASED]:
        for key in keys:
            once = as_0002_hashed(key, address)
            again = {hmac.digest(second, once, "sha256")[:16] for second in keys}
            assert not stored & {once, *again}


def test_an_upgrade_that_is_killed_changes_nothing_and_goes_on_when_repeated(filled: str) -> None:
    # Given
    database = open_database(filled)
    with database.read() as conn:
        before = list(conn.execute(text("SELECT id, address_hash FROM subscriber ORDER BY id")))

    # When
    with pytest.raises(ZeroDivisionError):
        die_after_the_scripts(database)

    # Then
    with database.read() as conn:
        assert list(conn.execute(text("SELECT id, address_hash FROM subscriber ORDER BY id"))) == before
    assert current(filled) == "0002"
    upgrade(filled, [KEY])
    again = opened(filled, KEY)
    assert knows_all(again)
    again.close()
    database.close()


def test_every_hash_of_a_long_list_is_hashed_again(filled: str) -> None:
    # Given
    database = open_database(filled)
    many = [{"address_hash": b"%016d" % n, "reason": "manual", "evidence": "", "created_at": AT} for n in range(10_001)]
    with database.write() as conn:
        conn.execute(schema.suppression.insert(), many)

    # When
    upgrade(filled, [KEY])

    # Then
    with database.read() as conn:
        now = {bytes(hashed) for hashed in conn.scalars(select(schema.suppression.c.address_hash))}
    database.close()
    assert len(now) == len(many) + 1
    assert not now & {row["address_hash"] for row in many}


def test_an_upgrade_without_a_key_refuses_a_filled_database_and_takes_an_empty_one(filled: str) -> None:
    with refuses(SettingsError, match="corranto key new"):
        upgrade(filled)
    assert current(filled) == "0002"
    database = open_database(filled)
    with database.write() as conn:
        conn.execute(schema.subscriber.delete())
        conn.execute(schema.suppression.delete())
    database.close()
    assert upgrade(filled) == ("0002", migrations.HEAD)


def test_hashes_outlive_the_change_and_the_end_of_a_key(filled: str) -> None:
    # When
    upgrade(filled, [KEY])
    opened(filled, NEXT_KEY, KEY).close()

    # Then
    for secrets in ([KEY], [NEXT_KEY], [NEXT_KEY, KEY]):
        database = opened(filled, *secrets)
        assert knows_all(database)
        database.close()
    upgrade(filled, [NEXT_KEY])
    database = opened(filled, NEXT_KEY)
    assert knows_all(database)
    database.close()
    with refuses(SettingsError, match="other keys"):
        opened(filled, KEY)


def test_a_process_with_other_keys_does_not_start(filled: str) -> None:
    upgrade(filled, [KEY])
    with refuses(SettingsError, match=r"CORRANTO_SECRET_KEYS"):
        opened(filled, NEXT_KEY)


def test_a_database_made_without_a_key_gets_one_from_the_first_process_that_has_it(empty_url: str) -> None:
    # Given
    upgrade(empty_url)
    without = opened(empty_url)
    with refuses(SettingsError, match="corranto key new"):
        _ = without.instance().address_key
    without.close()

    # When
    first, second = opened(empty_url, KEY), opened(empty_url, KEY)

    # Then
    assert first.instance().address_key == second.instance().address_key
    first.close()
    second.close()
