"""`corranto issue`: look at issues, and give orders to one."""

from typing import Annotated

import typer

from worker import clock
from worker.cli.context import open_ledger
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
from worker.compose.template import without_values
from worker.dispatch import orders
from worker.dispatch.nudger import Nudger, open_broker
from worker.domain.delivery import DeliveryState, DoubtPolicy, Totals
from worker.domain.issue import IssueState
from worker.operations.issues import NOT_BEGUN, list_issues, show_issue
from worker.operations.report import build
from worker.quantities import count, spell_number
from worker.screen import progress
from worker.screen.instants import When
from worker.screen.report import STATE_WORDS, equation, render_report, unbegun
from worker.screen.sentences import word

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Issues: what became of them, and orders to them.",
)

app.command()(deliveries)

One = Annotated[str, typer.Argument(metavar="ISSUE", help="Slug, id or latest.")]


@app.command("list")
def list_all(json: Json = False) -> None:
    """List the issues, newest first."""
    views = list_issues(open_ledger().database)
    if json:
        tell_json({"issues": [view.as_dict() for view in views]})
    elif not views:
        say("No issue was queued yet.")
        hint("corranto queue FILE")
    else:
        lines = []
        for view in views:
            shown, totals = view.issue, view.totals
            begun = shown.state not in (*NOT_BEGUN, IssueState.DRAFT)
            counted = (totals.audience, totals.accepted, totals.to_check)
            numbers = [spell_number(number) if begun else "-" for number in counted]
            lines.append([shown.id, shown.slug, shown.state.replace("_", " "), f"{shown.queued_at:%Y-%m-%d}", *numbers])
        heads = ["ID", "ISSUE", "STATE", "QUEUED", "READERS", "ACCEPTED", "TO CHECK"]
        tell_table(heads, lines, right=[0, 4, 5, 6])


@app.command()
def show(issue: Latest = "latest", json: Json = False) -> None:
    """Show where an issue stands, as a sum that adds up."""
    view = show_issue(open_ledger().database, issue)
    if json:
        tell_json(view.as_dict())
        return
    shown, totals = view.issue, view.totals
    tell(f"{shown.slug}  {without_values(shown.subject)}", style="bold")
    fields = {
        "state": progress.spell_state(shown, totals, clock.utcnow()),
        **({"waiting": word(view.wait)} if view.wait else {}),
        "publication": view.publication,
        "queued": When(shown.queued_at, shown.zone).spell(),
        "in doubt": f"{shown.doubt}: "
        + ("left alone until you decide" if shown.doubt is DoubtPolicy.NEVER_TWICE else "sent once more after a while"),
    }
    if shown.started_at:
        fields["started"] = When(shown.started_at, shown.zone).spell()
    if shown.finished_at:
        fields["finished"] = When(shown.finished_at, shown.zone).spell()
    tell_fields(fields)
    if view.would_get is not None:
        tell("")
        tell_lines(unbegun(view.would_get))
    elif totals.audience:
        tell("")
        tell_lines(equation(totals))
    if shown.state is IssueState.DRAFT:
        hint("corranto queue FILE")
    elif view.would_get is not None:
        hint(f"corranto issue undo {shown.slug}", f"corranto issue watch {shown.slug}")
    else:
        hint(f"corranto issue report {shown.slug}", f"corranto issue deliveries {shown.slug} --state STATE")


@app.command()
def watch(issue: Latest = "latest") -> None:
    """Watch an issue until it is sent, cancelled or undone. Exit 6 when some recipients need a look."""
    ledger = open_ledger()
    end(watch_issue(ledger, show_issue(ledger.database, issue).issue.id))


@app.command()
def undo(issue: One) -> None:
    """Take a queued issue back before anything leaves. It is a draft again; queueing its file starts it anew."""
    ledger = open_ledger()
    done = orders.undo(ledger.database, issue, ledger.actor)
    tell(f"Undone. Nobody was mailed; {done.slug} is a draft again.")
    hint("corranto queue FILE")


