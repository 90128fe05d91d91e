"""The report on one issue: the sum, what providers and the relay said, when, who left, and who is in doubt."""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from worker.domain.delivery import DeliveryState, Totals
from worker.domain.issue import Issue
from worker.log import scrub
from worker.operations.lines import Line, paragraph
from worker.operations.terminal import PLAIN_WIDTH, clean, count, spell_number, spell_span, table
from worker.storage import issues, reports
from worker.storage.engine import Database
from worker.storage.reports import TRIED, Doubt, Refusal, Span

MOST_DOUBTS = 200
"""Named in a report; the command below the list gives all of them."""

PACE_AFTER_S = 1.0
"""Within less, a pace would be the pace of a few mails that were on the wire together."""

STATE_WORDS = {
    "in_doubt": "in doubt",
    "failed": "failed (our side)",
}
REASON_WORDS = {
    "opted_out": "left before it was their turn",
    "suppressed": "on the do-not-mail list",
    "paused": "paused by the reader",
    "erased": "erased at the reader's wish",
    "at_handover": "refused by the relay",
    "returned": "returned later by a report",
    "unbuildable": "the mail could not be built",
    "message_refused": "the relay refused the content",
    "sender_refused": "the relay refused the sender",
    "no_smtputf8": "the relay cannot take this address (SMTPUTF8)",
    "too_big": "larger than the relay takes",
    "line_broke": "the line broke before the final reply",
    "reply_unclear": "the final reply could not be read",
    "worker_lost": "the worker process died",
    "host_lost": "the worker's machine vanished",
    "not_the_same": "a repeat would not be the same mail",
}
CHANNEL_WORDS = {
    "one_click": "mail program's button",
    "page": "page",
    "cli": "by an operator",
    "import": "by an import",
    "complaint": "complaint",
    "mailto": "mail",
}

_GAP = Line("")


@dataclass(frozen=True)
class Report:
    """Everything a report shows. Counts are recipients; times are aware UTC."""

    issue: Issue
    publication: str
    totals: Totals
    providers: dict[str, dict[DeliveryState, int]]
    reasons: list[tuple[DeliveryState, str, int]]
    refusals: list[Refusal]
    accepted: Span
    left: dict[str, int]
    came_back: int
    doubts: list[Doubt]

    @property
    def has_problems(self) -> bool:
        """Whether somebody should look: exit code 6 for scripts."""
        return not self.totals.adds_up or bool(self.totals.in_doubt or self.totals.failed or self.totals.expired)

    def as_dict(self) -> dict[str, object]:
        """The shape of `issue report --json`; `state` and `totals` are as in `issue show --json`."""
        return {
            "issue": self.issue.slug,
            "publication": self.publication,
            "subject": self.issue.subject,
            "state": str(self.issue.state),
            "totals": self.totals.as_dict(),
            "queued_at": self.issue.queued_at,
            "started_at": self.issue.started_at,
            "first_accepted_at": self.accepted.first,
            "last_accepted_at": self.accepted.last,
            "finished_at": self.issue.finished_at,
            "providers": {name: {str(key): rows for key, rows in per.items()} for name, per in self.providers.items()},
            "reasons": [{"state": str(state), "reason": why, "rows": rows} for state, why, rows in self.reasons],
            "replies": [
                {
                    "state": str(each.state),
                    "code": each.code,
                    "enhanced": each.enhanced,
                    "rows": each.rows,
                    "example": scrub(each.example),
                }
                for each in self.refusals
            ],
            "unsubscribed": {"by_channel": self.left, "people": sum(self.left.values()), "came_back": self.came_back},
            "in_doubt": [
                {"n": each.n, "address": each.address, "reason": each.reason, "since": each.since}
                for each in self.doubts
            ],
        }


def build(database: Database, issue: str | int) -> Report:
    """Read it all in one transaction. `issue` is a slug, an id or `latest`. Raises NotFoundError."""
    with database.read() as conn:
        found = issues.get(conn, issue)
        left, came_back = reports.leavers(conn, found.id)
        return Report(
            found,
            issues.publication_slug(conn, found.publication_id),
            issues.totals(conn, found.id),
            reports.by_provider(conn, found.id),
            reports.by_reason(conn, found.id),
            reports.refusals(conn, found.id),
            reports.span(conn, found.id, DeliveryState.ACCEPTED),
            left,
            came_back,
            reports.doubts(conn, found.id, MOST_DOUBTS),
        )


