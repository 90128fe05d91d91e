"""`corranto import`: which files were imported, and taking one back."""

from typing import Annotated

import typer

from worker.cli.context import open_ledger
from worker.cli.output import Json, Yes, confirm, hint, say, tell, tell_json, tell_table
from worker.consent import imports
from worker.quantities import count
from worker.screen.instants import When

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Imports of readers, and taking one back."
)


@app.command("list")
def list_all(
    publication: Annotated[
        str | None, typer.Option("-p", "--publication", metavar="SLUG", help="Only this publication's.")
    ] = None,
    json: Json = False,
) -> None:
    """List the imports, newest first."""
    ledger = open_ledger()
    listed = imports.list_imports(ledger.database, publication)
    if json:
        tell_json({"imports": [one.as_dict() for one in listed]})
    elif not listed:
        say("Nothing was imported yet.")
        hint('corranto subscriber import FILE -p PUBLICATION --consent "where and when they asked"')
    else:
        rows = [
            [
                one.id,
                When(one.at, "UTC").spell_second(),
                one.publication,
                f"{one.counts.get('added', 0):,}",
                one.file_name,
                f"undone {one.undone_at:%Y-%m-%d}" if one.undone_at else one.consent,
            ]
            for one in listed
        ]
        tell_table(["ID", "WHEN", "PUBLICATION", "ADDED", "FILE", "CONSENT"], rows, right=[0, 3])


@app.command()
def undo(
    import_id: Annotated[int, typer.Argument(metavar="ID", help="Its number in import list.")], yes: Yes = False
) -> None:
    """End the subscriptions that an import added and that nobody touched since."""
    ledger = open_ledger()
    batch = imports.get_import(ledger.database, import_id)
    if batch.undone_at is None:
        added = count(int(batch.counts.get("added", 0)), "subscription")
        confirm(f"This ends up to {added} of {batch.publication} that {batch.file_name} added.", yes=yes)
    ended = imports.undo_import(ledger.database, import_id, actor=ledger.actor)
    tell(f"import {import_id} undone: {count(ended, 'subscription')} ended; whoever chose since keeps their choice")
