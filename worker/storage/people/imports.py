"""An import's SQL: a page of readers is loaded beside the tables and merged into them by a few set-based statements.

One page is one transaction: a kill leaves whole pages with their consent lines, and the same file can simply be
imported again. No statement here touches a subscription that its reader ended: only one that undoing an import ended
may start again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    column,
    exists,
    func,
    insert,
    select,
    text,
    update,
)

from worker.domain.subscriber import ImportRow
from worker.domain.subscription import Channel, ConsentEvent, SubscriptionState
from worker.errors import NotFoundError, RefusedError
from worker.storage import acts
from worker.storage.engine import database_now
from worker.storage.people import subscriptions
from worker.storage.schema import UtcDateTime, consent_log, import_batch, publication, subscriber, subscription

PAGE = {"sqlite": 5_000, "postgresql": 20_000}
"""Rows a transaction; SQLite's are short because every other writer waits for them."""

UNDO_PAGE = 5_000  # subscriptions ended in one transaction: other writers wait for it

_LOCK = 7_094_530_113
"""PostgreSQL advisory lock: imports take turns page by page, so that two never wait for each other's rows."""


@dataclass(frozen=True)
class PageCounts:
    """What became of a page's rows; with `already`, the rest of them, they sum to its length."""

    added: int
    already: int
    kept_out_opted_out: int
    kept_out_suppressed: int
    updated: int
    """Of those already there, whose name, language or attributes changed."""


@dataclass(frozen=True)
class ImportBatch:
    """One import as listed. `counts` are those of its last committed page; `finished` in them says it was the end."""

    id: int
    publication: str
    file_name: str
    consent: str
    actor: str
    at: datetime
    counts: Mapping[str, Any]
    undone_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        return asdict(self)


_page = Table(
    "import_page",
    MetaData(),
    Column("address_hash", LargeBinary),
    Column("address", Text),
    Column("name", Text),
    Column("language", Text),
    Column("attributes", Text),
    Column("consent_at", UtcDateTime),
)

_CREATE = {
    "postgresql": (
        """
        CREATE TEMPORARY TABLE import_page (
            address_hash bytea, address text, name text, language text, attributes json, consent_at timestamptz
        ) ON COMMIT DROP
        """,
        """
        CREATE TEMPORARY TABLE import_found (
            subscriber_id bigint PRIMARY KEY, standing text,
            name text, language text, attributes json, consent_at timestamptz
        ) ON COMMIT DROP
        """,
    ),
    "sqlite": (
        """
        CREATE TEMPORARY TABLE IF NOT EXISTS import_page (
            address_hash BLOB, address TEXT, name TEXT, language TEXT, attributes TEXT, consent_at TEXT
        )
        """,
        """
        CREATE TEMPORARY TABLE IF NOT EXISTS import_found (
            subscriber_id INTEGER PRIMARY KEY, standing TEXT,
            name TEXT, language TEXT, attributes TEXT, consent_at TEXT
        )
        """,
        "DELETE FROM import_page",
        "DELETE FROM import_found",
    ),
}

# Every statement goes from the page's rows into the large tables by one index probe each, however large these are and
# however old their statistics: a plan chosen while they were empty would read them whole for each page of a million.
# Hence subqueries that hang on a row of the page, never joins. A sign before a column keeps planners from an index that
# leads to a whole publication or import instead of to one reader.
_PLAN = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit")

_DROP_SUPPRESSED = """
    DELETE FROM import_page
    WHERE EXISTS (SELECT 1 FROM suppression x WHERE x.address_hash = import_page.address_hash)
"""

_ADD_SUBSCRIBERS = """
    INSERT INTO subscriber (address, address_hash, name, language, attributes, created_at)
    SELECT p.address, p.address_hash, p.name, p.language, p.attributes, (SELECT now())
    FROM import_page p
    WHERE NOT EXISTS (SELECT 1 FROM subscriber s WHERE s.address_hash = p.address_hash)
    ORDER BY p.address_hash
    ON CONFLICT (address_hash) DO NOTHING
"""

# standing: NULL = new to this publication; `undone` = ended by undoing an import, and not by the reader as well; else
# the subscription's state.
_FIND = """
    INSERT INTO import_found (subscriber_id, standing, name, language, attributes, consent_at)
    WITH x AS MATERIALIZED (
        SELECT (SELECT s.id FROM subscriber s WHERE s.address_hash = p.address_hash) AS id,
               p.name, p.language, p.attributes, p.consent_at
        FROM import_page p
    )
    SELECT x.id,
           (
               SELECT CASE
                   WHEN b.state = 'ended' AND b.ended_by = 'import' AND NOT EXISTS (
                       SELECT 1 FROM consent_log l
                       WHERE l.subscription_id = b.id AND l.generation = b.generation AND l.event = 'ended'
                   ) THEN 'undone' ELSE b.state END
               FROM subscription b
               WHERE b.subscriber_id = x.id AND +b.publication_id = :publication
           ),
           x.name, x.language, x.attributes, x.consent_at
    FROM x
    WHERE x.id IS NOT NULL
"""

