"""`corranto suppression`: the do-not-mail list, above every publication."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.context import open_ledger
from worker.cli.output import Json, Yes, confirm, say, tell, tell_json, tell_table, warn
from worker.consent import optout
from worker.consent.csv_file import rows, survey
from worker.domain.address import Address, AddressError, parse_address
from worker.domain.suppression import SuppressionReason
from worker.errors import UsageError
from worker.quantities import count
from worker.storage.people import suppressions
from worker.storage.people.subscribers import read_address

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Addresses that get no mail from any publication.")

MAX_SHOWN_REJECTS = 5
_PAGE = 1000
_BY_WISH = {SuppressionReason.COMPLAINED: "complained", SuppressionReason.ERASED: "was erased"}
"""Reasons that were the reader's own wish, so that lifting one takes a second thought."""

Evidence = Annotated[str, typer.Option("--evidence", help="Why: a complaint's date, a letter, a ticket.")]


@app.command()
def add(
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="One or more addresses.")],
    evidence: Evidence = "added by hand",
) -> None:
    """Never mail these addresses again, whatever list they stand on."""
    _suppress([read_address(address) for address in addresses], evidence)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with an email column, or one address a line.")],
    evidence: Evidence = "imported",
    encoding: Annotated[str | None, typer.Option(help="The file's encoding, such as cp1252.")] = None,
) -> None:
    """Add every address of a file to the do-not-mail list."""
    wanted: list[Address] = []
    rejects: list[str] = []
    for line, typed in _read_column(file, encoding):
        try:
            wanted.append(parse_address(typed))
        except AddressError as error:
            rejects.append(f"line {line}: {error}")
    if not wanted:
        raise UsageError(f"{file} holds no address that can be read; nothing was changed")
    _suppress(wanted, evidence)
    for reject in rejects[:MAX_SHOWN_REJECTS]:
        warn(f"{file.name} {reject}")
    if rejects:
        say(f"{count(len(rejects), 'line')} of {file.name} held no address and changed nothing")


@app.command("list")
def list_all(
    reason: Annotated[SuppressionReason | None, typer.Option(help="Only those for this reason.")] = None,
    json: Json = False,
) -> None:
    """List the addresses that get nothing, with the reason. Erased ones are kept without their address."""
    ledger = open_ledger()
    found, after = [], 0
    while True:
        with ledger.database.read() as conn:
            page = suppressions.list_suppressions(conn, reason=reason, after_id=after, limit=_PAGE)
        found += page
        if len(page) < _PAGE:
            break
        after = page[-1].id
    if json:
        tell_json(
            {
                "suppressions": [
                    {"address": one.address, "reason": one.reason, "since": one.created_at, "evidence": one.evidence}
                    for one in found
                ]
            }
        )
    elif not found:
        say("Nobody is on the do-not-mail list.")
    else:
        lines = [
            [one.address or "(erased)", one.reason, f"{one.created_at:%Y-%m-%d}", one.evidence.replace("\n", " ")]
            for one in found
        ]
        tell_table(["ADDRESS", "REASON", "SINCE", "EVIDENCE"], lines)


@app.command()
def remove(
    address: Annotated[str, typer.Argument(help="The address that may get mail again.")],
    yes: Yes = False,
) -> None:
    """Take an address off the do-not-mail list. Subscriptions that ended stay ended."""
    ledger = open_ledger()
    parsed = read_address(address)
    instance = ledger.database.instance()
    with ledger.database.read() as conn:
        found = suppressions.find(conn, instance, parsed)
    if found is not None and found.reason in _BY_WISH:
        why = f"{_BY_WISH[found.reason]} on {found.created_at:%Y-%m-%d}"
        confirm(f"This reader {why}: mail again only if they asked for it.", yes=yes)
    with ledger.database.write() as conn:
        lifted = suppressions.remove(conn, instance, parsed, actor=ledger.actor)
    tell(f"{parsed.addr_spec} may get mail again; it was on the list because: {lifted.reason}")


def _suppress(addresses: list[Address], evidence: str) -> None:
    ledger = open_ledger()
    done = optout.suppress(
        ledger.database,
        addresses,
        reason=SuppressionReason.MANUAL,
        evidence=evidence,
        actor=ledger.actor,
        wait_s=ledger.settings.optout_fresh_s,
    )
    already = len({address.key for address in addresses}) - done.added
    tell(f"{count(done.added, 'address', 'addresses')} added to the do-not-mail list, {already:,} were on it already")
    if done.on_their_way:
        warn(f"{count(done.on_their_way, 'copy', 'copies')} may still be on the way")


def _read_column(path: Path, encoding: str | None) -> Iterator[tuple[int, str]]:
    """(line, text) of the column called email, or of the only column. Raises UsageError for another file."""
    file = survey(path, encoding)
    heads = [head.strip().lower() for head in file.header]
    if "email" not in heads and (len(heads) > 1 or "@" not in heads[0]):
        raise UsageError(f"{path.name} has no email column; its columns are {', '.join(file.header)[:200]}")
    column = heads.index("email") if "email" in heads else 0
    if "email" not in heads:
        yield 1, file.header[0]
    for line, cells in rows(file):
        if len(cells) > column and cells[column].strip():
            yield line, cells[column]
