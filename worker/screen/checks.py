"""What `doctor` found as lines for a person: verdict, evidence, what to type. Pure."""

from worker.operations.checks import Check, Verdict
from worker.screen.layout import Line, paragraph
from worker.screen.sentences import word, word_fix
from worker.screen.terminal import clean

_STYLES = {Verdict.FAIL: "bold red", Verdict.WARN: "yellow", Verdict.UNKNOWN: "dim", Verdict.OK: "green"}

_NAMES = {Verdict.FAIL: "FAIL", Verdict.WARN: "WARN", Verdict.UNKNOWN: "????", Verdict.OK: "ok"}


def render_checks(checks: list[Check]) -> list[Line]:
    """Findings as lines for a person, and their sum."""
    lines: list[Line] = []
    for each in checks:
        label = f"{_NAMES[each.verdict]:<5} {clean(each.what):<10} "
        style = _STYLES[each.verdict]
        lines += paragraph(word(each.evidence), first=label, rest=" " * len(label), style=style)
        if fix := word_fix(each.evidence):
            lines += paragraph(fix, first=" " * len(label) + "→ ", rest=" " * len(label) + "  ")
    return [*lines, Line(_sum(checks), "bold")]


def _sum(checks: list[Check]) -> str:
    numbers = {verdict: sum(each.verdict is verdict for each in checks) for verdict in Verdict}
    warnings = f"{numbers[Verdict.WARN]} warning" + ("" if numbers[Verdict.WARN] == 1 else "s")
    return (
        f"{numbers[Verdict.FAIL]} failed, {warnings}, {numbers[Verdict.UNKNOWN]} could not be checked,"
        f" {numbers[Verdict.OK]} fine"
    )
