"""`corranto new`: an issue file to write over."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from worker import clock
from worker.cli.context import open_ledger
from worker.cli.output import hint, say, tell
from worker.domain.issue import IssueKind
from worker.editorial.starters import STANDARD_OUTPUT, start_issue
from worker.errors import RefusedError, Remedy, UsageError


def new(
    kind: Annotated[IssueKind, typer.Argument(metavar="KIND", help="newsletter or statement.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make, such as first.md; - prints it.")],
    publication: Annotated[
        str | None, typer.Option("-p", "--publication", metavar="SLUG", help="Whose issue. Default: the only one.")
    ] = None,
) -> None:
    """Write an issue file with notes in it: it can be sent as it stands, and every line is there to be changed."""
    ledger = open_ledger()
    text = start_issue(ledger.database, kind, file, publication, clock.utcnow())
    if file == STANDARD_OUTPUT:
        tell(text.rstrip("\n"))
        return
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "w", encoding="utf-8") as made:
            made.write(text)
    except FileExistsError:
        raise RefusedError("starter.exists", remedy=Remedy.CHANGE, path=file) from None
    except OSError as error:
        raise UsageError("file.unwritable", path=file, why=error.strerror) from None
    say(f"wrote {file}: open it in an editor and write over what is there")
    typed = shlex.quote(str(file))
    hint(f"corranto lint {typed}", f"corranto preview {typed}")
