"""`corranto lint | preview | proof`: look at an issue before anybody else does."""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from worker import clock
from worker.cli.context import Ledger, open_ledger
from worker.cli.output import Json, end, hint, say, tell, tell_json, tell_lines, warn
from worker.compose.findings import Finding
from worker.compose.issue_file import check_issue, load_issue_file, take_in_media
from worker.compose.media import MediaItem
from worker.dispatch.queue import find_publication
from worker.domain.issue import IssueState, IssueText
from worker.domain.publication import Publication
from worker.editorial.preview import preview_html
from worker.editorial.proof import compile_for_proof, proof_builder, read_recipients, send_proof, unsubscribe_url
from worker.errors import CorrantoError, Trouble, UsageError
from worker.message.key_store import load_signer
from worker.message.personalize import Personalizer
from worker.quantities import count
from worker.screen.layout import Line, paragraph
from worker.screen.sentences import word
from worker.screen.terminal import clean
from worker.storage.ledger import audiences, issues
from worker.storage.people import subscribers
from worker.transport.replies import Permanence

File = Annotated[Path, typer.Argument(metavar="FILE", help="The issue: Markdown with front matter.")]

_STYLES = {"E": "red", "W": "yellow", "I": "dim"}
_LINT_FAILED = 3


@dataclass(frozen=True)
class Checked:
    """An issue file, read and linted."""

    text: IssueText
    publication: Publication
    findings: list[Finding]
    media: Mapping[str, MediaItem]

    @property
    def errors(self) -> int:
        return sum(finding.level == "E" for finding in self.findings)


def check_file(ledger: Ledger, path: Path) -> Checked:
    """Read and lint a file as queueing would. Raises UsageError, NotFoundError."""
    text, _ = load_issue_file(path)
    settings = ledger.settings
    with ledger.database.read() as conn:
        publication = find_publication(conn, text)
        queued = [one for one in issues.list_issues(conn) if one.publication_id == publication.id]
        attributes = audiences.attribute_names(conn, publication.id)
    sent = [one for one in queued if one.state is not IssueState.DRAFT]
    media = take_in_media(text)
    findings = check_issue(
        text,
        publication,
        base_url=settings.base_url,
        loopback_relay=settings.is_loopback_relay,
        signs=load_signer(settings.dkim_dir, publication.from_address) is not None,
        sent_slugs=frozenset(one.slug for one in sent),
        attributes=attributes,
        last_subject=sent[0].subject if sent else "",
        taken_in=media,
    )
    return Checked(text, publication, findings, media[0])


def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Issue files.")], json: Json = False
) -> None:
    """Check issue files: what blocks queueing (E), what deserves a look (W), what is good to know (I).

    Exit 3 when a file has to be mended before it can be queued, 2 when a file is not there.
    """
    ledger = open_ledger()
    code = 0
    shown: list[dict[str, object]] = []
    for path in files:
        try:
            checked = check_file(ledger, path)
        except CorrantoError as error:
            if len(files) == 1 and not json:
                raise
            code = error.exit_code if code in (0, _LINT_FAILED) else code
            shown.append({"file": str(path), "error": word(error), "findings": []})
            if not json:
                say(f"corranto: {word(error)}")
            continue
        if checked.errors and code == 0:
            code = _LINT_FAILED
        shown.append({"file": str(path), "findings": [_plain(finding) for finding in checked.findings]})
        if not json:
            _show(path, checked)
    if json:
        tell_json({"files": shown, "ok": code == 0})
    elif code == 0:
        hint(f"corranto preview {files[0]}")
    end(code)


