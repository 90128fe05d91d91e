"""Outside programs that tests start: found or the test is skipped with the reason; under CI=true missing is a failure.

Servers live in one short folder per test run, shared by all xdist workers, and end with the run even when it is killed.
"""

import fcntl
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = {
    "postgresql": ("initdb", "pg_ctl"),
    "redis": ("redis-server",),
    "postfix": ("postfix",),
    "chromium": ("chromium|chromium-browser|google-chrome",),
    "spamassassin": ("spamassassin",),
    "mail-dkim": ("perl",),
}

_run_key = pytest.StashKey[Path]()


def find_program(names: str) -> str | None:
    """The path of the first of `a|b` that is installed, looked for where Debian puts servers too."""
    clusters = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    places = os.pathsep.join([*map(str, clusters), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return next((found for name in names.split("|") if (found := shutil.which(name, path=places))), None)


@cache
def missing(name: str) -> str | None:
    """Why the programs called `name` cannot be used, or None."""
    for names in PROGRAMS[name]:
        if find_program(names) is None:
            return f"{name} is not installed: {names.replace('|', ' or ')} was not found"
    if name == "mail-dkim" and subprocess.run(["perl", "-MMail::DKIM", "-e1"], capture_output=True).returncode:
        return "mail-dkim is not installed: perl has no Mail::DKIM"
    return None


def require(name: str) -> None:
    """Skip the test without `name`; fail it under CI=true, where everything must be there."""
    reason = missing(name)
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            require(name)


def pytest_configure(config: pytest.Config) -> None:
    worker = getattr(config, "workerinput", None)
    if worker is None:
        # Short and outside pytest's own folder: a unix socket's path has 107 octets, and servers drop root.
        folder = Path(tempfile.mkdtemp(prefix="corranto-"))
        folder.chmod(0o711)
        (folder / "owner").write_text(str(os.getpid()))
    else:
        folder = Path(worker["corranto_run"])
    config.stash[_run_key] = folder


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["corranto_run"] = str(node.config.stash[_run_key])


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or _run_key not in config.stash:
        return
    folder = config.stash[_run_key]
    for stop in sorted(folder.glob("*.stop")):
        subprocess.run(json.loads(stop.read_text()), capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def run_folder(pytestconfig: pytest.Config) -> Path:
    """The folder of this test run, the same for all its workers."""
    return pytestconfig.stash[_run_key]


@contextmanager
def only_one(folder: Path, name: str) -> Iterator[None]:
    """Held by one process of the run at a time."""
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start_once(folder: Path, name: str, start: Callable[[Path], tuple[dict[str, Any], list[str]]]) -> dict[str, Any]:
    """What `start` says about the server called `name`; it runs in the first worker that asks.

    `start` gets the server's own folder and returns what to connect to, and the command that stops it.
    """
    with only_one(folder, name):
        facts = folder / f"{name}.json"
        if not facts.exists():
            home = folder / name
            home.mkdir()
            found, stop = start(home)
            (folder / f"{name}.stop").write_text(json.dumps(stop))
            _stop_with_the_run(folder, stop)
            facts.write_text(json.dumps(found))
        result: dict[str, Any] = json.loads(facts.read_text())
        return result


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def unprivileged() -> dict[str, Any]:
    """Popen arguments that drop root, as PostgreSQL demands; nothing when we are not root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}


def _stop_with_the_run(folder: Path, stop: list[str]) -> None:
    """A run killed with -9 leaves no server: a shell waits for the run's process to vanish."""
    owner = (folder / "owner").read_text()
    script = 'while kill -0 "$1" 2>/dev/null; do sleep 2; done; shift; folder=$1; shift; "$@"; rm -rf "$folder"'
    subprocess.Popen(
        ["sh", "-c", script, "watch", owner, str(folder), *stop],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def is_confined(pid: int) -> bool:
    """Whether a process makes files for its owner alone and leaves no copy of its memory in a crash."""
    process = Path("/proc") / str(pid)
    limits = (process / "limits").read_text()
    (core,) = [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")]
    return core == ["0", "0"] and "\nUmask:\t0077\n" in (process / "status").read_text()
