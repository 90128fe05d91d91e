"""What a refusal makes of a row: tried again, given up, bounced, or our own fault."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from tests.support.lists import Newsroom
from tests.support.scripted_smtp import On, ScriptedRelay
from worker.dispatch import orders
from worker.domain.delivery import DeliveryState
from worker.domain.issue import IssueState
from worker.storage import schema


def reply_texts(desk: Newsroom) -> list[str]:
    with desk.database.read() as conn:
        return list(conn.execute(select(schema.reply.c.text)).scalars())


def test_a_deferred_copy_is_tried_again_when_its_time_comes(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(["defer-451+1.anna@example.org", "berta@example.org"])
    desk.queue()
    with desk.hand() as hand:
        # When
        hand.send()

        # Then: the first of the schedule's steps, 5 minutes give or take a fifth
        row = desk.rows()["defer-451+1.anna@example.org"]
        assert (row.state, row.code, row.tries) == ("deferred", 451, 1)
        assert timedelta(minutes=4) <= row.next_try - row.first_try <= timedelta(minutes=6)
        assert reply_texts(desk)
        assert desk.issue().state is IssueState.SENDING
        assert desk.wait_reason() == "later_tries"
        hand.send()
        assert desk.rows()["defer-451+1.anna@example.org"].tries == 1

        # When
        desk.bring_forward()
        hand.send()

    # Then
    assert desk.states() == {"accepted": 2}
    assert desk.rows()["defer-451+1.anna@example.org"].tries == 2
    assert desk.issue().state is IssueState.FINISHED
    assert set(desk.copies().values()) == {1}
    desk.assert_books_add_up()


def test_a_copy_is_given_up_at_the_end_of_its_life(both_desks: Newsroom) -> None:
    # Given: deferred two days ago for the first time, and often since
    desk = both_desks
    desk.readers(["defer-451.anna@example.org"])
    desk.queue()
    with desk.hand() as hand:
        hand.send()
        with desk.database.write() as conn:
            conn.execute(update(schema.delivery).values(first_try=datetime.now(UTC) - timedelta(hours=48), tries=9))
        desk.bring_forward()

        # When
        hand.send()

    # Then
    assert desk.states() == {"expired": 1}
    assert desk.issue().state is IssueState.FINISHED
    desk.assert_books_add_up()


def test_a_refused_recipient_bounces_with_the_relays_words(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(["bounce-550.anna@example.org", "berta@example.org", "full-452.carla@example.org"])
    desk.queue()

    # When
    with desk.hand() as hand:
        hand.send()

    # Then
    rows = desk.rows()
    bounced = rows["bounce-550.anna@example.org"]
    assert (bounced.state, bounced.reason, bounced.code) == ("bounced", "at_handover", 550)
    assert rows["full-452.carla@example.org"].state == "deferred"
    assert rows["berta@example.org"].state == "accepted"
    assert len(reply_texts(desk)) == 2
    desk.assert_books_add_up()


def test_a_refused_sender_is_our_fault_and_pauses_the_issue(desk: Newsroom) -> None:
    # Given
    desk.readers(60)
    desk.queue()
    relay = ScriptedRelay([On("mail", b"550 5.7.1 not from you\r\n")])

    # When
    with desk.relayed_by(relay) as hand:
        hand.send()

    # Then
    issue = desk.issue()
    assert issue.state is IssueState.PAUSED
    assert "not from you" in issue.stopped_reason
    states = desk.states()
    assert set(states) == {"failed", "waiting"}
    assert {row.reason for row in desk.rows().values()} == {"sender_refused", None}
    desk.assert_books_add_up()


def test_a_relay_that_refuses_everybody_does_not_condemn_the_list(desk: Newsroom) -> None:
    # Given
    desk.readers([f"bounce-550.reader{n}@example.org" for n in range(400)])
    desk.queue()

    # When
    with desk.hand() as hand:
        hand.send()

    # Then: 50 in a row, and what ten connections had begun meanwhile
    assert desk.issue().state is IssueState.PAUSED
    assert "safety stop: the relay refused 50 mails in a row" in desk.issue().stopped_reason
    assert 50 <= desk.totals().bounced < 100
    assert desk.totals().waiting > 300
    desk.assert_books_add_up()


def test_an_editors_retry_sends_again_to_those_who_got_nothing(desk: Newsroom) -> None:
    # Given
    desk.readers(["anna@example.org", "berta@example.org"])
    desk.queue()
    with desk.relayed_by(ScriptedRelay([On("rcpt", b"550 5.1.1 who?\r\n", line="anna")])) as hand:
        hand.send()
    assert desk.issue().state is IssueState.FINISHED
    with desk.hand() as hand:
        # When
        count = orders.retry(desk.database, hand.nudges, "spring", {DeliveryState.BOUNCED}, "editor")
        assert desk.issue().state is IssueState.SENDING
        hand.send()

    # Then
    assert count == 1
    assert desk.states() == {"accepted": 2}
    assert desk.issue().state is IssueState.FINISHED
    assert desk.copies() == {"anna@example.org": 1}
    desk.assert_books_add_up()
