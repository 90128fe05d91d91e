"""`corranto issue deliveries`: the people behind every number."""

import csv
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import datetime
from typing import Annotated

import typer

from worker.cli.context import Ledger, open_ledger
from worker.cli.output import Json, say, tell_json, tell_table
from worker.consent.imports import neutral_cell
from worker.domain.delivery import Totals
from worker.errors import UsageError
from worker.screen.report import REASON_WORDS
from worker.screen.terminal import clean
from worker.storage.ledger import deliveries as rows
from worker.storage.ledger import issues
from worker.storage.ledger.deliveries import DeliveryRow

Latest = Annotated[str, typer.Argument(metavar="[ISSUE]", help="Slug, id or latest.")]

_PAGE = 5_000


def deliveries(
    issue: Latest = "latest",
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only copies in this state.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="All of them as CSV.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000_000, help="At most so many on the screen.")] = 100,
    json: Json = False,
) -> None:
    """List the people behind a number: each recipient's copy with its state, reason and the relay's words."""
    ledger = open_ledger()
    wanted = None if state is None else read_state(state)
    with ledger.database.read() as conn:
        found = issues.get(conn, issue)
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([field.name for field in fields(DeliveryRow)])
        for row in _all_rows(ledger, found.id, wanted, None):
            writer.writerow(_cells(row))
        return
    shown = list(_all_rows(ledger, found.id, wanted, limit + 1))
    more, shown = len(shown) > limit, shown[:limit]
    if json:
        tell_json({"issue": found.slug, "deliveries": [asdict(row) for row in shown], "more": more})
        return
    if not shown:
        say("There is nobody." if wanted is None else f"There is nobody in the state {wanted}.")
        return
    lines = [[row.n, row.address, row.state.replace("_", " "), _why(row), row.tries] for row in shown]
    tell_table(["N", "ADDRESS", "STATE", "WHY", "TRIES"], lines, right=[0, 4])
    if more:
        say(f"More than {limit:,}: --limit shows more, --csv gives all.")


def read_state(typed: str) -> str:
    """A shown state as typed, with blanks or hyphens for the underscore. Raises UsageError naming all."""
    known = Totals().parts
    wanted = typed.strip().lower().replace("-", "_").replace(" ", "_")
    if wanted not in known:
        raise UsageError(f"there is no state {typed}; there are {', '.join(known)}")
    return wanted


def _all_rows(ledger: Ledger, issue_id: int, state: str | None, limit: int | None) -> Iterator[DeliveryRow]:
    """Page by page, each in a transaction of its own: a long list must not hold up those who send."""
    after, left = 0, limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(_PAGE, left)
        with ledger.database.read() as conn:
            page = rows.list_by_state(conn, issue_id, state, after_n=after, limit=size)
        yield from page
        if len(page) < size:
            return
        after, left = page[-1].n, None if left is None else left - len(page)


def _cells(row: DeliveryRow) -> list[str]:
    return [_cell(value) for value in asdict(row).values()]


def _cell(value: object) -> str:
    """Times as in --json."""
    if value is None:
        return ""
    return neutral_cell(clean(value.isoformat() if isinstance(value, datetime) else value))


def _why(row: DeliveryRow) -> str:
    words = [REASON_WORDS.get(row.reason, row.reason)] if row.reason else []
    words += [str(part) for part in (row.code, row.enhanced) if part]
    if row.next_try is not None:
        words.append(f"next try {row.next_try:%H:%M} UTC")
    said = row.reply_text.strip()
    if row.enhanced:
        # Most relays begin their words with the code that stands before them already.
        said = re.sub(rf"^{re.escape(row.enhanced)}(?:\s+|$)", "", said)
    return " ".join([*words, said]).strip()
