"""Looks at everything an installation needs, the way sending would use it, and says what to do. Changes nothing.

One check's trouble never hides another's: without a database the relay, the keys and the disk are still looked at.
Whatever a server said is scrubbed before it is shown.
"""

import asyncio
import os
import shutil
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from worker import clock
from worker.broker import build as broker
from worker.dispatch.probe import probe_optout
from worker.domain.address import domain_of
from worker.domain.issue import IssueState
from worker.domain.publication import Publication
from worker.errors import CorrantoError, SchemaError, UnreachableError, UsageError
from worker.log import scrub
from worker.message.dkim import DkimError
from worker.message.key_store import key_files, show_public
from worker.operations.checks import Check, Verdict, worst_first
from worker.operations.status import QUIET_BEAT_S
from worker.quantities import count
from worker.settings import Settings
from worker.storage import publications, workers
from worker.storage.engine import Database, open_database
from worker.storage.ledger import issues
from worker.transport.relay import Relay, RelayReport, probe, relay_of
from worker.transport.replies import Phase

CLOCK_FAIL_S = 300.0
"""Beyond this workers refuse to date a mail (signatures and Date would lie)."""
CLOCK_WARN_S = 5.0

DISK_FAIL_OCTETS = 100 * 1024 * 1024
DISK_WARN_OCTETS = 1024 * 1024 * 1024

PROBE_FACTOR = 0.1
"""Of the relay's usual patience: a person is waiting for the answer."""


def run(settings: Settings) -> list[Check]:
    """Look at everything; worst first. Never raises for what it looks at."""
    url = settings.database_url.get_secret_value()
    found = [*_database(url), *_broker(settings.broker_url.get_secret_value())]
    found += [*_relay(settings), *_keys(settings), *_base_url(settings), *_disk(settings, url)]
    if not any(check.verdict is Verdict.FAIL for check in found if check.what in ("database", "schema")):
        try:
            found += _ledger(settings, open_database(url))
        except UnreachableError as error:
            found.append(Check(Verdict.FAIL, "database", scrub(str(error))))
    return worst_first(found)


def _database(url: str) -> Iterator[Check]:
    try:
        database = open_database(url)
    except UsageError as error:
        yield Check(
            Verdict.FAIL, "database", scrub(str(error)), "CORRANTO_DATABASE_URL=sqlite:///state/corranto.sqlite3"
        )
        return
    try:
        began = clock.monotonic()
        database.check()
        latency = clock.monotonic() - began
        yield Check(Verdict.OK, "database", f"{database.place} answers in {latency * 1000:.1f} ms")
        yield Check(Verdict.OK, "schema", "has exactly this version's tables")
    except SchemaError as error:
        yield Check(Verdict.FAIL, "schema", scrub(str(error)), "corranto db upgrade")
    except UnreachableError as error:
        yield Check(Verdict.FAIL, "database", scrub(str(error)), "start it, or correct CORRANTO_DATABASE_URL")
    finally:
        database.close()


def _broker(url: str) -> Iterator[Check]:
    if url == broker.SQL_URL:
        yield Check(Verdict.OK, "broker", "sql: nudges go through the database")
        return
    try:
        answer = broker.ping(url)
    except CorrantoError as error:
        yield Check(
            Verdict.FAIL,
            "broker",
            f"{scrub(str(error))}; nothing is lost, work waits for it",
            "start Redis, or correct CORRANTO_BROKER_URL",
        )
        return
    yield Check(Verdict.OK, "broker", f"Redis {answer.version} answers in {answer.latency_s * 1000:.1f} ms")


def _relay(settings: Settings) -> Iterator[Check]:
    try:
        relay = relay_of(settings)
        relay = replace(relay, timeouts=relay.timeouts.scaled(PROBE_FACTOR))
        report = asyncio.run(probe(relay))
    except (UsageError, OSError, ssl.SSLError) as error:
        yield Check(Verdict.FAIL, "relay", scrub(str(error)), "correct CORRANTO_SMTP_URL or CORRANTO_SMTP_CA_FILE")
        return
    if not report.is_ready:
        code = f" (reply {report.code})" if report.code else ""
        cause = scrub(report.cause or "no cause named").removeprefix(report.key).strip(" :")
        evidence = f"{report.key}: {cause}{code}"
        yield Check(Verdict.FAIL, "relay", evidence, _relay_fix(relay, report.phase))
        return
    yield _relay_answer(relay, report)


