"""What is kept about readers, to be taken away: one person's data, or a publication's list. Reads only."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from worker.consent.cells import neutral_cell
from worker.consent.headings import OWN, exported
from worker.consent.readers import PAGE
from worker.domain.subscription import SubscriptionState
from worker.storage import publications
from worker.storage.engine import Database
from worker.storage.ledger import audiences
from worker.storage.people import subscribers, subscriptions, timelines


def export_reader(database: Database, address: str) -> dict[str, Any]:
    """Everything kept about one reader, ready for JSON (GDPR 15 and 20). Raises UsageError, NotFoundError."""
    with database.read() as conn:
        reader = subscribers.find_by_address(conn, database.instance(), address)
        return timelines.export_subscriber(conn, reader.id)


def export_publication(database: Database, publication: str) -> Iterator[str]:
    """CSV lines of whoever gets the publication now, in the form an import reads, a page in memory at a time.

    Raises NotFoundError at once; readers who come or go while the lines are taken may be in them or not.
    """
    with database.read() as conn:
        publication_id = publications.get_publication(conn, publication).id
        attributes = sorted(audiences.attribute_names(conn, publication_id))
    return _lines(database, publication_id, attributes)


def _lines(database: Database, publication_id: int, attributes: Sequence[str]) -> Iterator[str]:
    yield _csv_line([*OWN, *map(exported, attributes)])
    after = 0
    while True:
        with database.read() as conn:
            page = subscribers.list_subscribers(
                conn, publication_id=publication_id, state=SubscriptionState.CONFIRMED, after_id=after, limit=PAGE
            )
            asked = subscriptions.consent_times(conn, publication_id, [one.subscriber.id for one in page])
        for reader in (listed.subscriber for listed in page):
            at = asked.get(reader.id)
            values = [reader.address or "", reader.name, reader.language or "", at.isoformat() if at else ""]
            yield _csv_line([*values, *(str(reader.attributes.get(name, "")) for name in attributes)])
        if len(page) < PAGE:
            return
        after = page[-1].subscriber.id


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO(newline="")
    # Always quoted: where a spreadsheet's separator is another sign, an unquoted cell would be cut at it and run.
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow([neutral_cell(cell) for cell in cells])
    return line.getvalue()
