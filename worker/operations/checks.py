"""What `doctor` finds, as values: a verdict and the evidence for it. Each face says what to do about a code. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from worker.errors import Trouble


class Verdict(StrEnum):
    """How one check ended; worst first is the order of a screen."""

    FAIL = "fail"
    """Mail does not go out, or readers cannot leave, until this is mended."""
    WARN = "warn"
    """It works, and will not for long, or not as well as it should."""
    UNKNOWN = "unknown"
    """It could not be looked at from here."""
    OK = "ok"  # looked at, and as it should be


@dataclass(frozen=True)
class Check:
    """One finding. `what` is one or two words; `evidence` says what was seen, without any secret."""

    verdict: Verdict
    what: str
    evidence: Trouble


def worst_first(checks: Iterable[Check]) -> list[Check]:
    """Sorted by verdict; among equals the order of looking stays."""
    return sorted(checks, key=lambda check: list(Verdict).index(check.verdict))


def exit_code(checks: Iterable[Check]) -> int:
    """1 when something fails, else 0: a warning does not stop a deployment script."""
    return int(any(check.verdict is Verdict.FAIL for check in checks))


def as_dict(
    checks: list[Check], word: Callable[[Trouble], str], word_fix: Callable[[Trouble], str]
) -> dict[str, object]:
    """The shape of `doctor --json`; a face says the evidence and the fix in its words, the fix "" where none is due."""
    shown = [
        {
            "verdict": str(each.verdict),
            "what": each.what,
            "evidence": word(each.evidence),
            "fix": word_fix(each.evidence) or None,
        }
        for each in checks
    ]
    return {"ok": not exit_code(checks), "checks": shown}
