"""The report on one issue as lines for a person, and the words for states, reasons and channels. Pure."""

import re
from collections.abc import Sequence

from worker.calling import as_called, called
from worker.compose.template import without_values
from worker.domain.delivery import BounceKind, DeliveryState, DoubtReason, FailureReason, SkipReason, Totals
from worker.domain.issue import IssueState
from worker.domain.report import TRIED, Refusal
from worker.domain.subscription import Channel
from worker.log import scrub
from worker.operations.report import Report
from worker.quantities import count, spell_number, spell_span
from worker.screen.instants import When
from worker.screen.layout import Line, join_parts, paragraph
from worker.screen.terminal import PLAIN_WIDTH, table

PACE_AFTER_S = 1.0
"""Within less, a pace would be the pace of a few mails that were on the wire together."""

ERASED = "(erased)"  # where an erased reader's address was

STATE_WORDS: dict[str, str] = {DeliveryState.IN_DOUBT: "in doubt", DeliveryState.FAILED: "failed (our side)"}

REASON_WORDS: dict[str, str] = {
    SkipReason.OPTED_OUT: "left before it was their turn",
    SkipReason.SUPPRESSED: "on the do-not-mail list",
    SkipReason.PAUSED: "paused by the reader",
    SkipReason.ERASED: "erased at the reader's wish",
    BounceKind.AT_HANDOVER: "refused by the relay",
    BounceKind.RETURNED: "returned later by a report",
    FailureReason.UNBUILDABLE: "the mail could not be built",
    FailureReason.MESSAGE_REFUSED: "the relay refused the content",
    FailureReason.SENDER_REFUSED: "the relay refused the sender",
    FailureReason.NO_SMTPUTF8: "the relay cannot take this address (SMTPUTF8)",
    FailureReason.TOO_BIG: "larger than the relay takes",
    DoubtReason.LINE_BROKE: "the line broke before the final reply",
    DoubtReason.REPLY_UNCLEAR: "the final reply could not be read",
    DoubtReason.WORKER_LOST: "worker died, or database restored",
    DoubtReason.HOST_LOST: "the worker's machine vanished",
    DoubtReason.NOT_THE_SAME: "a repeat would not be the same mail",
}

CHANNEL_WORDS: dict[str, str] = {
    Channel.ONE_CLICK: "mail program's button", Channel.PAGE: "page", Channel.MAILTO: "mail",
    Channel.COMPLAINT: "complaint", Channel.CLI: "by an operator", Channel.IMPORT: "by an import",
}  # fmt: skip

_NEVER_BEGUN = {
    IssueState.DRAFT: "taken back: nothing of it leaves until its file is queued again",
    IssueState.CANCELLED: "cancelled before it began: nobody was mailed",
}

_GAP = Line("")


def render_report(report: Report) -> list[Line]:
    """The report as lines for a person, in the issue's own time zone."""
    issue = report.issue
    subject, state = without_values(issue.subject), str(issue.state).replace("_", " ")
    lines = [*paragraph(subject, style="bold"), *paragraph(f"{issue.slug}  {report.publication}  {state}")]
    if issue.stopped_reason:
        lines += paragraph(issue.stopped_reason, first="stopped: ", rest="  ", style="yellow")
    lines += [_GAP, *_sum(report), _GAP, *_times(report)]
    if report.reasons:
        rows = [(_state(state), REASON_WORDS.get(why, why), spell_number(n)) for state, why, n in report.reasons]
        lines += [_GAP, *_table("Why", ("state", "reason", "readers"), rows, right=(2,))]
    if report.refusals:
        lines += [_GAP, *_replies(report.refusals)]
    if report.providers:
        lines += [_GAP, *_providers(report.providers)]
    if report.totals.audience:
        lines += [_GAP, *_leaving(report)]
    if report.doubts:
        lines += [_GAP, *_doubts(report)]
    return lines


def _sum(report: Report) -> list[Line]:
    """The equation; in words where an issue never had anybody to count."""
    if report.would_get is not None:
        return unbegun(report.would_get)
    if not report.totals.audience and (never := _NEVER_BEGUN.get(report.issue.state)):
        return [Line(never)]
    return equation(report.totals)


def unbegun(would_get: int) -> list[Line]:
    """In place of a sum, before there is anything to add up."""
    return [Line(f"not begun: {count(would_get, 'person', 'people')} would get it now, and nothing has left")]


def strip_code(text: str, enhanced: str | None) -> str:
    """A relay's words without the code that is shown before them: most begin with it, some repeat it in every line."""
    if not enhanced:
        return text.strip()
    return re.sub(rf"(?:^|\s)(?:[245][0-9]{{2}}[ -])?{re.escape(enhanced)}(?=\s|$)", "", text).strip()


def equation(totals: Totals) -> list[Line]:
    """The sum that adds up: states that hold somebody, then the audience. Wrapped between two terms."""
    always = (DeliveryState.ACCEPTED, DeliveryState.BOUNCED)
    parts = {name: rows for name, rows in totals.parts.items() if rows or name in always}
    terms = [f"{STATE_WORDS.get(name, name)} {spell_number(rows)}" for name, rows in parts.items()]
    verdict = "adds up" if totals.adds_up else as_called("DOES NOT ADD UP, run: corranto verify")
    summed = [terms[0], *(f"+ {term}" for term in terms[1:]), f"= {spell_number(totals.audience)}"]
    cut = join_parts(summed, " ", PLAIN_WIDTH - len(verdict) - 1)
    cut[-1] += f" {verdict}"
    return [Line(line, "" if totals.adds_up else "bold red") for line in cut]


