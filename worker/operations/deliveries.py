"""The people behind each number: an issue's copies, one by one. Changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime

from worker.errors import NotFoundError
from worker.storage.engine import Database
from worker.storage.ledger import deliveries, issues
from worker.storage.ledger.deliveries import DeliveryRow
from worker.storage.people import subscriptions
from worker.tokens import Keyring, TokenError

__all__ = ["COLUMNS", "Copy", "DeliveryRow", "find_copy", "list_copies"]

COLUMNS = tuple(field.name for field in fields(DeliveryRow))
"""Names of a copy's values, in the order of a CSV."""

PAGE_ROWS = 5_000


@dataclass(frozen=True)
class Copy:
    """One recipient's copy, and where the subscription behind it stands now; its state is "" when there is none."""

    issue: str
    row: DeliveryRow
    state: str = ""
    generation: int = 0
    ended_at: datetime | None = None


def list_copies(
    database: Database, issue_id: int, state: str | None = None, limit: int | None = None, *, page_rows: int = PAGE_ROWS
) -> Iterator[DeliveryRow]:
    """An issue's copies in a shown state (None: in any), at most so many.

    Page by page, each in a transaction of its own: a long list must not hold up those who send.
    """
    after, left = 0, limit
    while left is None or left > 0:
        size = page_rows if left is None else min(page_rows, left)
        with database.read() as conn:
            page = deliveries.list_by_state(conn, issue_id, state, after_n=after, limit=size)
        yield from page
        if len(page) < size:
            return
        after, left = page[-1].n, None if left is None else left - len(page)


def find_copy(database: Database, keyring: Keyring, mail_from: str) -> Copy | None:
    """The copy whose return path this is; None when it names none of ours."""
    try:
        issue_id, n = keyring.read_verp(mail_from.rpartition("@")[0].rpartition("+")[2])
        with database.read() as conn:
            slug = issues.get(conn, issue_id).slug
            rows = deliveries.list_by_state(conn, issue_id, after_n=n - 1, limit=1)
            standing = subscriptions.of_delivery(conn, issue_id, n)
    except (TokenError, NotFoundError):
        return None
    if not rows or rows[0].n != n:
        return None
    if standing is None:
        return Copy(slug, rows[0])
    return Copy(slug, rows[0], str(standing.state), standing.generation, standing.ended_at)
