"""From a filled 0001 to 0002: nothing is lost, and every overloaded column is parted. On both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, Table, exc, select, text
from sqlalchemy.engine import make_url

import worker.storage.migrations
from tests.storage.test_migrations import shape
from worker.domain.issue import IssueState
from worker.storage import schema
from worker.storage.engine import Database, open_database, sqlite_path
from worker.storage.ledger import claims, issues
from worker.storage.migrations import HEAD
from worker.storage.migrations.upgrade import upgrade
from worker.storage.sqlite import create_file

AT = datetime(2026, 5, 1, 8, tzinfo=UTC)

WAITS = {
    "": ("", ""),
    "only later tries are left": ("later_tries", ""),
    "rate limit 20/s, 300/min": ("rate_limit", "20/s, 300/min"),
    "a fault of our own: see the workers' log": ("own_fault", ""),
    "the relay refuses the password": ("relay", "the relay refuses the password"),
}
"""What 0001 said of a waiting issue, and what 0002 holds instead."""


def rows(conn: Connection, name: str, columns: list[str]) -> list[tuple[Any, ...]]:
    """All of a table, in columns it had before; later versions may have more."""
    names = ", ".join(f'"{column}"' for column in columns)
    return sorted((tuple(row) for row in conn.execute(text(f"SELECT {names} FROM {name}"))), key=str)


class Filled:
    """A database of schema 0001 with an issue in each state and a row in most tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        if url.startswith("sqlite"):
            create_file(sqlite_path(make_url(url)))
        self.database = open_database(url)
        self.zone = None if url.startswith("sqlite") else UTC
        with self.database.write() as conn:
            config = Config()
            config.set_main_option("script_location", str(Path(worker.storage.migrations.__file__).parent))
            config.attributes["connection"] = conn
            command.upgrade(config, "0001")
        with self.database.write() as conn:
            self.tables = MetaData()
            self.tables.reflect(conn)
            self.fill(conn)

    def table(self, name: str) -> Table:
        return self.tables.tables[name]

    def add(self, conn: Connection, name: str, /, **values: Any) -> int:
        times = {key: value.replace(tzinfo=self.zone) for key, value in values.items() if isinstance(value, datetime)}
        done = conn.execute(self.table(name).insert().values(**{**values, **times}))
        return int(done.inserted_primary_key[0]) if name == "issue" else 0

    def issue(self, conn: Connection, slug: str, state: str = "sending", **values: Any) -> int:
        row = {
            "slug": slug, "state": state, "publication_id": 1, "kind": "newsletter", "subject": "Tides",
            "doubt": "never-twice", "fingerprint": "0" * 64, "source": "the file", "queued_at": AT, "queued_by": "test",
            "hold_s": 60, "hold_until": AT, "due_at": AT, "zone": "UTC", "audience_kind": "all", "started_at": AT,
            "finished_at": AT,
            "stopped_reason": "", "audience": 2, "nudge_no": 3, "wait_reason": "", "last_claim_at": AT,
            "last_progress_at": AT,
        }  # fmt: skip
        issue_id = self.add(conn, "issue", **(row | values))
        self.add(conn, "compiled_issue", issue_id=issue_id, fingerprint="0" * 64, body="{}")
        counters = {str(state): 0 for state in schema.DeliveryState} | {"waiting": 1, "accepted": 1}
        self.add(conn, "shard", issue_id=issue_id, no=0, from_n=1, to_n=2, next_n=3, **counters)
        common = {"issue_id": issue_id, "doubts": 0}
        self.add(conn, "delivery", n=1, subscriber_id=1, state="waiting", tries=0, **common)
        self.add(conn, "delivery", n=2, subscriber_id=2, state="accepted", tries=1, at=AT, **common)
        return issue_id

    def fill(self, conn: Connection) -> None:
        self.add(
            conn, "publication", slug="rivers", title="Rivers", from_name="Rivers", from_address="a@rivers.example.org",
            postal_address="1 Bank Street", contact="a@rivers.example.org", promise="", language="en", zone="UTC",
            description="", created_at=AT,
        )  # fmt: skip
        for n in (1, 2):
            self.add(
                conn, "subscriber", address=f"reader{n}@example.org", address_hash=b"%016d" % n, name="", attributes={},
                created_at=AT,
            )  # fmt: skip
            self.add(
                conn, "subscription", subscriber_id=n, publication_id=1, generation=1, state="confirmed",
                confirmed_at=AT, consent_source="a form",
            )  # fmt: skip
            self.add(
                conn, "consent_log", subscription_id=n, generation=1, event="added", channel="cli", at=AT, evidence="x"
            )
        self.add(conn, "act", at=AT, actor="test", act="publication.create", object="publication:rivers", counts={})
        for state in IssueState:
            self.issue(conn, f"in-{state.replace('_', '-')}", state)
        self.issue(conn, "unswept", "cancelled", nudge_at=AT)
        for number, sentence in enumerate(WAITS):
            self.issue(conn, f"waits-{number}", nudge_at=AT, wait_reason=sentence)
        first = self.issue(conn, "rest", audience_kind="rest_of", audience_of=1)
        self.add(
            conn, "claim", issue_id=first, shard_no=0, kind="first", from_n=1, to_n=2, owner="w1", left=1,
            of_state="waiting", claimed_at=AT,
        )  # fmt: skip
        self.add(
            conn, "media", sha256="a" * 64, ext="png", content_type="image/png", title="map", data=b"x", created_at=AT
        )
        self.add(conn, "figure", id="f1", issue_id=first, media=f"{'a' * 64}.png", alt="", caption="", credit="")
        self.add(
            conn, "worker", id="w1", host_id="h", label="host 1", state="ready", beat=1, started_at=AT, seen_at=AT,
            note="the relay does not answer",
        )  # fmt: skip
        gone = self.add(
            conn, "issue", slug="gone", state="draft", publication_id=1, kind="newsletter", subject="", fingerprint="",
            doubt="never-twice", source="", queued_at=AT, queued_by="", hold_s=0, zone="UTC", audience_kind="all",
            stopped_reason="", audience=0, nudge_no=0, wait_reason="",
        )  # fmt: skip
        conn.execute(self.table("issue").delete().where(self.table("issue").c.id == gone))
        self.highest = gone


