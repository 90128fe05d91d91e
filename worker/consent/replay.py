"""The opt-out log held against the database: who left, was erased or suppressed, and does not stand so there.

A restored copy is older than the log; a crash between line and commit leaves one line too many, of a wish whose reader
was answered nothing. Both are made true. Every step is safe to run twice.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker.consent import optout
from worker.consent.optout import Wish
from worker.consent.optout_log import LOG_NAME
from worker.domain.subscription import Channel
from worker.domain.suppression import SuppressionReason
from worker.errors import NotFoundError, UnreachableError
from worker.storage.engine import Database
from worker.storage.people import subscribers, subscriptions, suppressions

_ID, _HASH = "[0-9]{1,18}(?::[0-9]{1,9})?", "[0-9a-f]{32}"
_LINE = re.compile(
    rf"(\S+) (out|undo|erased|did|lifted|suppressed:(?:{'|'.join(SuppressionReason)})) "
    rf"({_ID}(?: {_ID})*|{_HASH}(?: {_HASH})*)\n"
)
PAGE = 500  # ids in one query

_Listing = tuple[str, SuppressionReason, list[bytes]]
"""The first hash of a line, by which `did` names it, why its addresses get nothing, and those that are meant."""


@dataclass(frozen=True)
class Missing:
    """What the log has and the database has not, by id."""

    ended: tuple[int, ...] = ()
    """Subscriptions."""
    erased: tuple[int, ...] = ()
    """Readers."""
    suppressed: int = 0
    """Addresses, of which the log names the hashes."""
    lines: int = 0
    """In how many lines of the log they stand: one press may end all of a reader's subscriptions."""
    known: int = 0
    """Ids, or lines of hashes, among them that the database had before, says the log."""

    @property
    def count(self) -> int:
        return len(self.ended) + len(self.erased) + self.suppressed


def missing(database: Database, state_dir: Path) -> Missing:
    """Hold log and database against each other. What began anew since, or is unknown there, is left alone.

    Generations say what came last, not the order of lines: a restore adds another machine's behind. Raises
    UnreachableError for a log that is there and cannot be read.
    """
    out: dict[int, int] = {}
    undone: dict[int, int] = {}
    erased: set[int] = set()
    for _, word, ids in _lines(state_dir, "out", "undo", "erased"):
        for number, generation in _numbers(ids):
            if word == "erased":
                erased.add(number)
            elif generation:
                last = out if word == "out" else undone
                last[number] = max(last.get(number, 0), generation)
    for number, generation in undone.items():
        if generation > out.get(number, generation):
            del out[number]
    with database.read() as conn:
        ended = subscriptions.going_on(conn, out, PAGE)
        readers = subscribers.not_erased(conn, sorted(erased), PAGE)
    listed = {first: len(hashes) for first, _, hashes in _unlisted(database, state_dir)}
    lines = known = 0
    if ended or readers or listed:
        ids_missing = {f"{number}:{out[number]}" for number in ended} | {str(number) for number in readers}
        lines, known = _weigh(state_dir, ids_missing, set(listed))
    return Missing(tuple(ended), tuple(readers), sum(listed.values()), lines + len(listed), known)


def _weigh(state_dir: Path, ids_missing: set[str], lines_missing: set[str]) -> tuple[int, int]:
    """In how many lines these ids stand, and how many ids and lines of hashes the database had. A second look, because
    a log of a million wishes is not kept in memory for the few that are missing."""
    did: set[str] = set()
    last: dict[str, int] = {}
    for at, (_, word, ids) in enumerate(_lines(state_dir, "out", "erased", "did")):
        for each in ids_missing.intersection(ids.split()):
            if word != "did":
                last[each] = at
        if word == "did":
            did |= (ids_missing | lines_missing).intersection(ids.split())
    return len(set(last.values())), len(did)


def replay(database: Database, state_dir: Path, found: Missing, actor: str) -> None:
    """End what was ended, erase who was erased, and suppress who was suppressed."""
    for number in found.ended:
        optout.opt_out(database, Wish(number, Channel.CLI, actor), state_dir, wait_s=0.0)
    if found.suppressed:
        for _, reason, hashes in _unlisted(database, state_dir):
            with database.write_durably() as conn:
                suppressions.add(conn, dict.fromkeys(hashes), reason, "put back from the opt-out log", actor=actor)
    for number in found.erased:
        # Another process that begins now may have done it.
        with suppress(NotFoundError), database.write_durably() as conn:
            subscribers.erase_subscriber(conn, number, actor=actor, keep_no=True)


def _unlisted(database: Database, state_dir: Path) -> Iterator[_Listing]:
    """Of each line those that are neither on the list nor were lifted later.

    A list may be a million long, so no more of it is held than one query asks for.
    """
    lifted: dict[str, str] = {}
    for time, _, ids in _lines(state_dir, "lifted"):
        for each in ids.split():
            lifted[each] = max(time, lifted.get(each, ""))  # a restore adds older lines behind
    asked: list[_Listing] = []
    size = 0
    for time, word, ids in _lines(state_dir, "suppressed"):
        hashes = ids.split()[: suppressions.PAGE]
        if size + len(hashes) > suppressions.PAGE:
            yield from _of_these(database, asked)
            asked, size = [], 0
        wanted = [bytes.fromhex(each) for each in hashes if lifted.get(each, "") < time]
        asked.append((hashes[0], SuppressionReason(word.partition(":")[2]), wanted))
        size += len(wanted)
    yield from _of_these(database, asked)


def _of_these(database: Database, asked: list[_Listing]) -> Iterator[_Listing]:
    if not asked:
        return
    with database.read() as conn:
        unlisted = set(suppressions.not_listed(conn, [each for _, _, hashes in asked for each in hashes]))
    for first, reason, hashes in asked:
        if wanted := [each for each in hashes if each in unlisted]:
            yield first, reason, wanted


def _numbers(ids: str) -> Iterator[tuple[int, int]]:
    """(number, generation or 0)."""
    for part in ids.split():
        number, _, generation = part.partition(":")
        yield int(number), int(generation or 0)


def _lines(state_dir: Path, *words: str) -> Iterator[tuple[str, str, str]]:
    """(time, word, ids) of each whole line with one of these words.

    A torn one is passed over: its reader was answered nothing.
    """
    path = state_dir / LOG_NAME
    sought = tuple(f" {word}{end}" for word in words for end in " :")
    try:
        with path.open(errors="replace", newline="\n") as log:
            for line in log:
                if any(each in line[:60] for each in sought) and (found := _LINE.fullmatch(line)):
                    yield found[1], found[2], found[3]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UnreachableError("journal.cannot_be_read", place=str(path), why=error.strerror) from error
