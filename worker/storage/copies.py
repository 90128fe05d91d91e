"""Copies of a whole database: made while it is used, looked into, and loaded into an empty one.

SQLite by its own backup, PostgreSQL by its own programs; a copy is one moment of the database.
"""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from worker.durable import sync
from worker.errors import UnreachableError
from worker.storage import epochs, schema
from worker.storage.engine import Database, open_database, sqlite_path, version
from worker.storage.epochs import Progress

_COUNTED = ("publication", "subscriber", "subscription", "suppression", "issue")


def dump(database: Database, url: str, target: Path) -> None:
    """Write a copy to a new file. Raises UnreachableError, OSError."""
    if database.dialect == "sqlite":
        _dump_sqlite(url, target)
    else:
        _run(["pg_dump", "-Fc", "-O", "-x", "-f", str(target)], url)


def load(database: Database, url: str, source: Path) -> None:
    """Fill an empty database with a copy, all of it or nothing. Raises UnreachableError, OSError."""
    if database.dialect == "sqlite":
        _load_sqlite(url, source)
    else:
        _run(["pg_restore", "-O", "-x", "-e", "-1", str(source)], url)


def is_filled(database: Database) -> bool:
    """Whether there is anything yet."""
    folder = database.folder
    if folder is not None and not Path(database.place.removeprefix("the database file ")).exists():
        return False
    with database.read() as conn:
        return version(conn) is not None


def look_into(database: Database, copy: Path) -> tuple[Progress, dict[str, int]]:
    """How far it had come, and rows of the tables people know: of SQLite read from the copy itself, of PostgreSQL as it
    is a moment later.
    """
    looked = open_database(f"sqlite:///{copy}") if database.dialect == "sqlite" else database
    try:
        with looked.read() as conn:
            tables = [schema.metadata.tables[name] for name in _COUNTED]
            counts = {each.name: conn.execute(select(func.count()).select_from(each)).scalar_one() for each in tables}
            return epochs.read_progress(conn), counts
    finally:
        if looked is not database:
            looked.close()
            for beside in ("-wal", "-shm"):
                Path(f"{copy}{beside}").unlink(missing_ok=True)


def _dump_sqlite(url: str, target: Path) -> None:
    place = f"{sqlite_path(make_url(url)).as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(place, uri=True)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)  # one moment: writers go on in the write-ahead log
    except sqlite3.Error as error:
        raise UnreachableError("backup.program_failed", program="SQLite", why=str(error)) from error


def _load_sqlite(url: str, dump: Path) -> None:
    path = sqlite_path(make_url(url))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.restoring")
    try:
        shutil.copyfile(dump, made)
    except OSError:
        made.unlink(missing_ok=True)
        raise
    made.chmod(0o600)
    sync(made)
    for beside in ("-wal", "-shm"):
        Path(f"{path}{beside}").unlink(missing_ok=True)
    made.replace(path)
    sync(path.parent)


def _run(command: Sequence[str], url: str) -> None:
    """One of PostgreSQL's own programs; the password goes by the environment, where `ps` does not show it."""
    parsed = make_url(url)
    program = _program(command[0])
    plain = parsed.set(drivername="postgresql", password=None).difference_update_query(["prepare"])
    env = {**os.environ, **({"PGPASSWORD": str(parsed.password)} if parsed.password else {}), "LC_ALL": "C"}
    done = subprocess.run(  # noqa: S603 - our own words and the operator's URL, and no shell
        [program, "-w", "-d", plain.render_as_string(hide_password=False), *command[1:]],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line.lower()), done.stderr.strip())
        said = said.replace(str(parsed.password), "…") if parsed.password else said
        raise UnreachableError("backup.program_failed", program=command[0], why=said[:300] or f"exit {done.returncode}")


def _program(name: str) -> str:
    """The newest there is: an older pg_dump refuses a newer server."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_major)
    found = str(installed[-1]) if installed else shutil.which(name)
    if found is None:
        raise UnreachableError("backup.no_program", program=name)
    return found


def _major(path: Path) -> int:
    number = re.search(r"/(\d+)/bin/", str(path))
    return int(number[1]) if number else 0
