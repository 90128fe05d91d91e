"""`corranto issue`: look at issues, and give orders to one."""

from typing import Annotated

import typer

from worker import clock
from worker.cli.context import Ledger, open_ledger
from worker.cli.deliveries import Latest, deliveries, read_state
from worker.cli.output import (
    Json,
    Yes,
    confirm,
    end,
    hint,
    say,
    tell,
    tell_fields,
    tell_json,
    tell_lines,
    tell_table,
    warn,
)
from worker.cli.watch import watch as watch_issue
from worker.dispatch import orders
from worker.dispatch.nudger import Nudger, open_broker
from worker.domain.delivery import DeliveryState, Totals
from worker.domain.issue import Issue
from worker.operations import report as reporting
from worker.quantities import count, spell_number
from worker.screen import progress
from worker.screen.instants import When
from worker.screen.report import equation, render_report
from worker.screen.sentences import word
from worker.storage.ledger import issues

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Issues: what became of them, and orders to them.")

app.command()(deliveries)

One = Annotated[str, typer.Argument(metavar="ISSUE", help="Slug, id or latest.")]


@app.command("list")
def list_all(json: Json = False) -> None:
    """List the issues, newest first."""
    ledger = open_ledger()
    with ledger.database.read() as conn:
        found = [(one, issues.totals(conn, one.id)) for one in issues.list_issues(conn)]
        slugs = {one.publication_id: issues.publication_slug(conn, one.publication_id) for one, _ in found}
    if json:
        tell_json({"issues": [_plain(one, totals, slugs[one.publication_id]) for one, totals in found]})
    elif not found:
        say("No issue was queued yet.")
        hint("corranto queue FILE")
    else:
        lines = [
            [
                one.id,
                one.slug,
                one.state.replace("_", " "),
                f"{one.queued_at:%Y-%m-%d}",
                spell_number(totals.audience),
                spell_number(totals.accepted),
                spell_number(progress.needs_look(totals)),
            ]
            for one, totals in found
        ]
        heads = ["ID", "ISSUE", "STATE", "QUEUED", "READERS", "ACCEPTED", "TO CHECK"]
        tell_table(heads, lines, right=[0, 4, 5, 6])


@app.command()
def show(issue: Latest = "latest", json: Json = False) -> None:
    """Show where an issue stands, as a sum that adds up."""
    ledger = open_ledger()
    with ledger.database.read() as conn:
        found = issues.get(conn, issue)
        totals = issues.totals(conn, found.id)
        publication = issues.publication_slug(conn, found.publication_id)
    if json:
        tell_json(_plain(found, totals, publication))
        return
    tell(f"{found.slug}  {found.subject}", style="bold")
    fields = {
        "state": progress.spell_state(found, totals, clock.utcnow()),
        "publication": publication,
        "queued": When(found.queued_at, found.zone).spell(),
        "in doubt": f"{found.doubt}: "
        + ("left alone until you decide" if found.doubt == "never-twice" else "sent once more after a while"),
    }
    if found.started_at:
        fields["started"] = When(found.started_at, found.zone).spell()
    if found.finished_at:
        fields["finished"] = When(found.finished_at, found.zone).spell()
    tell_fields(fields)
    if totals.audience:
        tell("")
        tell_lines(equation(totals))
    hint(f"corranto issue report {found.slug}", f"corranto issue deliveries {found.slug} --state STATE")


@app.command()
def watch(issue: Latest = "latest") -> None:
    """Watch an issue until it is sent, cancelled or undone. Exit 6 when some recipients need a look."""
    ledger = open_ledger()
    with ledger.database.read() as conn:
        found = issues.get(conn, issue)
    end(watch_issue(ledger, found.id))


@app.command()
def undo(issue: One) -> None:
    """Take a queued issue back before anything leaves. It is a draft again; queueing its file starts it anew."""
    ledger = open_ledger()
    done = orders.undo(ledger.database, _slug(ledger, issue), ledger.actor)
    tell(f"Undone. Nobody was mailed; {done.slug} is a draft again.")
    hint("corranto queue FILE")


@app.command()
def pause(issue: One, json: Json = False) -> None:
    """Stop sending until resume. Answers when no mail is on its way any more."""
    ledger = open_ledger()
    done = orders.pause(ledger.database, ledger.settings, _slug(ledger, issue), ledger.actor)
    _tell_stopped("Paused", done, json=json)
    hint(f"corranto issue resume {done.issue.slug}")


