"""`corranto db`: make and check the ledger's tables."""

import typer

from worker.cli.context import open_settings
from worker.cli.output import Json, hint, tell, tell_json
from worker.operations.schema import check_schema, upgrade_schema

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="The ledger's database.")


@app.command()
def upgrade() -> None:
    """Bring the database to this version's schema; makes a new one if there is none. Safe to repeat."""
    settings = open_settings()
    schema = upgrade_schema(settings.database_url.get_secret_value(), settings.secrets)
    if schema.made_folder is not None:
        tell(f"made the folder {schema.made_folder}")
    if schema.before == schema.version:
        tell(f"{schema.place} already has schema {schema.version}; nothing to do")
        return
    tell(f"{schema.place} now has schema {schema.version} (before: {schema.before or 'none'})")
    if schema.before is None:
        hint("corranto publication create --help")


@app.command()
def check(json: Json = False) -> None:
    """Say whether the database answers and has exactly this version's schema (exit 0), or what to do (exit 5)."""
    settings = open_settings()
    schema = check_schema(settings.database_url.get_secret_value(), settings.secrets)
    if json:
        tell_json(schema.as_dict())
    else:
        tell(f"{schema.place} answers and has schema {schema.version}, as this version needs")