_COUNT_STANDINGS = "SELECT COALESCE(standing, 'new'), count(*) FROM import_found GROUP BY standing"

_ADD_SUBSCRIPTIONS = """
    INSERT INTO subscription
        (subscriber_id, publication_id, generation, state, confirmed_at, consent_at, consent_source, import_id)
    SELECT p.subscriber_id, :publication, 1, 'confirmed', (SELECT now()), p.consent_at, :consent, :batch
    FROM import_found p
    WHERE p.standing IS NULL
    ORDER BY p.subscriber_id
    ON CONFLICT (subscriber_id, publication_id) DO NOTHING
"""

_RESTART_UNDONE = """
    UPDATE subscription
    SET state = 'confirmed', generation = generation + 1, confirmed_at = (SELECT now()),
        ended_at = NULL, ended_by = NULL, ended_issue_id = NULL, consent_source = :consent, import_id = :batch,
        consent_at = (SELECT p.consent_at FROM import_found p WHERE p.subscriber_id = subscription.subscriber_id)
    WHERE +publication_id = :publication AND state = 'ended' AND ended_by = 'import'
      AND subscriber_id IN (SELECT p.subscriber_id FROM import_found p WHERE p.standing = 'undone')
"""

_LOG_CONSENT = """
    INSERT INTO consent_log (subscription_id, generation, event, channel, at, import_id, evidence)
    SELECT x.id, (SELECT b.generation FROM subscription b WHERE b.id = x.id), 'imported', 'import', (SELECT now()),
           :batch, :consent
    FROM (
        SELECT (
            SELECT b.id FROM subscription b
            WHERE b.subscriber_id = p.subscriber_id AND +b.publication_id = :publication AND +b.import_id = :batch
        ) AS id
        FROM import_found p
        WHERE p.standing IS NULL OR p.standing = 'undone'
    ) x
    WHERE x.id IS NOT NULL
"""

_KNOWN = """
    SELECT p.subscriber_id AS id,
           (SELECT s.name FROM subscriber s WHERE s.id = p.subscriber_id) AS name,
           (SELECT s.language FROM subscriber s WHERE s.id = p.subscriber_id) AS language,
           (SELECT s.attributes FROM subscriber s WHERE s.id = p.subscriber_id) AS attributes,
           p.name AS new_name, p.language AS new_language, p.attributes AS new_attributes
    FROM import_found p
    WHERE p.subscriber_id <= :newest AND (p.standing IS NULL OR p.standing <> 'ended')
    ORDER BY p.subscriber_id
"""


def create_batch(conn: Connection, publication_id: int, file_name: str, consent: str, *, actor: str) -> int:
    """Open an import and return its number; its readers' subscriptions point to it."""
    row = {"publication_id": publication_id, "file_name": file_name, "consent": consent, "actor": actor, "counts": {}}
    made = conn.execute(insert(import_batch).values(at=database_now(), **row).returning(import_batch.c.id))
    batch: int = made.scalar_one()
    acts.record(conn, actor, "import.begin", f"import:{batch}")
    return batch


def note_counts(conn: Connection, batch: int, counts: Mapping[str, Any]) -> None:
    """Keep what the import has done so far, in the transaction of the page that did it."""
    conn.execute(update(import_batch).where(import_batch.c.id == batch).values(counts=dict(counts)))


def merge_page(
    conn: Connection, batch: int, publication_id: int, consent: str, rows: Sequence[ImportRow]
) -> PageCounts:
    """Merge a page into subscribers and subscriptions of one publication, with a consent line for each one added.

    No two rows may share an address_hash. Suppressed and opted-out readers are counted and left exactly as they are.
    """
    _load(conn, rows)
    values = {"publication": publication_id, "consent": consent, "batch": batch}
    newest = conn.scalar(select(func.max(subscriber.c.id))) or 0
    suppressed = conn.execute(text(_DROP_SUPPRESSED)).rowcount
    conn.execute(text(_ADD_SUBSCRIBERS))
    conn.execute(text(_FIND), values)
    standings = {str(row[0]): int(row[1]) for row in conn.execute(text(_COUNT_STANDINGS))}
    conn.execute(text(_ADD_SUBSCRIPTIONS), values)
    if "undone" in standings:
        conn.execute(text(_RESTART_UNDONE), values)
    added = conn.execute(text(_LOG_CONSENT), values).rowcount
    opted_out = standings.get("ended", 0)
    updated = _merge_values(conn, newest)
    return PageCounts(added, len(rows) - added - opted_out - suppressed, opted_out, suppressed, updated)


