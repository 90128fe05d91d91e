"""A PostgreSQL cluster of this test run's own, and one database per test made from a migrated template."""

import itertools
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.programs import find_program, free_port, require, start_once, unprivileged
from tests.support.readers import KEY
from worker.storage.migrations.upgrade import upgrade

TEMPLATE = "corranto_template"
_numbers = itertools.count(1)

# Faster than safe, because nothing in it has to outlive the run.
_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
    "timezone": "Asia/Kathmandu",  # not UTC, so that a time without zone shows
}


@pytest.fixture(scope="session")
def postgresql_server(run_folder: Path) -> str:
    """URL of the cluster without a database name: postgresql://corranto@127.0.0.1:PORT."""
    require("postgresql")
    return str(start_once(run_folder, "pg", _start)["url"])


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> Iterator[str]:
    """A database without any table, dropped after the test."""
    yield from _new_database(postgresql_server, "template0")


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """A migrated, empty database, dropped after the test."""
    yield from _new_database(postgresql_server, TEMPLATE)


def _new_database(server: str, template: str) -> Iterator[str]:
    name = f"t{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield f"{server}/{name}"
        conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Cluster:
    """A PostgreSQL of one test's own, which it may stop: at once, as after a crash."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        found, self.kill_command = _start(home)
        self.home, self.data, self.port = home, found["data"], found["port"]
        self.url = f"{found['url']}/desk"
        with psycopg.connect(f"{found['url']}/postgres", autocommit=True) as conn:
            conn.execute("CREATE DATABASE desk TEMPLATE corranto_template")

    def stop(self) -> None:
        subprocess.run(self.kill_command, check=True, capture_output=True)

    def start(self) -> None:
        program = find_program("pg_ctl")
        assert program
        options = (
            f"-c port={self.port} -c unix_socket_directories={self.home} -c listen_addresses=127.0.0.1 -c fsync=off"
        )
        rights = unprivileged()
        command = [program, "-D", self.data, "-w", "-t", "60", "-l", str(self.home / "log"), "-o", options, "start"]
        _run(command, rights, self.home)


def _start(home: Path) -> tuple[dict[str, Any], list[str]]:
    rights = unprivileged()
    if rights:
        shutil.chown(home, rights["user"], rights["group"])
    initdb, pg_ctl = find_program("initdb"), find_program("pg_ctl")
    assert initdb
    assert pg_ctl
    data = home / "data"
    made = [initdb, "-D", str(data), "-U", "corranto", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    _run(made, rights, home)
    port = free_port()
    options = {**_OPTIONS, "port": str(port), "unix_socket_directories": str(home)}
    line = " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in options.items())
    _run([pg_ctl, "-D", str(data), "-w", "-t", "60", "-l", str(home / "log"), "-o", line, "start"], rights, home)
    url = f"postgresql://corranto@127.0.0.1:{port}"
    with psycopg.connect(f"{url}/postgres", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {TEMPLATE}")
    upgrade(f"{url}/{TEMPLATE}", [KEY])
    return {"url": url, "port": port, "data": str(data)}, _as_owner(
        rights, [pg_ctl, "-D", str(data), "-m", "immediate", "stop"]
    )


def _run(command: list[str], rights: dict[str, Any], home: Path) -> None:
    with (home / "log.start").open("ab") as log:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=home, check=False, **rights
        )
    if done.returncode:
        said = "".join(path.read_text(errors="replace") for path in home.glob("log*"))
        raise RuntimeError(f"{command[0]} failed: {said}")


def _as_owner(rights: dict[str, Any], command: list[str]) -> list[str]:
    setpriv = find_program("setpriv")
    if not rights or setpriv is None:
        return command
    return [setpriv, f"--reuid={rights['user']}", f"--regid={rights['group']}", "--clear-groups", *command]
