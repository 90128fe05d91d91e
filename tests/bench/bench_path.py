"""The whole path: from the end of the hold to the last row settled, over real SMTP to a separate sink process.

Messages a second = recipients / (finished_at - started_at), by the database's clock: planning, sending and settling
included, queueing (once per issue) not.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.support import postgresql
from tests.support import redis as redis_support
from tests.support.ledgers import LONG_AGO
from tests.support.readers import KEY
from tests.support.sink import sink_process
from worker import settings as settings_module
from worker.dispatch.queue import prepare, queue_issue
from worker.domain.delivery import DoubtPolicy
from worker.domain.issue import IssueState
from worker.storage import publications, schema
from worker.storage.engine import Database, open_database
from worker.storage.ledger import issues
from worker.storage.migrations.upgrade import upgrade
from worker.tokens import instance_hash

TIMEOUT_S = 300.0
BODY_PARAGRAPHS = 95
"""Makes the sample a mail of about 22 KB, two parts."""

_TEXT = """---
kind: statement
publication: bench
subject: "{{ name | default('reader') }}, the river is high"
preheader: Levels, gauges and what the season brings
place: Example
date: 1 November 2026
---
Dear {{ name | default("reader") }},

""" + "\n\n".join(
    f"Paragraph {number}: the gauge stood at {number} metres, and the ferry kept its timetable in any weather, as ever."
    for number in range(BODY_PARAGRAPHS)
)


def on_postgresql(folder: Path, recipients: int) -> dict[str, Any]:
    """PostgreSQL, Redis, two worker processes."""
    with ExitStack() as stack:
        (folder / "pg").mkdir()
        (folder / "redis").mkdir()
        found, stop = postgresql._start(folder / "pg")
        stack.callback(subprocess.run, stop, check=False, capture_output=True)
        with psycopg.connect(f"{found['url']}/postgres", autocommit=True) as conn:
            conn.execute("CREATE DATABASE bench TEMPLATE corranto_template")
        kept, stop_redis = redis_support._start(folder / "redis")
        stack.callback(subprocess.run, stop_redis, check=False, capture_output=True)
        return _measure(
            folder,
            recipients,
            f"{found['url']}/bench",
            f"redis://127.0.0.1:{kept['port']}/1",
            workers=2,
            what="queue to settled, PostgreSQL + Redis, 2 workers",
            target=">= 8000",
        )


def on_sqlite(folder: Path, recipients: int) -> dict[str, Any]:
    """SQLite, the SQL broker, one worker process."""
    url = f"sqlite:///{folder}/bench.sqlite3"
    upgrade(url)
    return _measure(
        folder,
        recipients,
        url,
        "sql",
        workers=1,
        what="queue to settled, SQLite + SQL broker, 1 worker",
        target=">= 4000",
    )


def _measure(
    folder: Path, recipients: int, url: str, broker: str, *, workers: int, what: str, target: str
) -> dict[str, Any]:
    with sink_process(folder / "sink", count_only=True) as sink:
        environment = {
            "CORRANTO_DATABASE_URL": url,
            "CORRANTO_BROKER_URL": broker,
            "CORRANTO_SMTP_URL": sink.url,
            "CORRANTO_SECRET_KEYS": KEY,
            "CORRANTO_STATE_DIR": str(folder / "state"),
            "CORRANTO_METRICS_PORT": "0",
            "CORRANTO_LOG_LEVEL": "warning",
        }
        settings = settings_module.load(environment)
        database = open_database(url, settings.secrets)
        database.check()
        _seed(database, recipients)
        issue_file = folder / "bench-issue.md"
        issue_file.write_text(_TEXT)
        with _workers(environment, workers) as processes:
            _until(lambda: _ready(database) == workers)
            prepared = prepare(database, settings, issue_file)
            queued = queue_issue(
                database,
                settings,
                prepared,
                due_at=None,
                zone="UTC",
                hold_s=0,
                doubt=DoubtPolicy.NEVER_TWICE,
                actor="bench",
            )
            rss, before = 0.0, sum(_cpu_s(process.pid) for process in processes)
            while not _finished(database, queued.issue.id):
                rss = max(rss, *(_rss_mb(process.pid) for process in processes))
                time.sleep(0.1)
            cpu_s = sum(_cpu_s(process.pid) for process in processes) - before
        with database.read() as conn:
            issue = issues.get(conn, queued.issue.id)
            totals = issues.totals(conn, queued.issue.id)
        database.close()
    assert totals.adds_up
    assert totals.accepted == recipients, totals
    assert issue.started_at is not None
    assert issue.finished_at is not None
    seconds = (issue.finished_at - issue.started_at).total_seconds()
    return {
        "what": what,
        "figure": round(recipients / seconds),
        "unit": "msg/s",
        "target": target,
        "recipients": recipients,
        "seconds": round(seconds, 2),
        "workers": workers,
        "worker_rss_mb": round(rss),
        "worker_cpu_us_per_mail": round(cpu_s / recipients * 1e6),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def _seed(database: Database, recipients: int) -> None:
    pepper = database.instance().address_key
    with database.write() as conn:
        typed = {
            "slug": "bench",
            "title": "Bench letters",
            "from": "Bench letters <letters@bench.example.org>",
            "postal_address": "1 Bank Street, Example",
        }
        publication = publications.create_publication(conn, typed, actor="bench")
        conn.execute(
            schema.subscriber.insert(),
            [
                {
                    "id": n,
                    "address": f"reader{n}@example.org",
                    "address_hash": instance_hash(pepper, f"reader{n}@example.org"),
                    "name": f"Reader {n}",
                    "language": "en",
                    "attributes": {},
                    "created_at": LONG_AGO,
                }
                for n in range(1, recipients + 1)
            ],
        )
        conn.execute(
            schema.subscription.insert(),
            [
                {
                    "id": n,
                    "subscriber_id": n,
                    "publication_id": publication.id,
                    "state": "confirmed",
                    "confirmed_at": LONG_AGO,
                    "consent_at": LONG_AGO,
                    "consent_source": "a form",
                }
                for n in range(1, recipients + 1)
            ],
        )
    if database.dialect == "postgresql":
        with database.engine.connect() as conn:
            conn.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")


@contextmanager
def _workers(environment: dict[str, str], count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    code = "import sys; from worker import log, settings; from worker.actors import run_worker;"
    code += "s = settings.load(); log.configure('text', 'warning'); sys.exit(run_worker(s))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **environment}) for _ in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


def _ready(database: Database) -> int:
    with database.read() as conn:
        return len(conn.execute(schema.worker.select()).all())


def _finished(database: Database, issue_id: int) -> bool:
    with database.read() as conn:
        return issues.get(conn, issue_id).state is IssueState.FINISHED


def _until(condition: Any) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the bench waited too long")
        time.sleep(0.05)


def _rss_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_s(pid: int) -> float:
    """User and system seconds a process has used: what stays the same when the machine is shared."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
