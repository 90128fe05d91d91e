"""Processes that hold no claims are known too: who runs, and which machine has fulfilled what readers wanted."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """One new table; no row of another one changes."""
    op.create_table(
        "presence",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=9), nullable=False),
        sa.Column("host_id", sa.String(length=80), nullable=False, comment="boot id and uuid of the state directory"),
        sa.Column("label", sa.Text(), nullable=False, comment="host name and process id, for people"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="it lived, and no wish noted on its host before was still unfulfilled",
        ),
        sa.CheckConstraint("role IN ('web', 'scheduler')", name=op.f("ck_presence_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_presence")),
        comment="processes that hold no claims",
    )