def preview(
    file: File,
    out: Annotated[Path | None, typer.Argument(metavar="[OUT]", help="File to write; - is standard output.")] = None,
    address: Annotated[str | None, typer.Option("--as", metavar="ADDRESS", help="As this reader would get it.")] = None,
    html: Annotated[
        bool, typer.Option("--html", help="One page: phone, desktop, dark, text. This is the default.")
    ] = False,
    text: Annotated[bool, typer.Option("--text", help="The text part.")] = False,
    eml: Annotated[bool, typer.Option("--eml", help="The mail itself, for a mail program.")] = False,
) -> None:
    """Show an issue as readers will see it. Nothing is sent, and its links change nothing."""
    if html + text + eml > 1:
        raise UsageError("choose one of --html, --text and --eml")
    ledger = open_ledger()
    checked = check_file(ledger, file)
    values, reader = _values(ledger, address)
    values["unsubscribe_url"] = unsubscribe_url(ledger.settings)
    compiled = compile_for_proof(ledger.settings, checked.text, checked.publication, checked.media)
    if eml:
        builder = proof_builder(ledger.database, ledger.settings, compiled)
        mail = builder.build_proof(address or checked.publication.from_address, clock.utcnow(), values)
        _write(mail.message, out or Path("-"))
    elif text:
        _write(Personalizer(compiled).show(values).text.encode(), out or Path("-"))
    else:
        page = preview_html(compiled, checked.media.values(), values, reader=reader)
        target = out or Path(f"{checked.text.slug}.preview.html")
        _write(page.encode(), target)
        if str(target) != "-":
            say(f"wrote {target}: open it in a browser; it needs no network")
    if checked.errors:
        warn(f"{count(checked.errors, 'error')} would block queueing: corranto lint {file}")


def proof(
    file: File,
    to: Annotated[str, typer.Option("--to", metavar="A,B", help="One to five addresses, separated by commas.")],
) -> None:
    """Mail the issue to yourself, marked [PROOF]. Its links work, say what they are and change nothing."""
    addresses = read_recipients(to)
    ledger = open_ledger()
    checked = check_file(ledger, file)
    sent = send_proof(ledger.database, ledger.settings, checked.text, checked.publication, checked.media, addresses)
    for address, outcome in sent.outcomes:
        if outcome.permanence is Permanence.ACCEPTED:
            tell(f"sent a proof to {address}")
        else:
            warn(f"{address}: {outcome.code or ''} {outcome.text}".replace("  ", " "))
    if checked.errors:
        warn(f"{count(checked.errors, 'error')} would block queueing: corranto lint {file}")
    hint(f"corranto queue {file}")
    end(int(any(outcome.permanence is not Permanence.ACCEPTED for _, outcome in sent.outcomes)))


def show_findings(findings: list[Finding]) -> list[Line]:
    """Findings as lines: code and place, why, fix."""
    lines = []
    for finding in findings:
        place = f"line {finding.line}" if finding.line else ""
        first = f"  {finding}  {place:<9} "
        style = _STYLES[finding.level]
        lines += paragraph(_said(finding.why), first=first, rest=" " * len(first), style=style)
        lines += paragraph(_said(finding.fix), first=" " * len(first) + "fix: ", rest=" " * (len(first) + 5))
    return lines


def _show(path: Path, checked: Checked) -> None:
    text = checked.text
    parts = [str(text.kind), text.language or checked.publication.language]
    if text.cards:
        parts.append(count(len(text.cards), "card"))
    tell(f"{path}  {' · '.join(parts)}", style="bold")
    tell_lines(show_findings(checked.findings))
    numbers = {level: sum(finding.level == level for finding in checked.findings) for level in "EWI"}
    verdict = "" if not numbers["E"] else f": {'it blocks' if numbers['E'] == 1 else 'they block'} queueing"
    tell(f"{count(numbers['E'], 'error')}, {count(numbers['W'], 'warning')}, {count(numbers['I'], 'note')}{verdict}")


def _plain(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "id": str(finding), "why": _said(finding.why), "fix": _said(finding.fix)}


def _said(text: str | Trouble) -> str:
    return text if isinstance(text, str) else word(text)


def _values(ledger: Ledger, address: str | None) -> tuple[dict[str, str], str]:
    """A reader's values, and how to call the reader."""
    if address is None:
        return {}, "a reader of whom nothing is known"
    with ledger.database.read() as conn:
        found = subscribers.find_by_address(conn, ledger.database.instance(), address)
    attributes = {name: str(value) for name, value in found.attributes.items()}
    return {**attributes, "name": found.name, "language": found.language or ""}, found.address or ""


def _write(octets: bytes, target: Path) -> None:
    if str(target) == "-":
        # To a terminal a mail's control characters must not pass; to a file or pipe go the very bytes.
        if sys.stdout.isatty():
            tell(clean(octets.decode("utf-8", "replace").replace("\r\n", "\n"), keep_lines=True))
        else:
            sys.stdout.buffer.write(octets)
            sys.stdout.buffer.flush()
        return
    try:
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(octets)
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}): name a file in a folder of yours") from None
