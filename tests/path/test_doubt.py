"""Copies whose last word was lost: named, never guessed, and repeated only where an editor chose so."""

import re

from sqlalchemy import update

from tests.support.lists import Newsroom
from tests.support.scripted_smtp import CLOSE, KEEP, On, ScriptedRelay
from worker.dispatch import orders
from worker.dispatch.queue import prepare
from worker.dispatch.reconcile import repeat_never_miss
from worker.domain.delivery import DeliveryState, DoubtPolicy
from worker.domain.issue import AudienceKind, IssueState
from worker.operations import report
from worker.operations.deliveries import list_copies
from worker.screen.report import render_report
from worker.storage import schema


def lost_once() -> ScriptedRelay:
    """A relay that takes the first mail and dies before it can say so."""
    return ScriptedRelay([On("body", KEEP, CLOSE, times=1)])


def test_a_line_that_breaks_after_the_body_leaves_a_doubt(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(["drop.anna@example.org", "berta@example.org"])
    desk.queue()
    with desk.hand() as hand:
        # When
        hand.send()
        repeat_never_miss(desk.database, settle_s=0)
        hand.send()

    # Then: never-twice waits for nobody
    row = desk.rows()["drop.anna@example.org"]
    assert (row.state, row.reason, row.doubts) == ("in_doubt", "line_broke", 1)
    assert row.fingerprint is not None
    assert desk.issue().state is IssueState.FINISHED
    desk.assert_books_add_up()


def test_a_doubt_is_listed_with_what_the_relays_log_knows_its_copy_by(desk: Newsroom) -> None:
    # Given
    desk.readers(["anna@example.org"])
    desk.queue()
    relay = lost_once()
    with desk.relayed_by(relay) as hand:
        # When
        hand.send()

    # Then: its Message-ID, the relay, our port and the second, uncut
    sent = re.search(rb"^Message-ID: (<.+>)\r$", relay.taken[0].body, re.MULTILINE)
    assert sent is not None
    built = report.build(desk.database, "spring")
    lines = [line.text.strip() for line in render_report(built)]
    assert built.doubts[0].message_id in lines
    assert built.doubts[0].message_id == sent[1].decode()
    words = " ".join(lines)
    assert re.search(r"it left from our port \d+ at \d\d:\d\d:\d\d UTC to 127\.0\.0\.1:\d+", words), words
    assert [row.message_id for row in list_copies(desk.database, desk.issue().id)] == [sent[1].decode()]


def test_never_miss_repeats_once_as_the_same_message(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(["anna@example.org"])
    desk.queue(doubt=DoubtPolicy.NEVER_MISS)
    relay = lost_once()
    with desk.relayed_by(relay) as hand:
        hand.send()
        assert desk.states() == {"in_doubt": 1}
        assert desk.issue().state is IssueState.SENDING
        assert repeat_never_miss(desk.database) == 0

        # When
        assert repeat_never_miss(desk.database, settle_s=0) == 1
        hand.send()

    # Then
    assert desk.states() == {"accepted": 1}
    assert desk.issue().state is IssueState.FINISHED
    first, second = relay.taken
    assert (first.body, first.rcpt, first.mail) == (second.body, second.rcpt, second.mail)
    desk.assert_books_add_up()


def test_the_rest_of_an_issue_leaves_out_whose_repeat_was_cancelled(both_desks: Newsroom) -> None:
    # Given: one copy that the relay took without a word, another that it put off
    desk = both_desks
    desk.readers(["anna@example.org", "berta@example.org"])
    desk.queue(doubt=DoubtPolicy.NEVER_MISS)
    relay = ScriptedRelay(
        [On("body", KEEP, CLOSE, times=1), On("rcpt", b"451 4.7.1 later\r\n", line="berta")], extensions=()
    )
    with desk.relayed_by(relay) as hand:
        hand.send()
        assert desk.states() == {"in_doubt": 1, "deferred": 1}

        # When: the repeat is cancelled before it leaves
        assert repeat_never_miss(desk.database, settle_s=0) == 1
        orders.cancel(desk.database, desk.settings, "spring", "editor")
        assert desk.states() == {"cancelled": 2}

    # Then: only who certainly got nothing is among the rest
    rest = prepare(
        desk.database, desk.settings, desk.write("again"), audience=AudienceKind.REST_OF, audience_of="spring"
    )
    assert rest.audience.will_get == 1


def test_never_miss_repeats_only_once(desk: Newsroom) -> None:
    # Given
    desk.readers(["anna@example.org"])
    desk.queue(doubt=DoubtPolicy.NEVER_MISS)
    relay = ScriptedRelay([On("body", KEEP, CLOSE)])
    with desk.relayed_by(relay) as hand:
        # When
        for _ in range(3):
            hand.send()
            repeat_never_miss(desk.database, settle_s=0)
        hand.send()

    # Then
    assert len(relay.taken) == 2
    assert desk.rows()["anna@example.org"].doubts == 2
    assert desk.issue().state is IssueState.FINISHED


def test_a_repeat_that_is_put_off_still_comes_out_the_same(both_desks: Newsroom) -> None:
    # Given: the repeat meets a greylist first
    desk = both_desks
    desk.readers(["anna@example.org"])
    desk.queue(doubt=DoubtPolicy.NEVER_MISS)
    relay = ScriptedRelay([On("body", KEEP, CLOSE, times=1), On("rcpt", b"451 4.7.1 later\r\n", skip=1, times=1)])
    with desk.relayed_by(relay) as hand:
        hand.send()
        repeat_never_miss(desk.database, settle_s=0)
        hand.send()
        assert desk.states() == {"deferred": 1}

        # When
        desk.bring_forward()
        hand.send()

    # Then
    assert desk.states() == {"accepted": 1}
    first, second = relay.taken
    assert first.body == second.body


def test_a_repeat_that_would_differ_is_not_sent(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(["anna@example.org"])
    desk.queue(doubt=DoubtPolicy.NEVER_MISS)
    relay = lost_once()
    with desk.relayed_by(relay) as hand:
        hand.send()
        with desk.database.write() as conn:
            conn.execute(update(schema.subscriber).values(name="Anna Changed"))

        # When
        repeat_never_miss(desk.database, settle_s=0)
        hand.send()
        repeat_never_miss(desk.database, settle_s=0)
        hand.send()

    # Then
    assert len(relay.taken) == 1
    row = desk.rows()["anna@example.org"]
    assert (row.state, row.reason) == ("in_doubt", "not_the_same")
    assert desk.issue().state is IssueState.FINISHED
    desk.assert_books_add_up()


def test_an_editor_may_order_another_copy_after_all(desk: Newsroom) -> None:
    # Given
    desk.readers(["anna@example.org"])
    desk.queue()
    relay = lost_once()
    with desk.relayed_by(relay) as hand:
        hand.send()

        # When
        assert orders.retry(desk.database, hand.nudges, "spring", {DeliveryState.IN_DOUBT}, "editor") == 1
        hand.send()

    # Then
    assert len(relay.taken) == 2
    assert desk.states() == {"accepted": 1}
    desk.assert_books_add_up()
