"""Readers, publications and issues in a ledger, as plain rows: for tests whose subject is a page or the way out."""

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, insert, select, text, update

from worker import settings as settings_module
from worker.domain.compiled import CompiledIssue
from worker.settings import Settings
from worker.storage import proof_mails, schema
from worker.storage.engine import Database
from worker.storage.proof_mails import STAND_IN
from worker.tokens import Keyring, Purpose, Token, instance_hash

KEY = "a-key-for-tests-only-0123456789abcdef"
WHEN = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


PAGE = f"<!doctype html><html lang=en><title>T</title><body class='page'><p><a href='/v/{STAND_IN}'>Browser</a></body>"
"""The page of an issue, with a link that holds a token."""


def compiled_page(view_html: str) -> CompiledIssue:
    """An issue of which only its page matters."""
    return CompiledIssue(
        slug="s", publication_slug="p", publication_title="P", subject="S", html="", text="", view_html=view_html,
        from_name="", from_address="p@example.org", reply_to=None, bounce_address=None, contact="", list_id="",
        language="en", boundary="b", variables=(), base_url="http://127.0.0.1:8025",
    )  # fmt: skip


def settings_for(url: str, state_dir: Path, **values: str) -> Settings:
    """Settings as an operator would set them in the environment, for a web process on this database."""
    given = {
        "database_url": url,
        "secret_keys": KEY,
        "state_dir": str(state_dir),
        "web_port": "0",
        "metrics_port": "0",
        "base_url": "http://127.0.0.1:8025",
        "smtp_url": "smtp://127.0.0.1:2525",
        **values,
    }
    return settings_module.load({f"CORRANTO_{key.upper()}": value for key, value in given.items()})


