"""The report on one issue: the sum, what providers and the relay said, when, who left, and who is in doubt."""

from dataclasses import asdict, dataclass, replace

from worker.domain.delivery import DeliveryState, Totals
from worker.domain.issue import Issue
from worker.domain.report import Doubt, Leavers, Refusal, Silence, Span
from worker.log import scrub
from worker.operations.deliveries import message_ids
from worker.operations.issues import count_unbegun
from worker.storage.engine import Database
from worker.storage.ledger import issues, reports

MOST_DOUBTS = 200
"""Named in a report; the command below the list gives all of them."""


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
    leavers: Leavers
    doubts: list[Doubt]
    silence: Silence
    would_get: int | None = None
    """As in `operations.issues.IssueView`."""

    def as_dict(self) -> dict[str, object]:
        """The shape of `issue report --json`; `state` and `totals` are as in `issue show --json`."""
        return {
            "issue": self.issue.slug,
            "publication": self.publication,
            "subject": self.issue.subject,
            "state": str(self.issue.state),
            "totals": self.totals.as_dict(),
            "would_get": self.would_get,
            "queued_at": self.issue.queued_at,
            "started_at": self.issue.started_at,
            "first_accepted_at": self.accepted.first,
            "last_accepted_at": self.accepted.last,
            "finished_at": self.issue.finished_at,
            "providers": {name: {str(key): rows for key, rows in per.items()} for name, per in self.providers.items()},
            "reasons": [{"state": str(state), "reason": why, "rows": rows} for state, why, rows in self.reasons],
            "replies": [{**asdict(each), "example": scrub(each.example)} for each in self.refusals],
            "unsubscribed": asdict(self.leavers),
            "after_leaving": asdict(self.silence),
            "in_doubt": [asdict(each) for each in self.doubts],
        }


def build(database: Database, issue: str | int) -> Report:
    """Read it all in one transaction. `issue` is a slug, an id or `latest`. Raises NotFoundError."""
    with database.read() as conn:
        named = issues.get(conn, issue)
        found = Report(
            named,
            issues.publication_slug(conn, named.publication_id),
            issues.totals(conn, named.id),
            reports.by_provider(conn, named.id),
            reports.by_reason(conn, named.id),
            reports.refusals(conn, named.id),
            reports.span(conn, named.id, DeliveryState.ACCEPTED),
            reports.leavers(conn, named.id),
            reports.doubts(conn, named.id, MOST_DOUBTS),
            reports.silence(conn, named.id),
            count_unbegun(conn, named),
        )
    name_copy = message_ids(database, named.id)
    return replace(found, doubts=[replace(each, message_id=name_copy(each.n)) for each in found.doubts])
