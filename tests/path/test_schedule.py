"""What time alone brings about: planned starts, holds, and starts that were missed."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from tests.support.lists import Newsroom, Nudges
from worker.dispatch import orders
from worker.dispatch.tick import Tick
from worker.domain.issue import IssueState
from worker.storage import schema


def shift(desk: Newsroom, **columns: datetime) -> None:
    with desk.database.write() as conn:
        conn.execute(update(schema.issue).values(**columns))


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


def test_a_scheduled_issue_is_held_and_sent_at_its_time(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(2)
    assert desk.queue(due_at=ago(days=-1), hold_s=600).state is IssueState.SCHEDULED
    with desk.hand() as hand:
        hand.tick()
        assert desk.issue().state is IssueState.SCHEDULED

        # When
        shift(desk, due_at=ago(seconds=1))
        hand.tick()

        # Then
        assert desk.issue().state is IssueState.HOLDING
        assert not hand.nudges.waiting

        # When
        shift(desk, hold_until=ago(seconds=1))
        hand.send()
    assert desk.issue().state is IssueState.FINISHED
    assert len(desk.copies()) == 2


def test_an_issue_that_missed_its_time_asks_an_editor(both_desks: Newsroom) -> None:
    # Given: nothing ran for three hours
    desk = both_desks
    desk.readers(2)
    desk.queue(due_at=ago(days=-1))
    shift(desk, due_at=ago(hours=3, minutes=7))

    # When
    with desk.hand() as hand:
        hand.send()

    # Then
    assert desk.issue().state is IssueState.HELD_LATE
    assert desk.issue().stopped_reason == "missed its time by 3 h 7 min"
    assert desk.rows() == {}
    assert orders.undo(desk.database, "spring", "editor").state is IssueState.DRAFT


def test_a_hold_of_nothing_begins_at_the_next_tick(desk: Newsroom) -> None:
    desk.readers(1)
    assert desk.queue(hold_s=0).state is IssueState.HOLDING
    with desk.hand() as hand:
        hand.tick()
        assert desk.issue().state is IssueState.SENDING


def test_a_reader_who_joins_after_planning_began_waits_for_the_next_issue(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(2)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)

        # When
        desk.join("new@example.org")
        hand.work()
        hand.tick()

        # Then
        assert "new@example.org" not in desk.rows()
        desk.queue("summer")
        hand.send()
    assert desk.rows("summer")["new@example.org"].state == "accepted"


def test_an_audience_that_emptied_while_the_issue_was_scheduled_finishes(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(1)
    desk.queue(due_at=ago(days=-1))
    with desk.database.write() as conn:
        conn.execute(update(schema.subscription).values(paused_until=ago(days=-30)))
    shift(desk, due_at=ago(seconds=1))

    # When
    with desk.hand() as hand:
        hand.tick()
        hand.send()

    # Then
    assert desk.states() == {"skipped": 1}
    assert desk.issue().state is IssueState.FINISHED
    desk.assert_books_add_up()


def test_what_is_due_begins_although_the_state_folder_cannot_be_written(desk: Newsroom) -> None:
    # Given a folder that is none, as one on a disk that was not mounted
    desk.readers(1)
    desk.queue()
    closed = desk.folder / "closed"
    closed.write_text("")
    settings = desk.settings.model_copy(update={"state_dir": closed})
    nudges = Nudges()

    # When
    Tick(desk.database, settings, nudges, "t1").run()

    # Then
    assert desk.issue().state is IssueState.SENDING
    assert nudges.waiting