def _merge_values(conn: Connection, newest: int) -> int:
    """What the file says replaces what is kept, up to subscriber `newest`; what it leaves empty stays.

    Returns how many readers changed.
    """
    query = text(_KNOWN).columns(
        column("id"), column("name"), column("language"), column("attributes", JSON),
        column("new_name"), column("new_language"), column("new_attributes", JSON),
    )  # fmt: skip
    changed = []
    for row in conn.execute(query, {"newest": newest}):
        name, language = row.new_name or row.name, row.new_language or row.language
        attributes = {**row.attributes, **row.new_attributes}
        if (name, language, attributes) != (row.name, row.language, row.attributes):
            changed.append({"of": row.id, "name": name, "language": language, "attributes": attributes})
    if changed:
        conn.execute(update(subscriber).where(subscriber.c.id == bindparam("of")), changed)
    return len(changed)


def refresh_statistics(conn: Connection) -> None:
    """Tell PostgreSQL's planner how large the tables are now; by itself it would look in a minute or so."""
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("ANALYZE subscriber, subscription, consent_log")


def list_imports(conn: Connection, *, publication_id: int | None = None, limit: int = 100) -> list[ImportBatch]:
    """The newest first, of one publication or of all."""
    query = _batches().order_by(import_batch.c.id.desc()).limit(limit)
    if publication_id is not None:
        query = query.where(import_batch.c.publication_id == publication_id)
    return [ImportBatch(**row._mapping) for row in conn.execute(query)]


def get_import(conn: Connection, batch: int) -> ImportBatch:
    """The import with this number. Raises NotFoundError."""
    # A number beyond the column's is none of ours, and no database would compare it.
    row = conn.execute(_batches().where(import_batch.c.id == batch)).one_or_none() if 0 < batch < 2**31 else None
    if row is None:
        raise NotFoundError("import.unknown", id=batch)
    return ImportBatch(**row._mapping)


def undo_page(conn: Connection, batch: int, after_id: int) -> tuple[int, int | None]:
    """End a page of the subscriptions that this import added and nobody touched since.

    Touched = any consent line of the same generation but the import's own. Returns (how many ended, the subscription
    id to go on after, None at the end).
    """
    mine = (subscription.c.import_id == batch, subscription.c.state == str(SubscriptionState.CONFIRMED))
    query = select(subscription.c.id).where(*mine, subscription.c.id > after_id).order_by(subscription.c.id)
    ids = list(conn.scalars(query.limit(UNDO_PAGE)))
    if not ids:
        return 0, None
    touched = exists().where(
        consent_log.c.subscription_id == subscription.c.id,
        consent_log.c.generation == subscription.c.generation,
        consent_log.c.event != str(ConsentEvent.IMPORTED),
    )
    ended = {"state": SubscriptionState.ENDED, "ended_at": database_now(), "ended_by": Channel.IMPORT}
    line = {"event": ConsentEvent.IMPORT_UNDONE, "channel": Channel.IMPORT, "import_id": batch}
    line["evidence"] = f"import {batch} was undone"
    return len(subscriptions.move(conn, ids, and_(*mine, ~touched), ended, line)), ids[-1]


def close_undone(conn: Connection, batch: int, ended: int, *, actor: str) -> None:
    """Mark the import as undone. Raises RefusedError when it was already."""
    done = conn.execute(
        update(import_batch)
        .where(import_batch.c.id == batch, import_batch.c.undone_at.is_(None))
        .values(undone_at=database_now())
    )
    if done.rowcount != 1:
        raise RefusedError("import.undone_already", id=batch, at=get_import(conn, batch).undone_at)
    acts.record(conn, actor, "import.undo", f"import:{batch}", {"ended": ended})


def _load(conn: Connection, rows: Sequence[ImportRow]) -> None:
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        for setting in _PLAN:
            conn.exec_driver_sql(f"SET LOCAL {setting} = off")
    for statement in _CREATE[conn.dialect.name]:
        conn.exec_driver_sql(statement)
    if conn.dialect.name == "sqlite":
        conn.execute(insert(_page), [row._asdict() for row in rows])
        return
    raw = conn.connection.dbapi_connection
    assert isinstance(raw, psycopg.Connection)
    with raw.cursor() as cursor, cursor.copy(f"COPY import_page ({', '.join(ImportRow._fields)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _batches() -> Select[Any]:
    kept = ("id", "file_name", "consent", "actor", "at", "counts", "undone_at")
    return select(publication.c.slug.label("publication"), *(import_batch.c[name] for name in kept)).join(
        publication, publication.c.id == import_batch.c.publication_id
    )
