"""`corranto status | doctor | verify`: what runs, what is wrong, whether the ledger adds up."""

from typing import Annotated

import typer

from worker.cli.context import open_ledger, open_settings
from worker.cli.output import Json, end, tell_json, tell_lines
from worker.cli.watch import WITH_PROBLEMS
from worker.operations import checks
from worker.operations.doctor import run
from worker.operations.status import collect
from worker.operations.verify import prove
from worker.screen.checks import render_checks
from worker.screen.proof import render_proof
from worker.screen.sentences import word, word_fix
from worker.screen.status import render_status


def status(json: Json = False) -> None:
    """Show which processes run, what is being sent and what stands in the way. Exit 6 when something does."""
    ledger = open_ledger()
    now = collect(ledger.settings, ledger.database)
    if json:
        tell_json(now.as_dict(word))
    else:
        tell_lines(render_status(now))
    end(WITH_PROBLEMS if now.troubles else 0)


def doctor(json: Json = False) -> None:
    """Examine database, broker, relay, base URL, keys, clock and disk: verdict, evidence and fix. Exit 1 on failure."""
    findings = run(open_settings())
    if json:
        tell_json(checks.as_dict(findings, word, word_fix))
    else:
        tell_lines(render_checks(findings))
    end(checks.exit_code(findings))


def verify(
    issue: Annotated[str | None, typer.Argument(metavar="[ISSUE]", help="Slug, id or latest. Default: all.")] = None,
    json: Json = False,
) -> None:
    """Prove that the ledger adds up: counters, rows, claims and journals agree. Exit 1 names each discrepancy."""
    ledger = open_ledger()
    proof = prove(ledger.database, ledger.settings.state_dir, issue)
    if json:
        tell_json(proof.as_dict())
    else:
        tell_lines(render_proof(proof))
    end(proof.exit_code)
