"""A return path's ledger row in words, for the inbox beside the embedded sink."""

from collections.abc import Mapping

from worker.domain.subscription import Subscription
from worker.errors import NotFoundError
from worker.storage.engine import Database
from worker.storage.ledger import deliveries, issues
from worker.storage.people import subscriptions
from worker.tokens import Keyring, TokenError


def read_ledger_row(database: Database, keyring: Keyring, mail_from: str) -> Mapping[str, str] | None:
    """The row of the copy whose return path this is, and the reader's standing now. None when it names none of ours."""
    try:
        issue_id, n = keyring.read_verp(mail_from.rpartition("@")[0].rpartition("+")[2])
        with database.read() as conn:
            issue = issues.get(conn, issue_id)
            found = deliveries.list_by_state(conn, issue_id, after_n=n - 1, limit=1)
            standing = subscriptions.of_delivery(conn, issue_id, n)
    except (TokenError, NotFoundError):
        return None
    if not found or found[0].n != n:
        return None
    row = found[0]
    words = {
        "issue": issue.slug,
        "number": str(n),
        "state": row.state.replace("_", " "),
        "reason": (row.reason or "").replace("_", " "),
        "reply": " ".join(str(part) for part in (row.code, row.enhanced) if part),
        "tries": str(row.tries),
        "since": "" if row.at is None else f"{row.at:%Y-%m-%d %H:%M:%S} UTC",
        "subscription": "" if standing is None else _standing_words(standing),
    }
    return {name: value for name, value in words.items() if value}


def _standing_words(standing: Subscription) -> str:
    if standing.ended_at is None:
        return f"{standing.state}, generation {standing.generation}"
    return f"ended {standing.ended_at:%Y-%m-%d %H:%M:%S} UTC"
