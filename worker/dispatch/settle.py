"""Settle: judge what came back and write it under the claim's id. While the database is away it is kept.

A crash before the commit leaves rows of a dead worker, which `reconcile` puts in doubt; after it the result stands.
"""

import random
from collections.abc import Iterable
from datetime import timedelta

from worker import clock, log
from worker.dispatch.batches import Batch
from worker.dispatch.events import Step
from worker.dispatch.judge import judge, undecided
from worker.dispatch.sender import Sender
from worker.domain.delivery import DoubtReason
from worker.errors import Trouble, UnreachableError
from worker.storage.ledger import claims, evidence, issues, settlements
from worker.storage.ledger.claims import Claim

NOTE_S = 1.0
"""Progress is noted at most this often: all workers share the issue's row."""

_log = log.logger("dispatch.settle")


class Settler:
    """Writes the results of one slice. All methods belong to the slice's thread."""

    def __init__(self, sender: Sender, issue_id: int) -> None:
        self._sender, self._issue_id = sender, issue_id
        self._life = timedelta(seconds=sender.settings.retry_life_s)
        self._rng = random.Random()  # noqa: S311 - jitter of retry times, not a secret
        self._noted_at = -NOTE_S
        self._is_away = False
        self.settled_at = clock.monotonic()

    def settle(self, batches: Iterable[Batch]) -> None:
        """Judge and write, batch by batch. Stops at the first that the database does not take; raises nothing."""
        self.settled_at = clock.monotonic()
        for batch in batches:
            self._judge(batch)
            if batch.results and batch.is_ours and not self._write(batch):
                return

    def say_away(self, trouble: Trouble, rows: int) -> None:
        """Once an outage: results are kept."""
        self._sender.note = trouble
        if not self._is_away:
            _log.warning("results are kept until the database answers", cause=str(trouble), rows=rows)
        self._is_away = True

    def _judge(self, batch: Batch) -> None:
        now = self._sender.now()
        while batch.outcomes:
            n, outcome = batch.outcomes.popleft()
            fingerprint = batch.fingerprints.get(n)
            try:
                result = judge(batch.due[n], outcome, now=now, rng=self._rng, life=self._life, fingerprint=fingerprint)
            except Exception:
                _log.critical(
                    "an outcome could not be judged, its row is in doubt", claim=batch.claim.id, exc_info=True
                )
                result = undecided(n, batch.claim.of_state)
            if result is not None:
                batch.results.append(result)

    def _write(self, batch: Batch) -> bool:
        """False while the database is away: the results stay with the batch."""
        sender, results = self._sender, batch.results
        sender.tell(Step.SETTLING, batch.claim.id, len(results))
        self._note_progress()  # first: an opt-out finds what left just now by this note
        try:
            with sender.database.write() as conn:
                written = settlements.settle(conn, batch.claim, sender.worker_id, results, again=batch.is_unsure)
        except UnreachableError as error:
            batch.is_unsure = True
            self.say_away(error.trouble, len(results))
            return False
        except Exception:
            _log.critical("results do not fit the ledger; their rows are in doubt", claim=batch.claim, exc_info=True)
            self._lose(batch)
            return True
        self._is_away = False
        batch.results = []
        if written is None:
            batch.is_ours = False
            if batch.is_unsure:
                self._forget(batch.claim)
            else:
                _log.critical("a claim was taken from a living worker, its results are lost", claim=batch.claim)
            return True
        batch.is_unsure = False
        batch.settled += len(results)
        sender.journal.free([(batch.claim.id, result.n) for result in results])
        try:
            sender.tell(Step.SETTLED, batch.claim.id, written)
            for result in results:
                sender.on_result(result)
        except Exception:  # the results stand: a counter must not keep the next ones from the ledger
            _log.exception("settled results could not be told", claim=batch.claim.id)
        return True

    def _forget(self, held: Claim) -> None:
        """Its slots are of no use any more: unless it was taken from us, when only they can tell what left."""
        try:
            with self._sender.database.read() as conn:
                taken = evidence.in_doubt_since(conn, held.issue_id, held.id, held.from_n, held.to_n)
        except UnreachableError:
            return
        if not taken:
            self._sender.journal.forget(held.id)

    def _note_progress(self) -> None:
        """In a transaction of its own: a settlement must not hold the row that all workers share."""
        if (now := clock.monotonic()) - self._noted_at < NOTE_S:
            return
        self._noted_at = now
        try:
            with self._sender.database.write() as conn:
                issues.touch_progress(conn, self._issue_id)
        except UnreachableError as error:
            self._sender.note = error.trouble
        except Exception:
            _log.exception("progress could not be noted", issue=self._issue_id)

    def _lose(self, batch: Batch) -> None:
        """An invariant is broken: what became of these rows cannot be written, so nobody may send them again."""
        batch.is_ours = False
        try:
            with self._sender.database.write() as conn:
                claims.lose(conn, batch.claim, DoubtReason.WORKER_LOST)
            self._forget(batch.claim)
        except Exception:
            batch.is_stuck = True
            _log.critical("a claim stays behind until this process ends", claim=batch.claim, exc_info=True)
