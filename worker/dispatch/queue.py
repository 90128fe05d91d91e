"""Queue an issue: check, compile, freeze. From here on editing the file changes nothing.

Nothing is stored before everything was checked and compiled; then one short transaction holds the issue, its compiled
form, its media and the act. A crash before the commit leaves nothing, after it a held issue that undo takes back.
"""

import asyncio
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from worker.broker.build import SQL_URL, ping
from worker.dispatch.probe import is_wanted, probe_optout
from worker.dispatch.trial import refuse_unbuildable
from worker.domain.delivery import DoubtPolicy
from worker.domain.issue import AudienceKind, Issue, IssueState
from worker.editorial.drafts import Draft, check_draft
from worker.errors import LintError, RefusedError, Remedy, Trouble, UnreachableError
from worker.settings import Settings
from worker.storage import acts, media, proof_mails
from worker.storage.engine import Database, database_now
from worker.storage.ledger import audiences, issues
from worker.storage.proof_mails import ProofRound
from worker.tokens import Keyring, Purpose, Token
from worker.transport.relay import probe, relay_of


@dataclass(frozen=True)
class AudienceSummary:
    """Whom an issue would reach if it were planned now, and who would be left out: counts of subscriptions.

    People who join or leave before planning starts are counted then.
    """

    will_get: int
    unconfirmed: int
    suppressed: int
    paused: int
    opted_out: int


@dataclass(frozen=True)
class Prepared:
    """A checked issue file, with the audience it would have now. Nothing is stored yet."""

    draft: Draft
    audience: AudienceSummary
    audience_kind: AudienceKind
    audience_of: int | None
    proof: ProofRound | None
    """The last proof of this issue that was mailed, with its approvals."""

    @property
    def is_as_proofed(self) -> bool:
        """The last proof had this very text."""
        return self.proof is not None and self.proof.fingerprint == self.draft.fingerprint


@dataclass(frozen=True)
class Queued:
    """A queued issue, and what will make it wait."""

    issue: Issue
    warnings: list[Trouble]


def prepare(
    database: Database,
    settings: Settings,
    path: Path,
    *,
    audience: AudienceKind = AudienceKind.ALL,
    audience_of: str | None = None,
) -> Prepared:
    """Read and check a file, and count its audience: a second or so per million subscriptions.

    Raises UsageError, NotFoundError, and RefusedError for a slug already queued.
    """
    draft = check_draft(database, settings, path)
    with database.read() as conn:
        of = None if audience_of is None else issues.get(conn, audience_of).id
        earlier = issues.find(conn, draft.text.slug)
    if earlier is not None and earlier.state is not IssueState.DRAFT:
        raise RefusedError(
            "issue.already_queued", slug=earlier.slug, queued_at=earlier.queued_at, state=str(earlier.state)
        )
    with database.read() as conn:
        summary = AudienceSummary(**audiences.count(conn, draft.publication.id, audience, of))
        proof = proof_mails.newest(conn, draft.publication.id, draft.text.slug)
    return Prepared(draft, summary, audience, of, proof)


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
    """Freeze a prepared issue: `holding`, or `scheduled` with `due_at` (aware). Raises LintError, RefusedError.

    Whatever takes long comes first, because SQLite has one writer and opt-outs wait behind it: what stands in the
    way is asked, files become rows. The transaction then makes the row, whose id goes into the compiled text's view
    link, and stores what was made before. What would make the issue wait is asked last: it does not keep it back.
    """
    refuse_unready(settings, prepared, due_at)
    keyring, draft = Keyring(settings.keys), prepared.draft
    hosted = draft.hosted_rows()
    with database.write() as conn:
        other = issues.find(conn, draft.text.slug)
        if other is not None and other.state is not IssueState.DRAFT:
            raise RefusedError("issue.queued_meanwhile", remedy=Remedy.REPEAT, slug=other.slug)
        hold_until = None if due_at else database.now(conn) + timedelta(seconds=hold_s)
        issue_id = _insert(
            conn, prepared, due_at=due_at, hold_until=hold_until, zone=zone, hold_s=hold_s, doubt=doubt, queued_by=actor
        )
        compiled = draft.compile_with(
            keyring.sign(Token(Purpose.VIEW, issue=issue_id)), f"corranto-{issue_id}-{uuid.uuid4().hex[:12]}"
        )
        figures = [dict(figure) for figure in compiled.figures]
        issues.set_content(conn, issue_id, fingerprint=compiled.fingerprint, body=compiled.to_json(), figures=figures)
        for row in hosted:
            media.put(conn, row)
        acts.record(conn, actor, "issue.queue", f"issue {draft.text.slug}", {"audience": prepared.audience.will_get})
        issue = issues.get(conn, issue_id)
    return Queued(issue, _warnings(settings))


def refuse_unready(settings: Settings, prepared: Prepared, due_at: datetime | None) -> None:
    """Raises what stands in the way of queueing now: LintError, RefusedError, SettingsError without keys."""
    _ = settings.keys
    draft, summary = prepared.draft, prepared.audience
    if draft.errors:
        raise LintError("issue_file.errors", path=draft.text.path, errors=draft.errors)
    if summary.will_get == 0 and due_at is None:
        raise RefusedError(
            "issue.for_nobody",
            remedy=Remedy.CREATE,
            slug=draft.text.slug,
            publication=draft.publication.slug,
            unconfirmed=summary.unconfirmed,
            opted_out=summary.opted_out,
            suppressed=summary.suppressed,
        )
    if not settings.is_loopback_relay and draft.publication.bounce_address is None:
        raise RefusedError("publication.no_bounce_address", remedy=Remedy.CHANGE, slug=draft.publication.slug)
    refuse_unbuildable(settings, draft)
    if is_wanted(settings) and (cause := probe_optout(settings)) is not None:
        raise RefusedError("issue.no_way_out", remedy=Remedy.START, cause=cause)


def _insert(conn: Connection, prepared: Prepared, *, due_at: datetime | None, **terms: Any) -> int:  # noqa: ANN401
    """The issue's row, still without its content; `terms` are columns of it. Returns its id."""
    text = prepared.draft.text
    return issues.insert(
        conn,
        publication_id=prepared.draft.publication.id,
        slug=text.slug,
        kind=text.kind,
        subject=text.subject,
        state=IssueState.SCHEDULED if due_at else IssueState.HOLDING,
        fingerprint="",
        source=text.raw,
        queued_at=database_now(),
        due_at=due_at,
        audience_kind=prepared.audience_kind,
        audience_of=prepared.audience_of,
        audience=0,
        **terms,
    )


def _warnings(settings: Settings) -> list[Trouble]:
    """What is unreachable now and will make the issue wait; queueing succeeded all the same."""
    warnings = []
    url = settings.broker_url.get_secret_value()
    if url != SQL_URL:
        try:
            ping(url)
        except UnreachableError as error:
            warnings.append(Trouble("queue.waits_for_broker", cause=error.trouble))
    relay = relay_of(settings)
    report = asyncio.run(probe(replace(relay, timeouts=relay.timeouts.scaled(0.05))))
    if report.cause is not None:
        warnings.append(Trouble("queue.waits_for_relay", cause=report.cause))
    return warnings
