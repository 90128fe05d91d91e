"""A list of readers, an issue for them, and workers to send it: real processes, or one that is moved step by step.

`Newsroom.worker()` starts an operating system process as an operator does; `Newsroom.hand()` is a worker without
heartbeat, tick and queue, which works one nudge when told and dies when told.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, update

from tests.support.ledgers import LONG_AGO
from tests.support.readers import KEY, settings_for
from tests.support.scripted_smtp import ScriptedRelay
from tests.support.sink import ROOT, SinkProcess, sink_process
from worker.dispatch.batches import Batch
from worker.dispatch.bury import Observer, bury_dead_workers
from worker.dispatch.events import Hook
from worker.dispatch.nudger import PLAN_ACTOR, Nudger
from worker.dispatch.outfit import outfit_of
from worker.dispatch.plan import Pages, plan
from worker.dispatch.queue import prepare, queue_issue
from worker.dispatch.reconcile import finish, nudge_forgotten
from worker.dispatch.schedule import start_due
from worker.dispatch.send import Slice, Timing
from worker.dispatch.sender import Sender
from worker.domain.delivery import DoubtPolicy, Totals
from worker.domain.issue import Issue, IssueState
from worker.journal.own import Journal
from worker.operations import verify
from worker.settings import Settings
from worker.storage import publications, schema, workers
from worker.storage.engine import Database, open_database
from worker.storage.ledger import issues
from worker.tokens import instance_hash
from worker.transport.relay import relay_of

DEADLINE_S = 60.0
"""When a test that hangs gives up; no measurement."""

WORKER = "import sys; from worker.cli import main; sys.exit(main(['worker']))"
SCHEDULER = "import sys; from worker.cli import main; sys.exit(main(['scheduler']))"

TEXT = """---
kind: statement
publication: {publication}
subject: "{subject}"
preheader: Levels, gauges and what the season brings
place: Example
date: 1 November 2026
---
Dear {{{{ name | default("reader") }}}},

{body}
"""


def until(condition: Callable[[], Any], what: str, logs: Sequence[Path] = ()) -> None:
    """Look again and again until `condition` holds; fail with `what` and the workers' logs when it never does."""
    pause = threading.Event()
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            said = "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in logs)
            pytest.fail(f"it never came true that {what}\n{said}", pytrace=False)
        pause.wait(0.02)


