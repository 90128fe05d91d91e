"""Columns of an issue mean one thing each: nudges, waits and the sweep after a cancel.

`last_claim_at` no longer says that a nudge was sent (`last_nudged_at` does), `nudge_at` no longer that a cancelled issue
is to be swept (`unswept` does), and `wait_reason` holds one of a closed list, with its detail beside it. A worker's
`note` is a Trouble as JSON from here on; a sentence of an older worker is still read.
"""

# ruff: noqa: E501, S608 - CHECKs stand here as the database prints them; no value of anybody's is in the texts

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_WAIT_DETAIL = "what wait_reason names: a rate, a cause"
_UNSWEPT = "cancelled, and a copy may still be in flight"
_NOTE = "what it waits for: a Trouble as JSON"

_NEW = {
    "last_nudged_at": "NULL",
    "wait_detail": "CASE WHEN wait_reason = 'only later tries are left'"
    " OR wait_reason LIKE 'a fault of our own%' THEN ''"
    " WHEN wait_reason LIKE 'rate limit %' THEN substr(wait_reason, 12) ELSE wait_reason END",
    "unswept": "state = 'cancelled' AND nudge_at IS NOT NULL",
    "wait_reason": "CASE WHEN wait_reason = '' THEN ''"
    " WHEN wait_reason = 'only later tries are left' THEN 'later_tries'"
    " WHEN wait_reason LIKE 'rate limit %' THEN 'rate_limit'"
    " WHEN wait_reason LIKE 'a fault of our own%' THEN 'own_fault' ELSE 'relay' END",
    "nudge_at": "CASE WHEN state <> 'cancelled' THEN nudge_at END",
}
"""What each column becomes, said over the columns of 0001."""

_CHECKS = {
    "wait_reason": "wait_reason IN ('', 'later_tries', 'rate_limit', 'relay', 'own_fault')",
    "unswept_is_cancelled": "NOT unswept OR state = 'cancelled'",
}


def upgrade() -> None:
    """Add the columns, split what the old ones held, then let the database hold the new rules."""
    if op.get_context().dialect.name == "sqlite":
        _rebuild()
    else:
        _alter()


def _alter() -> None:
    """PostgreSQL: every expression of one UPDATE sees the old values."""
    op.add_column("issue", sa.Column("last_nudged_at", sa.DateTime(timezone=True)))
    op.add_column("issue", sa.Column("wait_detail", sa.Text(), comment=_WAIT_DETAIL))
    op.add_column("issue", sa.Column("unswept", sa.Boolean(), comment=_UNSWEPT))
    op.execute("UPDATE issue SET " + ", ".join(f"{name} = {value}" for name, value in _NEW.items() if value != "NULL"))
    op.alter_column("issue", "wait_detail", nullable=False)
    op.alter_column("issue", "unswept", nullable=False)
    for name, check in _CHECKS.items():
        op.create_check_constraint(op.f(f"ck_issue_{name}"), "issue", check)
    op.alter_column("worker", "note", comment=_NOTE)


def _rebuild() -> None:
    """SQLite cannot add a CHECK: the table is copied aside, made anew under its name, and filled again.

    The rows that name an issue lose it in between. Their foreign keys are asked at the commit, when it is there again;
    a renamed copy would leave them asking for the old table.
    """
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TEMP TABLE issue_0001 AS SELECT * FROM issue")
    op.execute("CREATE TEMP TABLE sequence_0001 AS SELECT seq FROM sqlite_sequence WHERE name = 'issue'")
    op.drop_table("issue")
    columns = _create_issue()
    values = ", ".join(_NEW.get(name, name) for name in columns)
    op.execute(f"INSERT INTO issue ({', '.join(columns)}) SELECT {values} FROM issue_0001")
    # A number that was given away once is never used again, even if its issue is gone.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'issue'")
    op.execute("INSERT INTO sqlite_sequence (name, seq) SELECT 'issue', seq FROM sequence_0001")
    op.execute("DROP TABLE issue_0001")
    op.execute("DROP TABLE sequence_0001")


def _create_issue() -> list[str]:
    """The whole table as this version has it; returns its columns."""
    table = op.create_table(
        "issue",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("publication_id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("doubt", sa.String(length=12), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("queued_by", sa.Text(), nullable=False),
        sa.Column("hold_s", sa.Integer(), nullable=False),
        sa.Column("hold_until", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("audience_kind", sa.String(length=12), nullable=False),
        sa.Column("audience_of", sa.Integer()),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("stopped_reason", sa.Text(), nullable=False),
        sa.Column("plan_cursor", sa.BigInteger()),
        sa.Column("plan_until", sa.BigInteger()),
        sa.Column("audience", sa.Integer(), nullable=False),
        sa.Column("nudge_no", sa.Integer(), nullable=False),
        sa.Column("nudge_at", sa.DateTime(timezone=True)),
        sa.Column("wait_reason", sa.Text(), nullable=False),
        sa.Column("last_claim_at", sa.DateTime(timezone=True)),
        sa.Column("last_progress_at", sa.DateTime(timezone=True)),
        sa.Column("last_nudged_at", sa.DateTime(timezone=True)),
        sa.Column("wait_detail", sa.Text(), nullable=False),
        sa.Column("unswept", sa.Boolean(), nullable=False),
        sa.CheckConstraint("(audience_kind = 'all') = (audience_of IS NULL)", name=op.f("ck_issue_audience_of")),
        sa.CheckConstraint("audience_kind IN ('all', 'rest_of', 'accepted_of')", name=op.f("ck_issue_audience_kind")),
        sa.CheckConstraint("doubt IN ('never-twice', 'never-miss')", name=op.f("ck_issue_doubt")),
        sa.CheckConstraint("kind IN ('newsletter', 'statement')", name=op.f("ck_issue_kind")),
        sa.CheckConstraint(
            "state <> 'finished' OR (finished_at IS NOT NULL AND plan_cursor IS NULL)",
            name=op.f("ck_issue_finished_is_complete"),
        ),
        sa.CheckConstraint("state <> 'holding' OR hold_until IS NOT NULL", name=op.f("ck_issue_holding_has_an_end")),
        sa.CheckConstraint(
            "state IN ('draft', 'holding', 'scheduled', 'held_late', 'sending', 'paused', 'finished', 'cancelled')",
            name=op.f("ck_issue_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('scheduled', 'held_late') OR due_at IS NOT NULL", name=op.f("ck_issue_scheduled_has_a_time")
        ),
        sa.CheckConstraint(
            "state NOT IN ('sending', 'paused') OR started_at IS NOT NULL", name=op.f("ck_issue_sending_has_started")
        ),
        *(sa.CheckConstraint(check, name=op.f(f"ck_issue_{name}")) for name, check in _CHECKS.items()),
        sa.ForeignKeyConstraint(["audience_of"], ["issue.id"], name=op.f("fk_issue_audience_of")),
        sa.ForeignKeyConstraint(["publication_id"], ["publication.id"], name=op.f("fk_issue_publication_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issue")),
        sa.UniqueConstraint("slug", name=op.f("uq_issue_slug")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_issue_publication_id"), "issue", ["publication_id"], unique=False)
    return [each.name for each in table.columns]
