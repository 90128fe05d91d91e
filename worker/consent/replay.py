"""The opt-out log held against the database: who left, or was erased, and does not stand so there.

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
from worker.errors import NotFoundError, UnreachableError
from worker.storage.engine import Database
from worker.storage.people import subscribers, subscriptions

_LINE = re.compile(r"\S+ (out|undo|erased|did) ({0}(?: {0})*)\n".format("[0-9]{1,18}(?::[0-9]{1,9})?"))
PAGE = 500  # ids in one query


@dataclass(frozen=True)
class Missing:
    """What the log has and the database has not, by id."""

    ended: tuple[int, ...] = ()
    """Subscriptions."""
    erased: tuple[int, ...] = ()
    """Readers."""
    lines: int = 0
    """In how many lines of the log they stand: one press may end all of a reader's subscriptions."""
    known: int = 0
    """Those of them that the database had before, says the log."""
    highest_subscription: int = 0
    """That the log names: a restored database would give its number to somebody else."""
    highest_subscriber: int = 0

    @property
    def count(self) -> int:
        return len(self.ended) + len(self.erased)


def missing(database: Database, state_dir: Path) -> Missing:
    """Hold log and database against each other. What began anew since, or is unknown there, is left alone.

    Generations say what came last, not the order of lines: a restore adds another machine's behind. Raises
    UnreachableError for a log that is there and cannot be read.
    """
    out: dict[int, int] = {}
    undone: dict[int, int] = {}
    erased: set[int] = set()
    for word, ids in _read(state_dir, but="did"):
        for number, generation in ids:
            if word == "erased":
                erased.add(number)
            elif generation:
                last = out if word == "out" else undone
                last[number] = max(last.get(number, 0), generation)
    highest = max(max(out, default=0), max(undone, default=0)), max(erased, default=0)
    for number, generation in undone.items():
        if generation > out.get(number, generation):
            del out[number]
    with database.read() as conn:
        ended = subscriptions.going_on(conn, out, PAGE)
        readers = subscribers.not_erased(conn, sorted(erased), PAGE)
    lines = known = 0
    if ended or readers:
        lines, known = _weigh(state_dir, {(number, out[number]) for number in ended}, set(readers))
    return Missing(tuple(ended), tuple(readers), lines, known, *highest)


def _weigh(state_dir: Path, ended: set[tuple[int, int]], erased: set[int]) -> tuple[int, int]:
    """In how many lines these stand, and how many of them the database had. A second look, because a log of a million
    wishes is not kept in memory for the few that are missing."""
    missing, did = ended | {(number, 0) for number in erased}, set()
    last: dict[tuple[int, int], int] = {}
    for at, (word, ids) in enumerate(_read(state_dir, but="undo")):
        for each in missing.intersection(ids):
            if word == "did":
                did.add(each)
            else:
                last[each] = at
    return len(set(last.values())), len(did)


def _read(state_dir: Path, *, but: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """(word, [(number, generation or 0)]) of each whole line with another word than this one.

    A torn one is passed over: its reader was answered nothing.
    """
    path = state_dir / LOG_NAME
    try:
        with path.open(errors="replace", newline="\n") as log:
            for line in log:
                if f" {but} " not in line and (found := _LINE.fullmatch(line)):
                    parts = (part.partition(":") for part in found[2].split())
                    yield found[1], [(int(number), int(generation or 0)) for number, _, generation in parts]
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnreachableError("journal.cannot_be_read", place=str(path), why=error.strerror) from error


def numbers_to_skip(found: Missing) -> dict[str, int]:
    """By table: what the log says about a number must never mean somebody new."""
    return {"subscription": found.highest_subscription, "subscriber": found.highest_subscriber}


def replay(database: Database, state_dir: Path, found: Missing, actor: str) -> None:
    """End what was ended and erase who was erased."""
    for number in found.ended:
        optout.opt_out(database, Wish(number, Channel.CLI, actor), state_dir, wait_s=0.0)
    for number in found.erased:
        # Another process that begins now may have done it.
        with suppress(NotFoundError), database.write_durably() as conn:
            subscribers.erase_subscriber(conn, number, actor=actor, keep_no=True)
