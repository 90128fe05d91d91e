"""`corranto suppression`: the do-not-mail list, above every publication."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.opening import open_ledger
from worker.cli.talk import Json, Yes, confirm, say, tell, tell_json, tell_table, warn
from worker.consent import optout
from worker.domain.address import Address, AddressError, parse_address
from worker.domain.suppression import SuppressionReason
from worker.errors import UsageError
from worker.operations.terminal import clean, count
from worker.storage import suppressions
from worker.storage.subscribers import read_address

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Addresses that get no mail from any publication.")

MAX_SHOWN_REJECTS = 5
_PAGE = 1000

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
    encoding: Annotated[str, typer.Option(help="The file's encoding, such as cp1252.")] = "utf-8-sig",
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
        rows = [
            [one.address or "(erased)", one.reason, f"{one.created_at:%Y-%m-%d}", one.evidence.replace("\n", " ")]
            for one in found
        ]
        tell_table(["ADDRESS", "REASON", "SINCE", "EVIDENCE"], rows)


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
    if found is not None and found.reason in (SuppressionReason.COMPLAINED, SuppressionReason.ERASED):
        confirm(
            f"This reader {found.reason} ({found.created_at:%Y-%m-%d}): mail again only if they asked for it.", yes=yes
        )
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


def _read_column(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the column called email, or of the only column. Raises UsageError for another file."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            rows = csv.reader(file)
            first = next(rows, None)
            if first is None:
                raise UsageError(f"{path} is empty")
            heads = [head.strip().lower() for head in first]
            column = heads.index("email") if "email" in heads else 0
            if "email" not in heads:
                if len(heads) > 1:
                    raise UsageError(f"{path} has no email column; its columns are {clean(', '.join(first))[:200]}")
                if first[0].strip():
                    yield 1, first[0]
            for row in rows:
                if len(row) > column and row[column].strip():
                    yield rows.line_num, row[column]
    except (UnicodeDecodeError, LookupError) as error:
        what = "is no encoding Python knows" if isinstance(error, LookupError) else "is not how it is written"
        raise UsageError(f"{path} cannot be read: {encoding} {what}; name another with --encoding") from None
    except csv.Error as error:
        raise UsageError(f"{path} is not a CSV file: {error}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
