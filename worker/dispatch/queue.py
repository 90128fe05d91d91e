"""Queue an issue: check, compile, freeze. From here on editing the file changes nothing.

Nothing is stored before everything was checked; then one transaction holds the issue, its compiled form, its media
and the act. A crash before the commit leaves nothing, after it a held issue that undo takes back.
"""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from worker.broker.build import SQL_URL, ping
from worker.compose.compile import compile_issue
from worker.compose.findings import Finding
from worker.compose.issue_file import check_issue, load_issue_file, load_layouts, take_in_media
from worker.compose.media import MediaItem
from worker.dispatch.audience import AudienceSummary, summarise
from worker.dispatch.probe import is_wanted, probe_optout
from worker.domain.delivery import DoubtPolicy
from worker.domain.issue import AudienceKind, Issue, IssueState, IssueText
from worker.domain.publication import Publication
from worker.errors import IssueFileError, LintError, NotFoundError, RefusedError, UnreachableError
from worker.message.key_store import load_signer
from worker.settings import Settings
from worker.storage import acts, publications
from worker.storage import media as media_rows
from worker.storage.engine import Database, database_now
from worker.storage.ledger import audiences, issues
from worker.storage.media import MediaRow
from worker.tokens import Keyring, Purpose, Token
from worker.transport.relay import probe, relay_of


@dataclass(frozen=True)
class Prepared:
    """An issue file read and checked, with the audience it would have now. Nothing is stored yet."""

    text: IssueText
    publication: Publication
    findings: list[Finding]
    audience: AudienceSummary
    audience_kind: AudienceKind
    audience_of: int | None
    media: Mapping[str, MediaItem]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "E"]


@dataclass(frozen=True)
class Queued:
    """A queued issue, and what will make it wait."""

    issue: Issue
    warnings: list[str]


def prepare(
    database: Database,
    settings: Settings,
    path: Path,
    *,
    audience: AudienceKind = AudienceKind.ALL,
    audience_of: str | None = None,
) -> Prepared:
    """Read and check a file. Raises UsageError, NotFoundError, and RefusedError for a slug already queued."""
    text, _ = load_issue_file(path)
    with database.read() as conn:
        publication = find_publication(conn, text)
        earlier = issues.find(conn, text.slug)
        others = [issue for issue in issues.list_issues(conn) if issue.publication_id == publication.id]
        attributes = audiences.attribute_names(conn, publication.id)
        of = None if audience_of is None else issues.get(conn, audience_of).id
    if earlier is not None and earlier.state is not IssueState.DRAFT:
        raise RefusedError(
            f"{text.slug} was already queued on {earlier.queued_at:%Y-%m-%d %H:%M} UTC and is {earlier.state};"
            " for another mail give the file another name (its slug)"
        )
    sent = [issue for issue in others if issue.state is not IssueState.DRAFT]
    taken_in = take_in_media(text)
    findings = check_issue(
        text,
        publication,
        base_url=settings.base_url,
        loopback_relay=settings.is_loopback_relay,
        signs=load_signer(settings.dkim_dir, publication.from_address) is not None,
        sent_slugs=frozenset(issue.slug for issue in sent),
        attributes=attributes,
        last_subject=sent[0].subject if sent else "",
        taken_in=taken_in,
    )
    summary = summarise(database, publication.id, audience, of)
    return Prepared(text, publication, findings, summary, audience, of, taken_in[0])


