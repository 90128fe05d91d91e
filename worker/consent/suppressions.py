"""The do-not-mail list as operators keep it: by hand, by file, looked at, lifted. Adding goes through `optout`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from worker.consent import optout, optout_log, source
from worker.consent.csv_file import Broken, rows, survey
from worker.consent.headings import read_header
from worker.consent.how import AS_IT_SAYS, How
from worker.consent.import_rows import RowError, read_cell
from worker.consent.leavers import Standing, judge
from worker.consent.optout import Suppressed
from worker.domain.address import Address, read_address
from worker.domain.suppression import Suppression, SuppressionReason
from worker.errors import Trouble, UsageError
from worker.storage.engine import Database
from worker.storage.people import suppressions

PAGE = 1_000
"""Rows a query: other writers never wait long for one."""


MAX_REJECTS = 20
"""Lines without an address that are told, the others counted."""


@dataclass
class SuppressedFile:
    """What became of a file: what was suppressed, and why the first of the lines at these numbers held no address."""

    result: Suppressed = field(default_factory=lambda: Suppressed(0, 0, 0))
    rejects: list[tuple[int, Trouble]] = field(default_factory=list)
    rejected: int = 0
    stayed: int = 0
    """Rows that the file itself says did not leave, and that are not suppressed therefore."""
    left_columns: tuple[str, ...] = ()
    """Headings of the columns that say who left; empty when every row counts."""


def suppress_addresses(
    database: Database, typed: Sequence[str], *, evidence: str, actor: str, state_dir: Path, wait_s: float
) -> Suppressed:
    """Never mail these addresses again. Raises UsageError for what is no address; then nothing is changed."""
    addresses = [read_address(address) for address in typed]
    return optout.suppress(database, addresses, evidence=evidence, actor=actor, state_dir=state_dir, wait_s=wait_s)


def suppress_file(
    database: Database,
    path: Path,
    *,
    evidence: str,
    actor: str,
    state_dir: Path,
    wait_s: float,
    how: How = AS_IT_SAYS,
    every: bool = False,
) -> SuppressedFile:
    """Never mail the addresses of a file again: its column of addresses, or its only column.

    Of a file that says itself who left, only those; `every` takes the others too. Raises NotFoundError, or UsageError
    for a file that holds none; then nothing is changed.
    """
    done = SuppressedFile()
    with source.opened(path) as opened:
        addresses = _read_addresses(opened, how, every, done)
        first = next(addresses, None)
        if first is None:
            if done.stayed:
                raise UsageError("suppression.nobody_left", file=opened.name, columns=list(done.left_columns))
            raise UsageError("suppression.no_address", path=opened.name)
        wanted = chain([first], addresses)
        done.result = optout.suppress(
            database, wanted, evidence=evidence, actor=actor, state_dir=state_dir, wait_s=wait_s
        )
    return done


def find_suppression(database: Database, address: str) -> Suppression | None:
    """Why this address gets nothing, or None when it may. Raises UsageError for what is no address."""
    parsed = read_address(address)
    with database.read() as conn:
        return suppressions.find(conn, database.instance(), parsed)


def list_suppressions(database: Database, reason: SuppressionReason | None = None) -> list[Suppression]:
    """All of them, or those for one reason, in the order they were added."""
    listed: list[Suppression] = []
    while True:
        after = listed[-1].id if listed else 0
        with database.read() as conn:
            page = suppressions.list_suppressions(conn, reason=reason, after_id=after, limit=PAGE)
        listed += page
        if len(page) < PAGE:
            return listed


def lift_suppression(database: Database, address: str, *, actor: str, state_dir: Path) -> Suppression:
    """Let an address get mail again and return why it did not. Subscriptions that ended stay ended.

    Raises UsageError for what is no address, NotFoundError for one that is not on the list.
    """
    parsed = read_address(address)
    with database.write() as conn:
        lifted = suppressions.remove(conn, database.instance(), parsed, actor=actor)
    optout_log.append_lifted(state_dir, suppressions.hash_of(database.instance(), parsed))
    return lifted


def _read_addresses(opened: source.Source, how: How, every: bool, done: SuppressedFile) -> Iterator[Address]:
    """The addresses that are meant; `done` learns of all other rows. Raises UsageError for another kind of file."""
    file = survey(opened.path, how.encoding, escape=how.escape, name=opened.name)
    only = len(file.header) == 1 and not how.mapping and "@" in file.header[0]
    columns = None if only else read_header(file.header, how.mapping, how.left, file.sample, how.not_left)
    if only:
        yield from _read(1, file.header[0], done)
    if columns is not None and not every:
        done.left_columns = tuple(column.heading for column in columns.left)
        if how.not_left and not done.left_columns:
            # Who says of a column that it is about something else does not say that all of these people left.
            raise UsageError("suppression.nobody_said", file=opened.name)
    for line, cells in rows(file):
        if isinstance(cells, Broken):
            _reject(line, cells.reason, done)
            continue
        typed = cells[columns.email if columns else 0] if (columns.email if columns else 0) < len(cells) else ""
        if columns and done.left_columns and judge(cells, columns.left)[0] is not Standing.LEFT:
            done.stayed += 1
        elif typed.strip():
            yield from _read(line, typed, done)


def _read(line: int, typed: str, done: SuppressedFile) -> Iterator[Address]:
    try:
        yield read_cell(typed)
    except RowError as error:
        _reject(line, error.trouble, done)


def _reject(line: int, why: Trouble, done: SuppressedFile) -> None:
    done.rejected += 1
    if len(done.rejects) < MAX_REJECTS:
        done.rejects.append((line, why))
