"""Build the mails of a batch: the issue's builder, kept while its text stays, and one answer per row.

Nothing here waits for the network. A reader whose mail cannot be built gets a result of their own; the others leave.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

from worker import log
from worker.dispatch import judge
from worker.dispatch.batches import Batch
from worker.domain.compiled import CompiledIssue
from worker.domain.subscriber import Recipient
from worker.errors import UnreachableError
from worker.message.build import BuildError, Built, MessageBuilder
from worker.message.key_store import load_signer
from worker.message.mime import HeaderError
from worker.settings import Settings
from worker.storage.engine import Database
from worker.storage.ledger import issues
from worker.storage.ledger.deliveries import Due
from worker.tokens import Keyring
from worker.transport.pool import Transaction

PORTION_OCTETS = 6 * 1024 * 1024  # built in one go: some hundred mails of usual size, three of the largest
PORTION_ROWS = 250
ALONE_ROWS = 10
UNBUILT_AT_FIRST = 10
"""Rows in a row that could not be built, with none before them that could, before the issue is paused."""
UNBUILT_LATER = 50
"""The same when others could: a stretch of bad rows is theirs alone, a list of them is not."""

KEPT_BUILDERS = 8  # one per issue being sent; each holds a whole compiled text, so the eldest goes
SIGNING_THREADS = 2  # for all slices together; more would take cores from the other workers

_log = log.logger("dispatch.build")


class Builders:
    """The builders of this process, one per issue. Safe to share between slices."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.signing = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="dkim")
        self._database, self._settings = database, settings
        self._keyring = Keyring(settings.keys)
        self._kept: dict[int, tuple[str, MessageBuilder]] = {}
        self._guard = threading.Lock()
        self.building = threading.Lock()
        """One portion at a time in this process, whatever the number of its slices."""
        self._built: set[int] = set()  # the issues of which a mail was built here
        self._unbuilt: dict[int, int] = {}  # issue → rows in a row that could not be
        self._reasons: dict[int, str] = {}

    def get(self, issue_id: int, fingerprint: str) -> MessageBuilder | None:
        """The issue's builder; a new one when its text has changed (an undone draft may be queued again).

        None when what is stored makes none, now or ever; `why_unbuildable` says why. Raises UnreachableError.
        """
        try:
            return self._get(issue_id, fingerprint)
        except UnreachableError as error:
            if not error.code.startswith("dkim."):
                raise
            self._reasons[issue_id] = _about_key(**error.trouble.fields)
        except Exception as error:
            is_said = isinstance(error, HeaderError)
            self._reasons[issue_id] = str(error) if is_said else f"its text cannot be read ({type(error).__name__})"
            _log.critical("an issue cannot be built", issue=issue_id, exc_info=True)
        return None

    def _get(self, issue_id: int, fingerprint: str) -> MessageBuilder:
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

    def note(self, issue_id: int, mail: Built | BuildError) -> None:
        """Count what became of a row. Any slice's thread."""
        if not isinstance(mail, BuildError):
            self._built.add(issue_id)
            if self._unbuilt:
                self._unbuilt.pop(issue_id, None)
            return
        count = self._unbuilt[issue_id] = self._unbuilt.get(issue_id, 0) + 1
        if count >= (UNBUILT_LATER if issue_id in self._built else UNBUILT_AT_FIRST):
            self._unbuilt.pop(issue_id, None)
            self._reasons[issue_id] = f"{count} mails in a row could not be built: {mail.reason}"

    def why_unbuildable(self, issue_id: int) -> str | None:
        """Why nothing of an issue can be built, until `forget`."""
        return self._reasons.get(issue_id)

    def forget(self, issue_id: int) -> None:
        """It is said, and begins anew."""
        self._reasons.pop(issue_id, None)
        self._kept.pop(issue_id, None)

    def close(self) -> None:
        self.signing.shutdown(wait=False)


def _about_key(path: str, reason: str = "", why: str = "") -> str:
    """What is said of a signing key that is there and does not serve."""
    return f"the DKIM key {path} cannot be {'read' if reason else 'used'}: {reason or why}"


def build_batch(
    batch: Batch, builder: MessageBuilder, builders: Builders, go_on: Callable[[], bool]
) -> Iterator[list[Transaction]]:
    """The mails that may leave, in portions that fit into memory; rows that must not, or cannot be built, get their
    result at once. Ends early when nothing can be built, as `builders.why_unbuildable` says, or when `go_on`, asked
    between two portions, does not want the next one.
    """
    wanted = []
    for due in batch.due.values():
        if due.skip is None:
            wanted.append(due)
        else:
            batch.results.append(judge.skipped(due, due.skip))
    at = 0
    while at < len(wanted):
        with builders.building:
            mails = _build_some(batch, wanted[at : at + PORTION_ROWS], builder, builders.signing)
        transactions = []
        for due, mail in zip(wanted[at:], mails, strict=False):
            if transaction := _transaction(batch, due, mail):
                transactions.append(transaction)
            builders.note(batch.claim.issue_id, mail)
        at += len(mails)
        yield transactions
        if builders.why_unbuildable(batch.claim.issue_id) or (at < len(wanted) and not go_on()):
            return


def _transaction(batch: Batch, due: Due, mail: Built | BuildError) -> Transaction | None:
    n = due.recipient.n
    if isinstance(mail, BuildError):
        batch.results.append(judge.unbuildable(due, mail.reason))
    elif due.fingerprint is not None and due.fingerprint != mail.fingerprint:
        batch.results.append(judge.not_the_same(due))
    else:
        batch.fingerprints[n] = mail.fingerprint
        return Transaction((batch.claim.id, n), mail.envelope, mail.message, vetted=True)
    return None


def _build_some(
    batch: Batch, rows: list[Due], builder: MessageBuilder, signing: ThreadPoolExecutor
) -> list[Built | BuildError]:
    """The mails of the first of these rows, as many as fit."""
    first = rows[0]
    if first.claimed_at is not None:
        # A repeat carries the Date of the copy that went in doubt.
        return [builder.repeat(first.recipient, first.claimed_at, first.fingerprint)]
    fresh = [row.recipient for row in takewhile(lambda row: row.claimed_at is None, rows)]
    try:
        return builder.build_all(fresh, batch.claim.claimed_at, signing, PORTION_OCTETS)
    except Exception:  # an error without a row: each alone, so that the one it belongs to is found
        return [_build_alone(recipient, batch, builder) for recipient in fresh[:ALONE_ROWS]]


def _build_alone(recipient: Recipient, batch: Batch, builder: MessageBuilder) -> Built | BuildError:
    try:
        return builder.build_all([recipient], batch.claim.claimed_at)[0]
    except Exception as error:
        return BuildError(recipient.n, f"an error of our own ({type(error).__name__})")
