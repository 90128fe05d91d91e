"""What every demo stands on: a folder that is held, its processes, its database, and a console to tell of it."""

import http.client
import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from worker import clock, log
from worker.demo.place import Place
from worker.dispatch.progress import Progress, observe
from worker.domain.issue import Issue
from worker.errors import UnreachableError
from worker.operations.schema import SchemaState, upgrade_schema
from worker.screen.terminal import clean, out_console
from worker.settings import Settings
from worker.storage.engine import Database, open_database
from worker.supervisor import Tree

READY_S = 60.0
"""The processes start within two seconds; a machine that is busy with something else gets a minute."""


LOOK_S = 0.25  # between two questions to the ledger

STUCK_S = 120.0
"""Where nobody watches, no progress for so long is a failure."""


class Ended(Exception):
    """Raised when a signal asked for the end."""


class Stage:
    """One run: what it started, it ends."""

    def __init__(self, place: Place, own: Settings, tree: Tree) -> None:
        self.place, self.settings, self.tree = place, own, tree
        self.console: Console = out_console()
        self._database: Database | None = None

    def open(self) -> tuple[Database, SchemaState]:
        """The database with its schema."""
        url = self.settings.database_url.get_secret_value()
        schema = upgrade_schema(url, self.settings.secrets)
        self._database = open_database(url, self.settings.secrets)
        return self._database, schema

    def end(self) -> None:
        """Everything that was started is gone when this returns."""
        self.tree.stop()
        if self._database is not None:
            self._database.close()

    def step(self) -> None:
        """Let the tree breathe. Raises Ended after a signal, UnreachableError when a process died."""
        if self.tree.step():
            return
        if self.tree.lost is None:
            raise Ended
        path = self.place.logs / f"{self.tree.lost}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        said = "\n".join(f"  {clean(log.scrub(line))}" for line in lines)
        raise UnreachableError("demo.member_ended", member=self.tree.lost, path=path, said=said)

    def wait_ready(self) -> None:
        """Until the web process answers that it can do its work."""
        deadline = clock.monotonic() + READY_S
        while ask("127.0.0.1", self.settings.web_port, "/readyz")[0] != 200:
            self.step()
            if clock.monotonic() > deadline:
                raise UnreachableError("demo.web_silent", path=self.place.logs / "web.log")

    def watch(self, database: Database, issue: Issue, *, stuck_s: float = math.inf) -> Iterator[Progress]:
        """The issue as it is, over and over, for as long as the caller goes on; the same until the next look.

        Raises what `step` raises, and UnreachableError when nothing moved for `stuck_s`.
        """
        seen = observe(database, self.settings, issue.id)
        seen_at = moved_at = clock.monotonic()
        while True:
            yield seen
            self.step()
            if clock.monotonic() - seen_at < LOOK_S:
                continue
            before, seen = seen, observe(database, self.settings, issue.id, seen)
            seen_at = clock.monotonic()
            if seen.done != before.done or seen.issue.state is not before.issue.state:
                moved_at = seen_at
            if seen_at - moved_at > stuck_s:
                raise UnreachableError("demo.stuck", seconds=stuck_s, cause=seen.cause)


def ask(host: str, port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    """(status, body); status 0 when nobody answers."""
    connection = http.client.HTTPConnection(host, port, timeout=5.0)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def near(path: Path) -> str:
    """A path as one types it where the demo was called."""
    absolute, here = path.absolute(), Path.cwd()
    return shlex.quote(str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute))
