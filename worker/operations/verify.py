"""Proves the books: counters equal rows, rows reach every reader, nothing names what is not there. Changes nothing.

It may run while workers send. A step between two statements that looks wrong is counted a second time before it is
called a discrepancy, so what is reported has stood for a while.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection

from worker.journal.host import host_id
from worker.storage.engine import Database
from worker.storage.ledger import issues, proofs
from worker.storage.ledger.proofs import Discrepancy

SECOND_COUNT_S = 0.5
"""Longer than a settlement's transaction: what differs twice, this far apart, differs."""

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
        yield from _journals(conn, state_dir)


def _journals(conn: Connection, state_dir: Path) -> Iterator[Discrepancy]:
    """Claims held by processes of this machine whose journal is gone: what they sent could not be known."""
    if not (state_dir / "host-uuid").exists():
        return  # no worker ever ran with this state directory
    host = host_id(state_dir)
    for claim, owner in proofs.claim_owners(conn, host):
        if not (state_dir / host / f"{owner}.journal").exists():
            yield Discrepancy(f"claim {claim}", f"belongs to worker {owner}, whose journal is missing")
