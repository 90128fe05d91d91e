"""Looks at everything an installation needs, the way sending would use it. Changes nothing; says values, no sentences.

One check's trouble never hides another's: without a database the relay, the keys and the disk are still looked at.
The evidence's code says what is wrong; a face words it, with what to do, and scrubs what a server said.
"""

import asyncio
import os
import shutil
import ssl
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from worker import clock
from worker.broker import build as broker
from worker.dispatch.lock import find_lock
from worker.dispatch.probe import probe_optout
from worker.dispatch.progress import living
from worker.domain.address import domain_of
from worker.domain.issue import IssueState
from worker.domain.publication import Publication
from worker.errors import CorrantoError, SchemaError, SettingsError, Trouble, UnreachableError, UsageError
from worker.message.dkim import DkimError
from worker.message.key_store import key_files, show_public
from worker.operations import exposure
from worker.operations.checks import Check, Verdict, worst_first
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

_ok, _warn, _fail = (partial(Check, verdict) for verdict in (Verdict.OK, Verdict.WARN, Verdict.FAIL))


def run(settings: Settings) -> list[Check]:
    """Look at everything; worst first. Never raises for what it looks at."""
    url = settings.database_url.get_secret_value()
    checks = [*_database(url, settings.secrets), *_broker(settings.broker_url.get_secret_value())]
    checks += [*_relay(settings), *_keys(settings), *_base_url(settings), *_sink(settings), *_disk(settings, url)]
    checks += exposure.look(settings, _file(url))
    if not any(check.verdict is Verdict.FAIL for check in checks if check.what in ("database", "schema")):
        try:
            checks += _ledger(settings, open_database(url, settings.secrets))
        except UnreachableError as error:
            checks.append(_fail("database", Trouble("doctor.database_lost", cause=error.trouble)))
    return worst_first(checks)


def _database(url: str, secrets: list[str]) -> Iterator[Check]:
    try:
        database = open_database(url, secrets)
    except UsageError as error:
        yield _fail("database", Trouble("doctor.database_url", cause=error.trouble))
        return
    try:
        began = clock.monotonic()
        database.check()
        latency_s = clock.monotonic() - began
        yield _ok("database", Trouble("doctor.database_answers", place=database.place, seconds=latency_s))
        yield _ok("schema", Trouble("doctor.schema_fits"))
    except SchemaError as error:
        if error.code == "database.newer":
            yield _fail("schema", Trouble("doctor.schema_newer", cause=error.trouble))
        else:
            yield _fail("schema", Trouble("doctor.schema_differs", cause=error.trouble))
    except SettingsError as error:
        yield _fail("database", Trouble("doctor.other_keys", cause=error.problems[0]))
    except UnreachableError as error:
        yield _fail("database", Trouble("doctor.database_silent", cause=error.trouble))
    finally:
        database.close()


def _broker(url: str) -> Iterator[Check]:
    if url == broker.SQL_URL:
        yield _ok("broker", Trouble("doctor.broker_is_sql"))
        return
    try:
        answer = broker.ping(url)
    except CorrantoError as error:
        yield _fail("broker", Trouble("doctor.broker_silent", cause=error.trouble))
        return
    yield _ok("broker", Trouble("doctor.broker_answers", version=answer.version, seconds=answer.latency_s))


def _relay(settings: Settings) -> Iterator[Check]:
    try:
        relay = relay_of(settings)
        relay = replace(relay, timeouts=relay.timeouts.scaled(PROBE_FACTOR))
        report = asyncio.run(probe(relay))
    except (UsageError, OSError, ssl.SSLError) as error:
        cause = error.trouble if isinstance(error, UsageError) else str(error)
        yield _fail("relay", Trouble("doctor.relay_settings", cause=cause))
        return
    yield _relay_answer(relay, report) if report.is_ready else _fail("relay", _relay_trouble(relay, report))


def _relay_answer(relay: Relay, report: RelayReport) -> Check:
    seen = {
        "relay": report.key,
        "tls": report.tls_version,
        "signed_in": report.signed_in,
        "size_limit": report.size_limit,
        "form": report.form,
        "extensions": list(report.extensions),
    }
    if report.tls_version is None and not relay.is_loopback:
        return _warn("relay", Trouble("doctor.relay_in_clear", **seen))
    return _ok("relay", Trouble("doctor.relay_answers", **seen))


def _relay_trouble(relay: Relay, report: RelayReport) -> Trouble:
    """How far it got decides what helps."""
    seen = {"relay": report.key, "cause": report.cause, "reply": report.code}
    match report.phase:
        case Phase.CONNECT:
            return Trouble("doctor.relay_unreachable", **seen, host=relay.host, port=relay.port)
        case Phase.AUTH:
            return Trouble("doctor.relay_sign_in", **seen)
        case Phase.STARTTLS:
            return Trouble("doctor.relay_tls", **seen)
        case Phase.EHLO:
            return Trouble("doctor.relay_hello", **seen)
        case _:
            return Trouble("doctor.relay_refuses", **seen)


def _keys(settings: Settings) -> Iterator[Check]:
    lengths = [len(key.get_secret_value()) for key in settings.secret_keys]
    yield _ok("keys", Trouble("doctor.keys", lengths=lengths)) if lengths else _fail("keys", Trouble("doctor.no_keys"))


