"""Each kind of process keeps its files and its memory to itself, the stock worker of the queue too."""

import os
import re
import resource
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.programs import is_confined
from tests.support.readers import KEY
from worker.places import HOME

PYTHON = [sys.executable, "-P", "-m"]
STOCK = [*PYTHON, "dramatiq", "worker.actors", "-p", "1", "-t", "1"]
KINDS = [
    (STOCK, rb"worker.ready"),
    *(
        ([*PYTHON, "worker.cli", kind], rb"\bready\b|_ready|accepting mail")
        for kind in ("web", "worker", "scheduler", "sink")
    ),
]


@contextmanager
def started(command: list[str], ready: bytes, url: str, state_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process, with a shell's usual loose ways, that has said it is ready."""
    own = {"DATABASE_URL": url, "STATE_DIR": str(state_dir), "SECRET_KEYS": KEY, "METRICS_PORT": "0", "WEB_PORT": "0"}
    environment = os.environ | {f"CORRANTO_{name}": value for name, value in own.items()} | {"CORRANTO_SINK_PORT": "0"}
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    process = subprocess.Popen(
        command, env=environment, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, umask=0o022,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)), start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = b""
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            while not re.search(ready, said):
                assert waiting.select(60.0), said
                more = os.read(process.stdout.fileno(), 65_536)
                assert more, said
                said += more
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its workers too
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("command", "ready"), KINDS, ids=["stock", "web", "worker", "scheduler", "sink"])
def test_a_process_is_confined_with_its_children(
    sqlite_url: str, tmp_path: Path, command: list[str], ready: bytes
) -> None:
    with started(command, ready, sqlite_url, tmp_path / "state") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        # The queue's own master runs none of our code: it starts the workers and waits.
        pids = [*map(int, children)] if command is STOCK else [process.pid, *map(int, children)]

        assert pids
        assert [pid for pid in pids if not is_confined(pid)] == []