def _relay_answer(relay: Relay, report: RelayReport) -> Check:
    sign_in = "signed in" if report.signed_in else "no sign-in"
    size = f"mails up to {report.size_limit // 1_000_000} MB" if report.size_limit else "no size limit named"
    evidence = f"{report.key}: {report.tls_version or 'no TLS'}, {sign_in}, {size}; {report.form}"
    extensions = ", ".join(report.extensions) or "none"
    if report.tls_version is None and not relay.is_loopback:
        return Check(
            Verdict.WARN,
            "relay",
            f"{evidence}; mails and readers' addresses cross the network in clear (extensions: {extensions})",
            "CORRANTO_SMTP_URL=smtp://...?starttls=required, or smtps://...",
        )
    return Check(Verdict.OK, "relay", f"{evidence} (extensions: {extensions})")


def _relay_fix(relay: Relay, phase: Phase | None) -> str:
    if phase is Phase.CONNECT:
        return f"is it running and reachable? correct CORRANTO_SMTP_URL, or try: nc -vz {relay.host} {relay.port}"
    if phase is Phase.AUTH:
        return "correct user and password in CORRANTO_SMTP_URL; percent-encode special characters, such as @ as %40"
    if phase is Phase.STARTTLS:
        return "name the relay's own authority in CORRANTO_SMTP_CA_FILE, or use the host name its certificate is for"
    if phase is Phase.EHLO:
        return "set CORRANTO_SMTP_HELLO_NAME to a name of this machine that resolves"
    return "ask whoever runs the relay; corranto doctor shows when it is mended"


def _keys(settings: Settings) -> Iterator[Check]:
    lengths = [len(key.get_secret_value()) for key in settings.secret_keys]
    if not lengths:
        yield Check(
            Verdict.FAIL,
            "keys",
            "CORRANTO_SECRET_KEYS is not set, so no unsubscribe link can be signed",
            'export CORRANTO_SECRET_KEYS="$(corranto key new)"',
        )
        return
    said = ", ".join(map(str, lengths))
    yield Check(Verdict.OK, "keys", f"{count(len(lengths), 'key')} of {said} characters; the first signs")


def _base_url(settings: Settings) -> Iterator[Check]:
    if not settings.secret_keys:
        yield Check(Verdict.UNKNOWN, "base URL", f"{settings.base_url} was not asked: no key to sign a question with")
        return
    if trouble := probe_optout(settings):
        yield Check(
            Verdict.FAIL,
            "base URL",
            f"{scrub(trouble)}; readers could not leave",
            "run corranto web behind it, with these CORRANTO_SECRET_KEYS; let POST to /u/ through, without redirect,"
            " sign-in or bot check",
        )
        return
    yield Check(Verdict.OK, "base URL", f"{settings.base_url} answers a one-click POST, without redirect")


def _disk(settings: Settings, url: str) -> Iterator[Check]:
    places = {"state": settings.state_dir}
    if url.startswith("sqlite"):
        places["database"] = Path(url.removeprefix("sqlite:///")).expanduser().absolute().parent
    for name, folder in places.items():
        yield _room(name, folder)


def _room(name: str, folder: Path) -> Check:
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(standing, os.W_OK | os.X_OK):
        return Check(
            Verdict.FAIL, "disk", f"{folder} ({name}) cannot be written by this user", f'chown "$(id -u)" {standing}'
        )
    try:
        free = shutil.disk_usage(standing).free
    except OSError as error:
        return Check(Verdict.UNKNOWN, "disk", f"{folder} ({name}): {error.strerror}")
    evidence = f"{free / 1e9:,.1f} GB free for {folder} ({name})"
    if free < DISK_FAIL_OCTETS:
        return Check(Verdict.FAIL, "disk", evidence, "make room: a full disk stops sending")
    if free < DISK_WARN_OCTETS:
        return Check(Verdict.WARN, "disk", evidence, "make room before the next large issue")
    return Check(Verdict.OK, "disk", evidence)


