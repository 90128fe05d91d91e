"""`corranto dkim`: keys that sign the mail of a domain."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.context import open_settings
from worker.cli.output import Json, hint, say, tell, tell_json
from worker.errors import NotFoundError
from worker.message.dkim import dns_record, zone_line
from worker.message.key_store import key_files, make_key, show_public

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

    The newest key of a domain signs, from a worker's next issue on: publish the record before sending.
    """
    name = _domain(domain)
    path = make_key(open_settings().dkim_dir, name, selector)
    say(f"made {path}, readable by you alone; every machine that runs workers needs it")
    _show(name, path, json)


@app.command("show-dns")
def show_dns(domain: Domain, json: Json = False) -> None:
    """Show the TXT record that lets others verify the signatures of DOMAIN's newest key."""
    folder = open_settings().dkim_dir
    name = _domain(domain)
    paths = key_files(folder, name)
    if not paths:
        known = ", ".join(sorted(path.parent.name for path in folder.glob("*/*.pem")))
        has = f"; there are keys for {known}" if known else ""
        raise NotFoundError(f"there is no DKIM key for {name}{has}: make one with corranto dkim create {name}")
    _show(name, paths[0], json)


def _domain(typed: str) -> str:
    """Small letters; a path typed for a domain stays a name that no folder has."""
    return typed.strip().lower().rstrip(".").replace("/", "")


def _show(domain: str, path: Path, json: bool) -> None:
    public, selector = show_public(path), path.stem
    name, value = f"{selector}._domainkey.{domain}", dns_record(public)
    if json:
        tell_json({"domain": domain, "selector": selector, "name": name, "value": value, "file": str(path)})
        return
    say(f"TXT record of {name}, as one value for a form:")
    tell(value)
    say("\nand as a line of a zone file:")
    tell(zone_line(domain, selector, public))
    hint("publish it, then run corranto doctor")
