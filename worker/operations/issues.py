"""Issues as they are looked at: all of them, or one with its sum. Changes nothing."""

from dataclasses import dataclass

from sqlalchemy import Connection

from worker.dispatch.progress import explain_wait, find_wait, living
from worker.domain.delivery import Totals
from worker.domain.issue import Issue, IssueState
from worker.errors import Trouble
from worker.storage import workers
from worker.storage.engine import Database
from worker.storage.ledger import audiences, issues

NOT_BEGUN = (IssueState.HOLDING, IssueState.SCHEDULED, IssueState.HELD_LATE)
"""Queued, and no reader's copy exists yet."""

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
    would_get: int | None = None
    """Who would get it if it began now; None once it has begun, or was not counted."""
    wait: Trouble | None = None
    """What keeps an issue that is being sent, or is about to be."""

    def as_dict(self) -> dict[str, object]:
        """The shape of `issue show --json`, and of each line of `issue list --json`."""
        issue = self.issue
        return {
            "issue": issue.slug,
            "id": issue.id,
            "publication": self.publication,
            **{name: getattr(issue, name) for name in _SHOWN},
            "would_get": self.would_get,
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
        slug = issues.publication_slug(conn, issue.publication_id)
        now = database.now(conn)
        why = explain_wait(issue.wait_reason, issue.wait_detail)
        wait = find_wait(issue, why, now, living(workers.list_workers(conn), now))
        return IssueView(issue, slug, issues.totals(conn, issue.id), count_unbegun(conn, issue), wait)


def count_unbegun(conn: Connection, issue: Issue) -> int | None:
    """Who would get an issue that was queued and has not begun: its ledger has no rows to count yet."""
    if issue.state not in NOT_BEGUN:
        return None
    counts = audiences.count(conn, issue.publication_id, *issues.audience_kind(conn, issue.id))
    return counts["will_get"]
