"""A return path's ledger row in words, for the inbox beside the embedded sink."""

from collections.abc import Mapping

from worker.operations.deliveries import find_copy
from worker.storage.engine import Database
from worker.tokens import Keyring


def read_ledger_row(database: Database, keyring: Keyring, mail_from: str) -> Mapping[str, str] | None:
    """The row of the copy whose return path this is, and the reader's standing now. None when it names none of ours."""
    copy = find_copy(database, keyring, mail_from)
    if copy is None:
        return None
    row = copy.row
    standing = f"{copy.state}, generation {copy.generation}" if copy.state else ""
    if copy.ended_at is not None:
        standing = f"ended {copy.ended_at:%Y-%m-%d %H:%M:%S} UTC"
    words = {
        "issue": copy.issue,
        "number": str(row.n),
        "state": row.state.replace("_", " "),
        "reason": (row.reason or "").replace("_", " "),
        "reply": " ".join(str(part) for part in (row.code, row.enhanced) if part),
        "tries": str(row.tries),
        "since": "" if row.at is None else f"{row.at:%Y-%m-%d %H:%M:%S} UTC",
        "subscription": standing,
    }
    return {name: value for name, value in words.items() if value}
