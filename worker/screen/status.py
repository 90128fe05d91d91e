"""An installation at one moment as lines for a person: the sentence first, then its evidence. Pure."""

import itertools

from worker.domain.issue import IssueState
from worker.domain.process import WorkerState
from worker.operations.status import InFlight, Process, Status
from worker.quantities import count, spell_number, spell_span
from worker.screen.layout import Line, paragraph
from worker.screen.report import equation
from worker.screen.sentences import word
from worker.screen.terminal import PLAIN_WIDTH, clean, table


def render_status(status: Status) -> list[Line]:
    """All of it as lines for a person."""
    lines = [
        *_verdict(status),
        Line(""),
        Line(f"database   {clean(status.database)}, {status.database_s * 1000:.1f} ms"),
        Line(f"broker     {clean(status.broker)}", "yellow" if status.broker_trouble else ""),
        Line(f"relay      {clean(status.relay)}"),
    ]
    # One process a line: their addresses are long.
    names = ["metrics", *itertools.repeat("", status.metrics.count(", "))]
    lines += [Line(f"{name:<11}{clean(each)}") for name, each in zip(names, status.metrics.split(", "), strict=True)]
    if status.processes:
        lines += [Line(""), *_processes(status.processes)]
    for each in status.in_flight:
        lines += [Line(""), *_issue(each)]
    return lines


def _verdict(status: Status) -> list[Line]:
    if troubles := status.troubles:
        return [
            line
            for trouble in troubles
            for line in paragraph(word(trouble), first="! ", rest="  ", style="bold yellow")
        ]
    alive = sum(process.is_alive and process.role == "worker" for process in status.processes)
    oldest = max((each.oldest_waiting_s or 0 for each in status.in_flight), default=0)
    waits = f", nothing older than {spell_span(oldest)}" if oldest else ""
    return [Line(f"All well: {count(alive, 'worker')}, {count(len(status.in_flight), 'open issue')}{waits}.", "green")]


def _processes(processes: tuple[Process, ...]) -> list[Line]:
    rows = [
        (
            each.label,
            each.role,
            each.state if each.is_alive else WorkerState.LOST,
            f"{spell_span(each.beat_age_s)} ago",
            spell_span(each.up_s),
            word(each.note) if each.note else "-",
        )
        for each in processes
    ]
    head, *rest = table(("process", "role", "state", "heard", "up", "note"), rows, width=PLAIN_WIDTH)
    return [Line(head, "bold"), *(Line(text) for text in rest)]


def _issue(each: InFlight) -> list[Line]:
    ages = []
    if each.oldest_waiting_s is not None:
        ages.append(f"oldest waiting {spell_span(each.oldest_waiting_s)}")
    if each.last_progress_s is not None:
        ages.append(f"last progress {spell_span(each.last_progress_s)} ago")
    if each.issue.plan_cursor is not None and each.issue.state is IssueState.SENDING:
        ages.append(f"counting, {spell_number(each.totals.audience)} so far")
    lines = [Line(f"{each.issue.slug}  {str(each.issue.state).replace('_', ' ')}", "bold")]
    if ages:
        lines.append(Line(f"  {', '.join(ages)}"))
    if each.issue.stopped_reason:
        lines += paragraph(each.issue.stopped_reason, first="  ", rest="  ", style="yellow")
    elif each.wait:
        lines += paragraph(f"waiting: {word(each.wait)}", first="  ", rest="  ", style="yellow")
    if each.totals.audience:
        lines += [Line(f"  {line.text}", line.style) for line in equation(each.totals)]
    return lines
