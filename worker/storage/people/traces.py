"""What repeats an erased reader outside their own row: a relay's words kept with an issue, an import's words.

Relays answer with the address in capitals, with the domain in letters or as A-labels, or with the local part alone. The
words around it stay: they say why an issue stopped. The texts of consent_log and act stay as they are, since a database
that lets evidence be changed proves nothing; they are written without addresses (`log.scrub`).
"""

import re

from sqlalchemy import ColumnElement, Connection, Table, func, or_, select, update

from worker.storage.schema import delivery, import_batch, issue, media, reply, subscription, worker

ERASED = "[erased]"
SHORTEST = 3
"""A local part or a name of fewer characters would be found in the middle of sentences about something else."""


class Traces:
    """The forms in which one reader may be named."""

    def __init__(self, address: str, name: str) -> None:
        local, _, domain = address.rpartition("@")
        at, domains = "(?:@|=|%40|=40|_at_)", "|".join(map(re.escape, _spellings(domain)))
        whole = f"{re.escape(local)}{at}(?:{domains})"
        words = [re.escape(word) for word in (local, name.strip()) if len(word) >= SHORTEST]
        self.local = local
        self._address = re.compile(rf"(?<![\w.+-]){whole}", re.IGNORECASE)
        self._any = re.compile("|".join([self._address.pattern, *(rf"(?<![\w.+-]){w}(?![\w+-])" for w in words)]), re.I)

    def without(self, text: str, *, address_only: bool = False) -> str:
        return (self._address if address_only else self._any).sub(ERASED, text)


def _spellings(domain: str) -> list[str]:
    labels = domain.split(".")
    try:
        letters = [one[4:].encode().decode("punycode") if one.startswith("xn--") else one for one in labels]
    except UnicodeError:
        return [domain]
    return list(dict.fromkeys([domain, ".".join(letters)]))


def remove_traces(conn: Connection, subscriber_id: int, address: str, name: str) -> int:
    """Take one reader out of every text that is not theirs alone, and blank relays' answers to their copies.

    Returns how many answers were blanked.
    """
    traces = Traces(address, name)
    theirs = select(subscription.c.import_id).where(
        subscription.c.subscriber_id == subscriber_id, subscription.c.import_id.is_not(None)
    )
    got = select(delivery.c.n).where(delivery.c.issue_id == issue.c.id, delivery.c.subscriber_id == subscriber_id)
    _rewrite(conn, issue, ("stopped_reason", "wait_detail"), traces, got.exists())
    _rewrite(conn, worker, ("note",), traces)
    _rewrite(conn, import_batch, ("file_name", "consent"), traces, import_batch.c.id.in_(theirs))
    _rewrite(conn, subscription, ("consent_source",), traces, subscription.c.subscriber_id == subscriber_id)
    named = func.lower(media.c.title).contains(traces.local.lower(), autoescape=True)
    _rewrite(conn, media, ("title",), traces, named, address_only=True)
    return _blank_replies(conn, subscriber_id)


def _rewrite(
    conn: Connection,
    table: Table,
    columns: tuple[str, ...],
    traces: Traces,
    *where: ColumnElement[bool],
    address_only: bool = False,
) -> None:
    (key,) = table.primary_key
    told = or_(*(table.c[column] != "" for column in columns))
    for row in conn.execute(select(key, *(table.c[column] for column in columns)).where(told, *where)).all():
        mine, *texts = row
        after = [traces.without(text, address_only=address_only) for text in texts]
        if after != texts:
            conn.execute(update(table).where(key == mine).values(**dict(zip(columns, after, strict=True))))


def _blank_replies(conn: Connection, subscriber_id: int) -> int:
    """The codes stay."""
    copies = (
        select(delivery.c.issue_id, delivery.c.n)
        .select_from(issue)
        .join(delivery, delivery.c.issue_id == issue.c.id)
        .where(delivery.c.subscriber_id == subscriber_id)
    )
    count = 0
    for issue_id, n in conn.execute(copies).all():
        mine = (reply.c.issue_id == issue_id, reply.c.n == n, reply.c.text != "")
        count += conn.execute(update(reply).where(*mine).values(text="")).rowcount
    return count
