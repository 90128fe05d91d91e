"""The do-not-mail list as operators keep it: by hand, by file, looked at, lifted. Adding goes through `optout`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.consent import optout
from worker.consent.csv_file import rows, survey
from worker.consent.optout import Suppressed
from worker.domain.address import Address, AddressError, parse_address, read_address
from worker.domain.suppression import Suppression, SuppressionReason
from worker.errors import Trouble, UsageError
from worker.storage.engine import Database
from worker.storage.people import suppressions

PAGE = 1_000
"""Rows a query: other writers never wait long for one."""


@dataclass(frozen=True)
class SuppressedFile:
    """What became of a file: what was suppressed, and why the lines at these numbers held no address."""

    result: Suppressed
    rejects: Sequence[tuple[int, Trouble]]


def suppress_addresses(
    database: Database, typed: Sequence[str], *, evidence: str, actor: str, wait_s: float
) -> Suppressed:
    """Never mail these addresses again. Raises UsageError for what is no address; then nothing is changed."""
    addresses = [read_address(address) for address in typed]
    return optout.suppress(database, addresses, evidence=evidence, actor=actor, wait_s=wait_s)


def suppress_file(
    database: Database, path: Path, *, encoding: str | None, evidence: str, actor: str, wait_s: float
) -> SuppressedFile:
    """Never mail the addresses of a file again: its column email, or its only column.

    Raises NotFoundError, or UsageError for a file that holds none; then nothing is changed.
    """
    addresses: list[Address] = []
    rejects: list[tuple[int, Trouble]] = []
    for line, typed in _read_column(path, encoding):
        try:
            addresses.append(parse_address(typed))
        except AddressError as error:
            rejects.append((line, error.trouble))
    if not addresses:
        raise UsageError("suppression.no_address", path=str(path))
    done = optout.suppress(database, addresses, evidence=evidence, actor=actor, wait_s=wait_s)
    return SuppressedFile(done, rejects)


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


def lift_suppression(database: Database, address: str, *, actor: str) -> Suppression:
    """Let an address get mail again and return why it did not. Subscriptions that ended stay ended.

    Raises UsageError for what is no address, NotFoundError for one that is not on the list.
    """
    parsed = read_address(address)
    with database.write() as conn:
        return suppressions.remove(conn, database.instance(), parsed, actor=actor)


def _read_column(path: Path, encoding: str | None) -> Iterator[tuple[int, str]]:
    """(line, text) of the column called email, or of the only column. Raises UsageError for another file."""
    file = survey(path, encoding)
    heads = [head.strip().lower() for head in file.header]
    column = heads.index("email") if "email" in heads else 0
    if "email" not in heads:
        if len(heads) > 1 or "@" not in heads[0]:
            raise UsageError("suppression.no_email_column", file=path.name, columns=list(file.header))
        yield 1, file.header[0]
    for line, cells in rows(file):
        if len(cells) > column and cells[column].strip():
            yield line, cells[column]