@app.command()
def resume(issue: One) -> None:
    """Go on with a paused issue: only people still waiting are mailed."""
    ledger = open_ledger()
    nudger = Nudger(open_broker(ledger.database, ledger.settings))
    done = orders.resume(ledger.database, nudger, _slug(ledger, issue), ledger.actor)
    with ledger.database.read() as conn:
        totals = issues.totals(conn, done.id)
    tell(f"Resumed: {count(totals.waiting + totals.deferred, 'person', 'people')} still waiting.")
    _warn_of_broker(nudger)
    hint(f"corranto issue watch {done.slug}")


@app.command()
def cancel(issue: One, yes: Yes = False, json: Json = False) -> None:
    """Stop an issue for good. Whose copy has not left will not get it; --to-rest-of queues another one for them."""
    ledger = open_ledger()
    slug = _slug(ledger, issue)
    with ledger.database.read() as conn:
        totals = issues.totals(conn, issues.get(conn, slug).id)
    waiting = totals.waiting + totals.deferred
    confirm(f"This stops {slug} for good; {count(waiting, 'person', 'people')} will not get it.", yes=yes)
    done = orders.cancel(ledger.database, ledger.settings, slug, ledger.actor)
    _tell_stopped("Cancelled", done, json=json)
    if done.totals.cancelled:
        hint(f"corranto queue ANOTHER-FILE --to-rest-of {slug}")


@app.command()
def retry(
    issue: One,
    state: Annotated[
        list[str] | None, typer.Option("--state", metavar="STATE", help="failed, bounced or in_doubt; may be repeated.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Send again to those whose copy failed (default), bounced or is in doubt."""
    ledger = open_ledger()
    slug = _slug(ledger, issue)
    states = {DeliveryState(read_state(text)) for text in state or ["failed"] if read_state(text) != "sending"}
    with ledger.database.read() as conn:
        totals = issues.totals(conn, issues.get(conn, slug).id)
    if DeliveryState.IN_DOUBT in states and totals.in_doubt:
        confirm(f"Some of these {count(totals.in_doubt, 'person', 'people')} may get it twice.", yes=yes)
    nudger = Nudger(open_broker(ledger.database, ledger.settings))
    number = orders.retry(ledger.database, nudger, slug, states, ledger.actor)
    tell(f"{count(number, 'copy', 'copies')} will be sent again." if number else "There is nobody to send to again.")
    _warn_of_broker(nudger)
    if number:
        hint(f"corranto issue watch {slug}")


@app.command()
def report(issue: Latest = "latest", json: Json = False) -> None:
    """Report on an issue: the sum, refusals and their reasons, times, who left because of it, who is in doubt."""
    ledger = open_ledger()
    found = reporting.build(ledger.database, issue)
    if json:
        tell_json(found.as_dict())
        return
    tell_lines(render_report(found))


def _slug(ledger: Ledger, reference: str) -> str:
    """The slug behind a slug, id or `latest`, so that an order and its answer name the same issue."""
    with ledger.database.read() as conn:
        return issues.get(conn, reference).slug


def _plain(found: Issue, totals: Totals, publication: str) -> dict[str, object]:
    return {
        "issue": found.slug,
        "id": found.id,
        "publication": publication,
        "kind": found.kind,
        "subject": found.subject,
        "state": found.state,
        "doubt": found.doubt,
        "queued_at": found.queued_at,
        "hold_until": found.hold_until,
        "due_at": found.due_at,
        "zone": found.zone,
        "started_at": found.started_at,
        "finished_at": found.finished_at,
        "stopped_reason": found.stopped_reason,
        "counting": found.plan_cursor is not None and found.started_at is not None,
        "totals": totals.as_dict(),
    }


def _tell_stopped(word: str, done: orders.Stopped, *, json: bool) -> None:
    totals = done.totals
    if json:
        tell_json(
            {
                "issue": done.issue.slug,
                "state": done.issue.state,
                "in_flight": done.in_flight,
                "waited_s": round(done.waited_s, 3),
                "totals": totals.as_dict(),
            }
        )
        return
    tell(f"{word} after {done.waited_s:.1f} s.")
    if totals.audience:
        tell_lines(equation(totals))
    if done.in_flight:
        warn(f"{count(done.in_flight, 'copy', 'copies')} could not be called back and may still leave")


def _warn_of_broker(nudger: Nudger) -> None:
    if nudger.trouble is not None:
        warn(f"{word(nudger.trouble)}: workers go on by themselves, a few seconds later")
