"""`corranto db`: make and check the ledger's tables."""

import typer

from worker.cli.context import open_settings
from worker.cli.output import Json, hint, tell, tell_json
from worker.storage import migrations
from worker.storage.engine import open_database
from worker.storage.migrations.upgrade import upgrade

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The ledger's database.")


@app.command("upgrade")
def upgrade_schema() -> None:
    """Bring the database to this version's schema; makes a new one if there is none. Safe to repeat."""
    url = open_settings().database_url.get_secret_value()
    before, _ = upgrade(url)
    place = open_database(url).place
    if before == migrations.HEAD:
        tell(f"{place} already has schema {migrations.HEAD}; nothing to do")
        return
    tell(f"{place} now has schema {migrations.HEAD} (before: {before or 'none'})")
    if before is None:
        hint("corranto publication create --help")


@app.command()
def check(json: Json = False) -> None:
    """Say whether the database answers and has exactly this version's schema (exit 0), or what to do (exit 5)."""
    database = open_database(open_settings().database_url.get_secret_value())
    database.check()
    if json:
        tell_json({"database": database.place, "version": migrations.HEAD, "ok": True})
    else:
        tell(f"{database.place} answers and has schema {migrations.HEAD}, as this version needs")
