"""An issue in motion as a few lines: state, bar, pace, equation, and why it stands still. Pure, for watch and demo."""

from datetime import datetime

from rich.text import Text

from worker.dispatch.progress import Progress
from worker.domain.delivery import Totals
from worker.domain.issue import Issue, IssueState
from worker.quantities import count, spell_number, spell_span
from worker.screen.instants import When
from worker.screen.layout import join_parts, paragraph
from worker.screen.report import equation
from worker.screen.sentences import word
from worker.screen.terminal import PLAIN_WIDTH, clean

BAR_CELLS = 40
RATE_SHOWN_AFTER_S = 5.0
"""A rate and a finish from the first seconds would only jump about."""

_SEGMENTS = (
    ("accepted", "█", "green"), ("bounced", "▓", "red"), ("failed", "▓", "red"),
    ("skipped", "▒", "blue"), ("cancelled", "▒", "dim"), ("expired", "▒", "dim"), ("in_doubt", "▒", "magenta"),
    ("deferred", "░", "yellow"), ("sending", "░", "cyan"), ("waiting", "·", "dim"),
)  # fmt: skip
"""Ledger order, each with a pattern of its own, so that the bar says something without colour too."""


def spell_state(issue: Issue, totals: Totals, now: datetime) -> str:
    """Where the issue stands, as a sentence without its name."""
    match issue.state:
        case IssueState.HOLDING if issue.hold_until is not None:
            return f"sending starts in {spell_span((issue.hold_until - now).total_seconds())}"
        case IssueState.SCHEDULED if issue.due_at is not None:
            left = spell_span((issue.due_at - now).total_seconds())
            return f"goes out {When(issue.due_at, issue.zone).spell()}, in {left}"
        case IssueState.SENDING:
            done = totals.audience - totals.waiting - totals.sending - totals.deferred
            return f"sending: {spell_number(done)} of {spell_number(totals.audience)}"
        case IssueState.FINISHED:
            to_check = totals.to_check
            return f"sent; {count(to_check, 'needs', 'need')} a look" if to_check else "sent"
        case IssueState.CANCELLED:
            return f"stopped after {spell_number(totals.accepted)}" + _because(issue)
        case IssueState.DRAFT:
            return "draft: nothing will leave until it is queued again"
        case IssueState.HELD_LATE:
            return "held" + _because(issue)
        case _:
            return str(issue.state).replace("_", " ") + _because(issue)


def bar(totals: Totals, cells: int = BAR_CELLS) -> Text:
    """The audience as one stacked bar; a state that holds anybody gets at least one cell."""
    shown = Text()
    if not totals.audience:
        return Text("·" * cells, style="dim")
    left = cells
    parts = [(number, glyph, style) for name, glyph, style in _SEGMENTS if (number := totals.parts[name])]
    for i, (number, glyph, style) in enumerate(parts):
        after = len(parts) - i - 1
        width = left if not after else min(left - after, max(1, round(cells * number / totals.audience)))
        shown.append(glyph * width, style)
        left -= width
    return shown


def spell_pace(progress: Progress) -> str:
    """Rate with its limit, range of the finish, last progress, workers."""
    parts = []
    if progress.issue.state is IssueState.SENDING:
        totals = progress.totals
        limit = "no limit" if progress.rate_limit == "none" else f"limit {progress.rate_limit}"
        parts.append(f"{progress.rate_now:,.1f}/s ({limit})")
        if totals.waiting + totals.sending:
            parts.append(_finish(progress))
        elif totals.deferred:
            parts.append(f"only later tries are left: {totals.deferred:,}")
        if progress.last_progress_s is not None:
            parts.append(f"last progress {spell_span(progress.last_progress_s)} ago")
        parts.append(count(progress.workers, "worker"))
    return " · ".join(part for part in parts if part)


def render(progress: Progress, now: datetime) -> Text:
    """The view of a terminal, at most 80 columns wide."""
    issue, totals = progress.issue, progress.totals
    counting = " (counting)" if progress.counting and issue.state is IssueState.SENDING else ""
    stands = spell_state(issue, totals, now) + counting
    lines = [Text(f"{clean(issue.slug)}  ", style="bold").append(stands, style="not bold")]
    if totals.audience:
        share = f"  {spell_number(progress.done)}/{spell_number(totals.audience)}"
        percent = f"  {100 * progress.done / totals.audience:.1f} %"
        lines.append(Text("  ").append_text(bar(totals)).append(share + percent))
        lines += [Text("  " + line.text, style=line.style) for line in equation(totals)]
    if pace := spell_pace(progress):
        lines += [Text("  " + part) for part in join_parts(pace.split(" · "), " · ", PLAIN_WIDTH - 2)]
    if why := spell_wait(progress):
        lines += [Text(line.text, style=line.style) for line in paragraph(why, first="  ", rest="    ", style="yellow")]
    return Text("\n").join(lines)


def render_line(progress: Progress, now: datetime) -> str:
    """The same in one line, for logs and pipes."""
    parts = [f"{progress.issue.slug}: {spell_state(progress.issue, progress.totals, now)}", spell_pace(progress)]
    if progress.totals.audience:
        parts.insert(1, " ".join(line.text for line in equation(progress.totals)))
    if why := spell_wait(progress):
        parts.append(why)
    return clean("; ".join(part for part in parts if part))


def spell_wait(progress: Progress) -> str:
    """Why nothing moves, said at once where it is known; or ""."""
    if progress.wait:
        return f"waiting: {word(progress.wait)}"
    return f"standing still: {word(progress.cause)}" if progress.cause else ""


def _because(issue: Issue) -> str:
    return f": {clean(issue.stopped_reason)}" if issue.stopped_reason else ""


def _finish(progress: Progress) -> str:
    low, high = progress.eta_low_s, progress.eta_high_s
    seen_for_s = progress.seen[-1][0] - progress.seen[0][0] if progress.seen else 0.0
    if low is None or high is None or seen_for_s < RATE_SHOWN_AFTER_S:
        return ""
    one, two = spell_span(low), spell_span(high)
    return f"about {one} left" if one == two else f"about {one} to {two} left"
