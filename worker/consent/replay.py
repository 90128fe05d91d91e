"""The opt-out log held against the database: who left, or was erased, and does not stand so there.

A restored copy is older than the log; a crash between line and commit leaves one line too many, of a wish whose reader
was answered nothing. Both are made true. Every step is safe to run twice.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from worker.consent import optout
from worker.consent.optout import Wish
from worker.consent.optout_log import LOG_NAME
from worker.domain.subscription import Channel
from worker.storage.engine import Database
from worker.storage.people import subscribers, subscriptions

_LINE = re.compile(r"(\S+) (out|undo|erased|did) ([0-9: ]+)")
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

    @property
    def count(self) -> int:
        return len(self.ended) + len(self.erased)


def missing(database: Database, state_dir: Path) -> Missing:
    """Hold log and database against each other. What began anew since, or is unknown there, is left alone."""
    last: dict[int, tuple[str, int, int]] = {}
    erased: dict[int, int] = {}
    did: set[str] = set()
    try:
        with (state_dir / LOG_NAME).open(errors="replace") as log:
            for at, line in enumerate(log):
                if (found := _LINE.match(line)) is None:
                    continue  # torn by a crash: its reader was answered nothing
                for part in found[3].split():
                    number, _, generation = part.partition(":")
                    if found[2] == "did":
                        did.add(part)
                    elif found[2] == "erased":
                        erased[int(number)] = at
                    elif generation.isdigit():
                        last[int(number)] = (found[2], int(generation), at)
    except OSError:
        return Missing()
    left = {number: generation for number, (word, generation, _) in last.items() if word == "out"}
    with database.read() as conn:
        ended = subscriptions.going_on(conn, left, PAGE)
        readers = subscribers.not_erased(conn, sorted(erased), PAGE)
    lines = {last[number][2] for number in ended} | {erased[number] for number in readers}
    known = sum(f"{number}:{left[number]}" in did for number in ended) + sum(str(each) in did for each in readers)
    return Missing(tuple(ended), tuple(readers), len(lines), known)


def replay(database: Database, state_dir: Path, found: Missing, actor: str) -> None:
    """End what was ended and erase who was erased."""
    for number in found.ended:
        optout.opt_out(database, Wish(number, Channel.CLI, actor), state_dir, wait_s=0.0)
    for number in found.erased:
        with database.write_durably() as conn:
            subscribers.erase_subscriber(conn, number, actor=actor, keep_no=True)
