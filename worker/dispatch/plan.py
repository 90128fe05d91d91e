"""Freeze an issue's audience into numbered ledger rows, page by page, while the first ones are already being sent."""

from collections.abc import Callable
from dataclasses import dataclass

from worker import log
from worker.dispatch.nudger import Nudger
from worker.storage.engine import Database
from worker.storage.ledger import audiences, issues


@dataclass(frozen=True)
class Pages:
    """Rows written in one transaction."""

    first: int = 2_000
    """Small, so that the first mail leaves at once even when a million rows are still to be written."""
    postgresql: int = 50_000
    sqlite: int = 5_000
    """One writer: an opt-out must not wait behind a long page."""


_log = log.logger("dispatch.plan")


def plan(
    database: Database,
    nudger: Nudger,
    issue_id: int,
    shard_size: int,
    pages: Pages = Pages(),
    go_on: Callable[[], bool] = lambda: False,
) -> None:
    """Write one page, wake the senders, and come again for the next; at once while the caller can `go_on`, because a
    nudge for each page waits behind those for sending. Safe to run twice, late or never.

    A crash before the commit leaves the page unwritten and plan_cursor where it was; after it, the tick comes again.
    """
    while _plan_page(database, nudger, issue_id, shard_size, pages):
        if not go_on():
            nudger.plan(issue_id)
            return


def _plan_page(database: Database, nudger: Nudger, issue_id: int, shard_size: int, pages: Pages) -> bool:
    """Whether another one is to be written, by us."""
    try:
        with database.write() as conn:
            issue = issues.get(conn, issue_id)
            page = pages.first if issue.audience == 0 else getattr(pages, database.dialect)
            planned = audiences.plan_page(conn, issue_id, page, shard_size)
    except audiences.StoppedMeanwhileError:
        return False  # what resumes it nudges it
    if planned is None:
        return False
    count, complete = planned
    if count:
        # With each page: whoever had sent the earlier ones and found nothing more has ended the chain.
        with database.write() as conn:
            number = issues.bump_nudge(conn, issue_id)
        nudger.send(issue_id, number)
    if complete:
        _log.info("audience frozen", issue=issue_id, recipients=issue.audience + count)
    return not complete