@pytest.fixture
def filled(empty_url: str) -> Iterator[Filled]:
    """A filled 0001, on each kind of database."""
    before = Filled(empty_url)
    yield before
    before.database.close()


def by_slug(database: Database) -> dict[str, Any]:
    with database.read() as conn:
        return {row.slug: row for row in conn.execute(select(schema.issue))}


def test_an_upgrade_keeps_every_row_of_every_table(filled: Filled) -> None:
    # Given
    others = [name for name in filled.tables.tables if name not in ("issue", "alembic_version")]
    kept = [column.name for column in filled.table("issue").columns if column.name not in ("nudge_at", "wait_reason")]
    same = text(f"SELECT {', '.join(kept)} FROM issue ORDER BY id")
    columns = {name: [column.name for column in filled.table(name).columns] for name in others}
    with filled.database.read() as conn:
        before = {name: rows(conn, name, columns[name]) for name in others}
        issues_before = [tuple(row) for row in conn.execute(same)]

    # When
    assert upgrade(filled.url) == ("0001", HEAD)

    # Then
    with filled.database.read() as conn:
        assert {name: rows(conn, name, columns[name]) for name in others} == before
        assert [tuple(row) for row in conn.execute(same)] == issues_before
    assert upgrade(filled.url) == (HEAD, HEAD)


def test_a_wait_that_was_a_sentence_becomes_a_reason_with_its_detail(filled: Filled) -> None:
    upgrade(filled.url)
    issues_now = by_slug(filled.database)
    for number, wanted in enumerate(WAITS.values()):
        row = issues_now[f"waits-{number}"]
        assert (row.wait_reason, row.wait_detail) == wanted
        assert (row.nudge_at, row.last_claim_at, row.last_nudged_at) == (AT, AT, None)


def test_a_cancel_that_was_to_be_swept_still_is_and_no_other(filled: Filled) -> None:
    upgrade(filled.url)
    issues_now = by_slug(filled.database)
    assert {slug for slug, row in issues_now.items() if row.unswept} == {"unswept"}
    assert issues_now["unswept"].nudge_at is None
    with filled.database.read() as conn:
        assert issues.cancelled_unswept(conn) == [issues_now["unswept"].id]
        assert {issue.state for issue in issues.list_issues(conn)} == set(IssueState)


def test_an_upgraded_database_has_the_shape_of_a_new_one(filled: Filled, request: pytest.FixtureRequest) -> None:
    upgrade(filled.url)
    new = open_database(request.getfixturevalue(f"{filled.database.dialect}_url"))
    with filled.database.read() as upgraded, new.read() as fresh:
        assert shape(upgraded) == shape(fresh)
    new.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE act SET actor = 'somebody else'",
        "DELETE FROM act",
        "UPDATE consent_log SET evidence = ''",
        "DELETE FROM consent_log",
        "DELETE FROM issue WHERE slug = 'in-sending'",
        "INSERT INTO figure (id, issue_id, media, alt, caption, credit) VALUES ('f2', 999, '', '', '', '')",
        "UPDATE issue SET audience_of = 999 WHERE slug = 'rest'",
        "UPDATE issue SET slug = 'unswept' WHERE slug = 'rest'",
        "UPDATE issue SET wait_reason = 'only later tries are left'",
        "UPDATE issue SET unswept = TRUE WHERE slug = 'in-sending'",
        "UPDATE issue SET state = 'on its way'",
    ],
)
def test_an_upgraded_database_refuses_what_it_must(filled: Filled, statement: str) -> None:
    upgrade(filled.url)
    with pytest.raises((exc.IntegrityError, exc.DatabaseError), match=r"(?i)constraint|append-only"):  # noqa: SIM117
        with filled.database.write() as conn:
            conn.execute(text(statement))


def test_an_issue_number_that_was_given_away_before_the_upgrade_is_not_used_again(filled: Filled) -> None:
    upgrade(filled.url)
    with filled.database.write() as conn:
        old = conn.execute(select(schema.issue).where(schema.issue.c.id == 1)).one()._asdict()
        del old["id"]
        assert issues.insert(conn, **{**old, "slug": "new"}) == filled.highest + 1


def test_sending_goes_on_after_an_upgrade(filled: Filled) -> None:
    upgrade(filled.url)
    issue_id = by_slug(filled.database)["rest"].id
    with filled.database.write() as conn:
        (held,) = claims.owned_by(conn, ["w1"])
        assert claims.release(conn, held, "w1")
        again = claims.claim_first(conn, issue_id, "w1", 5)
    assert again is not None
    assert (again.from_n, again.left) == (1, 1)
