"""`corranto lint | preview | proof`: look at an issue before anybody else does."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.calling import called
from worker.cli.context import open_ledger
from worker.cli.output import Json, end, hint, say, tell, tell_json, tell_lines, warn
from worker.compose.findings import Finding, Level
from worker.editorial.drafts import Draft, check_draft
from worker.editorial.preview import preview_issue
from worker.editorial.proof import read_recipients, send_proof
from worker.errors import CorrantoError, LintError, Trouble, UsageError
from worker.quantities import count
from worker.screen.layout import Line, paragraph
from worker.screen.sentences import word
from worker.screen.terminal import clean
from worker.transport.replies import Permanence

File = Annotated[Path, typer.Argument(metavar="FILE", help="The issue: Markdown with front matter.")]

_STYLES = {Level.ERROR: "red", Level.WARN: "yellow", Level.NOTE: "dim"}


def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Issue files.")], json: Json = False
) -> None:
    """Check issue files: what blocks queueing (E), what deserves a look (W), what is good to know (I).

    Exit 3 when a file has to be mended before it can be queued, 2 when a file is not there.
    """
    ledger = open_ledger()
    code = 0
    shown: list[dict[str, Any]] = []
    for path in files:
        try:
            draft = check_draft(ledger.database, ledger.settings, path)
        except CorrantoError as error:
            if len(files) == 1 and not json:
                raise
            code = error.exit_code if code in (0, LintError.exit_code) else code
            shown.append({"file": str(path), "error": word(error), "findings": []})
            if not json:
                say(f"corranto: {word(error)}")
            continue
        if draft.errors and code == 0:
            code = LintError.exit_code
        shown.append({"file": str(path), "findings": [plain_finding(finding) for finding in draft.findings]})
        if not json:
            _show(path, draft)
    if json:
        tell_json({"files": shown, "ok": code == 0})
    elif commands := [*_explain(shown), *([f"corranto preview {shlex.quote(str(files[0]))}"] if code == 0 else [])]:
        hint(*commands)
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
        raise UsageError("option.exclusive", options=["--html", "--text", "--eml"])
    ledger = open_ledger()
    draft = check_draft(ledger.database, ledger.settings, file)
    seen = preview_issue(ledger.database, ledger.settings, draft, address)
    if eml:
        _write(seen.mail(ledger.database, ledger.settings, address), out or Path("-"))
    elif text:
        _write(seen.text().encode(), out or Path("-"))
    else:
        target = out or Path(f"{draft.text.slug}.preview.html")
        _write(seen.html().encode(), target)
        if str(target) != "-":
            say(f"wrote {target}: open it in a browser; it needs no network")
    _warn_of_errors(draft, file)


def proof(
    file: File,
    to: Annotated[str, typer.Option("--to", metavar="A,B", help="One to five addresses, separated by commas.")],
) -> None:
    """Mail the issue to yourself, marked [PROOF]. Its links work, say what they are and change nothing."""
    addresses = read_recipients(to)
    ledger = open_ledger()
    draft = check_draft(ledger.database, ledger.settings, file)
    sent = send_proof(ledger.database, ledger.settings, draft, addresses)
    for address, outcome in sent.outcomes:
        if outcome.permanence is Permanence.ACCEPTED:
            tell(f"sent a proof to {address}")
        else:
            warn(f"{address}: {outcome.code or ''} {outcome.text}".replace("  ", " "))
    _warn_of_errors(draft, file)
    hint(f"corranto {'lint' if draft.errors else 'queue'} {shlex.quote(str(file))}")
    end(int(not sent.all_accepted))


def show_findings(findings: Sequence[Finding]) -> list[Line]:
    """Findings as lines: code and place, why, fix."""
    lines = []
    for finding in findings:
        place = f"line {finding.line}" if finding.line else ""
        first = f"  {finding}  {place:<9} "
        style = _STYLES[finding.level]
        lines += paragraph(_said(finding.why), first=first, rest=" " * len(first), style=style)
        lines += paragraph(_said(finding.fix), first=" " * len(first) + "fix: ", rest=" " * (len(first) + 5))
    return lines


def _explain(shown: Sequence[dict[str, Any]]) -> list[str]:
    """What explains the worst finding of several files."""
    codes = [finding["id"] for file in shown for finding in file["findings"] if finding["level"] is not Level.NOTE]
    return [f"corranto explain {sorted(codes)[0]}"] if codes else []


def _show(path: Path, draft: Draft) -> None:
    text = draft.text
    parts = [str(text.kind), text.language or draft.publication.language]
    if text.cards:
        parts.append(count(len(text.cards), "card"))
    tell(f"{path}  {' · '.join(parts)}", style="bold")
    tell_lines(show_findings(draft.findings))
    errors, warnings, notes = (draft.count(level) for level in Level)
    verdict = "" if not errors else f": {'it blocks' if errors == 1 else 'they block'} queueing"
    tell(f"{count(errors, 'error')}, {count(warnings, 'warning')}, {count(notes, 'note')}{verdict}")


def _warn_of_errors(draft: Draft, file: Path) -> None:
    if draft.errors:
        warn(f"{count(draft.errors, 'error')} would block queueing: {called()} lint {shlex.quote(str(file))}")


def plain_finding(finding: Finding) -> dict[str, object]:
    """A finding as --json shows it."""
    return {**asdict(finding), "id": str(finding), "why": _said(finding.why), "fix": _said(finding.fix)}


def _said(text: str | Trouble) -> str:
    return text if isinstance(text, str) else word(text)


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
        raise UsageError("file.unwritable", path=target, why=error.strerror) from None
