"""An issue file read, checked and compiled, once: what lint, preview, proof and queue all begin with. Stores nothing.

The link to an issue's page holds a signed token that is known only later: the issue's, or a proof's. The text is
therefore compiled with a stand-in of the same length, which nobody sees: `Draft.compile_with` puts the token there.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from worker.compose.compile import compile_issue
from worker.compose.findings import Finding, Level
from worker.compose.issue_file import check_issue, load_layouts, read_issue_file, take_in_media
from worker.compose.media import MediaItem
from worker.domain.compiled import CompiledIssue
from worker.domain.issue import IssueState, IssueText
from worker.domain.publication import Publication
from worker.errors import IssueFileError, NotFoundError, UsageError
from worker.message.key_store import load_signer
from worker.settings import Settings
from worker.storage import publications
from worker.storage.engine import Database
from worker.storage.ledger import audiences, issues
from worker.storage.media import MediaRow
from worker.tokens import TOKEN_CHARS


@dataclass(frozen=True)
class Draft:
    """An issue file as it would be sent. `media` maps each `src` of the text to its re-encoded form."""

    text: IssueText
    publication: Publication
    findings: list[Finding]
    media: Mapping[str, MediaItem]
    compiled: CompiledIssue | UsageError
    """With `stand_in` for the token of its view link; or why the text cannot be compiled."""
    stand_in: str
    signs: bool
    """A DKIM key of the author's domain signs it."""

    @property
    def errors(self) -> int:
        """How many findings block queueing."""
        return self.count(Level.ERROR)

    def count(self, level: Level) -> int:
        """How many findings have this level: E, W or I."""
        return sum(finding.level == level for finding in self.findings)

    def compile_with(self, view_token: str, boundary: str) -> CompiledIssue:
        """The compiled issue with its view link's token and its own boundary. Raises UsageError naming the line."""
        return replace(self._compiled().with_view_token(self.stand_in, view_token), boundary=boundary)

    @property
    def fingerprint(self) -> str:
        """64 hex digits: the same for the same text, whenever it is compiled. Raises UsageError naming the line."""
        return self.compile_with("0" * TOKEN_CHARS, "").fingerprint

    def hosted_rows(self) -> list[MediaRow]:
        """The files that the mail and the pages of its figures point to."""
        used, rows = self._compiled().media, {}
        for src, item in self.media.items():
            sha256, _, ext = item.name.rpartition(".")
            if item.name in used:
                title = Path(src.removeprefix("large:")).name
                rows[sha256] = MediaRow(
                    sha256, ext, item.content_type, item.width or None, item.height or None, title, item.data
                )
        return list(rows.values())

    def _compiled(self) -> CompiledIssue:
        if isinstance(self.compiled, UsageError):
            raise self.compiled
        return self.compiled


def check_draft(database: Database, settings: Settings, path: Path) -> Draft:
    """Read, lint and compile a file. Raises NotFoundError, UsageError, IssueFileError; findings are no error."""
    text = read_issue_file(path)
    with database.read() as conn:
        publication, text = _find_publication(conn, text)
        is_named = publication.slug == text.publication
        others = [each for each in issues.list_issues(conn) if is_named and each.publication_id == publication.id]
        known = [publication] if is_named else publications.list_publications(conn)
        attributes = frozenset[str]().union(*(audiences.attribute_names(conn, each.id) for each in known))
    sent = [issue for issue in others if issue.state is not IssueState.DRAFT]
    media, problems = take_in_media(text)
    # Hexadecimal digits: no step of compiling breaks, escapes or capitalises them.
    stand_in = secrets.token_hex(TOKEN_CHARS // 2)
    compiled = _compile(text, publication, settings.base_url, media, stand_in)
    signs = load_signer(settings.dkim_dir, publication.from_address) is not None
    findings = check_issue(
        text,
        publication,
        base_url=settings.base_url,
        loopback_relay=settings.is_loopback_relay,
        signs=signs,
        sent_slugs=frozenset(issue.slug for issue in sent),
        attributes=attributes,
        last_subject=sent[0].subject if sent else "",
        taken_in=(media, problems),
        compiled=compiled if isinstance(compiled, CompiledIssue) else None,
    )
    return Draft(text, publication, findings, media, compiled, stand_in, signs)


def _find_publication(conn: Connection, text: IssueText) -> tuple[Publication, IssueText]:
    """The publication an issue file names, and the text.

    Where it names none that exists, another one, so that the rest is judged all the same, and the text with that fault.
    Raises IssueFileError with the line when there is no publication at all.
    """
    try:
        return publications.get_publication(conn, text.publication), text
    except NotFoundError as error:
        line, problem = text.lines.get("publication", 1), error.trouble
    known = publications.list_publications(conn)
    if not known:
        raise IssueFileError("issue_file.publication", path=text.path, line=line, cause=problem)
    # One of them is of the key, of a line that may have held it, or of the very line.
    told = (not text.publication and bool(text.faults)) or any(
        at == line and fault.code.startswith("yaml.") for at, fault in text.faults
    )
    faults = text.faults if told else (*text.faults, (line, problem))
    return known[0], replace(text, faults=tuple(sorted(faults, key=lambda fault: fault[0])))


def _compile(
    text: IssueText, publication: Publication, base_url: str, media: Mapping[str, MediaItem], stand_in: str
) -> CompiledIssue | UsageError:
    try:
        return compile_issue(
            text,
            publication,
            base_url=base_url,
            templates=load_layouts(),
            media=media,
            view_url=f"{base_url}/v/{stand_in}",
            boundary=stand_in,
        )
    except UsageError as error:
        return error  # lint says it as a finding; preview and proof, which show the mail, fail with it
