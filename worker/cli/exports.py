"""`corranto subscriber export`: what is kept about one reader, or the readers of one publication."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.context import open_ledger
from worker.cli.output import say
from worker.consent.exports import export_publication, export_reader
from worker.consent.rejects import open_private
from worker.errors import UsageError


def export(
    address: Annotated[str | None, typer.Argument(metavar="[ADDRESS]", help="One reader, as JSON.")] = None,
    publication: Annotated[
        str | None, typer.Option("-p", "--publication", metavar="SLUG", help="All of its readers, as CSV.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
) -> None:
    """Everything kept about one reader as JSON (for a request of access), or a publication's readers as CSV."""
    if (address is None) == (publication is None):
        raise UsageError("export.one_of_two")
    texts = _texts(address, publication or "")
    if out is None:
        for text in texts:
            sys.stdout.write(text)
        return
    try:
        # Personal data: nobody but its owner may read the file, and no file is overwritten unasked.
        with open_private(out, os.O_EXCL) as file:
            file.writelines(texts)
    except FileExistsError:
        raise UsageError("export.exists", path=str(out)) from None
    except OSError as error:
        raise UsageError("export.unwritable", path=str(out), why=error.strerror) from None
    say(f"wrote {out}")


def _texts(address: str | None, publication: str) -> Iterable[str]:
    database = open_ledger().database
    if address is None:
        return export_publication(database, publication)
    return [json.dumps(export_reader(database, address), indent=2) + "\n"]
