"""`corranto status | doctor | verify`: what runs, what is wrong, whether the ledger adds up."""

from typing import Annotated

import typer

from worker.cli.context import open_ledger, open_settings
from worker.cli.output import Json, end, tell_json, tell_lines
from worker.cli.watch import WITH_PROBLEMS
from worker.operations import checks
from worker.operations import doctor as examination
from worker.operations import status as look
from worker.operations import verify as proof
from worker.screen.checks import render_checks
from worker.screen.proof import render_proof
from worker.screen.status import render_status


def status(json: Json = False) -> None:
    """Show which processes run, what is being sent and what stands in the way. Exit 6 when something does."""
    ledger = open_ledger()
    found = look.collect(ledger.settings, ledger.database)
    if json:
        tell_json(found.as_dict())
    else:
        tell_lines(render_status(found))
    end(WITH_PROBLEMS if found.troubles else 0)


def doctor(json: Json = False) -> None:
    """Examine database, broker, relay, base URL, keys, clock and disk: verdict, evidence and fix. Exit 1 on failure."""
    found = checks.worst_first(examination.run(open_settings()))
    if json:
        tell_json(checks.as_dict(found))
    else:
        tell_lines(render_checks(found))
    end(checks.exit_code(found))


def verify(
    issue: Annotated[str | None, typer.Argument(metavar="[ISSUE]", help="Slug, id or latest. Default: all.")] = None,
    json: Json = False,
) -> None:
    """Prove that the ledger adds up: counters, rows, claims and journals agree. Exit 1 names each discrepancy."""
    ledger = open_ledger()
    found = proof.prove(ledger.database, ledger.settings.state_dir, issue)
    if json:
        tell_json(found.as_dict())
    else:
        tell_lines(render_proof(found))
    end(found.exit_code)