def render(report: Report) -> list[Line]:
    """The report as lines for a person, in the issue's own time zone."""
    issue = report.issue
    lines = [
        Line(clean(issue.subject), "bold"),
        Line(f"{issue.slug}  {report.publication}  {issue.state}"),
    ]
    if issue.stopped_reason:
        lines += paragraph(issue.stopped_reason, first="stopped: ", rest="  ", style="yellow")
    lines += [_GAP, *equation(report.totals), _GAP, *_times(report)]
    if report.reasons:
        rows = [(_state(state), REASON_WORDS.get(why, why), spell_number(n)) for state, why, n in report.reasons]
        lines += [_GAP, *_table("Why", ("state", "reason", "readers"), rows, right=(2,))]
    if report.refusals:
        lines += [_GAP, *_replies(report.refusals)]
    if report.providers:
        lines += [_GAP, *_providers(report.providers)]
    lines += [_GAP, *_leaving(report)]
    if report.doubts:
        lines += [_GAP, *_doubts(report)]
    return lines


def equation(totals: Totals) -> list[Line]:
    """The sum that adds up: states that hold somebody, then the audience. Wrapped between two terms."""
    parts = {name: rows for name, rows in totals.parts.items() if rows or name in ("accepted", "bounced")}
    terms = [f"{STATE_WORDS.get(name, name)} {spell_number(rows)}" for name, rows in parts.items()]
    verdict = "adds up" if totals.adds_up else "DOES NOT ADD UP, run: corranto verify"
    cut: list[str] = []
    for term in [*(f"+ {term}" if i else term for i, term in enumerate(terms)), f"= {spell_number(totals.audience)}"]:
        if cut and len(cut[-1]) + 1 + len(term) <= PLAIN_WIDTH - len(verdict) - 1:
            cut[-1] += f" {term}"
        else:
            cut.append(term)
    cut[-1] += f" {verdict}"
    return [Line(line, "" if totals.adds_up else "bold red") for line in cut]


def _state(state: DeliveryState) -> str:
    return STATE_WORDS.get(state, str(state))


def _times(report: Report) -> list[Line]:
    zone = ZoneInfo(report.issue.zone)
    named = (
        ("queued", report.issue.queued_at),
        ("started", report.issue.started_at),
        ("first accepted", report.accepted.first),
        ("last accepted", report.accepted.last),
        ("finished", report.issue.finished_at),
    )
    lines = [Line(f"{name:<15} {at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}") for name, at in named if at is not None]
    if pace := _pace(report):
        lines.append(Line(f"{'pace':<15} {pace}"))
    return lines


def _pace(report: Report) -> str:
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
        lines += paragraph(scrub(each.example), first=" " * 11, rest=" " * 11, style="dim")
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
    people = sum(report.left.values())
    if not people:
        return [Line("Nobody left through this issue.")]
    ways = ", ".join(f"{CHANNEL_WORDS.get(way, way)} {n}" for way, n in sorted(report.left.items()))
    back = f"; {report.came_back} came back" if report.came_back else ""
    return paragraph(f"{count(people, 'reader')} left through this issue ({ways}){back}.", rest="  ")


def _doubts(report: Report) -> list[Line]:
    rows = [(each.n, each.address or "(erased)", REASON_WORDS.get(each.reason, each.reason)) for each in report.doubts]
    lines = _table("In doubt: it may have arrived, and nobody can know from here", ("n", "reader", "why"), rows)
    if report.totals.in_doubt > len(rows):
        lines.append(Line(f"and {spell_number(report.totals.in_doubt - len(rows))} more"))
    lines.append(Line(f"All of them: corranto issue deliveries {report.issue.slug} --state in_doubt --csv", "dim"))
    return lines


def _table(
    title: str, heads: tuple[str, ...], rows: Sequence[tuple[object, ...]], right: tuple[int, ...] = ()
) -> list[Line]:
    drawn = table(heads, rows, width=PLAIN_WIDTH, right=right)
    return [Line(title, "bold"), *(Line(line) for line in drawn)]
