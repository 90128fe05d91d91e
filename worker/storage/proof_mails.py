"""Proofs that were mailed: the text as it was, and which of the people who got a copy approved it.

A text is a row, each copy of it another, so that an approval says who gave it. Rows older than `keep` go with the next
proof: a proof is for days, and its addresses are those of the editors' own circle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from worker.storage.engine import database_now
from worker.storage.schema import proof, proof_copy
from worker.tokens import TOKEN_CHARS

KEPT = timedelta(days=90)

STAND_IN = "proof".ljust(TOKEN_CHARS, "0")
"""Stands in a kept text where each copy's own token belongs."""


@dataclass(frozen=True)
class ProofCopy:
    """One mailed copy of a proof. `no` counts from 1; times are aware UTC."""

    proof_id: int
    no: int
    publication_id: int
    slug: str
    subject: str
    fingerprint: str
    """Of the text without its view link, so that the same file has the same: see `Draft.fingerprint`."""
    body: str
    """The CompiledIssue as JSON, with STAND_IN for the token of its links."""
    sent_at: datetime
    address: str | None
    """None after erasure."""
    approved_at: datetime | None


@dataclass(frozen=True)
class ProofRound:
    """The copies of one text of an issue, newest text first."""

    fingerprint: str
    sent_at: datetime
    copies: int
    approved: tuple[tuple[str | None, datetime], ...]
    """(address, when) of those who approved it."""


def add(conn: Connection, text: Mapping[str, object], addresses: Sequence[str]) -> int:
    """A proof and its copies, numbered as the addresses stand; returns its id. Drops what is too old.

    `text` has publication_id, slug, subject, fingerprint and body of the proof.
    """
    now: datetime = conn.execute(select(database_now())).scalar_one()
    old = select(proof.c.id).where(proof.c.sent_at < now - KEPT)
    conn.execute(delete(proof_copy).where(proof_copy.c.proof_id.in_(old)))
    conn.execute(delete(proof).where(proof.c.id.in_(old)))
    made = conn.execute(insert(proof).values(**text, sent_at=database_now()).returning(proof.c.id))
    proof_id = int(made.scalar_one())
    copies = [{"proof_id": proof_id, "no": no, "address": address} for no, address in enumerate(addresses, 1)]
    conn.execute(insert(proof_copy), copies)
    return proof_id


def find(conn: Connection, proof_id: int, no: int) -> ProofCopy | None:
    """One copy, or None when it never was or is too old."""
    row = conn.execute(
        select(
            proof_copy.c.proof_id,
            proof_copy.c.no,
            proof.c.publication_id,
            proof.c.slug,
            proof.c.subject,
            proof.c.fingerprint,
            proof.c.body,
            proof.c.sent_at,
            proof_copy.c.address,
            proof_copy.c.approved_at,
        )
        .join(proof, proof.c.id == proof_copy.c.proof_id)
        .where(proof_copy.c.proof_id == proof_id, proof_copy.c.no == no)
    ).one_or_none()
    return None if row is None else ProofCopy(**row._mapping)


def approve(conn: Connection, proof_id: int, no: int, *, approved: bool) -> bool:
    """Say yes to a copy's text, or take it back. True when that changed something."""
    before = proof_copy.c.approved_at.is_(None) if approved else proof_copy.c.approved_at.is_not(None)
    done = conn.execute(
        update(proof_copy)
        .where(proof_copy.c.proof_id == proof_id, proof_copy.c.no == no, before)
        .values(approved_at=database_now() if approved else None)
    )
    return done.rowcount == 1


def newest(conn: Connection, publication_id: int, slug: str) -> ProofRound | None:
    """The newest text of an issue that was mailed as a proof, with all copies of that very text; None without any."""
    last = conn.execute(
        select(proof.c.fingerprint)
        .where(proof.c.publication_id == publication_id, proof.c.slug == slug)
        .order_by(proof.c.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    if last is None:
        return None
    same = (proof.c.publication_id == publication_id, proof.c.slug == slug, proof.c.fingerprint == last)
    rows = conn.execute(
        select(proof_copy.c.address, proof_copy.c.approved_at, proof.c.sent_at)
        .join(proof, proof.c.id == proof_copy.c.proof_id)
        .where(*same)
        .order_by(proof_copy.c.approved_at, proof_copy.c.proof_id, proof_copy.c.no)
    ).all()
    approved = tuple((row.address, row.approved_at) for row in rows if row.approved_at is not None)
    return ProofRound(last, max(row.sent_at for row in rows), len(rows), approved)


def forget_address(conn: Connection, address: str) -> None:
    """Take an address out of the copies that were mailed to it, whatever its letters' case.

    Compared here and not by the database, whose lower() may know ASCII only; proofs of 90 days are few.
    """
    named = conn.execute(
        select(proof_copy.c.proof_id, proof_copy.c.no, proof_copy.c.address).where(proof_copy.c.address.is_not(None))
    ).all()
    for row in named:
        if row.address.lower() == address.lower():
            same = (proof_copy.c.proof_id == row.proof_id, proof_copy.c.no == row.no)
            conn.execute(update(proof_copy).where(*same).values(address=None))
