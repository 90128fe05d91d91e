"""The people behind each number: an issue's copies, one by one. Changes nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache

from worker.domain.compiled import CompiledIssue
from worker.errors import NotFoundError
from worker.message.build import message_id
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
    name_copy = message_ids(database, issue_id)
    after, left = 0, limit
    while left is None or left > 0:
        size = page_rows if left is None else min(page_rows, left)
        with database.read() as conn:
            page = deliveries.list_by_state(conn, issue_id, state, after_n=after, limit=size)
        yield from (_named(row, name_copy) for row in page)
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
    row = _named(rows[0], message_ids(database, issue_id))
    if standing is None:
        return Copy(slug, row)
    return Copy(slug, row, str(standing.state), standing.generation, standing.ended_at)


def message_ids(database: Database, issue_id: int) -> Callable[[int], str]:
    """What gives the Message-ID of an issue's copy by its number; the issue is read at the first one asked for."""

    @cache
    def compiled() -> CompiledIssue:
        with database.read() as conn:
            return CompiledIssue.from_json(issues.compiled_body(conn, issue_id))

    return lambda n: message_id(compiled(), database.instance().pepper, issue_id, n)


def _named(row: DeliveryRow, name_copy: Callable[[int], str]) -> DeliveryRow:
    """With its Message-ID, if a mail of that name was ever handed over, or may have been."""
    return replace(row, message_id=name_copy(row.n)) if row.tries else row
