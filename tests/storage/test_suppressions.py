"""Suppressions, acts and media on both databases."""

import pytest

from tests.support.publication import ACTOR
from worker.domain.address import parse_address
from worker.domain.suppression import SuppressionReason
from worker.errors import NotFoundError
from worker.storage import acts, media
from worker.storage.engine import Database
from worker.storage.people import suppressions

ANNA = parse_address("Anna@Example.org")


def add(database: Database, reason: SuppressionReason = SuppressionReason.MANUAL) -> bool:
    with database.write() as conn:
        wanted = suppressions.hashes_of(database.instance(), [ANNA])
        return suppressions.add(conn, wanted, reason, "asked by phone", actor=ACTOR) == 1


def test_suppressed_address_is_found_however_it_is_typed(database: Database) -> None:
    # When
    added = add(database)

    # Then
    assert added
    with database.read() as conn:
        assert suppressions.find(conn, database.instance(), parse_address(" anna@EXAMPLE.org"))
        assert not suppressions.find(conn, database.instance(), parse_address("ann@example.org"))


def test_second_suppression_keeps_the_first_reason(database: Database) -> None:
    # Given
    add(database, SuppressionReason.COMPLAINED)

    # When
    again = add(database, SuppressionReason.MANUAL)

    # Then
    assert not again
    with database.read() as conn:
        found = suppressions.find(conn, database.instance(), ANNA)
    assert found is not None
    assert found.reason is SuppressionReason.COMPLAINED


def test_removed_suppression_is_gone_and_told(database: Database) -> None:
    # Given
    add(database)

    # When
    with database.write() as conn:
        suppressions.remove(conn, database.instance(), ANNA, actor=ACTOR)

    # Then
    with database.read() as conn:
        assert suppressions.list_suppressions(conn) == []
        assert [act.act for act in acts.latest(conn)] == ["suppression.remove", "suppression.add"]
        assert "example.org" not in str(acts.latest(conn))
    with pytest.raises(NotFoundError), database.write() as conn:
        suppressions.remove(conn, database.instance(), ANNA, actor=ACTOR)


def test_many_are_added_once_each_and_listed_in_pages(database: Database) -> None:
    # When
    wanted = [parse_address(f"r{n}@example.org") for n in range(250)]
    with database.write() as conn:
        args = (SuppressionReason.BOUNCED, "old list")
        first = suppressions.add(conn, suppressions.hashes_of(database.instance(), wanted + wanted), *args, actor=ACTOR)
        second = suppressions.add(conn, suppressions.hashes_of(database.instance(), wanted[:10]), *args, actor=ACTOR)

    # Then
    assert (first, second) == (250, 0)
    with database.read() as conn:
        page = suppressions.list_suppressions(conn, limit=100)
        rest = suppressions.list_suppressions(conn, after_id=page[-1].id, limit=1000)
        assert suppressions.list_suppressions(conn, reason=SuppressionReason.MANUAL) == []
    assert len(page) + len(rest) == 250


def test_actor_with_line_breaks_stays_one_line(database: Database) -> None:
    with database.write() as conn:
        acts.record(conn, "mallory\nroot\x1b[2J", "test.act", "subscriber:1", {"n": 1})
    with database.read() as conn:
        (act,) = acts.latest(conn, object="subscriber:1")
    assert act.actor.isprintable()
    assert act.counts == {"n": 1}


def test_media_are_kept_once_per_content(database: Database) -> None:
    # Given
    row = media.MediaRow("ab" * 32, "png", "image/png", 4, 3, "Map", b"\x89PNG\x00")

    # When
    with database.write() as conn:
        media.put(conn, row)
        media.put(conn, row)

    # Then
    with database.read() as conn:
        facts = media.find(conn, row.sha256)
        assert facts is not None
        assert media.read_piece(conn, row.sha256, 0, 100) == row.data
        assert media.find(conn, "cd" * 32) is None
    assert row.file_name == "ab" * 32 + ".png"
