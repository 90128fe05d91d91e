"""`corranto issue deliveries`: the people behind every number."""

import csv
import sys
from typing import Annotated

import typer

from worker.cli.context import open_ledger
from worker.cli.output import Json, say, tell_json, tell_table
from worker.domain.delivery import Totals
from worker.errors import UsageError
from worker.operations.deliveries import COLUMNS, list_copies
from worker.operations.issues import show_issue
from worker.screen.deliveries import csv_cells, plain_values, spell_why
from worker.screen.report import ERASED

Latest = Annotated[str, typer.Argument(metavar="[ISSUE]", help="Slug, id or latest.")]


def deliveries(
    issue: Latest = "latest",
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only copies in this state.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="All of them as CSV.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000_000, help="At most so many on the screen.")] = 100,
    json: Json = False,
) -> None:
    """List the people behind a number: each recipient's copy with its state, reason and the relay's words."""
    if as_csv and json:
        raise UsageError("option.exclusive", options=["--csv", "--json"])
    database = open_ledger().database
    wanted = None if state is None else read_state(state)
    shown = show_issue(database, issue).issue
    if as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerow(COLUMNS)
        # A spreadsheet whose separator is another sign would cut an unquoted cell at it, and run the rest.
        writer = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerows([row.n, *csv_cells(row)[1:]] for row in list_copies(database, shown.id, wanted))
        return
    rows = list(list_copies(database, shown.id, wanted, limit + 1))
    more, rows = len(rows) > limit, rows[:limit]
    if json:
        tell_json({"issue": shown.slug, "deliveries": [plain_values(row) for row in rows], "more": more})
        return
    if not rows:
        say("There is nobody." if wanted is None else f"There is nobody in the state {wanted}.")
        return
    lines = [[row.n, row.address or ERASED, row.state.replace("_", " "), spell_why(row), row.tries] for row in rows]
    tell_table(["N", "ADDRESS", "STATE", "WHY", "TRIES"], lines, right=[0, 4])
    if more:
        say(f"More than {limit:,}: --limit shows more, --csv gives all.")


def read_state(typed: str) -> str:
    """A shown state as typed, with blanks or hyphens for the underscore. Raises UsageError naming all."""
    known = Totals().parts
    wanted = typed.strip().lower().replace("-", "_").replace(" ", "_")
    if wanted not in known:
        raise UsageError("delivery.unknown_state", typed=typed, known=list(known))
    return wanted
