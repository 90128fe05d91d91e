"""Build the mails of a batch: the issue's builder, kept while its text stays, and one answer per row.

Nothing here waits for the network. A reader whose mail cannot be built gets a result of their own; the others leave.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from worker.dispatch import judge
from worker.dispatch.batches import Batch
from worker.domain.compiled import CompiledIssue
from worker.message.build import BuildError, Built, MessageBuilder
from worker.message.key_store import load_signer
from worker.settings import Settings
from worker.storage.engine import Database
from worker.storage.ledger import issues
from worker.storage.ledger.deliveries import Due
from worker.tokens import Keyring
from worker.transport.pool import Transaction

KEPT_BUILDERS = 8  # one per issue being sent; each holds a whole compiled text, so the eldest goes
SIGNING_THREADS = 2  # for all slices together; more would take cores from the other workers


class Builders:
    """The builders of this process, one per issue. Safe to share between slices."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.signing = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="dkim")
        self._database, self._settings = database, settings
        self._keyring = Keyring(settings.keys)
        self._kept: dict[int, tuple[str, MessageBuilder]] = {}
        self._guard = threading.Lock()

    def get(self, issue_id: int, fingerprint: str) -> MessageBuilder:
        """The issue's builder; a new one when its text has changed (an undone draft may be queued again)."""
        with self._guard:
            kept = self._kept.get(issue_id)
            if kept is not None and kept[0] == fingerprint:
                return kept[1]
            with self._database.read() as conn:
                compiled = CompiledIssue.from_json(issues.compiled_body(conn, issue_id))
            builder = MessageBuilder(
                compiled,
                keyring=self._keyring,
                issue_id=issue_id,
                instance=self._database.instance().pepper,
                base_url=self._settings.base_url,
                signer=load_signer(self._settings.dkim_dir, compiled.from_address),
                fixed_return_path=self._settings.return_path == "fixed",
            )
            while len(self._kept) >= KEPT_BUILDERS:
                del self._kept[next(iter(self._kept))]
            self._kept[issue_id] = (fingerprint, builder)
            return builder

    def close(self) -> None:
        self.signing.shutdown(wait=False)


def build_batch(batch: Batch, builder: MessageBuilder, signing: ThreadPoolExecutor) -> list[Transaction]:
    """The mails that may leave; rows that must not, or cannot be built, get their result at once."""
    transactions = []
    wanted = []
    for due in batch.due.values():
        if due.skip is None:
            wanted.append(due)
        else:
            batch.results.append(judge.skipped(due, due.skip))
    for due, mail in _build_rows(batch, wanted, builder, signing):
        n = due.recipient.n
        if isinstance(mail, BuildError):
            batch.results.append(judge.unbuildable(due, mail.reason))
        elif due.fingerprint is not None and due.fingerprint != mail.fingerprint:
            batch.results.append(judge.not_the_same(due))
        else:
            batch.fingerprints[n] = mail.fingerprint
            transactions.append(Transaction((batch.claim.id, n), mail.envelope, mail.message, vetted=True))
    return transactions


def _build_rows(
    batch: Batch, rows: list[Due], builder: MessageBuilder, signing: ThreadPoolExecutor
) -> Iterator[tuple[Due, Built | BuildError]]:
    fresh = [row for row in rows if row.claimed_at is None]
    mails = builder.build_all([row.recipient for row in fresh], batch.claim.claimed_at, signing)
    yield from zip(fresh, mails, strict=True)
    for row in rows:
        if row.claimed_at is not None:
            # A repeat carries the Date of the copy that went in doubt.
            yield row, builder.repeat(row.recipient, row.claimed_at, row.fingerprint)