def queue_issue(
    database: Database,
    settings: Settings,
    prepared: Prepared,
    *,
    due_at: datetime | None,
    zone: str,
    hold_s: int,
    doubt: DoubtPolicy,
    actor: str,
) -> Queued:
    """Freeze a prepared issue: `holding`, or `scheduled` with `due_at` (aware). Raises LintError, RefusedError."""
    refuse_unready(settings, prepared, due_at)
    keyring = Keyring(settings.keys)
    text = prepared.text
    with database.write() as conn:
        if (other := issues.find(conn, text.slug)) is not None and other.state is not IssueState.DRAFT:
            raise RefusedError(
                f"{text.slug} was queued by somebody else just now; see: corranto issue show {text.slug}"
            )
        now = database.now(conn)
        issue_id = issues.insert(
            conn,
            publication_id=prepared.publication.id,
            slug=text.slug,
            kind=text.kind,
            subject=text.subject,
            state=IssueState.SCHEDULED if due_at else IssueState.HOLDING,
            doubt=doubt,
            fingerprint="",
            source=text.raw,
            queued_at=database_now(),
            queued_by=actor,
            hold_s=hold_s,
            hold_until=None if due_at else now + timedelta(seconds=hold_s),
            due_at=due_at,
            zone=zone,
            audience_kind=prepared.audience_kind,
            audience_of=prepared.audience_of,
            audience=0,
        )
        compiled = compile_issue(
            text,
            prepared.publication,
            base_url=settings.base_url,
            templates=load_layouts(),
            media=prepared.media,
            view_url=f"{settings.base_url}/v/{keyring.sign(Token(Purpose.VIEW, issue=issue_id))}",
            boundary=f"corranto-{issue_id}-{uuid.uuid4().hex[:12]}",
        )
        figures = [dict(figure) for figure in compiled.figures]
        issues.set_content(conn, issue_id, fingerprint=compiled.fingerprint, body=compiled.to_json(), figures=figures)
        for row in _media_rows(prepared.media, compiled.media):
            media_rows.put(conn, row)
        acts.record(conn, actor, "issue.queue", f"issue {text.slug}", {"audience": prepared.audience.will_get})
        issue = issues.get(conn, issue_id)
    return Queued(issue, _warnings(settings))


def find_publication(conn: Connection, text: IssueText) -> Publication:
    """The publication an issue file names. Raises IssueFileError with the line."""
    try:
        return publications.get_publication(conn, text.publication)
    except NotFoundError as error:
        raise IssueFileError(f"{text.path} line {text.lines.get('publication', 1)}: {error}") from error


def refuse_unready(settings: Settings, prepared: Prepared, due_at: datetime | None) -> None:
    """Raises what stands in the way of queueing now: LintError, RefusedError, SettingsError without keys."""
    _ = settings.keys
    if prepared.errors:
        count = len(prepared.errors)
        raise LintError(
            f"{prepared.text.path} has {count} error{'s' if count > 1 else ''} that block queueing;"
            f" see them with: corranto lint {prepared.text.path}"
        )
    publication, summary = prepared.publication, prepared.audience
    if summary.will_get == 0 and due_at is None:
        raise RefusedError(
            f"nobody would get {prepared.text.slug}: {publication.slug} has {summary.unconfirmed} unconfirmed,"
            f" {summary.opted_out} opted out, {summary.suppressed} suppressed and no other reader;"
            f" add some with: corranto subscriber import FILE -p {publication.slug} --consent WHERE-AND-WHEN"
        )
    if not settings.is_loopback_relay and publication.bounce_address is None:
        raise RefusedError(
            f"{publication.slug} has no bounce address, so mail that comes back would be lost:"
            f" corranto publication edit {publication.slug} --bounce-address bounces@your-domain"
        )
    if is_wanted(settings) and (cause := probe_optout(settings)) is not None:
        raise RefusedError(f"no mail may leave while readers cannot: {cause}; start `corranto web`, check base_url")


def _media_rows(media: Mapping[str, MediaItem], used: tuple[str, ...]) -> list[MediaRow]:
    rows = {}
    for src, item in media.items():
        sha256, _, ext = item.name.rpartition(".")
        if item.name in used or src.startswith("large:"):
            title = Path(src.removeprefix("large:")).name
            rows[sha256] = MediaRow(
                sha256, ext, item.content_type, item.width or None, item.height or None, title, item.data
            )
    return list(rows.values())


def _warnings(settings: Settings) -> list[str]:
    """What is unreachable now and will make the issue wait; queueing succeeded all the same."""
    warnings = []
    url = settings.broker_url.get_secret_value()
    if url != SQL_URL:
        try:
            ping(url)
        except UnreachableError as error:
            warnings.append(f"{error}: the issue waits until the broker answers, nothing is lost")
    relay = relay_of(settings)
    report = asyncio.run(probe(replace(relay, timeouts=relay.timeouts.scaled(0.05))))
    if report.cause is not None:
        warnings.append(f"{report.cause}: the issue waits until the relay takes mail, nothing is lost")
    return warnings
