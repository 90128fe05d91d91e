"""How SQLite is opened so that several threads and processes can work in one file.

WAL lets readers go on beside the writer; BEGIN IMMEDIATE makes a writer wait at its start instead of failing in its
middle. A crash of the process loses nothing committed; a crash of the machine may lose the last commits made with
synchronous=NORMAL, which is why opt-outs commit with FULL.
"""

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from worker import clock
from worker.errors import Remedy, UnreachableError

BUSY_TIMEOUT_S = 20.0
"""How long a writer waits for another process; more than any page of work takes, less than a person's patience."""

WAL_LIMIT_OCTETS = 64 * 1024 * 1024  # to what a checkpoint cuts the log beside the file after an import has filled it
CACHE_KIB = 8_000  # of pages for each connection: up to 48 in a process share the machine's memory

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "ncpfs"})
"""WAL needs shared memory between all processes that use the file, which these do not give."""

_TIME_FORMAT = "%Y-%m-%d %H:%M:%S.%f"  # equal to what the column type stores, so texts compare as times

_locks: dict[Path, "WriterLock"] = {}
_locks_guard = threading.Lock()


class WriterLock:
    """One writer per file in this process: threads queue here, instead of polling SQLite's own lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise RuntimeError("a write transaction was begun inside another one")
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._owner = None
        self._lock.release()


def writer_lock(path: Path) -> WriterLock:
    """The lock that every Database of this process on `path` shares."""
    with _locks_guard:
        return _locks.setdefault(path, WriterLock())


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing file with Corranto's pragmas. Raises sqlite3.OperationalError when there is none."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,  # transactions are begun by us, never by the driver's guess
        check_same_thread=False,  # the pool hands a connection to one thread at a time
    )
    # The conversion runs per statement, not per row: `database_now` wraps it into a scalar subquery.
    connection.create_function("corranto_now", -1, _now, deterministic=False)
    connection.create_function("now", 0, _now, deterministic=False)  # so that one SQL text serves both databases
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        # On a read-only disk an existing WAL database can still be read; the first write says what is wrong.
        if "readonly" not in str(error):
            connection.close()
            raise
    for pragma in (
        "synchronous = NORMAL",
        "foreign_keys = ON",
        f"journal_size_limit = {WAL_LIMIT_OCTETS}",
        f"cache_size = -{CACHE_KIB}",
        "temp_store = MEMORY",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def create_file(path: Path) -> None:
    """Make an empty database file readable by its owner only, with its folder. Raises UnreachableError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise UnreachableError("database.file_unmade", path=path, reason=error.strerror) from error


def refuse_network_file_system(path: Path, mounts: str) -> None:
    """Raises UnreachableError when `path` lies on a network share. `mounts` has the shape of /proc/self/mounts."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and path.is_relative_to(fields[1]) and len(fields[1]) >= best:
            best, kind = len(fields[1]), fields[2]
    if kind in NETWORK_FILE_SYSTEMS:
        raise UnreachableError("database.on_network_share", path=path, kind=kind, remedy=Remedy.CONFIGURE)


def _now(plus_s: float = 0.0) -> str:
    return (clock.utcnow() + timedelta(seconds=plus_s)).strftime(_TIME_FORMAT)
