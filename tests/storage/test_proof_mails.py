"""Proofs are kept with their copies, for a while. On both databases."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from tests.support.ledgers import planned_issue
from worker.storage import proof_mails, schema
from worker.storage.engine import Database


def mail(database: Database, *addresses: str, text: str = "a") -> int:
    with database.write() as conn:
        publication_id = conn.execute(select(schema.publication.c.id)).scalars().first()
        row = {
            "publication_id": publication_id,
            "slug": "spring",
            "subject": "S",
            "fingerprint": text * 64,
            "body": "{}",
        }
        return proof_mails.add(conn, row, addresses)


def test_the_newest_text_counts_all_its_copies_and_who_approved_it(database: Database) -> None:
    # Given the same text mailed twice, after another one
    issue_id = planned_issue(database, 1)
    old = mail(database, "a@example.org", text="b")
    first, second = mail(database, "a@example.org"), mail(database, "b@example.org", "c@example.org")

    # When
    with database.write() as conn:
        assert proof_mails.approve(conn, old, 1, approved=True)
        assert proof_mails.approve(conn, second, 2, approved=True)
        assert not proof_mails.approve(conn, second, 2, approved=True)
        assert not proof_mails.approve(conn, first, 1, approved=False)
        assert not proof_mails.approve(conn, second, 3, approved=True)
        found = proof_mails.newest(conn, 1, "spring")
        nothing = proof_mails.newest(conn, 1, "autumn")

    # Then
    assert nothing is None
    assert found is not None
    assert (found.fingerprint, found.copies) == ("a" * 64, 3)
    assert [address for address, _ in found.approved] == ["c@example.org"]
    assert issue_id


def test_an_address_leaves_every_copy_that_went_to_it_in_whatever_letters(database: Database) -> None:
    planned_issue(database, 1)
    mail(database, "Änne@example.org", "bert@example.org")

    with database.write() as conn:
        proof_mails.forget_address(conn, "änne@EXAMPLE.org")
        kept = list(conn.execute(select(schema.proof_copy.c.address)).scalars())

    assert sorted(kept, key=str) == [None, "bert@example.org"]


def test_a_proof_goes_with_the_next_one_after_its_time(database: Database) -> None:
    # Given
    planned_issue(database, 1)
    old, kept = mail(database, "a@example.org"), mail(database, "a@example.org")
    with database.write() as conn:
        past = datetime.now(UTC) - proof_mails.KEPT - timedelta(days=1)
        conn.execute(update(schema.proof).where(schema.proof.c.id == old).values(sent_at=past))

    # When
    new = mail(database, "b@example.org")

    # Then
    with database.read() as conn:
        assert proof_mails.find(conn, old, 1) is None
        assert proof_mails.find(conn, kept, 1) is not None
        assert set(conn.execute(select(schema.proof_copy.c.proof_id)).scalars()) == {kept, new}
