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
from worker.errors import UnreachableError
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
    out: dict[int, tuple[int, int]] = {}
    undone: dict[int, int] = {}
    erased: dict[int, int] = {}
    did: set[str] = set()
    try:
        with (state_dir / LOG_NAME).open(errors="replace", newline="\n") as log:
            for at, line in enumerate(log):
                if (found := _LINE.fullmatch(line)) is None:
                    continue  # torn by a crash: its reader was answered nothing
                for part in found[2].split():
                    number, _, generation = part.partition(":")
                    if found[1] == "did":
                        did.add(part)
                    elif found[1] == "erased":
                        erased[int(number)] = at
                    elif generation and found[1] == "out":
                        out[int(number)] = max(out.get(int(number), (0, 0)), (int(generation), at))
                    elif generation:
                        undone[int(number)] = max(undone.get(int(number), 0), int(generation))
    except FileNotFoundError:
        return Missing()
    except OSError as error:
        raise UnreachableError("journal.cannot_be_read", place=str(state_dir / LOG_NAME), why=error.strerror) from error
    left = {number: generation for number, (generation, _) in out.items() if undone.get(number, 0) <= generation}
    with database.read() as conn:
        ended = subscriptions.going_on(conn, left, PAGE)
        readers = subscribers.not_erased(conn, sorted(erased), PAGE)
    lines = {out[number][1] for number in ended} | {erased[number] for number in readers}
    known = sum(f"{number}:{left[number]}" in did for number in ended) + sum(str(each) in did for each in readers)
    highest = max([*out, *undone], default=0), max(erased, default=0)
    return Missing(tuple(ended), tuple(readers), len(lines), known, *highest)


def numbers_to_skip(found: Missing) -> dict[str, int]:
    """By table: what the log says about a number must never mean somebody new."""
    return {"subscription": found.highest_subscription, "subscriber": found.highest_subscriber}


def replay(database: Database, state_dir: Path, found: Missing, actor: str) -> None:
    """End what was ended and erase who was erased."""
    for number in found.ended:
        optout.opt_out(database, Wish(number, Channel.CLI, actor), state_dir, wait_s=0.0)
    for number in found.erased:
        with database.write_durably() as conn:
            subscribers.erase_subscriber(conn, number, actor=actor, keep_no=True)
