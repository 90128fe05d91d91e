"""`corranto db`: make and check the ledger's tables; copies of it, and what makes an older one fit to send."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from worker.calling import as_called
from worker.cli.context import open_ledger, open_settings
from worker.cli.output import Json, Yes, confirm, hint, say, tell, tell_json, warn
from worker.operations import backup as backups
from worker.operations import unlock as unlocking
from worker.operations.schema import check_schema, upgrade_schema
from worker.operations.unlock import Survey
from worker.quantities import count
from worker.screen.instants import When
from worker.screen.sentences import word

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


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    with_keys: Annotated[bool, typer.Option("--with-keys", help="Take the DKIM keys too.")] = False,
) -> None:
    """Copy database and opt-out log as they are at one moment, also while mails are sent. Fit for cron."""
    ledger = open_ledger()
    settings = ledger.settings
    keys = settings.dkim_dir if with_keys else None
    made = backups.back_up(ledger.database, settings.database_url.get_secret_value(), settings.state_dir, folder, keys)
    rows = ", ".join(count(number, name) for name, number in made.counts.items())
    tell(f"wrote {folder}: {rows}, as of {_spell_made(made.made_at)}")
    if not backups.is_state_of(settings.state_dir, made):
        warn(f"{settings.state_dir} is not this installation's state directory: its opt-out log is not in the backup")
    if with_keys and not made.keys:
        warn(f"there is no DKIM key in {settings.dkim_dir}")
    say("Keep CORRANTO_SECRET_KEYS beside it: without them no old link opens and no address can be looked up.")


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `db backup` wrote.")],
    yes: Yes = False,
) -> None:
    """Put a backup into an empty database. Nothing is sent from it until `db unlock`."""
    settings = open_settings()
    found = backups.read_backup(folder)
    rows = ", ".join(count(number, name) for name, number in found.counts.items())
    confirm(f"This restores {rows}, as of {_spell_made(found.made_at)}.", yes=yes)
    url = settings.database_url.get_secret_value()
    backups.restore(folder, url, settings.state_dir, settings.dkim_dir)
    tell(f"restored {folder}; nothing is sent from it yet")
    hint(*(["corranto db upgrade"] if not found.is_of_this_version else []), "corranto db unlock")


@app.command()
def unlock(yes: Yes = False) -> None:
    """Say what an older or copied database would send, then make it fit: who left, what had begun, what waits."""
    ledger = open_ledger()
    state_dir = ledger.settings.state_dir
    seen = unlocking.survey(ledger.database, state_dir)
    if seen.lock is None:
        tell("The database is not locked.")
        return
    _tell_survey(seen, state_dir)
    confirm("Unlocking lets workers send from this database.", yes=yes)
    unlocking.unlock(ledger.database, state_dir, ledger.actor)
    tell("unlocked; issues under way are paused" if seen.under_way else "unlocked")
    for each in seen.under_way:
        hint(f"corranto issue show {each.slug}", f"corranto issue resume {each.slug}")


def _spell_made(iso: str) -> str:
    return When(datetime.fromisoformat(iso), "UTC").spell()


def _tell_survey(seen: Survey, state_dir: Path) -> None:
    assert seen.lock is not None
    warn(word(seen.lock).partition(". Nothing is sent")[0])
    if seen.lock.code == "lock.other_database":
        tell(f"what {state_dir} knows of the other one (who left, what was sent) is set aside there")
    if seen.last_act is not None:
        last, now = (When(at, "UTC").spell() for at in (seen.last_act, seen.now))
        tell(f"its last act was on {last}; now it is {now}")
    for each in seen.under_way:
        begun = "may have left since" if seen.is_unrecorded else "had begun"
        tell(
            f"{each.slug} is {each.state}: {count(each.would_get, 'copy is', 'copies are')} to leave; "
            f"{each.begun:,} of them {begun} and will be in doubt"
        )
    if not seen.under_way:
        tell("no issue is under way")
    tell(f"{count(seen.left, 'no', 'noes')} of the opt-out log (left, erased, suppressed) will be made true")
    if seen.is_unrecorded:
        warn(
            "workers were at work when this copy was made, and nothing on this machine knows what left since: "
            "whoever may have got a copy will be in doubt. If you know that nothing left, "
            + as_called("`corranto issue retry ISSUE --state in_doubt` has them sent, once the issue is resumed")
        )
    if seen.unknown_issues:
        warn(f"{count(seen.unknown_issues, 'issue was', 'issues were')} begun that this database does not know")
    if seen.foreign_claims:
        warn(
            f"{count(seen.foreign_claims, 'claim is', 'claims are')} of other machines: run this there too, "
            "before any issue is resumed, or some readers get a second copy"
        )
