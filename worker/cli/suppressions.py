"""`corranto suppression`: the do-not-mail list, above every publication."""

from pathlib import Path
from typing import Annotated, TypedDict

import typer

from worker.cli.context import Ledger, open_ledger
from worker.cli.files import Encoding, Escape, Map, NotLeft, read_pairs
from worker.cli.output import Json, Yes, confirm, say, tell, tell_json, tell_table, warn
from worker.consent import suppressions
from worker.consent.how import How
from worker.consent.optout import Suppressed
from worker.domain.address import read_address
from worker.domain.suppression import SuppressionReason
from worker.quantities import count
from worker.screen.sentences import word

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Addresses that get no mail from any publication.",
)

MAX_SHOWN_REJECTS = 5
_BY_WISH = {SuppressionReason.COMPLAINED: "complained", SuppressionReason.ERASED: "was erased"}
"""Reasons that were the reader's own wish, so that lifting one takes a second thought."""

Evidence = Annotated[str, typer.Option("--evidence", help="Why: a complaint's date, a letter, a ticket.")]


class _Order(TypedDict):
    actor: str
    state_dir: Path
    wait_s: float


@app.command()
def add(
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="One or more addresses.")],
    evidence: Evidence = "added by hand",
) -> None:
    """Never mail these addresses again, whatever list they stand on."""
    ledger = open_ledger()
    _tell(suppressions.suppress_addresses(ledger.database, addresses, evidence=evidence, **_order(ledger)))


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with an email column, or one address a line; - reads a pipe.")],
    evidence: Evidence = "imported",
    map_: Map = None,
    left_column: Annotated[
        list[str] | None, typer.Option("--left-column", metavar="COLUMN", help="Says who left; only they are meant.")
    ] = None,
    not_left_column: NotLeft = None,
    every: Annotated[bool, typer.Option("--all", help="All rows, also those the file says did not leave.")] = False,
    encoding: Encoding = None,
    escape: Escape = None,
) -> None:
    """Add the addresses of a file to the do-not-mail list: all, or those that a column of the file says left."""
    ledger = open_ledger()
    mapping = read_pairs(map_ or [], "--map", "email='E-mail Address'")
    how = How(mapping, encoding, escape, left=tuple(left_column or []), not_left=tuple(not_left_column or []))
    done = suppressions.suppress_file(ledger.database, file, how=how, every=every, evidence=evidence, **_order(ledger))
    _tell(done.result)
    if done.stayed:
        headings = ", ".join(f"“{heading}”" for heading in done.left_columns[:5])
        verb = "says" if len(done.left_columns) == 1 else "say"
        stayed = count(done.stayed, "line")
        say(f"{stayed} of people who did not leave changed nothing, as {headings} {verb}; --all takes them too")
    for line, why in done.rejects[:MAX_SHOWN_REJECTS]:
        warn(f"{file.name} line {line}: {word(why)}")
    if done.rejected:
        say(f"{count(done.rejected, 'line')} of {file.name} held no address and changed nothing")


@app.command("list")
def list_all(
    reason: Annotated[SuppressionReason | None, typer.Option(help="Only those for this reason.")] = None,
    json: Json = False,
) -> None:
    """List the addresses that get nothing, with the reason. Erased ones are kept without their address."""
    listed = suppressions.list_suppressions(open_ledger().database, reason)
    if json:
        tell_json({"suppressions": [one.as_dict() for one in listed]})
    elif not listed:
        say("Nobody is on the do-not-mail list.")
    else:
        lines = [
            [one.address or "(erased)", one.reason, f"{one.created_at:%Y-%m-%d}", one.evidence.replace("\n", " ")]
            for one in listed
        ]
        tell_table(["ADDRESS", "REASON", "SINCE", "EVIDENCE"], lines)


@app.command()
def remove(
    address: Annotated[str, typer.Argument(help="The address that may get mail again.")],
    yes: Yes = False,
) -> None:
    """Take an address off the do-not-mail list. Subscriptions that ended stay ended."""
    ledger = open_ledger()
    suppression = suppressions.find_suppression(ledger.database, address)
    if suppression is not None and suppression.reason in _BY_WISH:
        why = f"{_BY_WISH[suppression.reason]} on {suppression.created_at:%Y-%m-%d}"
        confirm(f"This reader {why}: mail again only if they asked for it.", yes=yes)
    state_dir = ledger.settings.state_dir
    lifted = suppressions.lift_suppression(ledger.database, address, actor=ledger.actor, state_dir=state_dir)
    tell(f"{read_address(address).addr_spec} may get mail again; it was on the list because: {lifted.reason}")


def _order(ledger: Ledger) -> _Order:
    read = ledger.settings
    return {"actor": ledger.actor, "state_dir": read.state_dir, "wait_s": read.optout_fresh_s}


def _tell(done: Suppressed) -> None:
    added = count(done.added, "address", "addresses")
    tell(f"{added} added to the do-not-mail list, {done.already:,} were on it already")
    if done.on_their_way:
        warn(f"{count(done.on_their_way, 'copy', 'copies')} may still be on the way")
