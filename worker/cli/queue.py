"""`corranto queue`: send an issue, after showing whom it reaches, when, and how long it takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from worker import clock
from worker.cli.context import Ledger, open_ledger
from worker.cli.drafts import plain_finding, show_findings
from worker.cli.output import Json, Yes, confirm, end, hint, say, tell, tell_json, warn
from worker.cli.times import FORMS, parse_span, parse_when
from worker.cli.watch import needs_nobody_here, watch
from worker.compose.template import without_values
from worker.dispatch.progress import count_workers
from worker.dispatch.queue import Prepared, prepare, queue_issue, refuse_unready
from worker.domain.delivery import DoubtPolicy
from worker.domain.issue import AudienceKind, Issue, IssueState
from worker.errors import Trouble, UsageError
from worker.quantities import count, spell_number, spell_span
from worker.screen.instants import When
from worker.screen.layout import paragraph
from worker.screen.sentences import word
from worker.screen.terminal import clean
from worker.settings import Settings
from worker.transport.shaping import parse_rates

ASK_ABOVE = 500
"""Readers beyond which a person types their number: the size of a slip nobody notices."""

MAX_HOLD_S = 86_400


@dataclass(frozen=True)
class Plan:
    """What was asked for, read: None for `at` means as soon as the hold is over."""

    at: When | None
    zone: str
    hold_s: int


def queue(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The issue: Markdown with front matter.")],
    at: Annotated[str | None, typer.Option("--at", metavar="WHEN", help=f"Start then: {FORMS}.")] = None,
    tz: Annotated[
        str | None, typer.Option("--tz", metavar="ZONE", help="Zone of WHEN. Default: the publication's.")
    ] = None,
    hold: Annotated[str | None, typer.Option(metavar="SPAN", help="Time for undo, such as 60s or 10m.")] = None,
    doubt: Annotated[
        DoubtPolicy, typer.Option(help="A copy whose line broke: leave it in doubt, or send it once more.")
    ] = DoubtPolicy.NEVER_TWICE,
    to_rest_of: Annotated[
        str | None, typer.Option("--to-rest-of", metavar="ISSUE", help="Only to whom ISSUE's copy never left for.")
    ] = None,
    to_accepted_of: Annotated[
        str | None, typer.Option("--to-accepted-of", metavar="ISSUE", help="Only to whom ISSUE was accepted for.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch until sent but for later tries; exit 6: look.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Send FILE to its publication. What is queued is frozen: editing the file afterwards changes nothing."""
    # Prepare and show first: findings, then who gets it and when. Then ask, queue, tell, and watch.
    if to_rest_of is not None and to_accepted_of is not None:
        raise UsageError("option.exclusive", options=["--to-rest-of", "--to-accepted-of"])
    if tz is not None and at is None:
        raise UsageError("option.zone_alone")
    ledger = open_ledger()
    kind = AudienceKind.REST_OF if to_rest_of else AudienceKind.ACCEPTED_OF if to_accepted_of else AudienceKind.ALL
    prepared = prepare(ledger.database, ledger.settings, file, audience=kind, audience_of=to_rest_of or to_accepted_of)
    plan = _read_plan(ledger, prepared, at, tz, hold)
    for line in show_findings(prepared.draft.findings):
        # Talk, not data: with --json standard output holds the object alone.
        say(line.text, style=line.style or None)
    refuse_unready(ledger.settings, prepared, plan.at.at if plan.at else None)
    for text in summarise(ledger.settings, prepared, plan):
        say(text)
    if dry_run:
        say("Nothing was queued.")
        return
    if (number := prepared.audience.will_get) > ASK_ABOVE:
        confirm(f"This reaches {count(number, 'person', 'people')}.", yes=yes, answer=str(number))
    queued = queue_issue(
        ledger.database,
        ledger.settings,
        prepared,
        due_at=plan.at.at if plan.at else None,
        zone=plan.zone,
        hold_s=plan.hold_s,
        doubt=doubt,
        actor=ledger.actor,
    )
    troubles = queued.warnings if count_workers(ledger.database) else [*queued.warnings, Trouble("queue.no_worker")]
    findings = [plain_finding(finding) for finding in prepared.draft.findings] if json else None
    _tell_queued(queued.issue, plan, [word(trouble) for trouble in troubles], findings)
    if wait:
        end(watch(ledger, queued.issue.id, until=needs_nobody_here))


