"""The opt-out log against the database, whatever a disk, a copy or another program made of the file."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.readers import Readers
from tests.support.words import refuses
from worker.consent import optout_log, replay
from worker.consent.optout_log import LOG_NAME, append_erased
from worker.consent.suppressions import find_suppression
from worker.errors import UnreachableError
from worker.storage import acts
from worker.storage.engine import Database

AT = "2026-11-27T10:00:00+00:00"


def found(database: Database, folder: Path, lines: Sequence[str]) -> tuple[int, ...]:
    (folder / LOG_NAME).write_text("".join(f"{AT} {line}\n" for line in lines))
    return replay.missing(database, folder).ended


def test_a_torn_line_erases_nobody(database: Database, readers: Readers, newsline: int, tmp_path: Path) -> None:
    # Given: a line about another reader, of which a full disk took the end
    for n in range(12):
        readers.reader(f"reader{n}@example.org", newsline)
    (tmp_path / LOG_NAME).write_text(f"{AT} erased 1")

    # Then: neither before nor after the next line does it name a reader whose number is shorter
    assert replay.missing(database, tmp_path).erased == ()
    append_erased(tmp_path, 12)
    assert replay.missing(database, tmp_path).erased == (12,)


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (["out 1:1", "undo 1:2"], ()),
        (["undo 1:2"], ()),  # the line before it was in a log that is lost
        (["undo 1:2", "out 1:1"], ()),  # a line that a restore added behind
        (["out 1:1", "undo 1:2", "out 1:2"], (1,)),  # who came back and left again, all since the copy was made
        (["out 1:1", "out 1:2", "undo 1:2"], (1,)),  # the same, another machine's line added behind
    ],
)
def test_generations_say_what_came_last_not_the_order_of_lines(
    database: Database, readers: Readers, newsline: int, tmp_path: Path, lines: list[str], left: tuple[int, ...]
) -> None:
    readers.reader("jane@example.org", newsline)
    assert found(database, tmp_path, lines) == left


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ([(1, "suppressed:manual"), (3, "lifted"), (0, "lifted")], 0),  # an older lift that a restore added behind
        ([(3, "lifted"), (1, "suppressed:manual")], 0),  # and an older line
        ([(3, "lifted"), (4, "suppressed:manual"), (0, "lifted")], 1),
    ],
)
def test_times_say_whether_a_lift_came_last_not_the_order_of_lines(
    database: Database, tmp_path: Path, lines: list[tuple[int, str]], count: int
) -> None:
    text = "".join(f"2026-11-27T10:00:0{second}+00:00 {word} {'0' * 32}\n" for second, word in lines)
    (tmp_path / LOG_NAME).write_text(text)
    assert replay.missing(database, tmp_path).suppressed == count


def test_lines_of_other_programs_are_passed_over(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    readers.reader("jane@example.org", newsline)
    foreign = [
        "out 99999999999999999999999:1",
        "erased 99999999999999999999999",
        "out 1:",
        "out :1 : ::",
        "did",
        "out \u0661:\u0661",
    ]
    assert found(database, tmp_path, foreign) == ()
    (tmp_path / LOG_NAME).write_bytes(b"\0" * 5_000 + b"\n\xff\xfe\r\n" + f"{AT} out 1:1\n".encode())
    assert replay.missing(database, tmp_path).ended == (1,)


def test_a_log_that_cannot_be_read_is_not_an_empty_one(database: Database, tmp_path: Path) -> None:
    assert replay.missing(database, tmp_path).count == 0
    (tmp_path / LOG_NAME).mkdir()
    with refuses(UnreachableError, "cannot be read") as refused:
        replay.missing(database, tmp_path)
    assert refused.value.trouble.fields == {"place": str(tmp_path / LOG_NAME), "why": "Is a directory"}


def test_a_torn_line_is_marked_by_the_next(tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).write_text(f"{AT} erased 1")
    optout_log.confirm(tmp_path, ["2:1"])
    torn, whole = (tmp_path / LOG_NAME).read_text().splitlines()
    assert torn == f"{AT} erased 1 torn"
    assert whole.endswith("did 2:1")


@pytest.mark.parametrize(
    ("lines", "ended", "erased", "counted", "known"),
    [
        (["out 1:1 2:1"], (1, 2), (), 1, 0),
        (["out 1:1", "out 2:1"], (1, 2), (), 2, 0),
        (["out 1:1", "out 1:1", "did 1:1"], (1,), (), 1, 1),  # who pressed again after a crash
        (["out 1:1 2:1", "did 1:1 2:1", "erased 3", "did 3"], (1, 2), (3,), 2, 3),
        (["erased 3", "out 2:1", "erased 1", "did 2:1"], (2,), (1, 3), 3, 1),
        (["out 1:1", "did 1:1", "undo 1:2", "out 2:1"], (2,), (), 1, 0),  # `did` speaks of nothing that is missing
    ],
)
def test_what_is_missing_is_counted_by_line_and_by_what_the_database_had(
    database: Database,
    readers: Readers,
    newsline: int,
    tmp_path: Path,
    lines: list[str],
    ended: tuple[int, ...],
    erased: tuple[int, ...],
    counted: int,
    known: int,
) -> None:
    # Given an older copy, in which three readers go on
    for n in (1, 2, 3):
        readers.reader(f"reader{n}@example.org", newsline)
    (tmp_path / LOG_NAME).write_text("".join(f"{AT} {line}\n" for line in lines))

    # When
    missing = replay.missing(database, tmp_path)
    replay.replay(database, tmp_path, missing, "corranto")

    # Then they are out as each wanted, by whoever put it right; the erased stay out of an import too
    assert missing == replay.Missing(ended, erased, 0, counted, known)
    assert replay.missing(database, tmp_path) == replay.Missing()
    with database.read() as conn:
        done = {(act.act, act.object) for act in acts.latest(conn) if act.actor == "corranto"}
    assert {object for act, object in done if act == "subscription.end"} == {f"subscription:{n}" for n in ended}
    for n in (1, 2, 3):
        standing = find_suppression(database, f"reader{n}@example.org")
        assert (None if standing is None else standing.reason) == ("erased" if n in erased else None)


def test_two_that_begin_at_once_both_make_it_true(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given
    (here,) = readers.reader("jane@example.org", newsline)
    readers.reader("joe@example.org", newsline)
    (tmp_path / LOG_NAME).write_text(f"{AT} out {here}:1\n{AT} erased 2\n")
    seen = replay.missing(database, tmp_path)

    # When both have seen what is missing before either makes it true
    for _ in range(2):
        replay.replay(database, tmp_path, seen, "corranto")

    # Then
    assert replay.missing(database, tmp_path).count == 0
    assert readers.state(here)[0] == "ended"
