"""What `doctor` finds, as values: a verdict, the evidence for it, and what to type. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from worker.operations.lines import Line, paragraph
from worker.operations.terminal import clean


class Verdict(StrEnum):
    """How one check ended; worst first is the order of a screen."""

    FAIL = "fail"
    """Mail does not go out, or readers cannot leave, until this is mended."""
    WARN = "warn"
    """It works, and will not for long, or not as well as it should."""
    UNKNOWN = "unknown"
    """It could not be looked at from here."""
    OK = "ok"


@dataclass(frozen=True)
class Check:
    """One finding. `what` is one or two words, `evidence` a sentence without any secret, `fix` can be copied."""

    verdict: Verdict
    what: str
    evidence: str
    fix: str = ""


_ORDER = list(Verdict)
_STYLES = {Verdict.FAIL: "bold red", Verdict.WARN: "yellow", Verdict.UNKNOWN: "dim", Verdict.OK: "green"}
_NAMES = {Verdict.FAIL: "FAIL", Verdict.WARN: "WARN", Verdict.UNKNOWN: "????", Verdict.OK: "ok"}


def worst_first(checks: Iterable[Check]) -> list[Check]:
    """Sorted by verdict; among equals the order of looking stays."""
    return sorted(checks, key=lambda check: _ORDER.index(check.verdict))


def exit_code(checks: Iterable[Check]) -> int:
    """1 when something fails, else 0: a warning does not stop a deployment script."""
    return int(any(check.verdict is Verdict.FAIL for check in checks))


def as_dict(checks: list[Check]) -> dict[str, object]:
    """The shape of `doctor --json`."""
    shown = [
        {"verdict": str(each.verdict), "what": each.what, "evidence": each.evidence, "fix": each.fix or None}
        for each in checks
    ]
    return {"ok": not exit_code(checks), "checks": shown}


def render(checks: list[Check]) -> list[Line]:
    """Findings as lines for a person, and their sum."""
    lines: list[Line] = []
    for each in checks:
        label = f"{_NAMES[each.verdict]:<5} {clean(each.what):<10} "
        style = _STYLES[each.verdict]
        lines += paragraph(each.evidence, first=label, rest=" " * len(label), style=style)
        if each.fix:
            lines += paragraph(each.fix, first=" " * len(label) + "→ ", rest=" " * len(label) + "  ")
    return [*lines, Line(_sum(checks), "bold")]


def _sum(checks: list[Check]) -> str:
    numbers = {verdict: sum(each.verdict is verdict for each in checks) for verdict in Verdict}
    warnings = f"{numbers[Verdict.WARN]} warning" + ("" if numbers[Verdict.WARN] == 1 else "s")
    return (
        f"{numbers[Verdict.FAIL]} failed, {warnings}, {numbers[Verdict.UNKNOWN]} could not be checked,"
        f" {numbers[Verdict.OK]} fine"
    )
