"""Proves the books: counters equal rows, rows reach every reader, nothing names what is not there. Changes nothing.

It may run while workers send. A step between two statements that looks wrong is counted a second time before it is
called a discrepancy, so what is reported has stood for a while.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection

from worker.dispatch.verdict import outcome_of
from worker.domain.delivery import DeliveryState
from worker.journal import others
from worker.journal.host import host_id
from worker.journal.marks import read_marks
from worker.journal.others import Left
from worker.storage.engine import Database
from worker.storage.ledger import issues, proofs
from worker.storage.ledger.proofs import Discrepancy
from worker.transport.replies import Permanence

SECOND_COUNT_S = 0.5
"""Longer than a settlement's transaction: what differs twice, this far apart, differs."""

SLOTS_ASKED = 500
"""Copies in one query."""

_NEVER_LEFT = (DeliveryState.CANCELLED, DeliveryState.SKIPPED, DeliveryState.EXPIRED, DeliveryState.FAILED)

_LEDGER = (
    proofs.shard_counters, proofs.audiences, proofs.claims_left, proofs.overlapping_claims, proofs.stranded_rows,
    proofs.rows_ahead, proofs.ended_with_open_rows, proofs.unknown_owners,
)  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """What was counted, and what did not agree. An empty tuple means that the books add up."""

    issues: int
    rows: int
    discrepancies: tuple[Discrepancy, ...]

    @property
    def adds_up(self) -> bool:
        return not self.discrepancies

    @property
    def exit_code(self) -> int:
        return 0 if self.adds_up else 1

    def as_dict(self) -> dict[str, object]:
        """The shape of `verify --json`."""
        wrong = [asdict(each) for each in self.discrepancies]
        return {"adds_up": self.adds_up, "issues": self.issues, "rows": self.rows, "discrepancies": wrong}


def prove(
    database: Database,
    state_dir: Path,
    issue: str | int | None = None,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> Proof:
    """Count everything, or one issue's ledger (slug, id or `latest`). Raises NotFoundError, UnreachableError."""
    wrong = set(_count(database, state_dir, issue))
    if wrong:
        pause(SECOND_COUNT_S)
        wrong &= set(_count(database, state_dir, issue))
    with database.read() as conn:
        numbers = proofs.count_rows(conn, None if issue is None else issues.get(conn, issue).id)
    return Proof(*numbers, tuple(sorted(wrong, key=lambda each: (each.where, each.what))))


def _count(database: Database, state_dir: Path, issue: str | int | None) -> Iterator[Discrepancy]:
    with database.read() as conn:
        issue_id = None if issue is None else issues.get(conn, issue).id
        for examine in _LEDGER:
            yield from examine(conn, issue_id)
        if issue_id is None:
            yield from proofs.orphans(conn)
            yield from proofs.broken_checks(conn)
        yield from _journals(conn, state_dir, issue_id)


def _journals(conn: Connection, state_dir: Path, issue_id: int | None) -> Iterator[Discrepancy]:
    """What the journals of this machine say against the ledger, worker by worker."""
    if not (state_dir / "host-uuid").exists():
        return  # no worker ever ran with this state directory
    host = host_id(state_dir)
    files = others.workers_with_a_file(state_dir, host)
    issue_of = read_marks(state_dir).claims
    # Slots first, then who owns what, then the rows: what is settled in between is over and known.
    left = [others.look(state_dir, host, worker_id) for worker_id in sorted(files)]
    owners = dict(proofs.claim_owners(conn, host))
    if issue_id is None:
        for claim, owner in owners.items():
            if owner not in files:
                yield Discrepancy(f"claim {claim}", f"belongs to worker {owner}, whose journal is missing")
    for each in left:
        if not each.is_whole and issue_id is None:
            yield Discrepancy(f"worker {each.worker_id}", "has a journal of which some cannot be read")
        yield from _slots(conn, each, owners, issue_of, issue_id)


def _slots(
    conn: Connection, left: Left, owners: Mapping[int, str], issue_of: Mapping[int, int], only: int | None
) -> Iterator[Discrepancy]:
    """Copies that left under a claim that is over: the ledger must know each as begun, and an accepted one as that."""
    begun: dict[int, dict[int, bool]] = {}
    for (claim, n), slot in left.copies.items():
        issue = left.claims[claim].issue if claim in left.claims else issue_of.get(claim, 0)
        outcome = outcome_of(slot)
        if issue and only in (None, issue) and owners.get(claim) != left.worker_id and outcome is not None:
            is_accepted = outcome.permanence is Permanence.ACCEPTED
            begun.setdefault(issue, {})[n] = begun.get(issue, {}).get(n, False) or is_accepted
    for issue, copies in begun.items():
        for n, state in _states(conn, issue, sorted(copies)):
            if state == DeliveryState.WAITING or (copies[n] and state in _NEVER_LEFT):
                said = "accepted" if copies[n] else "begun"
                yield Discrepancy(f"issue {issue}, copy {n}", f"is {state}, and {said} says worker {left.worker_id}")


def _states(conn: Connection, issue: int, numbers: list[int]) -> Iterator[tuple[int, str]]:
    for at in range(0, len(numbers), SLOTS_ASKED):
        yield from proofs.states_of(conn, issue, numbers[at : at + SLOTS_ASKED]).items()