def summarise(settings: Settings, prepared: Prepared, plan: Plan) -> list[str]:
    """What would happen, for a person to check before it does: lines of at most 80 columns."""
    publication, people = prepared.draft.publication, prepared.audience
    left_out = {
        "unconfirmed": people.unconfirmed,
        "do-not-mail": people.suppressed,
        "paused": people.paused,
        "opted out": people.opted_out,
    }
    named = ", ".join(f"{spell_number(number)} {name}" for name, number in left_out.items() if number)
    who = count(people.will_get, "person", "people") + " now"
    if prepared.audience_kind is AudienceKind.ALL:
        who += " (whoever joins before the start is included)"
    sender = f"{publication.from_name} <{publication.from_address}>"
    fields = [
        ("from", f"{sender}, {'signed' if prepared.draft.signs else 'not signed'} by DKIM"),
        ("to", f"{publication.title}: {who}"),
        ("left out", named or "nobody"),
        ("proof", spell_proof(prepared)),
        ("when", _spell_when(plan)),
        ("takes", _spell_duration(settings, people.will_get)),
    ]
    subject = without_values(prepared.draft.text.subject)
    lines = [line.text for line in paragraph(f'"{subject}"', first="Would send  ", rest=" " * 12)]
    for name, value in fields:
        lines += [line.text for line in paragraph(value, first=f"  {name:<10}", rest=" " * 12)]
    return lines


def _read_plan(ledger: Ledger, prepared: Prepared, at: str | None, tz: str | None, hold: str | None) -> Plan:
    zone = tz or prepared.draft.publication.zone
    hold_s = ledger.settings.hold_s if hold is None else parse_span(hold)
    if hold_s > MAX_HOLD_S:
        raise UsageError("option.hold_too_long", typed=hold)
    if at is None:
        return Plan(None, zone, hold_s)
    return Plan(parse_when(at, zone, clock.utcnow()), zone, hold_s)


def spell_proof(prepared: Prepared) -> str:
    """Whether somebody looked at this very text, and who said yes to it."""
    proof = prepared.proof
    if proof is None:
        return "none was mailed"
    if not prepared.is_as_proofed:
        return "the text was changed since the last proof" + (", which was approved" if proof.approved else "")
    if not proof.approved:
        return f"mailed to {proof.copies}, approved by nobody yet"
    zone = prepared.draft.publication.zone
    return "approved by " + ", ".join(
        f"{clean(address or 'an erased address')} on {When(at, zone).spell()}" for address, at in proof.approved
    )


def _spell_when(plan: Plan) -> str:
    hold = f"then {spell_span(plan.hold_s)} hold" if plan.hold_s else "without a hold"
    if plan.at is None:
        return f"now, {hold}, during which undo loses nothing" if plan.hold_s else "now, without a hold: no undo"
    left = spell_span((plan.at.at - clock.utcnow()).total_seconds())
    return f"{plan.at.spell()}, in {left}; {hold}"


def _spell_duration(settings: Settings, number: int) -> str:
    windows = parse_rates(settings.rate)
    if not windows:
        return "as long as the relay needs: no rate limit is set"
    seconds = number / windows.per_second
    return f"about {spell_span(seconds)} to {spell_span(seconds * 1.2)} at {windows}" if seconds >= 1 else "a second"


def _tell_queued(issue: Issue, plan: Plan, warnings: list[str], findings: list[dict[str, object]] | None) -> None:
    """`findings` are those of lint, for --json; None for a person, who has seen them."""
    if findings is not None:
        shown = {name: getattr(issue, name) for name in ("id", "state", "hold_until", "due_at")}
        tell_json({"issue": issue.slug, **shown, "warnings": warnings, "findings": findings})
    elif issue.state is IssueState.SCHEDULED and plan.at is not None:
        tell(f"queued {issue.slug}: it goes out {plan.at.spell()}")
    else:
        tell(f"queued {issue.slug}: sending starts {f'in {spell_span(issue.hold_s)}' if issue.hold_s else 'now'}")
    for text in warnings:
        warn(text)
    # Without a hold it may have begun by the time that this is read, and would be refused.
    undo = [f"corranto issue undo {issue.slug}"] if issue.hold_s or issue.state is IssueState.SCHEDULED else []
    hint(*undo, f"corranto issue watch {issue.slug}")
