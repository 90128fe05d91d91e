"""Proofs are kept for a while, so that their links show the very text, and their readers can approve it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Two new tables; no row of another one changes."""
    op.create_table(
        "proof",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("publication_id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.String(length=80), nullable=False, comment="of the issue, which may not be queued yet"),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False, comment="of the text without its view link"),
        sa.Column("body", sa.Text(), nullable=False, comment="CompiledIssue as JSON"),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["publication_id"], ["publication.id"], name=op.f("fk_proof_publication_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proof")),
        sqlite_autoincrement=True,
        comment="test mails, kept for 90 days",
    )
    op.create_index(op.f("ix_proof_publication_id_slug"), "proof", ["publication_id", "slug"], unique=False)
    op.create_table(
        "proof_copy",
        sa.Column("proof_id", sa.Integer(), nullable=False),
        sa.Column("no", sa.SmallInteger(), nullable=False),
        sa.Column("address", sa.String(length=254), comment="NULL after erasure"),
        sa.Column("approved_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["proof_id"], ["proof.id"], name=op.f("fk_proof_copy_proof_id")),
        sa.PrimaryKeyConstraint("proof_id", "no", name=op.f("pk_proof_copy")),
    )
