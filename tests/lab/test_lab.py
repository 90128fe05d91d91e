"""The laboratory's quick run: workers die, and what they leave behind holds against the relay's own log."""

import pytest

from tests.lab.cases import QUICK, Case, play
from tests.lab.faults import LINES, at_each_line, die_at
from tests.lab.ground import Ground, Sum
from tests.support.lists import Newsroom
from worker.dispatch.events import Step

SEED = 7

CASES = [case for case in QUICK if case.run is not at_each_line]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_whatever_is_done_to_it_nobody_is_lost_and_nobody_gets_two(case: Case) -> None:
    total = Sum()
    play(case, SEED, total)
    assert total.violations == []
    assert total.skipped == []
    assert sum(len(history.kills) for history in total.histories) >= (case.kills if case.name == "under-load" else 0)


def test_a_death_is_tried_at_every_line_of_the_path() -> None:
    assert set(LINES) == set(Step)


@pytest.mark.parametrize("step", LINES)
def test_a_death_at_each_line_of_the_path_leaves_exactly_so_many_in_doubt(both_desks: Newsroom, step: Step) -> None:
    both_desks.readers(300)
    ground = Ground(both_desks, step, 300, 0, SEED, Sum())
    die_at(ground, step)
    assert ground.total.violations == []
