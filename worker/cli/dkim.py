"""`corranto dkim`: keys that sign the mail of a domain."""

from typing import Annotated

import typer

from worker.cli.context import open_settings
from worker.cli.output import Json, hint, say, tell, tell_json
from worker.operations.keys import DkimRecord, create_dkim, show_dkim

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="DKIM keys: a publication signs when its From domain has one.",
)

Domain = Annotated[str, typer.Argument(help="The domain after the @ of a publication's From address.")]


@app.command()
def create(
    domain: Domain,
    selector: Annotated[str, typer.Option(help="Name of the key within the domain.")] = "s1",
    json: Json = False,
) -> None:
    """Make an RSA-2048 key for DOMAIN and show the DNS record to publish.

    The newest key of a domain signs, from a worker's next issue on: publish the record before sending.
    """
    record = create_dkim(open_settings().dkim_dir, domain, selector)
    say(f"made {record.file}, readable by you alone; every machine that runs workers needs it")
    _show(record, json)


@app.command("show-dns")
def show_dns(domain: Domain, json: Json = False) -> None:
    """Show the TXT record that lets others verify the signatures of DOMAIN's newest key."""
    _show(show_dkim(open_settings().dkim_dir, domain), json)


def _show(record: DkimRecord, json: bool) -> None:
    if json:
        tell_json(record.as_dict())
        return
    say(f"TXT record of {record.name}, as one value for a form:")
    tell(record.value)
    say("\nand as a line of a zone file:")
    tell(record.zone_line)
    hint("publish it, then run corranto doctor")
