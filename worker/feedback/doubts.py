"""A report about a copy in doubt ends the doubt: it left, or it came back. Nothing else is moved.

What names the copy is signed by us, so a forged or foreign report names none. A death here costs nothing: the row moves
with its reason in one transaction, and the same report again finds a copy that is not in doubt any more.
"""

from dataclasses import dataclass
from enum import StrEnum

from worker.domain.delivery import BounceKind, DeliveryState
from worker.feedback.report import Report, Verdict, read_report
from worker.storage import acts
from worker.storage.engine import Database
from worker.storage.ledger import evidence, issues
from worker.tokens import Keyring, TokenError, read_message_id


class Finding(StrEnum):
    """What became of one mail."""

    SETTLED = "settled"
    """The copy was in doubt and is not any more."""
    NOT_IN_DOUBT = "not_in_doubt"
    """It names a copy of ours about which something else is known; that stays."""
    NO_REPORT = "no_report"
    """It holds no report that is understood."""
    NOT_OURS = "not_ours"
    """It names no copy of this installation, or its name is forged."""
    SEVERAL = "several"
    """It names two copies of ours: a report is about one."""


@dataclass(frozen=True)
class Weighed:
    """What one mail was, and about which copy; the issue is None when it names none."""

    finding: Finding
    issue: str | None = None
    n: int = 0
    state: DeliveryState | None = None
    """In which the copy is now."""
    action: str = ""
    """As `feedback.report.Report` has it."""


_STATES = {Verdict.LEFT: DeliveryState.ACCEPTED, Verdict.RETURNED: DeliveryState.BOUNCED}


def weigh(database: Database, keyring: Keyring, raw: bytes, actor: str) -> Weighed:
    """Read one returned mail, and settle the copy in doubt that it names."""
    report = read_report(raw)
    if report is None:
        return Weighed(Finding.NO_REPORT)
    named = _copies(database, keyring, report)
    if len(named) != 1:
        return Weighed(Finding.SEVERAL if named else Finding.NOT_OURS, action=report.action)
    ((issue_id, n),) = named
    with database.write() as conn:
        known = evidence.state_of(conn, issue_id, n)
        if known is None:
            return Weighed(Finding.NOT_OURS, action=report.action)
        slug = issues.get(conn, issue_id).slug
        to = _STATES[report.verdict]
        if not evidence.resolve(conn, issue_id, None, [n], to, BounceKind.RETURNED):
            return Weighed(Finding.NOT_IN_DOUBT, slug, n, known, report.action)
        evidence.keep_words(conn, issue_id, n, report.status, f"a report came back: {report.action}")
        acts.record(conn, actor, "issue.evidence", f"issue {slug}", {str(to): 1})
    return Weighed(Finding.SETTLED, slug, n, to, report.action)


def _copies(database: Database, keyring: Keyring, report: Report) -> set[tuple[int, int]]:
    """(issue, n) of every name in it that is ours."""
    pepper = database.instance().pepper
    found = set()
    for token in report.return_paths:
        try:
            found.add(keyring.read_verp(token))
        except TokenError:
            continue
    for left in report.message_ids:
        try:
            found.add(read_message_id(pepper, left))
        except TokenError:
            continue
    return found
