"""`corranto intake`: what came back settles the copies in doubt that it is about."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.context import open_ledger
from worker.cli.output import Json, hint, tell, tell_json
from worker.consent.source import STDIN
from worker.errors import UsageError
from worker.feedback.doubts import Finding, Weighed, weigh
from worker.feedback.report import LARGEST_REPORT
from worker.tokens import Keyring


def intake(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="A returned mail; - for standard input.")],
    json: Json = False,
) -> None:
    """Read returned mails: a report about a copy in doubt ends that doubt. Nothing else is changed.

    A delivery report or complaint is about the copy whose return path or Message-ID it holds; both are signed, so a
    forged one or one about other mail moves nothing.
    """
    ledger = open_ledger()
    keyring = Keyring(ledger.settings.keys)
    done = []
    for file in files:
        found = weigh(ledger.database, keyring, _read(file), ledger.actor)
        done.append((file, found))
        if not json:
            # At once: what was settled stays so, even when a later file cannot be read.
            tell(f"{'standard input' if str(file) == STDIN else file}: {_spell(found)}")
    if json:
        tell_json({"mails": [_as_dict(file, found) for file, found in done]})
    elif touched := next((found for _, found in done if found.finding is Finding.SETTLED), None):
        hint(f"corranto issue report {touched.issue}")


def _read(file: Path) -> bytes:
    """No more of it than is looked at, whatever the file is."""
    try:
        if str(file) == STDIN:
            return sys.stdin.buffer.read(LARGEST_REPORT)
        with file.open("rb") as opened:
            return opened.read(LARGEST_REPORT)
    except OSError as error:
        raise UsageError("intake.unreadable", file=str(file), why=error.strerror or "it cannot be read") from error


def _spell(found: Weighed) -> str:
    copy = f"copy {found.n:,} of {found.issue}"
    return {
        Finding.SETTLED: f"{copy} was in doubt and is {found.state} now: a report says {found.action}",
        Finding.NOT_IN_DOUBT: f"{copy} is not in doubt but {str(found.state).replace('_', ' ')}; nothing was changed",
        Finding.NO_REPORT: "no report that Corranto reads; nothing was changed",
        Finding.NOT_OURS: "a report, but about no copy of this installation; nothing was changed",
        Finding.SEVERAL: "a report that names several copies; nothing was changed",
    }[found.finding]


def _as_dict(file: Path, found: Weighed) -> dict[str, object]:
    return {
        "file": str(file),
        "finding": found.finding,
        "issue": found.issue,
        "n": found.n or None,
        "state": found.state,
        "action": found.action or None,
    }
