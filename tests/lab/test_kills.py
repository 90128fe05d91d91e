"""Workers are killed under load, and at each line of the path: nobody is lost, nobody gets two, no means no."""

from pathlib import Path

import pytest

from tests.lab.checker import check
from tests.lab.runs import CRASHING, Kill, history_of, kill_run, lab_relay
from tests.support.lists import Newsroom
from worker.dispatch.events import Step
from worker.domain.issue import IssueState


def test_workers_killed_at_random_moments_lose_and_repeat_nobody(both_desks: Newsroom, tmp_path: Path) -> None:
    plan = {"later": 0.03, "gone": 0.02, "bye": 0.02, "slow": 0.01}
    with lab_relay(tmp_path, seed=7, plan=plan) as relay:
        history = kill_run(both_desks, relay, deliveries=2_500, kills=4, seed=7, claim_size="200")
    assert check(history) == []
    assert history.issue_state == "finished"
    assert len(history.kills) == 4
    assert len(history.opt_outs) > 5
    both_desks.assert_books_add_up()


@pytest.mark.parametrize(
    ("step", "number", "doubts"),
    [
        (Step.CLAIMED, 1, {0}),
        (Step.RECHECKED, 1, {0}),
        (Step.BUILT, 1, {0}),
        (Step.ARMING, 40, {0}),
        (Step.ARMED, 40, {1}),
        (Step.ANSWERED, 40, {1}),
        (Step.RECORDED, 40, {0}),
        # These happen beside the connection, which may be in the middle of a mail.
        (Step.SETTLING, 1, {0, 1}),
        (Step.SETTLED, 1, {0, 1}),
        (Step.RELEASED, 1, {0, 1}),
    ],
)
def test_a_death_at_each_line_of_the_path_leaves_exactly_so_many_in_doubt(
    both_desks: Newsroom, tmp_path: Path, step: Step, number: int, doubts: set[int]
) -> None:
    # Given one connection, so that nothing else is on the wire
    desk = both_desks
    desk.readers(300)
    with lab_relay(tmp_path) as relay:
        desk.queue()
        script = CRASHING.format(step=str(step), number=number)
        one = {"smtp_url": relay.url, "smtp_connections": "1", "claim_size": "200"}
        with desk.worker(script, **one) as dying:
            desk.until(lambda: dying.process.poll() is not None, f"it died at {step}")

        # When
        with desk.worker(**one):
            desk.until_state(IssueState.FINISHED)
        history = history_of(desk, relay, kills=[Kill(max(doubts), 0.0)], connections=1)

    # Then
    assert check(history) == []
    assert history.counters.get("in_doubt", 0) in doubts
    desk.assert_books_add_up()
