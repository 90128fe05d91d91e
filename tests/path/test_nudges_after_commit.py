"""A nudge never overtakes the row it speaks of: whoever is woken finds what it was woken for."""

from tests.support.lists import Newsroom
from tests.support.nudged import CommittedFirst
from worker.dispatch import orders
from worker.dispatch.nudger import PLAN_ACTOR, SEND_ACTOR, Nudger
from worker.domain.issue import IssueState
from worker.storage.ledger import issues


def test_every_nudge_on_an_issues_way_speaks_of_what_is_committed(both_desks: Newsroom) -> None:
    # Given more readers than the first page of a plan, and nudges that are checked when they are put
    desk = both_desks
    desk.readers(2_100)
    desk.queue()

    def is_true(actor: str, ids: dict[str, int]) -> bool:
        with desk.database.read() as conn:
            issue = issues.get(conn, ids["issue_id"])
        is_planned = issue.plan_cursor is not None if actor == PLAN_ACTOR else issue.nudge_no == ids["nudge_no"]
        return issue.state is IssueState.SENDING and is_planned

    store = CommittedFirst(is_true)
    nudger = Nudger(store.broker("dispatch", [PLAN_ACTOR, SEND_ACTOR]))
    nudger.waiting = store.waiting  # type: ignore[attr-defined]
    with desk.hand() as hand:
        hand.nudges = hand.sender.nudger = nudger  # type: ignore[assignment]

        # When the issue is started, planned, stopped, resumed, forgotten and sent
        hand.tick()
        hand.work(most=1)
        orders.pause(desk.database, desk.settings, "spring", actor="editor")
        orders.resume(desk.database, nudger, "spring", actor="editor")
        desk.age_nudges()
        hand.send()

    # Then
    assert desk.issue().state is IssueState.FINISHED
    assert {actor for actor, _ in store.seen} == {PLAN_ACTOR, SEND_ACTOR}
    assert len(store.seen) >= 8
    assert store.early == []
