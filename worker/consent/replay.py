"""The opt-out log held against the database: who left, was erased or suppressed, and does not stand so there.

A restored copy is older than the log; a crash between line and commit leaves one line too many, of a wish whose reader
was answered nothing. Both are made true. Every step is safe to run twice.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from worker.consent import optout
from worker.consent.optout import Wish
from worker.consent.optout_log import LOG_NAME
from worker.domain.subscription import Channel
from worker.domain.suppression import SuppressionReason
from worker.storage.engine import Database
from worker.storage.people import subscribers, subscriptions, suppressions

_LINE = re.compile(r"(\S+) (out|undo|erased|did|lifted|suppressed:(?:manual|complained|bounced)) ([0-9a-f: ]+)")
_HASH = re.compile(r"\b[0-9a-f]{32}\b")
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
    """Lines or ids among them that the database had before, says the log."""

    @property
    def count(self) -> int:
        return len(self.ended) + len(self.erased) + self.suppressed


@dataclass
class _Said:
    """What the log says last of each id; of suppressed addresses only what must be known before they are read."""

    last: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    """Subscription → word, generation, line."""
    erased: dict[int, int] = field(default_factory=dict)
    """Reader → line."""
    did: set[str] = field(default_factory=set)
    lifted: dict[str, str] = field(default_factory=dict)
    """Hash → time."""
    suppressed: bool = False


def missing(database: Database, state_dir: Path) -> Missing:
    """Hold log and database against each other. What began anew since, or is unknown there, is left alone."""
    said = _read(state_dir)
    left = {number: generation for number, (word, generation, _) in said.last.items() if word == "out"}
    with database.read() as conn:
        ended = subscriptions.going_on(conn, left, PAGE)
        readers = subscribers.not_erased(conn, sorted(said.erased), PAGE)
    lines = len({said.last[number][2] for number in ended} | {said.erased[number] for number in readers})
    known = sum(f"{number}:{left[number]}" in said.did for number in ended)
    known += sum(str(each) in said.did for each in readers)
    suppressed = 0
    for first, _, hashes in _unlisted(database, state_dir, said):
        suppressed, lines, known = suppressed + len(hashes), lines + 1, known + (first in said.did)
    return Missing(tuple(ended), tuple(readers), suppressed, lines, known)


def replay(database: Database, state_dir: Path, found: Missing, actor: str) -> None:
    """End what was ended, erase who was erased, and suppress who was suppressed."""
    for number in found.ended:
        optout.opt_out(database, Wish(number, Channel.CLI, actor), state_dir, wait_s=0.0)
    if found.suppressed:
        for _, reason, hashes in _unlisted(database, state_dir, _read(state_dir)):
            with database.write_durably() as conn:
                suppressions.add_hashes(conn, hashes, reason, "put back from the opt-out log", actor=actor)
    for number in found.erased:
        with database.write_durably() as conn:
            subscribers.erase_subscriber(conn, number, actor=actor, keep_no=True)


def _read(state_dir: Path) -> _Said:
    said = _Said()
    for line, (time, word, ids) in enumerate(_lines(state_dir)):
        if word == "did":
            said.did.update(ids.split())
        elif word == "lifted":
            said.lifted |= dict.fromkeys(_HASH.findall(ids), time)
        elif word.startswith("suppressed"):
            said.suppressed = True
        else:
            _read_ids(said, line, word, ids)
    return said


def _read_ids(said: _Said, line: int, word: str, ids: str) -> None:
    for part in ids.split():
        number, _, generation = part.partition(":")
        if word == "erased" and number.isdigit():
            said.erased[int(number)] = line
        elif number.isdigit() and generation.isdigit():
            said.last[int(number)] = (word, int(generation), line)


def _unlisted(database: Database, state_dir: Path, said: _Said) -> Iterator[_Listing]:
    """Of each line those that are neither on the list nor were lifted later.

    A list may be a million long, so no more of it is held than one query asks for.
    """
    asked: list[_Listing] = []
    size = 0
    for time, word, ids in _lines(state_dir) if said.suppressed else ():
        if not word.startswith("suppressed"):
            continue
        hashes = _HASH.findall(ids)[: suppressions.PAGE]
        if size + len(hashes) > suppressions.PAGE:
            yield from _of_these(database, asked)
            asked, size = [], 0
        wanted = [bytes.fromhex(each) for each in hashes if said.lifted.get(each, "") < time]
        asked.append((" ".join(hashes[:1]), SuppressionReason(word.partition(":")[2]), wanted))
        size += len(wanted)
    yield from _of_these(database, asked)


def _of_these(database: Database, asked: list[_Listing]) -> Iterator[_Listing]:
    with database.read() as conn:
        unlisted = set(suppressions.not_listed(conn, [each for _, _, hashes in asked for each in hashes]))
    for first, reason, hashes in asked:
        if wanted := [each for each in hashes if each in unlisted]:
            yield first, reason, wanted


def _lines(state_dir: Path) -> Iterator[tuple[str, str, str]]:
    """Time, word and ids; what a crash tore is left out, its reader was answered nothing."""
    try:
        with (state_dir / LOG_NAME).open(errors="replace") as log:
            for line in log:
                if found := _LINE.match(line):
                    yield found[1], found[2], found[3]
    except OSError:
        return
