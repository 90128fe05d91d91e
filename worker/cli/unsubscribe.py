"""`corranto unsubscribe`: end a subscription for a reader who asked by another way than the link."""

from typing import Annotated

import typer

from worker.cli.context import open_ledger
from worker.cli.output import hint, tell, warn
from worker.consent import optout
from worker.domain.address import read_address
from worker.errors import UsageError
from worker.screen.instants import When


def unsubscribe(
    address: Annotated[str, typer.Argument(help="The reader's address.")],
    publication: Annotated[
        str | None, typer.Option("-p", "--publication", metavar="SLUG", help="End this publication only.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="End all publications.")] = False,
) -> None:
    """End a reader's subscription. It holds at once, also for an issue that is being sent."""
    if everything == (publication is not None):
        raise UsageError("unsubscribe.one_of_two")
    ledger = open_ledger()
    shown = read_address(address).addr_spec
    done = optout.opt_out_address(
        ledger.database,
        address=address,
        publication=publication,
        actor=ledger.actor,
        state_dir=ledger.settings.state_dir,
        wait_s=ledger.settings.optout_fresh_s,
    )
    if done.already:
        tell(f"{shown} left already, on {When(done.since, 'UTC').spell()}; nothing to end")
    else:
        tell(f"{shown} no longer gets: {', '.join(done.changed)}")
    for subject in done.on_its_way:
        warn(f'one copy of "{subject}" may be on its way')
    hint(f"corranto subscriber show {shown}")