def _base_url(settings: Settings) -> Iterator[Check]:
    if not settings.secret_keys:
        yield Check(Verdict.UNKNOWN, "base URL", Trouble("doctor.way_out_not_asked", url=settings.base_url))
    elif cause := probe_optout(settings):
        yield _fail("base URL", Trouble("doctor.way_out_dead", cause=cause))
    else:
        yield _ok("base URL", Trouble("doctor.way_out_answers", url=settings.base_url))


def _sink(settings: Settings) -> Iterator[Check]:
    """Mail that goes to the embedded sink reaches nobody, and its inbox is for this machine alone."""
    if settings.uses_sink and not settings.shows_sink:
        seen = {"relay": relay_of(settings).key, "base_url": settings.base_url, "web_host": settings.web_host}
        yield _fail("sink", Trouble("doctor.sink_in_public", **seen))


def _disk(settings: Settings, url: str) -> Iterator[Check]:
    places = {"state": settings.state_dir}
    if file := _file(url):
        places["database"] = file.parent
        if not file.parent.exists():
            yield _fail("disk", Trouble("doctor.disk_missing", folder=file.parent, name="database"))
            del places["database"]
    for name, folder in places.items():
        yield judge_room(name, folder, DISK_FAIL_OCTETS, DISK_WARN_OCTETS)


def _file(url: str) -> Path | None:
    """The file of an SQLite database."""
    return Path(url.removeprefix("sqlite:///")).expanduser().absolute() if url.startswith("sqlite") else None


def judge_room(name: str, folder: Path, fail_octets: int, warn_octets: int) -> Check:
    """Whether we may write where a folder is or will be, and whether there is room enough."""
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    if not standing.is_dir():
        return _fail("disk", Trouble("doctor.disk_no_folder", folder=folder, name=name, standing=standing))
    if not os.access(standing, os.W_OK | os.X_OK):
        return _fail("disk", Trouble("doctor.disk_closed", folder=folder, name=name, standing=standing))
    try:
        usage = shutil.disk_usage(standing)
    except OSError as error:
        evidence = Trouble("doctor.disk_unknown", folder=folder, name=name, cause=error.strerror)
        return Check(Verdict.UNKNOWN, "disk", evidence)
    if usage.total == 0:  # /proc, /sys and their like
        return _fail("disk", Trouble("doctor.disk_none", folder=folder, name=name, standing=standing))
    free = usage.free
    seen = {"octets": free, "folder": folder, "name": name}
    if free < fail_octets:
        return _fail("disk", Trouble("doctor.disk_full", **seen))
    if free < warn_octets:
        return _warn("disk", Trouble("doctor.disk_nearly_full", **seen))
    return _ok("disk", Trouble("doctor.disk_free", **seen))


def _ledger(settings: Settings, database: Database) -> list[Check]:
    """What only a database that answers can tell."""
    try:
        with database.read() as conn:
            now = database.now(conn)
            off_s = abs((clock.utcnow() - now).total_seconds())
            known = publications.list_publications(conn)
            alive = len(living(workers.list_workers(conn), now))
            sending = len(issues.list_issues(conn, [IssueState.SENDING]))
        lock = find_lock(database, settings.state_dir)
    finally:
        database.close()
    checks = [judge_clock(off_s), _workers(alive, sending), *_dkim(settings, known), *_return_paths(settings, known)]
    return checks if lock is None else [_fail("lock", lock), *checks]


def judge_clock(off_s: float) -> Check:
    """What it means that process and database differ by so many seconds."""
    if off_s > CLOCK_FAIL_S:
        return _fail("clock", Trouble("doctor.clock_wrong", seconds=off_s))
    if off_s > CLOCK_WARN_S:
        return _warn("clock", Trouble("doctor.clock_off", seconds=off_s))
    return _ok("clock", Trouble("doctor.clock_right", seconds=off_s))


def _workers(alive: int, sending: int) -> Check:
    if alive:
        return _ok("workers", Trouble("doctor.workers", workers=alive))
    if sending:
        return _fail("workers", Trouble("doctor.nobody_sends", issues=sending))
    return _warn("workers", Trouble("doctor.no_workers"))


def _dkim(settings: Settings, known: list[Publication]) -> Iterator[Check]:
    for domain in sorted({domain_of(publication.from_address) for publication in known}):
        try:
            paths = key_files(settings.dkim_dir, domain)
            if not paths:
                yield _unsigned(settings, domain)
                continue
            show_public(paths[0])
        except (OSError, DkimError) as error:
            cause = error.strerror if isinstance(error, OSError) else getattr(error, "trouble", str(error))
            yield _fail("DKIM", Trouble("doctor.dkim_unusable", domain=domain, cause=cause))
            continue
        yield _key_modes(domain, paths)


def _unsigned(settings: Settings, domain: str) -> Check:
    if settings.is_loopback_relay:
        return _ok("DKIM", Trouble("doctor.unsigned_here", domain=domain))
    return _warn("DKIM", Trouble("doctor.unsigned", domain=domain))


def _key_modes(domain: str, files: list[Path]) -> Check:
    loose = [str(path) for path in files if path.stat().st_mode & 0o077]
    if loose:
        return _fail("DKIM", Trouble("doctor.dkim_readable", domain=domain, files=loose))
    return _ok("DKIM", Trouble("doctor.dkim_signs", domain=domain, selector=files[0].stem))


def _return_paths(settings: Settings, known: list[Publication]) -> Iterator[Check]:
    if settings.is_loopback_relay:
        return
    for publication in known:
        if publication.bounce_address is None:
            yield _fail("bounces", Trouble("doctor.no_bounce_address", slug=publication.slug))
