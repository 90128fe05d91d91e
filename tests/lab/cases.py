"""Which cases a run plays, how large, on which databases. `QUICK` is a part of the tests."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.lab import clocks, faults, neighbours
from tests.lab.ground import Ground, NotHereError, Sum, ground
from tests.support.programs import find_program

NOT_HERE = (
    "power loss of the machine",
    "loss and reordering of packets",
)

BOTH = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Case:
    """One case on one kind of database."""

    name: str
    run: Callable[[Ground], None]
    kind: str
    size: int
    """Deliveries."""
    kills: int = 0
    """Of workers, or how often one is told to stop."""
    round: int = 0
    """Added to the seed: the same case with other dice."""

    @property
    def title(self) -> str:
        number = f" {self.round + 1}" if self.round else ""
        return f"{self.kind} {self.name}{number}"


def _on(
    kinds: tuple[str, ...], run: Callable[[Ground], None], size: int, kills: int = 0, rounds: int = 1
) -> list[Case]:
    name = run.__name__.replace("_", "-")
    return [Case(name, run, kind, size, kills, number) for kind in kinds for number in range(rounds)]


QUICK = [
    *_on(BOTH, faults.under_load, 10_000, 15),
    *_on(BOTH, faults.at_each_line, 300),
    *_on(("sqlite",), faults.smtp_rows, 12),
    *_on(("postgresql",), faults.database_restarts, 3_000),
    *_on(("sqlite",), faults.told_to_stop, 2_000, 4),
]

FULL = [
    *_on(BOTH, faults.under_load, 10_000, 15, rounds=10),
    *_on(BOTH, faults.at_each_line, 300),
    *_on(BOTH, faults.smtp_rows, 12),
    *_on(BOTH, faults.told_to_stop, 6_000, 24),
    *_on(BOTH, faults.stopped_and_woken, 3_000),
    *_on(BOTH, faults.spoiled_lines_to_the_relay, 5_000, 6),
    *_on(("postgresql",), faults.spoiled_lines_to_the_database, 8_000, rounds=2),
    *_on(("postgresql",), faults.database_restarts, 6_000, rounds=2),
    *_on(BOTH, faults.broker_is_lost, 6_000),
    *_on(BOTH, neighbours.upgraded_under_way, 3_000),
    *_on(("postgresql",), neighbours.another_machine_sleeps, 3_000),
    *_on(BOTH, faults.full_disk, 3_000),
    *_on(BOTH, faults.poison, 2_000),
    *_on(BOTH, clocks.clocks_jump, 4_000),
    *_on(BOTH, faults.never_miss, 5_000, 6),
    *_on(BOTH, faults.restored_in_mid_issue, 6_000),
]


def play(case: Case, seed: int, total: Sum) -> float:
    """Play one case, adding to the sum; seconds it took. What breaks in it is a violation like any other."""
    began = time.monotonic()
    if case.kind == "postgresql" and find_program("initdb") is None:
        total.skipped.append(f"{case.title}: PostgreSQL is not installed")
        return 0.0
    try:
        with ground(case.kind, case.name, case.size, case.kills, seed + case.round, total) as here:
            try:
                case.run(here)
            except NotHereError as error:
                total.skipped.append(f"{case.title}: {error}")
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                here.violate("the case did not come to its end", f"{type(error).__name__}: {str(error)[:300]}")
    finally:
        took_s = time.monotonic() - began
    return took_s
