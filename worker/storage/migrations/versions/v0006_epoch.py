"""The database counts the starts of its workers, so that an older copy of it is known as one."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """One column of a table with one row."""
    op.add_column(
        "instance",
        sa.Column("epoch", sa.BigInteger(), nullable=False, server_default="0", comment="starts of workers"),
    )
