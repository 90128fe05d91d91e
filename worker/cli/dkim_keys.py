"""`corranto dkim`: keys that sign the mail of a domain."""

from typing import Annotated

import typer

from worker.cli.opening import open_settings
from worker.cli.talk import Json, hint, say, tell, tell_json
from worker.errors import NotFoundError
from worker.message.key_files import KeyFile, create_key_file, find_key, list_keys

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="DKIM keys: a publication signs when its From domain has one."
)

Domain = Annotated[str, typer.Argument(help="The domain after the @ of a publication's From address.")]


@app.command()
def create(
    domain: Domain,
    selector: Annotated[str, typer.Option(help="Name of the key within the domain.")] = "s1",
    json: Json = False,
) -> None:
    """Make an RSA-2048 key for DOMAIN and show the DNS record to publish.

    Workers sign with it from their next issue on, so publish the record before sending.
    """
    key = create_key_file(open_settings().dkim_dir, domain.strip().lower(), selector)
    say(f"made {key.path}, readable by you alone; every machine that runs workers needs it")
    _show(key, json)


@app.command("show-dns")
def show_dns(domain: Domain, json: Json = False) -> None:
    """Show the TXT record that lets others verify DOMAIN's signatures."""
    folder = open_settings().dkim_dir
    key = find_key(folder, domain.strip())
    if key is None:
        known = ", ".join(sorted({key.domain for key in list_keys(folder)}))
        has = f"; there are keys for {known}" if known else ""
        raise NotFoundError(f"there is no DKIM key for {domain}{has}: make one with corranto dkim create {domain}")
    _show(key, json)


def _show(key: KeyFile, json: bool) -> None:
    if json:
        tell_json(
            {"domain": key.domain, "selector": key.selector, "name": key.record_name, "value": key.record_value()}
        )
        return
    say(f"TXT record of {key.record_name}, for a form:")
    tell(key.record_value())
    say("\nand for a zone file:")
    tell(key.record_line())
    hint("publish it, then corranto doctor")
