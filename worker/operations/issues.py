"""Issues as they are looked at: all of them, or one with its sum. Changes nothing."""

from dataclasses import dataclass

from worker.domain.delivery import Totals
from worker.domain.issue import Issue
from worker.storage.engine import Database
from worker.storage.ledger import issues

_SHOWN = (
    "kind", "subject", "state", "doubt", "queued_at", "hold_until", "due_at", "zone", "started_at", "finished_at",
    "stopped_reason",
)  # fmt: skip
"""What `--json` shows of an issue under the name it is stored by."""


@dataclass(frozen=True)
class IssueView:
    """An issue with its publication's slug and the sum of its audience."""

    issue: Issue
    publication: str
    totals: Totals

    def as_dict(self) -> dict[str, object]:
        """The shape of `issue show --json`, and of each line of `issue list --json`."""
        issue = self.issue
        return {
            "issue": issue.slug,
            "id": issue.id,
            "publication": self.publication,
            **{name: getattr(issue, name) for name in _SHOWN},
            "counting": issue.plan_cursor is not None and issue.started_at is not None,
            "totals": self.totals.as_dict(),
        }


def list_issues(database: Database) -> list[IssueView]:
    """All issues, newest first."""
    with database.read() as conn:
        listed = issues.list_issues(conn)
        slugs = {number: issues.publication_slug(conn, number) for number in {issue.publication_id for issue in listed}}
        return [IssueView(issue, slugs[issue.publication_id], issues.totals(conn, issue.id)) for issue in listed]


def show_issue(database: Database, ref: str | int) -> IssueView:
    """One issue by slug, id or `latest`. Raises NotFoundError."""
    with database.read() as conn:
        issue = issues.get(conn, ref)
        return IssueView(issue, issues.publication_slug(conn, issue.publication_id), issues.totals(conn, issue.id))
