"""Address hashes get a second key that no dump of the database tells.

The pepper lies beside the hashes it keys, so a stolen copy could try addresses against them, those of erased readers
too. Every stored hash is hashed again with a new key, whose only copies are closed by CORRANTO_SECRET_KEYS; whoever is
erased needs no address for that. The pepper stays, for Message-IDs and as the first step of every new hash.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from worker.errors import SettingsError, Trouble
from worker.storage import address_key
from worker.tokens import hash_again

revision = "0003"
down_revision = "0002"

HASHED = ("subscriber", "suppression")
PAGE = 5_000  # hashes on their way at a time

_WRAPPED = "key of address hashes, once for each secret that opens it"
_PEPPER = "keys Message-IDs; of address hashes the first step"


def upgrade() -> None:
    """Add the column, make the key, hash again. Without a secret only a database that has no hash yet gets through."""
    conn = op.get_bind()
    _add_column(conn)
    filled = any(conn.scalar(sa.text(f"SELECT 1 FROM {name} LIMIT 1")) for name in HASHED)  # noqa: S608 - our names
    attributes = op.get_context().config.attributes  # type: ignore[union-attr]
    secrets: Sequence[str] = attributes.get("secrets", ())
    if secrets:
        key = address_key.keep_key(conn, secrets, attributes["place"])
        for name in HASHED:
            _hash_again(conn, name, key)
    elif filled:
        raise SettingsError([Trouble("settings.no_key")])


def _add_column(conn: sa.Connection) -> None:
    if conn.dialect.name != "sqlite":
        op.add_column("instance", sa.Column("wrapped_keys", sa.LargeBinary(), comment=_WRAPPED))
        op.alter_column("instance", "pepper", comment=_PEPPER)
        return
    conn.exec_driver_sql("CREATE TEMP TABLE instance_0002 AS SELECT * FROM instance")
    op.drop_table("instance")
    op.create_table(
        "instance",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("pepper", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wrapped_keys", sa.LargeBinary()),
        sa.CheckConstraint("id = 1", name=op.f("ck_instance_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
    )
    conn.exec_driver_sql("INSERT INTO instance SELECT id, uuid, pepper, created_at, NULL FROM instance_0002")
    conn.exec_driver_sql("DROP TABLE instance_0002")


def _hash_again(conn: sa.Connection, name: str, key: bytes) -> None:
    """In pages through a side table: the key is in no statement, which a server may log, and memory stays small."""
    table = sa.table(name, sa.column("id"), sa.column("address_hash"))
    conn.exec_driver_sql("CREATE TEMP TABLE rehashed (id BIGINT PRIMARY KEY, hash " + _octets(conn) + ")")
    side = sa.table("rehashed", sa.column("id"), sa.column("hash"))
    above = -1
    while page := conn.execute(
        sa.select(table.c.id, table.c.address_hash)
        .where(table.c.id > above, table.c.address_hash.is_not(None))
        .order_by(table.c.id)
        .limit(PAGE)
    ).all():
        conn.execute(side.insert(), [{"id": id_, "hash": hash_again(key, bytes(old))} for id_, old in page])
        above = page[-1].id
    new = sa.select(side.c.hash).where(side.c.id == table.c.id).scalar_subquery()
    # One statement, at whose end no two hashes are equal: the unique index never sees old beside new.
    conn.execute(table.update().where(table.c.address_hash.is_not(None)).values(address_hash=new))
    conn.exec_driver_sql("DROP TABLE rehashed")


def _octets(conn: sa.Connection) -> str:
    return "BLOB" if conn.dialect.name == "sqlite" else "bytea"
