"""`queue --wait` ends when there is nothing to wait for here: a script must not stand still for two days."""

from collections.abc import Callable

import pytest

from tests.support.lists import Newsroom
from worker.cli.context import Ledger
from worker.cli.watch import WITH_PROBLEMS, needs_nobody_here, watch
from worker.dispatch import orders
from worker.domain.issue import IssueState


def waited(desk: Newsroom, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = watch(Ledger(desk.settings, desk.database), desk.issue().id, until=needs_nobody_here)
    return code, " ".join(capsys.readouterr().err.split())


def test_waiting_ends_at_later_tries_and_says_until_when(desk: Newsroom, capsys: pytest.CaptureFixture[str]) -> None:
    # Given one copy accepted and one put off
    desk.readers(["defer-451+1.anna@example.org", "berta@example.org"])
    desk.queue()
    with desk.hand() as hand:
        hand.send()

    # When
    code, said = waited(desk, capsys)

    # Then
    assert (code, desk.issue().state) == (WITH_PROBLEMS, IssueState.SENDING)
    assert "1 copy was put off by the relay" in said
    assert "the next try is on" in said
    assert "corranto issue watch spring" in said


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (lambda desk: orders.pause(desk.database, desk.settings, "spring", "editor"), WITH_PROBLEMS),
        (lambda desk: orders.cancel(desk.database, desk.settings, "spring", "editor"), 0),
    ],
    ids=["paused", "cancelled"],
)
def test_waiting_ends_when_somebody_stopped_the_issue(
    desk: Newsroom, capsys: pytest.CaptureFixture[str], stop: Callable[[Newsroom], object], code: int
) -> None:
    desk.readers(1)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        stop(desk)

    assert waited(desk, capsys)[0] == code


def test_waiting_for_an_issue_that_was_sent_ends_well(desk: Newsroom, capsys: pytest.CaptureFixture[str]) -> None:
    desk.readers(1)
    desk.queue()
    with desk.hand() as hand:
        hand.send()

    assert waited(desk, capsys)[0] == 0
