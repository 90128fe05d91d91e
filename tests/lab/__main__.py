"""`./run lab [--quick|--full] [--seed N]`: kill the workers of a real installation and prove what is left behind.

Exit 1 on any violation. What cannot be injected on this machine is said to be skipped, never to have passed.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from tests.lab.checker import History, Violation, check
from tests.lab.runs import CRASHING, history_of, kill_run, lab_relay
from tests.support import postgresql
from tests.support.lists import Newsroom, newsroom
from tests.support.programs import find_program
from tests.support.readers import KEY
from worker.dispatch.events import Step
from worker.domain.issue import IssueState
from worker.operations import verify
from worker.storage.migrations.upgrade import upgrade

SIZES = {"quick": (10_000, 15), "full": (100_000, 150)}
"""Deliveries and kills on each database."""

PLANS: tuple[dict[str, float], ...] = (
    {},
    {"later": 0.03, "gone": 0.02, "bye": 0.02, "slow": 0.01},
    {"bye": 0.1, "full": 0.001},
)
"""What the relay does beside taking mail; one plan a run, in turn."""

NOT_HERE = ("power loss of the machine", "a second machine", "a network that loses packets")


@dataclass
class Sum:
    """What all runs together left."""

    deliveries: int = 0
    histories: list[History] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    def add(self, where: str, desk: Newsroom, history: History) -> None:
        self.deliveries += history.audience
        self.histories.append(history)
        found = [Violation(each.what, f"{where}: {each.where}") for each in check(history)]
        proof = verify.prove(desk.database, desk.folder / "state")
        found += [Violation(each.what, f"{where}: verify: {each.where}") for each in proof.discrepancies]
        if history.issue_state != "finished":
            found.append(Violation("the issue did not finish", f"{where}: {desk.issue().stopped_reason}"))
        self.violations += found

    def table(self) -> Table:
        kills = [kill for history in self.histories for kill in history.kills]
        answers = sorted(out.took_s for history in self.histories for out in history.opt_outs)
        table = Table("what", "figure", "bound")
        for row in (
            ("deliveries", f"{self.deliveries:,}", ""),
            ("kills", str(len(kills)), ""),
            ("lost", self._count("nobody sent it", "the ledger does not know"), "0"),
            ("duplicates", self._count("taken more often"), "0"),
            ("in doubt, most of one kill", str(max((kill.doubts for kill in kills), default=0)), "10"),
            ("copies after done", self._count("after the opt-out was answered"), "0"),
            ("slowest recovery", f"{max((kill.recovered_s for kill in kills), default=0.0):.1f} s", "10 s"),
            ("wrongly blamed readers", self._count("blamed for"), "0"),
            ("opt-outs answered", f"{len(answers)}, p99 {_p99(answers) * 1000:.0f} ms", "300 ms not in flight"),
            ("violations of any kind", str(len(self.violations)), "0"),
        ):
            table.add_row(*row)
        return table

    def _count(self, *words: str) -> str:
        return str(sum(any(word in each.what for word in words) for each in self.violations))


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run lab")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", help="some minutes (default)")
    size.add_argument("--full", dest="size", action="store_const", const="full", help="most of an hour")
    parser.add_argument("--seed", type=int, default=1, help="of kills, leavers and the relay's moods (default 1)")
    given = parser.parse_args()
    deliveries, kills = SIZES[given.size or "quick"]
    err, total, skipped = Console(stderr=True), Sum(), list(NOT_HERE)
    for kind in ("sqlite", "postgresql"):
        if kind == "postgresql" and find_program("initdb") is None:
            skipped.append("PostgreSQL, which is not installed")
            continue
        err.print(f"{kind}: a death at each line of the path")
        for step in Step:
            with _desk(kind) as desk:
                total.add(f"{kind} {step}", desk, _die_at(desk, step))
        rounds = max(1, deliveries // 10_000)
        for number in range(rounds):
            plan = PLANS[number % len(PLANS)] if rounds > 1 else PLANS[1]
            err.print(
                f"{kind}: {kills // rounds} kills over {deliveries // rounds:,} deliveries, relay {plan or 'kind'}"
            )
            with _desk(kind) as desk, lab_relay(desk.folder, given.seed + number, plan) as relay:
                run = kill_run(
                    desk, relay, deliveries=deliveries // rounds, kills=kills // rounds, seed=given.seed + number
                )
                total.add(f"{kind} kills {number}", desk, run)
    err.print(total.table())
    for violation in total.violations[:50]:
        err.print(f"violated: {violation.what} ({violation.where})")
    err.print(f"skipped, because it cannot be done here: {', '.join(skipped)}")
    return 1 if total.violations else 0


def _die_at(desk: Newsroom, step: Step) -> History:
    """A worker with one connection dies at this line; another one goes on."""
    desk.readers(300)
    with lab_relay(desk.folder) as relay:
        desk.queue()
        number = 40 if step in (Step.ARMING, Step.ARMED, Step.ANSWERED, Step.RECORDED) else 1
        one = {"smtp_url": relay.url, "smtp_connections": "1", "claim_size": "200"}
        with desk.worker(CRASHING.format(step=str(step), number=number), **one) as dying:
            desk.until(lambda: dying.process.poll() is not None, f"it died at {step}")
        with desk.worker(**one):
            desk.until_state(IssueState.FINISHED)
        return history_of(desk, relay, connections=1, kills=[])


@contextmanager
def _desk(kind: str) -> Iterator[Newsroom]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corranto-lab-")))
        folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        if kind == "sqlite":
            url = f"sqlite:///{folder}/lab.sqlite3"
            upgrade(url, [KEY])
        else:
            (folder / "pg").mkdir()
            found, stop = postgresql._start(folder / "pg")
            stack.callback(subprocess.run, stop, check=False, capture_output=True)
            with psycopg.connect(f"{found['url']}/postgres", autocommit=True) as conn:
                conn.execute("CREATE DATABASE lab TEMPLATE corranto_template")
            url = f"{found['url']}/lab"
        yield stack.enter_context(newsroom(folder, url, with_relay=False))


def _p99(sorted_s: list[float]) -> float:
    return sorted_s[int(len(sorted_s) * 0.99)] if sorted_s else 0.0


if __name__ == "__main__":
    sys.exit(main())