def _ledger(settings: Settings, database: Database) -> list[Check]:
    """What only a database that answers can tell."""
    try:
        with database.read() as conn:
            now = database.now(conn)
            off_s = abs((clock.utcnow() - now).total_seconds())
            known = publications.list_publications(conn)
            rows = workers.list_workers(conn)
            sending = issues.list_issues(conn, [IssueState.SENDING])
    finally:
        database.close()
    heard = [row for row in rows if row.state != "lost" and now - row.seen_at <= timedelta(seconds=QUIET_BEAT_S)]
    return [
        judge_clock(off_s),
        _workers(len(heard), len(sending)),
        *_dkim(settings, known),
        *_return_paths(settings, known),
    ]


def judge_clock(off_s: float) -> Check:
    """What it means that process and database differ by so many seconds."""
    evidence = f"this machine and the database differ by {off_s:.1f} s"
    if off_s > CLOCK_FAIL_S:
        return Check(Verdict.FAIL, "clock", f"{evidence}; beyond 5 min no mail is dated", "timedatectl set-ntp true")
    if off_s > CLOCK_WARN_S:
        return Check(Verdict.WARN, "clock", evidence, "timedatectl set-ntp true")
    return Check(Verdict.OK, "clock", evidence)


def _workers(alive: int, sending: int) -> Check:
    if alive:
        return Check(Verdict.OK, "workers", f"{count(alive, 'worker process', 'worker processes')} heard just now")
    if sending:
        return Check(
            Verdict.FAIL, "workers", f"{count(sending, 'issue')} being sent, and no worker runs", "corranto worker"
        )
    return Check(
        Verdict.WARN, "workers", "no worker process runs: nothing that is queued would leave", "corranto worker"
    )


def _dkim(settings: Settings, known: list[Publication]) -> Iterator[Check]:
    for domain in sorted({domain_of(publication.from_address) for publication in known}):
        try:
            paths = key_files(settings.dkim_dir, domain)
            if not paths:
                yield _unsigned(settings, domain)
                continue
            show_public(paths[0])
        except (OSError, DkimError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            yield Check(
                Verdict.FAIL, "DKIM", f"the key of {domain} cannot be used: {why}", f"corranto dkim create {domain}"
            )
            continue
        yield _key_modes(domain, paths)


def _unsigned(settings: Settings, domain: str) -> Check:
    evidence = f"mail from {domain} is not signed: there is no key for it"
    if settings.is_loopback_relay:
        return Check(Verdict.OK, "DKIM", f"{evidence}; the relay is on this machine and may sign")
    return Check(
        Verdict.WARN,
        "DKIM",
        f"{evidence}; Gmail and Yahoo refuse unsigned bulk mail unless the relay signs",
        f"corranto dkim create {domain}",
    )


def _key_modes(domain: str, paths: Iterable[Path]) -> Check:
    files = list(paths)
    loose = [path for path in files if path.stat().st_mode & 0o077]
    if loose:
        names = " ".join(f"'{path}'" for path in loose)
        return Check(Verdict.FAIL, "DKIM", f"others can read the private key of {domain}", f"chmod 600 {names}")
    return Check(
        Verdict.OK, "DKIM", f"mail from {domain} is signed with key {files[0].stem}, readable by its owner only"
    )


def _return_paths(settings: Settings, known: list[Publication]) -> Iterator[Check]:
    if settings.is_loopback_relay:
        return
    for publication in known:
        if publication.bounce_address is None:
            yield Check(
                Verdict.FAIL,
                "bounces",
                f"{publication.slug} has no bounce address, so nothing of it is queued to a real relay",
                f"corranto publication edit {publication.slug} --bounce-address bounces@your.domain",
            )
