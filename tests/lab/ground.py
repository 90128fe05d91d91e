"""Where one case of the laboratory plays: an installation, how large and with which dice; and the sum of all cases."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.checker import History, Violation, check
from tests.support.lists import Newsroom, newsroom
from tests.support.postgresql import Cluster
from tests.support.readers import KEY
from worker.operations import verify
from worker.storage.migrations.upgrade import upgrade


class NotHereError(Exception):
    """This fault cannot be injected on this machine; the text says what is missing."""


@dataclass
class Sum:
    """What all cases together left."""

    deliveries: int = 0
    histories: list[History] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(what, figure, bound) of the table that a run prints."""
        kills = [kill for history in self.histories for kill in history.kills]
        answers = [out for history in self.histories for out in history.opt_outs]
        quick = sorted(out.took_s for out in answers if not out.was_in_flight)
        waited = max((out.took_s for out in answers if out.was_in_flight), default=0.0)
        yield "deliveries", f"{self.deliveries:,}", ""
        yield "kills", str(len(kills)), ""
        yield "lost", self._count("nobody sent it", "the ledger does not know"), "0"
        yield "duplicates", self._count("taken more often"), "0"
        yield "in doubt, most of one kill", str(max((kill.doubts for kill in kills), default=0)), "connections: 10"
        yield "copies after done", self._count("after the opt-out was answered"), "0"
        yield "slowest recovery", f"{max((kill.recovered_s for kill in kills), default=0.0):.1f} s", "10 s"
        yield "wrongly blamed readers", self._count("blamed for"), "0"
        yield "opt-outs, not in flight", f"{len(quick)}, p99 {_p99(quick) * 1000:.0f} ms", "300 ms"
        yield "opt-outs, in flight", f"{len(answers) - len(quick)}, slowest {waited * 1000:.0f} ms", "2,500 ms"
        yield "violations of any kind", str(len(self.violations)), "0"

    def _count(self, *words: str) -> str:
        return str(sum(any(word in each.what for word in words) for each in self.violations))


def _p99(sorted_s: list[float]) -> float:
    return sorted_s[int(len(sorted_s) * 0.99)] if sorted_s else 0.0


@dataclass
class Ground:
    """One case's own installation."""

    desk: Newsroom
    name: str
    size: int
    """How many deliveries."""
    kills: int
    seed: int
    total: Sum
    cluster: Cluster | None = None
    """The database server, when it is one that may be stopped."""

    @property
    def folder(self) -> Path:
        return self.desk.folder

    def judge(self, history: History, desk: Newsroom | None = None, ends: str = "finished") -> None:
        """Hold it against the invariants, the ledger against its journals, and the issue's state against its end."""
        desk = desk or self.desk
        self.total.deliveries += history.audience
        self.total.histories.append(history)
        for each in check(history):
            self.violate(each.what, each.where)
        for wrong in verify.prove(desk.database, desk.folder / "state").discrepancies:
            self.violate(f"verify: {wrong.what}", wrong.where)
        if history.issue_state != ends:
            self.violate(f"the issue did not become {ends}", f"{history.issue_state}: {desk.issue().stopped_reason}")

    def violate(self, what: str, where: str = "") -> None:
        self.total.violations.append(Violation(what, f"{self.name}: {where}" if where else self.name))


@contextmanager
def ground(kind: str, name: str, size: int, kills: int, seed: int, total: Sum, **given: str) -> Iterator[Ground]:
    """An empty installation on `sqlite`, or on a `postgresql` server of its own, without a relay."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corranto-lab-")))
        folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        cluster = None
        if kind == "sqlite":
            url = f"sqlite:///{folder}/lab.sqlite3"
            upgrade(url, [KEY])
        else:
            cluster = Cluster(folder / "pg")
            stack.callback(subprocess.run, cluster.kill_command, check=False, capture_output=True)
            url = cluster.url
        desk = stack.enter_context(newsroom(folder, url, with_relay=False, **given))
        yield Ground(desk, f"{kind} {name}", size, kills, seed, total, cluster)
