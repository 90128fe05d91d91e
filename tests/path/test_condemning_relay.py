"""A relay that condemns everybody: the issue is paused before it has cost many readers, and they come back."""

import pytest

from tests.support.lists import Newsroom
from tests.support.scripted_smtp import On, ScriptedRelay
from worker.dispatch import orders
from worker.dispatch.breaker import ANY_IN_A_ROW, OURS_IN_A_ROW
from worker.domain.issue import IssueState

READERS = 400


@pytest.mark.parametrize(
    ("refusal", "state", "most"),
    [
        (On("rcpt", b"550 5.1.1 no such user\r\n"), "bounced", ANY_IN_A_ROW),
        (On("body", b"550 5.1.1 no such user\r\n"), "bounced", ANY_IN_A_ROW),
        (On("body", b"554 5.6.0 bad content\r\n"), "failed", ANY_IN_A_ROW),
        (On("rcpt", b"554 5.7.1 relay access denied\r\n"), "failed", OURS_IN_A_ROW),
    ],
    ids=["recipients", "recipients at the end", "contents", "us"],
)
def test_a_relay_that_refuses_everybody_costs_so_many_and_no_more(
    both_desks: Newsroom, refusal: On, state: str, most: int
) -> None:
    # Given
    desk = both_desks
    desk.readers(READERS)
    desk.queue()

    # When: ten connections, all of them refused
    with desk.relayed_by(ScriptedRelay([refusal])) as hand:
        hand.tick()
        hand.work(most=20)

    # Then
    assert desk.issue().state is IssueState.PAUSED
    assert f"refused {most} mails in a row" in desk.issue().stopped_reason
    assert desk.states() == {state: most, "waiting": READERS - most}
    desk.assert_books_add_up()

    # And when it takes mail again, all of them get theirs
    with desk.hand() as other:
        orders.retry(desk.database, other.nudges, "spring", {state}, "an editor")
        orders.resume(desk.database, other.nudges, "spring", "an editor")
        other.send()
    assert desk.totals().accepted == READERS
    assert set(desk.copies().values()) == {1}
    desk.assert_books_add_up()
