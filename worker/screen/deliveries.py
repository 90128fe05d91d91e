"""One recipient's copy as a person or a spreadsheet reads it: its reason and the relay's words, its cells. Pure."""

from dataclasses import asdict
from datetime import datetime

from worker.consent.cells import neutral_cell
from worker.domain.delivery import DeliveryState
from worker.operations.deliveries import DeliveryRow
from worker.screen.report import ERASED, REASON_WORDS, strip_code
from worker.screen.terminal import clean


def spell_why(row: DeliveryRow) -> str:
    """Why it is in its state: our reason, the relay's code once and its words, the next try, a doubt's Message-ID."""
    said = " ".join(str(part) for part in (row.code, row.enhanced, strip_code(row.reply_text, row.enhanced)) if part)
    reason = REASON_WORDS.get(row.reason, row.reason) if row.reason else ""
    if row.left_at is not None:
        # Kept from before the day of the copy, the clock alone would say nothing.
        form = "%H:%M:%S" if row.at is None or row.left_at.date() == row.at.date() else "%Y-%m-%d %H:%M:%S"
        reason = f"opted out at {row.left_at:{form}} UTC"
    why = ": ".join(part for part in (reason, said) if part)
    next_try = "" if row.next_try is None else f"next try {row.next_try:%H:%M} UTC"
    message_id = row.message_id if row.state == DeliveryState.IN_DOUBT else ""
    return "; ".join(part for part in (why, next_try, message_id) if part)


def csv_cells(row: DeliveryRow) -> list[str]:
    """Its values as cells that no spreadsheet takes for a formula; times as in --json."""
    return [_cell(value) for value in plain_values(row).values()]


def plain_values(row: DeliveryRow) -> dict[str, object]:
    """Its values by name, as --json gives them."""
    return {**asdict(row), "address": row.address or ERASED}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return neutral_cell(clean(value.isoformat() if isinstance(value, datetime) else value))
