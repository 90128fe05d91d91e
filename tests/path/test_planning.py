"""While an audience is being counted: its first mails leave, and whoever counts it has the machine."""

import pytest

from tests.support.lists import Newsroom
from worker.dispatch.events import Step
from worker.dispatch.nudger import PLAN_ACTOR, SEND_ACTOR
from worker.dispatch.plan import Pages
from worker.domain.issue import IssueState


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("is_counted", [False, True], ids=["counting", "counted"])
def test_one_slice_works_at_a_time_until_the_audience_is_frozen(big_desk: Newsroom, is_counted: bool) -> None:
    # Given: two pages, of which the first or both are written
    desk = big_desk
    desk.readers(300)
    desk.queue()
    seen: list[int] = []

    def look(step: Step, _claim: int, _number: int) -> None:
        if step is Step.RECHECKED:
            seen.append(sum(actor == SEND_ACTOR for actor, _ in hand.nudges.waiting))

    with desk.hand(look) as hand:
        hand.pages = Pages(first=200, postgresql=200)
        hand.tick()
        hand.work(most=1)
        if is_counted:
            hand.nudges.waiting.rotate(-1)
            hand.work(most=1)
        before = [nudge for nudge in hand.nudges.waiting if nudge[0] == SEND_ACTOR]
        hand.nudges.waiting.remove(before[-1])

        # When
        hand.slice().run(before[-1][1]["nudge_no"])

        # Then: others join at once, or only when this one is over
        assert seen[0] - (len(before) - 1) == int(is_counted)
        hand.send()
        assert desk.issue().state is IssueState.FINISHED
    assert set(desk.copies().values()) == {1}
    assert len(desk.copies()) == 300


@pytest.mark.needs("postgresql")
def test_a_planner_that_died_is_followed_while_mails_leave(big_desk: Newsroom) -> None:
    # Given: the first page is written, and whoever wrote it is gone with its nudge
    desk = big_desk
    desk.readers(300)
    desk.queue()
    with desk.hand() as hand:
        hand.pages = Pages(first=200, postgresql=200)
        hand.tick()
        hand.work(most=1)
        plans = [nudge for nudge in hand.nudges.waiting if nudge[0] == PLAN_ACTOR]
        for nudge in plans:
            hand.nudges.waiting.remove(nudge)

        # When: no tick ever comes
        hand.work()
        assert desk.issue().plan_cursor is None
    assert len(desk.copies()) == 300