@app.command()
def pause(issue: One, json: Json = False) -> None:
    """Stop sending until resume. Answers when no mail is on its way any more."""
    ledger = open_ledger()
    done = orders.pause(ledger.database, ledger.settings, issue, ledger.actor)
    _tell_stopped("Paused", done, json=json)
    hint(f"corranto issue resume {done.issue.slug}")


@app.command()
def resume(issue: One) -> None:
    """Go on with a paused issue: only people still waiting are mailed."""
    ledger = open_ledger()
    nudger = Nudger(open_broker(ledger.database, ledger.settings))
    done = orders.resume(ledger.database, nudger, issue, ledger.actor)
    totals = show_issue(ledger.database, done.id).totals
    tell(f"Resumed: {count(totals.waiting + totals.deferred, 'person', 'people')} still waiting.")
    _warn_of_broker(nudger)
    hint(f"corranto issue watch {done.slug}")


@app.command()
def cancel(issue: One, yes: Yes = False, json: Json = False) -> None:
    """Stop an issue for good. Whose copy has not left will not get it; --to-rest-of queues another one for them."""
    ledger = open_ledger()
    view = show_issue(ledger.database, issue)
    orders.refuse_cancel(view.issue)
    # Asked and carried out by the slug, so that both speak of the same issue: `latest` may change meanwhile.
    slug, waiting = view.issue.slug, view.would_get
    if waiting is None:
        waiting = view.totals.waiting + view.totals.sending + view.totals.deferred
    confirm(f"This stops {slug} for good; {count(waiting, 'person', 'people')} will not get it.", yes=yes)
    done = orders.cancel(ledger.database, ledger.settings, slug, ledger.actor)
    _tell_stopped("Cancelled", done, json=json)
    if not done.totals.audience:
        tell("Nobody was mailed.")
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
    view = show_issue(ledger.database, issue)
    slug, totals = view.issue.slug, view.totals
    states = {read_state(text) for text in state or [DeliveryState.FAILED]}
    orders.refuse_states(states)
    if DeliveryState.IN_DOUBT in states and totals.in_doubt:
        confirm(f"Some of these {count(totals.in_doubt, 'person', 'people')} may get it twice.", yes=yes)
    nudger = Nudger(open_broker(ledger.database, ledger.settings))
    number = orders.retry(ledger.database, nudger, slug, states, ledger.actor)
    if number:
        tell(f"{count(number, 'copy', 'copies')} will be sent again.")
    else:
        _tell_none_to_retry(slug, states, totals)
    _warn_of_broker(nudger)
    if number:
        hint(f"corranto issue watch {slug}")


@app.command()
def report(issue: Latest = "latest", json: Json = False) -> None:
    """Report on an issue: the sum, refusals and their reasons, times, who left because of it, who is in doubt."""
    what_became = build(open_ledger().database, issue)
    if json:
        tell_json(what_became.as_dict())
    else:
        tell_lines(render_report(what_became))


def _tell_stopped(what: str, done: orders.Stopped, *, json: bool) -> None:
    totals = done.totals
    if json:
        tell_json(done.as_dict())
        return
    tell(f"{what} after {done.waited_s:.1f} s.")
    if totals.audience:
        tell_lines(equation(totals))
    if done.in_flight:
        warn(f"{count(done.in_flight, 'copy', 'copies')} could not be called back and may still leave")


def _tell_none_to_retry(slug: str, states: set[str], totals: Totals) -> None:
    """Whom the order named, that there are none, and who else could be sent to again."""
    named = " or ".join(STATE_WORDS.get(state, state) for state in sorted(states))
    tell(f"Nobody of {slug} is {named}, so nothing is sent again.")
    others = [state for state in sorted(orders.RETRYABLE - states) if totals.parts[state]]
    for state in others:
        may = ", and may get it twice" if state is DeliveryState.IN_DOUBT else ""
        tell(f"{count(totals.parts[state], 'reader is', 'readers are')} {STATE_WORDS.get(state, state)}{may}.")
    if others:
        hint(*(f"corranto issue retry {slug} --state {state}" for state in others))


def _warn_of_broker(nudger: Nudger) -> None:
    if nudger.trouble is not None:
        warn(f"{word(nudger.trouble)}: workers go on by themselves, a few seconds later")
