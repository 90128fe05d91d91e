"""The laboratory's checker finds what is planted, and nothing in a history that holds."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.lab.checker import History, Kill, OptOut, Row, Said, check


def said(n: int, code: int, phase: str = "body", at: float = 1.0, **more: str) -> Said:
    given = {"message_id": f"<{n}@example.org>" if phase == "body" else "", **more}
    return Said(at, phase, f"reader{n}@example.org", code, **given)


def row(n: int, state: str, tries: int = 1, **more: object) -> Row:
    return Row(n, f"reader{n}@example.org", state, tries, **more)  # type: ignore[arg-type]


ROWS = [
    row(1, "accepted"),
    row(2, "accepted", 2),
    row(3, "bounced"),
    row(4, "in_doubt", reason="worker_lost", doubts=1),
    row(5, "in_doubt", reason="line_broke", doubts=1),
    row(6, "skipped", 0, reason="opted_out"),
    row(7, "accepted"),
]
SAID = [
    said(1, 250),
    said(2, 451),
    said(2, 250, at=2.0),
    said(3, 550, "rcpt", text="5.1.1 no such user"),
    said(4, 250),
    said(5, 0),
    said(7, 250, at=3.0),
]
CLEAN = History(
    SAID,
    ROWS,
    Counter(row.state for row in ROWS),
    audience=7,
    issue_state="finished",
    kills=[Kill(1, 4.0)],
    opt_outs=[
        OptOut("reader6@example.org", 0.5),
        OptOut("reader7@example.org", 2.9, may_be_on_its_way=True),
        OptOut("nobody@example.org", 0.1),
    ],
)


def with_row(n: int, **changes: object) -> Callable[[History], History]:
    def plant(history: History) -> History:
        rows = [replace(each, **changes) if each.n == n else each for each in history.rows]  # type: ignore[arg-type]
        return replace(history, rows=rows, counters=Counter(each.state for each in rows))

    return plant


def also(*more: Said) -> Callable[[History], History]:
    return lambda history: replace(history, said=[*history.said, *more])


def without(n: int) -> Callable[[History], History]:
    address = f"reader{n}@example.org"
    return lambda history: replace(history, said=[each for each in history.said if each.rcpt != address])


def changed(**changes: object) -> Callable[[History], History]:
    return lambda history: replace(history, **changes)  # type: ignore[arg-type]


def test_a_history_that_holds_has_no_violation() -> None:
    assert check(CLEAN) == []


@pytest.mark.parametrize(
    ("plant", "what"),
    [
        (changed(rows=ROWS[:-1], counters=Counter(each.state for each in ROWS[:-1])), "numbers are missing"),
        (changed(rows=[*ROWS, replace(ROWS[0], n=8)]), "two rows of one reader"),
        (changed(rows=[*ROWS, replace(ROWS[0], address="other@example.org")]), "two rows of one number"),
        (changed(audience=8), "sum to the audience"),
        (changed(counters={**CLEAN.counters, "accepted": 2}), "a counter differs"),
        (changed(counters={**CLEAN.counters, "expired": 1}), "a counter differs"),
        (with_row(1, state="waiting"), "finished with open rows"),
        (with_row(1, state="deferred"), "nobody sent it"),
        (changed(issue_state="sending"), "all is over and it is not finished"),
        (without(1), "the relay never took it"),
        (with_row(1, state="failed"), "the ledger does not know"),
        (with_row(1, state="skipped"), "the ledger does not know"),
        (also(said(1, 250, at=4.0)), "taken more often"),
        (also(said(4, 250, at=9.0)), "taken more often"),
        (with_row(1, tries=0), "a result without a try"),
        (also(*[said(5, 0)] * 3), "more bodies than tries"),
        (with_row(2, state="bounced"), "blamed for what"),
        (also(said(8, 250)), "not in the audience"),
        (also(said(2, 451, message_id="<other@example.org>")), "two Message-IDs"),
        (also(said(5, 0, message_id="<1@example.org>")), "one Message-ID for two"),
        (also(said(5, 250, message_id="")), "without Message-ID"),
        (also(said(6, 250, at=0.6)), "a copy after the opt-out"),
        (also(said(7, 0, at=3.5)), "two copies after the opt-out"),
        (changed(kills=[Kill(11, 1.0)]), "more in doubt than connections"),
        (changed(kills=[Kill(1, 10.5)]), "recovered too slowly"),
        (changed(kills=[]), "more copies lost with workers"),
        (with_row(5, doubts=0), "not counted"),
        (without(5), "in doubt without a body"),
    ],
)
def test_what_is_planted_is_found(plant: Callable[[History], History], what: str) -> None:
    assert any(what in violation.what for violation in check(plant(CLEAN))), check(plant(CLEAN))


def test_a_repeat_of_never_miss_is_allowed_once() -> None:
    history = replace(CLEAN, repeats=True, said=[*SAID, said(4, 250, at=9.0)])
    assert check(history) == []
    assert check(replace(history, said=[*history.said, said(4, 250, at=10.0)]))
