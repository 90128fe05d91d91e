"""A worker process says what it works with, so that others can see when that is not what they were told.

NULL: a worker of an older version.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """One column more; what stands there stays."""
    op.add_column(
        "worker", sa.Column("outfit", sa.Text(), comment="relay, limits, broker and a mark of the key, as JSON")
    )
