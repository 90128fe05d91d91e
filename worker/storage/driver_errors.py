"""What a driver's error means: a code with the database's place, no password, no address, no SQL. Pure.

Only trouble of the database itself is translated; a broken constraint is a fault of ours and stays an exception.
"""

import re
import sqlite3
from collections.abc import Callable

import psycopg
from sqlalchemy import exc

from worker.errors import CorrantoError, Remedy, UnreachableError
from worker.storage import schema

_Meaning = Callable[[str], UnreachableError]


def _locked(place: str) -> UnreachableError:
    return UnreachableError("database.locked", place=place, remedy=Remedy.REPEAT)


_SQLITE: tuple[tuple[str, _Meaning], ...] = (
    ("attempt to write a readonly database", lambda place: UnreachableError("database.file_read_only", place=place)),
    ("unable to open database file", lambda place: UnreachableError("database.file_closed", place=place)),
    ("database or disk is full", lambda place: UnreachableError("database.disk_full", place=place)),
    ("disk i/o error", lambda place: UnreachableError("database.disk_error", place=place)),
    (
        "file is not a database",
        lambda place: UnreachableError("database.not_sqlite", place=place, remedy=Remedy.CONFIGURE),
    ),
    ("malformed", lambda place: UnreachableError("database.damaged", place=place)),
    ("locked", _locked),
    ("busy", _locked),
)
"""What SQLite says, in lower case, and what it means; the first that fits."""

_POSTGRESQL: dict[str, _Meaning] = {
    "40P01": lambda place: UnreachableError("database.deadlock", place=place, remedy=Remedy.REPEAT),
    "40001": lambda place: UnreachableError("database.not_serializable", place=place, remedy=Remedy.REPEAT),
    "55P03": lambda place: UnreachableError("database.row_locked", place=place, remedy=Remedy.REPEAT),
    "57014": lambda place: UnreachableError("database.statement_timeout", place=place, remedy=Remedy.REPEAT),
    "25006": lambda place: UnreachableError("database.read_only", place=place, remedy=Remedy.CONFIGURE),
    "53100": lambda place: UnreachableError("database.server_disk_full", place=place),
    "53200": lambda place: UnreachableError("database.no_memory", place=place, remedy=Remedy.REPEAT),
    "53300": lambda place: UnreachableError("database.no_connection", place=place),
    "26000": lambda place: UnreachableError("database.no_prepared", place=place, remedy=Remedy.CONFIGURE),
    "42P05": lambda place: UnreachableError("database.no_prepared", place=place, remedy=Remedy.CONFIGURE),
    "42501": lambda place: UnreachableError("database.no_privilege", place=place),
    "3D000": lambda place: UnreachableError("database.missing", place=place, remedy=Remedy.CONFIGURE),
}
"""By SQLSTATE (PostgreSQL manual, appendix A)."""

_NO_DATABASE = re.compile(r'FATAL: +database ".*" does not exist')
"""While connecting libpq gives no SQLSTATE."""

_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "not permitted", "permission denied")


def explain(error: BaseException, place: str, password: str | None = None) -> CorrantoError | None:
    """The error for trouble of the database at `place`, or None when it is something else.

    `password` is cut out of whatever the driver said, should it ever repeat it.
    """
    if isinstance(error, exc.TimeoutError):
        return UnreachableError("database.all_busy", place=place)
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
    if said.startswith("no such table") and _names_our_table(said):
        return UnreachableError("database.tables_gone", place=place)
    return next((meaning(place) for words, meaning in _SQLITE if words in said), None)


def _explain_postgresql(error: psycopg.Error, place: str, password: str | None, *, lost: bool) -> CorrantoError | None:
    if error.sqlstate in _POSTGRESQL:
        return _POSTGRESQL[error.sqlstate](place)
    if error.sqlstate == "42P01" and _names_our_table(str(error)):
        return UnreachableError("database.tables_gone", place=place)
    if error.sqlstate and error.sqlstate.startswith(("08", "57P")):
        lost = True
    if lost or (isinstance(error, psycopg.OperationalError) and error.sqlstate is None):
        reason = _first_reason(str(error))
        if password:
            reason = reason.replace(password, "***")
        if _NO_DATABASE.search(str(error)):
            return _POSTGRESQL["3D000"](place)
        if _refuses(str(error)):
            return UnreachableError("database.refuses", place=place, reason=reason, remedy=Remedy.CONFIGURE)
        return UnreachableError("database.silent", place=place, reason=reason)
    return None


def _names_our_table(said: str) -> bool:
    """Whether the missing table is one we made, so that the database was emptied. Any other is a fault of ours."""
    first = said.partition("\n")[0]
    return not schema.metadata.tables.keys().isdisjoint(re.findall(r"\w+", first))


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
