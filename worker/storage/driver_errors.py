"""What a driver's error means to a person: one sentence, no password, no address, no SQL. Pure.

Only trouble of the database itself is translated; a broken constraint is a fault of ours and stays an exception.
"""

import sqlite3

import psycopg
from sqlalchemy import exc

from worker.errors import CorrantoError, UnreachableError

_SQLITE = (
    ("attempt to write a readonly database", "is read-only: check the file's owner and whether the disk is mounted rw"),
    ("unable to open database file", "cannot be opened: check that its folder exists and may be written by this user"),
    ("database or disk is full", "cannot grow because the disk is full: nothing was changed; make room and try again"),
    (
        "disk i/o error",
        "cannot be read or written (disk I/O error): check the disk, and that it is not a network share",
    ),
    ("file is not a database", "is not an SQLite database: CORRANTO_DATABASE_URL names another file"),
    ("malformed", "is damaged (the disk image is malformed): restore it from a backup"),
    ("locked", "is locked by another process: nothing was changed; stop that process or try again"),
    ("busy", "is locked by another process: nothing was changed; stop that process or try again"),
)

_POSTGRESQL = {
    "40P01": "gave up this transaction (deadlock): nothing was changed; try again",
    "40001": "gave up this transaction (serialization): nothing was changed; try again",
    "55P03": "kept a row locked for too long: nothing was changed; try again",
    "57014": "cancelled the statement (timeout): nothing was changed; try again",
    "25006": "is read-only (a standby, or default_transaction_read_only): name the primary in CORRANTO_DATABASE_URL",
    "53100": "cannot grow because its disk is full: nothing was changed; make room and try again",
    "53200": "has no memory left: nothing was changed; try again",
    "53300": "has no connection left: raise max_connections or run fewer processes",
    "42501": "refuses: this role lacks a privilege on Corranto's tables; grant it, or name their owner",
    "3D000": "does not exist on that server: create it (createdb) or correct CORRANTO_DATABASE_URL",
}


_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "not permitted", "permission denied")


def explain(error: BaseException, place: str, password: str | None = None) -> CorrantoError | None:
    """The sentence for trouble of the database at `place`, or None when the error is something else.

    `password` is cut out of whatever the driver said, should it ever repeat it.
    """
    if isinstance(error, exc.TimeoutError):
        return UnreachableError(f"{place} was not free within the time limit: all connections of this process are busy")
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(origin, sqlite3.OperationalError | sqlite3.DatabaseError):
        return _explain_sqlite(origin, place)
    if isinstance(origin, psycopg.Error):
        return _explain_postgresql(origin, place, password, lost=_is_lost(error))
    return None


def _explain_sqlite(error: sqlite3.Error, place: str) -> CorrantoError | None:
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return None
    said = str(error).lower()
    for words, sentence in _SQLITE:
        if words in said:
            return UnreachableError(f"{place} {sentence}")
    return None


def _explain_postgresql(error: psycopg.Error, place: str, password: str | None, *, lost: bool) -> CorrantoError | None:
    if error.sqlstate in _POSTGRESQL:
        return UnreachableError(f"{place} {_POSTGRESQL[error.sqlstate]}")
    if error.sqlstate and error.sqlstate.startswith(("08", "57P")):
        lost = True
    if isinstance(error, psycopg.OperationalError) and (lost or error.sqlstate is None):
        reason = _first_reason(str(error))
        if password:
            reason = reason.replace(password, "***")
        if _refuses(str(error)):
            return UnreachableError(
                f"{place} refuses us ({reason}): check user, password and database in CORRANTO_DATABASE_URL"
            )
        return UnreachableError(f"{place} does not answer ({reason}): check that it runs, and CORRANTO_DATABASE_URL")
    return None


def _refuses(said: str) -> bool:
    """Whether a server that runs turned us away for who we are; libpq gives no code for it while connecting."""
    return "no password supplied" in said or ("FATAL:" in said and any(words in said for words in _REFUSALS))


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def _first_reason(said: str) -> str:
    """The cause out of libpq's lines: after the last `failed: ` of the first line that has one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    line = next((line for line in lines if "failed: " in line), lines[0] if lines else "the connection was closed")
    return line.rpartition("failed: ")[2].removeprefix("FATAL:").strip().rstrip(".")