@dataclass
class Readers:
    """Writes rows and signs the links a reader would have."""

    database: Database
    keyring: Keyring

    def __post_init__(self) -> None:
        self._serial = itertools.count(1)

    def publication(self, slug: str, title: str | None = None, **columns: object) -> int:
        values = {
            "slug": slug,
            "title": title or slug.capitalize(),
            "from_name": "The Editors",
            "from_address": f"{slug}@news.example.org",
            "postal_address": "1 Invented Street, Exampletown",
            "contact": f"{slug}-help@example.org",
            "promise": "Your address is used only to send what you asked for.",
            "language": "en",
            "zone": "UTC",
            "description": "Short reports, once a month.",
            "created_at": WHEN,
        }
        with self.database.write() as conn:
            return int(
                conn.execute(
                    insert(schema.publication).values(**{**values, **columns}).returning(schema.publication.c.id)
                ).scalar_one()
            )

    def subscriber(self, address: str) -> int:
        hashed = instance_hash(self.database.instance().address_key, address.lower())
        with self.database.write() as conn:
            return int(
                conn.execute(
                    insert(schema.subscriber)
                    .values(address=address, address_hash=hashed, name="", attributes={}, created_at=WHEN)
                    .returning(schema.subscriber.c.id)
                ).scalar_one()
            )

    def subscribe(self, subscriber_id: int, publication_id: int) -> int:
        with self.database.write() as conn:
            return int(
                conn.execute(
                    insert(schema.subscription)
                    .values(
                        subscriber_id=subscriber_id,
                        publication_id=publication_id,
                        generation=1,
                        state="confirmed",
                        confirmed_at=WHEN,
                        consent_source="a form at a fair",
                    )
                    .returning(schema.subscription.c.id)
                ).scalar_one()
            )

    def reader(self, address: str, *publication_ids: int) -> list[int]:
        """A new reader's subscription ids."""
        subscriber_id = self.subscriber(address)
        return [self.subscribe(subscriber_id, publication_id) for publication_id in publication_ids]

    def issue(self, publication_id: int, subscription_ids: list[int], *, subject: str = "November news") -> int:
        """An issue in `sending`, one waiting row for each subscription, in one shard."""
        slug = f"issue-{next(self._serial)}"
        now = datetime.now(UTC)
        with self.database.write() as conn:
            issue_id = int(
                conn.execute(
                    insert(schema.issue)
                    .values(
                        publication_id=publication_id,
                        slug=slug,
                        kind="newsletter",
                        subject=subject,
                        state="sending",
                        doubt="never-twice",
                        fingerprint="0" * 64,
                        source="",
                        queued_at=now,
                        queued_by="test",
                        hold_s=0,
                        zone="UTC",
                        audience_kind="all",
                        started_at=now,
                        last_progress_at=now,
                        audience=len(subscription_ids),
                    )
                    .returning(schema.issue.c.id)
                ).scalar_one()
            )
            if subscription_ids:
                conn.execute(
                    insert(schema.shard).values(
                        issue_id=issue_id, no=0, from_n=1, to_n=len(subscription_ids), next_n=1,
                        waiting=len(subscription_ids),
                    )
                )  # fmt: skip
            for n, subscription_id in enumerate(subscription_ids, 1):
                owner = conn.execute(
                    select(schema.subscription.c.subscriber_id).where(schema.subscription.c.id == subscription_id)
                ).scalar_one()
                conn.execute(
                    insert(schema.delivery).values(issue_id=issue_id, n=n, subscriber_id=owner, state="waiting")
                )
        return issue_id

    def claim(self, issue_id: int, from_n: int, to_n: int, *, owner: str | None = "w1", kind: str = "first") -> int:
        with self.database.write() as conn:
            return int(
                conn.execute(
                    insert(schema.claim)
                    .values(
                        issue_id=issue_id, shard_no=0, kind=kind, from_n=from_n, to_n=to_n, owner=owner,
                        left=to_n - from_n + 1, claimed_at=datetime.now(UTC),
                        of_state="waiting" if kind == "first" else "deferred",
                    )
                    .returning(schema.claim.c.id)
                ).scalar_one()
            )  # fmt: skip

    def settle(self, issue_id: int, n: int, state: str, *, at: datetime) -> None:
        """One row's result, known at a time of our choosing."""
        doubt = {"reason": "line_broke", "claim": 1, "claimed_at": at, "doubts": 1} if state == "in_doubt" else {}
        with self.database.write() as conn:
            conn.execute(
                update(schema.delivery)
                .where(schema.delivery.c.issue_id == issue_id, schema.delivery.c.n == n)
                .values(state=state, at=at, tries=1, **doubt)
            )

    def ended(self, subscription_id: int, *, at: datetime) -> None:
        """Move the end of a subscription to another time."""
        with self.database.write() as conn:
            conn.execute(
                update(schema.subscription).where(schema.subscription.c.id == subscription_id).values(ended_at=at)
            )

    def release(self, claim_id: int) -> None:
        with self.database.write() as conn:
            conn.execute(update(schema.claim).where(schema.claim.c.id == claim_id).values(owner=None))

    def defer(self, issue_id: int, n: int, claim_id: int | None) -> None:
        now = datetime.now(UTC)
        with self.database.write() as conn:
            conn.execute(
                update(schema.delivery)
                .where(schema.delivery.c.issue_id == issue_id, schema.delivery.c.n == n)
                .values(state="deferred", next_try=now, first_try=now, at=now, tries=1, claim=claim_id)
            )

    def accept(self, issue_id: int, n: int, claim_id: int) -> None:
        """What a settlement does to one row and its claim."""
        with self.database.write() as conn:
            conn.execute(
                update(schema.delivery)
                .where(schema.delivery.c.issue_id == issue_id, schema.delivery.c.n == n)
                .values(state="accepted", at=datetime.now(UTC) + timedelta(seconds=1), tries=1, code=250)
            )
            conn.execute(schema.claim.delete().where(schema.claim.c.id == claim_id))

    def compiled(self, issue_id: int, view_html: str) -> None:
        body = compiled_page(view_html)
        with self.database.write() as conn:
            conn.execute(
                insert(schema.compiled_issue).values(
                    issue_id=issue_id, fingerprint=body.fingerprint, body=body.to_json()
                )
            )

    def proof(
        self,
        publication_id: int,
        *addresses: str,
        slug: str = "spring",
        html: str = PAGE,
        text: str = "one",
        figures: tuple[dict[str, str], ...] = (),
    ) -> list[str]:
        """A proof that was mailed; returns the token of each copy."""
        body = replace(compiled_page(html), figures=figures).to_json()
        row = {"publication_id": publication_id, "slug": slug, "subject": "A small sign", "fingerprint": text.ljust(64)}
        with self.database.write() as conn:
            proof_id = proof_mails.add(conn, {**row, "body": body}, addresses)
        copies = range(1, len(addresses) + 1)
        return [self.keyring.sign(Token(Purpose.PROOF, generation=no, issue=proof_id)) for no in copies]

    def media(self, data: bytes, ext: str, content_type: str, title: str = "") -> str:
        name = hashlib.sha256(data).hexdigest()
        picture = content_type.startswith("image/")
        with self.database.write() as conn:
            conn.execute(
                insert(schema.media).values(
                    sha256=name, ext=ext, content_type=content_type, title=title, data=data, created_at=WHEN,
                    width=640 if picture else None, height=400 if picture else None,
                )
            )  # fmt: skip
        return f"{name}.{ext}"

    def figure(self, figure_id: str, issue_id: int, media: str) -> None:
        with self.database.write() as conn:
            conn.execute(
                insert(schema.figure).values(
                    id=figure_id, issue_id=issue_id, media=media, alt="A grey steel sector under a crane",
                    caption="The last sector leaves the hall.", credit="Photo: Invented Agency",
                )
            )  # fmt: skip

    def link(self, subscription_id: int, *, issue_id: int = 0, generation: int = 1) -> str:
        return self.keyring.sign(Token(Purpose.UNSUBSCRIBE, subscription_id, generation, issue_id))

    def state(self, subscription_id: int) -> tuple[str, int]:
        """(state, generation)."""
        with self.database.read() as conn:
            row = conn.execute(
                select(schema.subscription.c.state, schema.subscription.c.generation).where(
                    schema.subscription.c.id == subscription_id
                )
            ).one()
        return row.state, row.generation

    def rows(self, table: str) -> int:
        with self.database.read() as conn:
            return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())

    def checksum(self) -> str:
        """One digest over every row of every table."""
        digest = hashlib.sha256()
        with self.database.read() as conn:
            for table in schema.metadata.sorted_tables:
                for row in conn.execute(select(table).order_by(*table.primary_key.columns)):
                    digest.update(repr(tuple(row)).encode())
        return digest.hexdigest()


class WatchedDatabase(Database):
    """The same database, telling of each commit just before it happens ("durable", or "usual" for the weaker kind),
    and of each read before it begins.

    What `before_commit` raises is a process that dies there: nothing of the transaction stays.
    """

    def __init__(
        self,
        watched: Database,
        before_commit: Callable[[str], None],
        before_read: Callable[[], None] = lambda: None,
    ) -> None:
        self.__dict__.update(vars(watched))
        self.before_commit = before_commit
        self.before_read = before_read

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self.before_read()
        with super().read() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as conn:
            yield conn
            self.before_commit("usual")

    @contextmanager
    def write_durably(self) -> Iterator[Connection]:
        with super().write_durably() as conn:
            yield conn
            self.before_commit("durable")


class Killed(BaseException):
    """Stands for the process dying."""
