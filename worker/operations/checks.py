"""What `doctor` finds, as values: a verdict, the evidence for it, and what to type. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


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
