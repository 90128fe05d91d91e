"""`corranto subscriber export`: what is kept about one reader, or the readers of one publication."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.context import open_ledger
from worker.cli.output import say
from worker.consent.imports import neutral_cell
from worker.domain.subscription import SubscriptionState
from worker.errors import UsageError
from worker.storage import publications
from worker.storage.ledger import audiences
from worker.storage.people import subscribers, timelines

_PAGE = 1000


def export(
    address: Annotated[str | None, typer.Argument(metavar="[ADDRESS]", help="One reader, as JSON.")] = None,
    publication: Annotated[str | None, typer.Option("--publication", "-p", help="All of its readers, as CSV.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
) -> None:
    """Everything kept about one reader as JSON (for a request of access), or a publication's readers as CSV."""
    if (address is None) == (publication is None):
        raise UsageError("say what to export: an ADDRESS, or -p PUBLICATION")
    texts = _export_one(address) if address is not None else _export_csv(publication or "")
    if out is None:
        for text in texts:
            sys.stdout.write(text)
        return
    try:
        # Personal data: nobody but its owner may read the file, and no file is overwritten unasked.
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.writelines(texts)
    except FileExistsError:
        raise UsageError(f"{out} exists already: name another file") from None
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}): name a file in a folder of yours") from None
    say(f"wrote {out}")


def _export_one(address: str) -> Iterator[str]:
    ledger = open_ledger()
    with ledger.database.read() as conn:
        found = subscribers.find_by_address(conn, ledger.database.instance(), address)
        data = timelines.export_subscriber(conn, found.id)
    yield json.dumps(data, indent=2) + "\n"


def _export_csv(publication: str) -> Iterator[str]:
    """Whoever gets the publication now, in the form `subscriber import` reads. Page by page, in bounded memory."""
    ledger = open_ledger()
    with ledger.database.read() as conn:
        wanted = publications.get_publication(conn, publication)
        names = sorted(audiences.attribute_names(conn, wanted.id))
    yield _csv_line(["email", "name", "language", *names])
    after = 0
    while True:
        with ledger.database.read() as conn:
            page = subscribers.list_subscribers(
                conn, publication_id=wanted.id, state=SubscriptionState.CONFIRMED, after_id=after, limit=_PAGE
            )
        for one in (listed.subscriber for listed in page):
            values = [one.address or "", one.name, one.language or ""]
            yield _csv_line([*values, *(str(one.attributes.get(name, "")) for name in names)])
        if len(page) < _PAGE:
            return
        after = page[-1].subscriber.id


def _csv_line(cells: list[str]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow([neutral_cell(cell) for cell in cells])
    return line.getvalue()