@dataclass
class WorkerProcess:
    """A worker in a process group of its own, as a supervisor starts it."""

    process: subprocess.Popen[bytes]
    log: Path

    def tell(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the process group; the exit code."""
        self.tell(number)
        return self.process.wait(DEADLINE_S)

    @property
    def said(self) -> str:
        return self.log.read_text()


@dataclass
class Newsroom:
    """An installation: its database, its settings, its relay."""

    database: Database
    folder: Path
    given: dict[str, str]
    relay: SinkProcess | None = None
    logs: list[Path] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return settings_for(**self._named({}))

    # What editors and readers do.

    def readers(self, addresses: int | Sequence[str], publication: str = "rivers") -> None:
        """A publication and its confirmed readers: so many, or at these addresses."""
        if isinstance(addresses, int):
            addresses = [f"reader{n}@example.org" for n in range(1, addresses + 1)]
        typed = {
            "slug": publication,
            "title": "River letters",
            "from": "River letters <letters@rivers.example.org>",
            "postal_address": "1 Bank Street, Example",
        }
        with self.database.write() as conn:
            publications.create_publication(conn, typed, actor="test")
        self.join(*addresses, publication=publication)

    def join(self, *addresses: str, publication: str = "rivers") -> None:
        """More confirmed readers of a publication."""
        pepper = self.database.instance().address_key
        with self.database.write() as conn:
            publication_id = publications.get_publication(conn, publication).id
            people = [
                {
                    "address": address,
                    "address_hash": instance_hash(pepper, address.lower()),
                    "name": f"Reader {n}",
                    "attributes": {},
                    "created_at": LONG_AGO,
                }
                for n, address in enumerate(addresses, 1)
            ]
            conn.execute(insert(schema.subscriber), people)
            found = conn.execute(select(schema.subscriber.c.id, schema.subscriber.c.address)).all()
            ids = {row.address: row.id for row in found}
            conn.execute(
                insert(schema.subscription),
                [
                    {
                        "subscriber_id": ids[address],
                        "publication_id": publication_id,
                        "state": "confirmed",
                        "confirmed_at": LONG_AGO,
                        "consent_source": "a form",
                    }
                    for address in addresses
                ],
            )

    def write(self, slug: str, publication: str = "rivers", body: str = "The gauge stood at four metres.") -> Path:
        """A small issue file."""
        path = self.folder / f"{slug}.md"
        path.write_text(TEXT.format(publication=publication, subject=f"About {slug}", body=body))
        return path

    def queue(
        self,
        slug: str = "spring",
        *,
        publication: str = "rivers",
        file: Path | None = None,
        hold_s: int = 0,
        doubt: DoubtPolicy = DoubtPolicy.NEVER_TWICE,
        due_at: datetime | None = None,
    ) -> Issue:
        """Queue an issue as the command does, with its checks."""
        prepared = prepare(self.database, self.settings, file or self.write(slug, publication))
        queued = queue_issue(
            self.database,
            self.settings,
            prepared,
            due_at=due_at,
            zone="UTC",
            hold_s=hold_s,
            doubt=doubt,
            actor="editor",
        )
        return queued.issue

    # What the ledger says.

    def issue(self, slug: str = "spring") -> Issue:
        with self.database.read() as conn:
            return issues.get(conn, slug)

    def totals(self, slug: str = "spring") -> Totals:
        with self.database.read() as conn:
            return issues.totals(conn, issues.get(conn, slug).id)

    def wait_reason(self, slug: str = "spring") -> str:
        issue = self.issue(slug)
        return f"{issue.wait_reason} {issue.wait_detail}".strip()

    def rows(self, slug: str = "spring") -> dict[str, Any]:
        """{address: ledger row} of an issue."""
        with self.database.read() as conn:
            issue_id = issues.get(conn, slug).id
            found = conn.execute(
                select(schema.delivery, schema.subscriber.c.address)
                .join(schema.subscriber, schema.subscriber.c.id == schema.delivery.c.subscriber_id)
                .where(schema.delivery.c.issue_id == issue_id)
                .order_by(schema.delivery.c.n)
            )
            return {row.address: row for row in found}

    def states(self, slug: str = "spring") -> Counter[str]:
        return Counter(row.state for row in self.rows(slug).values())

    def bring_forward(self, slug: str = "spring") -> None:
        """As if the time of every later try had come."""
        with self.database.write() as conn:
            issue_id = issues.get(conn, slug).id
            conn.execute(
                update(schema.delivery)
                .where(schema.delivery.c.issue_id == issue_id, schema.delivery.c.next_try.is_not(None))
                .values(next_try=datetime(2026, 1, 2, tzinfo=UTC))
            )
            past = datetime(2026, 1, 2, tzinfo=UTC)
            conn.execute(update(schema.issue).where(schema.issue.c.id == issue_id).values(nudge_at=past))

    def age_nudges(self) -> None:
        """As if nobody had claimed or planned anything for long."""
        with self.database.write() as conn:
            past = datetime(2026, 1, 2, tzinfo=UTC)
            conn.execute(update(schema.issue).values(last_claim_at=past, last_nudged_at=past, last_progress_at=past))

    def assert_books_add_up(self) -> None:
        proof = verify.prove(self.database, self.folder / "state")
        assert proof.discrepancies == ()

    # What the relay says.

    def copies(self) -> Counter[str]:
        """How many mails the relay took for each address."""
        assert self.relay is not None
        return Counter(mail["rcpt"][0] for mail in self.relay.accepted())

    def until(self, condition: Callable[[], Any], what: str) -> None:
        until(condition, what, self.logs)

    def until_state(self, state: IssueState, slug: str = "spring") -> None:
        self.until(lambda: self.issue(slug).state is state, f"{slug} is {state}")

    # Workers.

    @contextmanager
    def worker(self, script: str = WORKER, **changes: str) -> Iterator[WorkerProcess]:
        """A worker, or another process, that has begun; killed at the end if it still lives."""
        log = self.folder / f"worker{len(self.logs)}.log"
        self.logs.append(log)
        given = {**self.settings_environment(), **{f"CORRANTO_{key.upper()}": value for key, value in changes.items()}}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", script],
                env={**os.environ, **given},
                stdout=out,
                stderr=out,
                cwd=ROOT,
                start_new_session=True,
            )
        started = WorkerProcess(process, log)
        try:
            self.until(lambda: " ready " in started.said or process.poll() is not None, "the process began")
            yield started
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def settings_environment(self) -> dict[str, str]:
        own = {"secret_keys": self.settings.keys[0], "state_dir": str(self.folder / "state"), "metrics_port": "0"}
        return {f"CORRANTO_{key.upper()}": value for key, value in {**own, **self.given}.items()}

    @contextmanager
    def hand(self, hook: Hook | None = None, times: float = 1.0, **changes: str) -> Iterator["Hand"]:
        """A worker in this process; ended in order unless the test let it die. SMTP times are `times` as long.

        What a recheck says holds as long as it may, unless a test is about that: a machine that stands still for two
        seconds takes every body back, and a worker that moves when told does not claim it again by itself.
        """
        hand = Hand(self.database, settings_for(**self._named({"optout_fresh_s": "10", **changes})), hook, times)
        try:
            yield hand
        finally:
            hand.end()

    def _named(self, changes: dict[str, str]) -> dict[str, Any]:
        given = {**self.given, **changes}
        return {"url": given.pop("database_url"), "state_dir": self.folder / "state", **given}

    @contextmanager
    def relayed_by(self, relay: ScriptedRelay, times: float = 1.0, **changes: str) -> Iterator["Hand"]:
        """A worker in this process, whose relay follows a scenario."""
        with relay_in_thread(relay) as url, self.hand(times=times, smtp_url=url, **changes) as hand:
            yield hand

    def bury(self) -> int:
        """What every worker does now and then; returns how many rows went in doubt."""
        return bury_dead_workers(self.database, self.folder / "state", timedelta(days=1), Observer()).in_doubt


class Nudges(Nudger):
    """Keeps nudges for the test to work."""

    def __init__(self) -> None:
        self.trouble = None
        self.waiting: deque[tuple[str, dict[str, int]]] = deque()

    def wake(self, actor: str, **ids: int) -> bool:
        self.waiting.append((actor, ids))
        return True


class Hand:
    """A worker that moves when told."""

    def __init__(self, database: Database, settings: Settings, hook: Hook | None = None, times: float = 1.0) -> None:
        self.database, self.settings, self.id = database, settings, str(uuid4())
        self.nudges = Nudges()
        self.pages = Pages()
        self.journal = Journal(settings.state_dir, self.id)
        relay = relay_of(settings)
        relay = replace(relay, timeouts=relay.timeouts.scaled(times))
        self.sender = Sender(database, settings, relay, self.journal, self.id, self.nudges, hook)
        self.lives = True
        with database.write() as conn:
            workers.register(conn, self.id, self.journal.host_id, "test:1", outfit_of(settings))

    def tick(self) -> None:
        """Everything time brings about, now."""
        start_due(self.database, self.nudges, self.settings.late_grace_s)
        nudge_forgotten(self.database, self.nudges)
        finish(self.database)

    def work(self, most: int = 1_000) -> None:
        """Work nudges until none is left."""
        while self.nudges.waiting and most:
            most -= 1
            actor, ids = self.nudges.waiting.popleft()
            if actor == PLAN_ACTOR:
                plan(self.database, self.nudges, shard_size=self.settings.shard_size, pages=self.pages, **ids)
            else:
                Slice(self.sender, ids["issue_id"]).run(ids["nudge_no"])

    def slice(self, slug: str = "spring", **timing: float) -> Slice:
        """A slice of an issue, moved step by step."""
        with self.database.read() as conn:
            return Slice(self.sender, issues.get(conn, slug).id, Timing(**timing))

    def submitted(self, part: Slice) -> Batch:
        """The next claim of a slice, all of whose mails the relay has answered, and the ledger knows none."""
        batch = part.claim()
        assert batch is not None
        part.hand_over(batch)

        def answered() -> bool:
            if time.monotonic() - batch.recheck.asked_at > 0.5:
                part.recheck()  # as a slice does; a busy machine is no reason to hold a body back
            return not batch.flying

        until(answered, "every mail was answered")
        assert len(batch.outcomes) == batch.submitted, "the relay was asked to take every mail"
        return batch

    def send(self) -> None:
        """Start what is due, send it, and say what is finished."""
        self.tick()
        self.work()
        self.tick()

    def die(self) -> None:
        """The process is gone: its lock falls, its rows stay as they are."""
        if self.lives:
            self.lives = False
            self.sender.close(0.0)
            self.journal.let_go()

    def end(self) -> None:
        if self.lives:
            self.lives = False
            self.sender.close(0.0)
            with self.database.write() as conn:
                workers.remove(conn, self.id)
            self.journal.close()


@contextmanager
def newsroom(folder: Path, database_url: str, *, with_relay: bool = True, **given: str) -> Iterator[Newsroom]:
    """An installation below `folder` with a sink as its relay."""
    database = open_database(database_url, [KEY])
    try:
        if with_relay:
            with sink_process(folder / "sink") as sink:
                made = {"database_url": database_url, "smtp_url": sink.url, **given}
                yield Newsroom(database, folder, made, sink)
        else:
            yield Newsroom(database, folder, {"database_url": database_url, **given})
    finally:
        database.close()


@contextmanager
def relay_in_thread(relay: ScriptedRelay) -> Iterator[str]:
    """A scripted relay on an event loop of its own; yields its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(relay.__aenter__(), loop).result(20)
        yield f"smtp://127.0.0.1:{relay.port}"
        asyncio.run_coroutine_threadsafe(relay.stop(), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@pytest.fixture
def desk(tmp_path: Path, sqlite_url: str) -> Iterator[Newsroom]:
    """An installation with nothing but itself: SQLite, its broker, a sink."""
    with newsroom(tmp_path, sqlite_url) as made:
        yield made


@pytest.fixture
def big_desk(tmp_path: Path, postgresql_url: str, redis_url: str) -> Iterator[Newsroom]:
    """An installation on PostgreSQL and Redis."""
    with newsroom(tmp_path, postgresql_url, broker_url=redis_url) as made:
        yield made


@pytest.fixture
def both_desks(tmp_path: Path, database_url: str) -> Iterator[Newsroom]:
    """An installation on each kind of database, with the SQL broker."""
    with newsroom(tmp_path, database_url) as made:
        yield made