def _state(state: DeliveryState) -> str:
    return STATE_WORDS.get(state, str(state))


def _times(report: Report) -> list[Line]:
    zone = report.issue.zone
    named = (
        ("queued", report.issue.queued_at),
        ("started", report.issue.started_at),
        ("first accepted", report.accepted.first),
        ("last accepted", report.accepted.last),
        ("finished", report.issue.finished_at),
    )
    lines = [Line(f"{name:<15} {When(at, zone).spell_second()}") for name, at in named if at is not None]
    if pace := spell_pace(report):
        lines.append(Line(f"{'pace':<15} {pace}"))
    return lines


def spell_pace(report: Report) -> str:
    """Accepted mails a second from the first to the last; "" when that says nothing."""
    first, last = report.accepted.first, report.accepted.last
    seconds = 0.0 if first is None or last is None else (last - first).total_seconds()
    if seconds < PACE_AFTER_S:
        return ""
    return f"{report.totals.accepted / seconds:,.1f} a second, over {spell_span(seconds)}"


def _replies(refusals: list[Refusal]) -> list[Line]:
    lines = [Line("What the relay answered", "bold")]
    for each in refusals:
        code = " ".join(part for part in (str(each.code or ""), each.enhanced or "") if part) or "no reply"
        lines.append(Line(f"{spell_number(each.rows):>9}  {_state(each.state)}  {code}"))
        # A relay repeats the address it refuses: the list of people has its own command, with its own audience.
        lines += paragraph(scrub(strip_code(each.example, each.enhanced)), first=" " * 11, rest=" " * 11, style="dim")
    return lines


def _providers(providers: dict[str, dict[DeliveryState, int]]) -> list[Line]:
    shown = [state for state in TRIED if any(per.get(state) for per in providers.values())]
    trouble = sorted(providers, key=lambda name: (-_trouble(providers[name]), name))
    rows = [(name, *(spell_number(providers[name].get(state, 0)) for state in shown)) for name in trouble]
    heads = ("provider", *(_state(state) for state in shown))
    return _table("By provider", heads, rows, right=tuple(range(1, len(heads))))


def _trouble(per: dict[DeliveryState, int]) -> float:
    return 1 - per.get(DeliveryState.ACCEPTED, 0) / max(1, sum(per.values()))


def _leaving(report: Report) -> list[Line]:
    left = report.leavers
    if not left.people:
        return [Line("Nobody left through this issue."), *_silence(report)]
    ways = ", ".join(f"{CHANNEL_WORDS.get(way, way)} {n}" for way, n in sorted(left.by_channel.items()))
    ended = f", ending {count(left.subscriptions, 'subscription')}" if left.subscriptions > left.people else ""
    back = f"; {left.came_back} came back" if left.came_back else ""
    said = f"{count(left.people, 'reader')} left through this issue{ended} ({ways}){back}."
    return [*paragraph(said, rest="  "), *_silence(report)]


def _silence(report: Report) -> list[Line]:
    """From the press to silence, for copies that had not left when their reader pressed."""
    quiet, said = report.silence, []
    if quiet.withheld:
        said.append(f"{count(quiet.withheld, 'copy', 'copies')} did not leave any more")
    if quiet.late:
        was = "was" if quiet.late == 1 else "were"
        said.append(f"{count(quiet.late, 'copy', 'copies')} {was} on the way, {quiet.longest_s:.1f} s after the press")
    return paragraph(f"Of those who left while it was being sent: {'; '.join(said)}.", rest="  ") if said else []


def _doubts(report: Report) -> list[Line]:
    """Each with what a relay's log knows its copy by: reader, hand-over, Message-ID. Nothing of it is ever cut."""
    lines = [Line("In doubt: it may have arrived, and nobody can know from here", "bold")]
    for each in report.doubts:
        why = f"{REASON_WORDS.get(each.reason, each.reason)}, {each.since:%Y-%m-%d %H:%M:%S} UTC"
        number = f"{spell_number(each.n):>7}  "
        lines += paragraph(each.address or ERASED, first=number, rest=" " * 9)
        for words in filter(None, (why, each.words, each.message_id)):
            lines += paragraph(words, first=" " * 9, rest=" " * 9, style="dim")
    if report.totals.in_doubt > len(report.doubts):
        lines.append(Line(f"and {spell_number(report.totals.in_doubt - len(report.doubts))} more"))
    lines.append(Line(f"All of them: {called()} issue deliveries {report.issue.slug} --state in_doubt --csv", "dim"))
    return lines


def _table(
    title: str, heads: tuple[str, ...], rows: Sequence[tuple[object, ...]], right: tuple[int, ...] = ()
) -> list[Line]:
    drawn = table(heads, rows, width=PLAIN_WIDTH, right=right)
    return [Line(title, "bold"), *(Line(line) for line in drawn)]
