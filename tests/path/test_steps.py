"""Between two steps of a slice: stops hold, old answers count for nothing, and what is told happens in order."""

import math
import os
import threading
from collections import Counter

import pytest
import structlog
from sqlalchemy import event, select

from tests.support.lists import DEADLINE_S, Hand, Newsroom, Nudges
from tests.support.scripted_smtp import On, ScriptedRelay
from worker import clock
from worker.broker.build import build_broker
from worker.dispatch import orders
from worker.dispatch.batches import Batch
from worker.dispatch.build import PORTION_ROWS
from worker.dispatch.claim import note_claim, release_unknown
from worker.dispatch.events import Step
from worker.dispatch.process import SendingProcess
from worker.dispatch.recheck import RECHECK_S
from worker.dispatch.settle import Settler
from worker.domain.delivery import DeliveryState
from worker.domain.issue import IssueState
from worker.errors import Trouble, UnreachableError
from worker.storage import schema, workers
from worker.storage.engine import Database, open_database
from worker.storage.ledger import claims, issues


def planned(desk: Newsroom, hand: Hand, readers: int = 3) -> int:
    """An issue whose audience is frozen and of which nothing has left; its id."""
    desk.readers(readers)
    issue_id = desk.queue().id
    hand.tick()
    hand.work(most=1)
    assert desk.states() == {"waiting": readers}
    return issue_id


class Told:
    """Writes down every step."""

    def __init__(self) -> None:
        self.steps: list[tuple[Step, int, int]] = []

    def __call__(self, step: Step, claim_id: int, number: int) -> None:
        self.steps.append((step, claim_id, number))


def test_every_step_is_told_in_its_order_with_its_number(both_desks: Newsroom) -> None:
    # Given
    told = Told()
    with both_desks.hand(told) as hand:
        planned(both_desks, hand)

        # When
        hand.work()

    # Then
    walked = [(step, number) for step, _, number in told.steps]
    assert walked[:3] == [(Step.CLAIMED, 3), (Step.RECHECKED, 3), (Step.BUILT, 3)]
    armed = [number for step, number in walked if step is Step.ARMED]
    recorded = [number for step, number in walked if step is Step.RECORDED]
    assert sorted(armed) == sorted(recorded) == [1, 2, 3]
    assert all(walked.index((Step.ARMED, n)) < walked.index((Step.RECORDED, n)) for n in (1, 2, 3))
    assert sum(number for step, number in walked if step is Step.SETTLED) == 3
    assert walked[-1] == (Step.RELEASED, 0)
    assert {claim_id for _, claim_id, _ in told.steps} == {1}


# A stop is one-way.


def test_a_safety_stop_holds_for_a_claim_that_is_just_being_read(both_desks: Newsroom) -> None:
    # Given: a claim is committed, and before its rows are read a breaker stops the issue in this process
    desk = both_desks

    def stop(step: Step, claim_id: int, _: int) -> None:
        if step is Step.CLAIMED:
            hand.sender.batches.stop_issue(1, "safety stop: the relay refused 50 mails in a row")

    with desk.hand(stop) as hand:
        planned(desk, hand)

        # When
        hand.work()

    # Then
    assert desk.copies() == {}
    assert desk.states() == {"waiting": 3}
    assert desk.issue().state is IssueState.PAUSED
    assert desk.issue().stopped_reason == "safety stop: the relay refused 50 mails in a row"
    desk.assert_books_add_up()


def test_a_safety_stop_holds_for_a_claim_made_before_the_ledger_knows(desk: Newsroom) -> None:
    # Given: a breaker stopped the issue here; the ledger still says that it is being sent
    with desk.hand() as hand:
        planned(desk, hand)
        part = hand.slice()
        hand.sender.batches.stop_issue(1, "safety stop: enough")

        # When
        batch = part.claim()
        assert batch is not None
        part.hand_over(batch)
        assert batch.recheck.is_live
        desk.until(lambda: not batch.flying, "the connections answered")
        part.give_back()

    # Then
    assert desk.copies() == {}
    assert desk.issue().state is IssueState.PAUSED


def test_a_safety_stop_is_not_undone_by_the_next_recheck(both_desks: Newsroom) -> None:
    # Given: a batch on its way, stopped by a breaker that the ledger does not know of
    desk = both_desks
    desk.readers([f"slow+0.5.reader{n}@example.org" for n in range(30)])
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice(recheck_s=0.0)
        batch = part.claim()
        assert batch is not None
        part.hand_over(batch)
        batch.stop()

        # When: the ledger still says that the issue is being sent
        part.recheck()

        # Then
        assert batch.recheck.is_live
        assert not batch.is_live
        assert not batch.may_leave(30, clock.monotonic(), 2.0)
        part.drain(clock.monotonic() + DEADLINE_S)
        part.give_back()
    assert sum(desk.copies().values()) <= 10  # what ten connections had begun
    desk.assert_books_add_up()


def test_a_batch_once_found_paused_goes_back_even_after_a_resume(desk: Newsroom) -> None:
    # Given: a batch on its way, found paused by a recheck
    desk.readers([f"slow+0.5.reader{n}@example.org" for n in range(30)])
    issue_id = desk.queue().id
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice(recheck_s=0.0)
        batch = part.claim()
        assert batch is not None
        part.hand_over(batch)
        with desk.database.write() as conn:
            issues.move(conn, issue_id, [IssueState.SENDING], IssueState.PAUSED)
        part.recheck()
        assert not batch.is_live

        # When
        with desk.database.write() as conn:
            issues.move(conn, issue_id, [IssueState.PAUSED], IssueState.SENDING)
        part.recheck()

        # Then: it is given back; what is resumed is claimed anew
        assert not batch.is_live
        part.drain(0.0)
        part.give_back()
    desk.assert_books_add_up()


def test_who_left_stays_left_out_for_the_whole_claim_even_after_an_undo(desk: Newsroom) -> None:
    # Given: a recheck found that a reader left; a later one finds them back
    desk.readers([f"slow+0.5.reader{n}@example.org" for n in range(30)])
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice(recheck_s=0.0)
        batch = part.claim()
        assert batch is not None
        part.hand_over(batch)
        suppress(desk.database, 30)
        part.recheck()
        assert batch.recheck.skips == {30: "suppressed"}

        # When
        with desk.database.write() as conn:
            conn.execute(schema.suppression.delete())
        part.recheck()

        # Then
        assert not batch.may_leave(30, clock.monotonic(), 2.0)
        part.drain(0.0)
        part.give_back()


def suppress(database: Database, n: int) -> None:
    """The n-th reader is on the do-not-mail list."""
    with database.write() as conn:
        row = conn.execute(schema.subscriber.select().where(schema.subscriber.c.id == n)).one()
        conn.execute(
            schema.suppression.insert().values(
                address_hash=row.address_hash, reason="manual", evidence="", created_at=row.created_at
            )
        )


# A recheck is as old as its question.


@pytest.mark.parametrize("again", [False, True], ids=["first", "later"])
def test_a_recheck_is_as_old_as_the_moment_before_its_question(both_desks: Newsroom, again: bool) -> None:
    # Given
    desk = both_desks
    desk.readers([f"slow+0.5.reader{n}@example.org" for n in range(30)])
    desk.queue()
    began: list[float] = []
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice(recheck_s=0.0)
        batch = part.claim()
        assert batch is not None
        if again:
            part.hand_over(batch)

        # When: the question's transaction begins
        event.listen(desk.database.engine, "begin", lambda _: began.append(clock.monotonic()))
        part.recheck() if again else part.hand_over(batch)

        # Then: an opt-out committed right after it began may not be in the answer
        assert batch.recheck.asked_at <= began[0]
        part.drain(0.0)
        part.give_back()


def test_a_recheck_that_is_too_old_lets_nothing_leave(desk: Newsroom) -> None:
    with desk.hand() as hand:
        planned(desk, hand)
        part = hand.slice()
        batch = hand.submitted(part)
        asked_at = batch.recheck.asked_at
        assert batch.may_leave(1, asked_at + 2.0, 2.0)
        assert not batch.may_leave(1, asked_at + 2.1, 2.0)
        part.give_back()


def test_held_rows_are_asked_about_each_second(desk: Newsroom) -> None:
    assert RECHECK_S <= 1.0
    with desk.hand() as hand:
        planned(desk, hand)
        part = hand.slice()
        batch = hand.submitted(part)
        before = batch.recheck
        part.recheck()
        assert batch.recheck is before  # nothing of it is on its way
        part.give_back()


# Nudges.


def test_a_nudge_with_an_old_number_works_nothing(both_desks: Newsroom) -> None:
    # Given: two nudges for one issue, of which the second made the first void
    desk = both_desks
    with desk.hand() as hand:
        issue_id = planned(desk, hand)
        old = desk.issue().nudge_no
        with desk.database.write() as conn:
            issues.bump_nudge(conn, issue_id)
        hand.nudges.waiting.clear()

        # When
        hand.slice().run(old)
        hand.slice().run(old + 7)

        # Then
        assert desk.states() == {"waiting": 3}
        assert not hand.nudges.waiting


class Checking(Nudges):
    """Sees the ledger as another process does, whenever a nudge is sent."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.database = open_database(url)
        self.early: list[str] = []

    def wake(self, actor: str, **ids: int) -> bool:
        with self.database.read() as conn:
            issue = issues.get(conn, ids["issue_id"])
        number = ids.get("nudge_no", issue.nudge_no)
        if issue.state is not IssueState.SENDING or issue.nudge_no != number:
            self.early.append(f"{actor} {number}, the ledger has {issue.state} {issue.nudge_no}")
        return super().wake(actor, **ids)


def test_no_nudge_is_sent_before_what_it_speaks_of_is_committed(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(["defer-451+1.anna@example.org", "berta@example.org", "bounce-550.carla@example.org"])
    desk.queue()
    with desk.hand() as hand:
        checking = hand.nudges = hand.sender.nudger = Checking(desk.given["database_url"])

        # When: it is planned, sent, forgotten, retried, paused and resumed
        hand.send()
        desk.bring_forward()
        desk.age_nudges()
        hand.send()
        orders.retry(desk.database, checking, "spring", {DeliveryState.BOUNCED}, "editor")
        hand.send()
        orders.retry(desk.database, checking, "spring", {DeliveryState.BOUNCED}, "editor")
        orders.pause(desk.database, desk.settings, "spring", "editor")
        orders.resume(desk.database, checking, "spring", "editor")
        hand.send()
        checking.database.close()

    # Then
    assert desk.totals().accepted == 2
    assert checking.early == []


# Claims that this process does not know of.


@pytest.mark.parametrize(("unsure_until", "left"), [(math.inf, 1), (0.0, 3)])
def test_a_claim_that_is_ours_in_the_ledger_only_is_given_back_while_an_answer_may_be_lost(
    desk: Newsroom, unsure_until: float, left: int
) -> None:
    # Given: two claims of this worker, of which it knows the first
    with desk.hand() as hand:
        planned(desk, hand)
        with desk.database.write() as conn:
            known, _ = claims.claim_first(conn, 1, hand.id, 1), claims.claim_first(conn, 1, hand.id, 2)
        assert known is not None
        batches = hand.sender.batches
        batches.add(Batch(known, threading.Event()))

        # When
        batches.unsure_until = unsure_until
        release_unknown(desk.database, batches, hand.id)

        # Then
        assert desk.totals().sending == left


def test_a_fresh_claim_is_not_released_under_its_slice(both_desks: Newsroom) -> None:
    # Given: an earlier commit's answer was lost, so unknown claims are released; another claim is being made
    desk = both_desks
    with desk.hand() as hand:
        planned(desk, hand)
        batches = hand.sender.batches
        batches.unsure_until = math.inf
        releasing = threading.Thread(target=release_unknown, args=(desk.database, batches, hand.id))

        # When: its commit is done, its batch not yet registered
        with batches.claiming:
            with desk.database.write() as conn:
                claim = claims.claim_first(conn, 1, hand.id, 200)
            assert claim is not None
            releasing.start()
            releasing.join(0.5)
            assert releasing.is_alive()  # it waits for the register

            batches.add(Batch(claim, threading.Event()))
        releasing.join(DEADLINE_S)

        # Then
        with desk.database.read() as conn:
            assert claims.is_owned(conn, claim, hand.id)


# The end of a process that cannot go on.


def test_a_process_that_cannot_hand_over_any_more_says_so_and_ends(
    desk: Newsroom, capfd: pytest.CaptureFixture[str]
) -> None:
    # Given: an error of ours in the very call that writes a body
    def fail(step: Step, claim_id: int, number: int) -> None:
        if step is Step.ARMED:
            raise RuntimeError("an error of our own")

    desk.readers(3)
    desk.queue()
    broker = build_broker("sql", database=lambda: desk.database, secret=b"secret", namespace="test")
    process = SendingProcess(desk.database, desk.settings, broker, fail)
    ended = threading.Event()
    process.on_must_end = ended.set
    process.start()
    try:
        # When
        desk.until(lambda: desk.issue().state is IssueState.SENDING, "the hold is over")
        process.plan(1)
        threading.Thread(target=process.send, args=(1, desk.issue().nudge_no), daemon=True).start()

        # Then
        assert ended.wait(DEADLINE_S)
        assert process.must_end.is_set()
        assert process.sender.draining.is_set()
    finally:
        process.stop()
    said = capfd.readouterr()
    assert "nothing can be handed over any more, this process ends" in said.out + said.err
    assert "an error of our own" in said.out + said.err
    assert desk.copies() == {}


def test_a_process_whose_slices_have_ended_stops_at_once_and_leaves_no_row(desk: Newsroom) -> None:
    # Given a process that worked a slice, with no time at all to wait for one
    desk.readers(1)
    issue_id = desk.queue().id
    broker = build_broker("sql", database=lambda: desk.database, secret=b"secret", namespace="test")
    process = SendingProcess(desk.database, desk.settings.model_copy(update={"drain_s": 0}), broker)
    process.start()
    process.send(issue_id, 4711)

    # When / Then
    assert process.stop()
    with desk.database.read() as conn:
        assert process.id not in {row.id for row in workers.list_workers(conn)}


def test_a_worker_process_that_cannot_go_on_ends_with_an_exit_code(desk: Newsroom) -> None:
    # Given
    desk.readers(3)

    # When: its supervisor has started it with an error in it
    with desk.worker(script=FAILING) as worker:
        desk.queue()
        code = worker.process.wait(DEADLINE_S)

    # Then: another worker takes over, and what may have left is named
    assert code == 1
    assert "this process ends" in worker.said
    with desk.worker():
        desk.until(lambda: desk.issue().state is IssueState.FINISHED, "another worker ends the issue")
    totals = desk.totals()
    assert totals.adds_up
    assert totals.accepted + totals.in_doubt == 3
    assert max(Counter(desk.copies()).values(), default=1) == 1
    desk.assert_books_add_up()


FAILING = """
import sys
from worker import log, settings
from worker.actors import run_worker
from worker.dispatch.events import Step

def fail(step, claim_id, number):
    if step is Step.ARMED:
        raise RuntimeError("an error of our own")

found = settings.load()
log.configure("text", "info")
sys.exit(run_worker(found, fail))
"""


# What a slice does with its time.


def test_no_body_begins_after_the_word_to_stop(desk: Newsroom) -> None:
    # Given
    armed: list[int] = []

    def drain(step: Step, _claim_id: int, n: int) -> None:
        if step is Step.ARMED:
            armed.append(n)
            hand.sender.draining.set()

    with desk.hand(drain) as hand:
        planned(desk, hand, readers=50)

        # When
        hand.work()

    # Then
    assert len(armed) == len(desk.copies()) == desk.totals().accepted == 1
    assert desk.totals().waiting == 49
    desk.assert_books_add_up()


def test_a_slice_that_is_told_to_stop_claims_nothing_more(desk: Newsroom) -> None:
    # Given
    def drain(step: Step, claim_id: int, _: int) -> None:
        if step is Step.BUILT:
            hand.sender.draining.set()

    with desk.hand(drain, claim_size="200") as hand:
        planned(desk, hand, readers=450)

        # When
        hand.work()

    # Then: what it had is settled or given back
    assert desk.totals().sending == 0
    assert desk.totals().waiting >= 250
    assert desk.totals().accepted == len(desk.copies())
    desk.assert_books_add_up()


def test_what_is_not_built_when_the_time_is_over_goes_back(desk: Newsroom) -> None:
    # Given: a claim of three portions
    told = Told()
    with desk.hand(told, claim_size=str(3 * PORTION_ROWS)) as hand:
        planned(desk, hand, readers=3 * PORTION_ROWS)
        part = hand.slice()
        batch = part.claim()
        assert batch is not None

        # When
        part.hand_over(batch, until=0.0)
        part.drain(math.inf)
        part.give_back()

    # Then: one was built
    assert [number for step, _, number in told.steps if step is Step.BUILT] == [PORTION_ROWS]
    assert desk.totals().sending == 0
    assert desk.totals().waiting >= 2 * PORTION_ROWS
    desk.assert_books_add_up()


@pytest.mark.parametrize(
    ("results", "settle_s", "left"), [(3, 600.0, 3), (199, 600.0, 199), (200, 600.0, 0), (3, 0.0, 0)]
)
def test_between_two_portions_results_are_settled_when_they_are_many_or_old(
    desk: Newsroom, results: int, settle_s: float, left: int
) -> None:
    # Given: everything that was built came back
    with desk.hand() as hand:
        planned(desk, hand, results)
        part = hand.slice(settle_s=settle_s)
        batch = hand.submitted(part)

        # When: the next portion is to come
        assert part._await_room(math.inf)

        # Then
        assert batch.unsettled == left
        part.give_back()
    assert desk.totals().accepted == results


def test_a_claim_is_noted_with_its_issue_for_the_tick(desk: Newsroom) -> None:
    # Given: nobody claimed anything for long
    with desk.hand() as hand:
        issue_id = planned(desk, hand)
        desk.age_nudges()
        with desk.database.read() as conn:
            before = conn.execute(select(schema.issue.c.last_claim_at)).scalar_one()

        # When
        note_claim(desk.database, issue_id)

        # Then
        with desk.database.read() as conn:
            assert conn.execute(select(schema.issue.c.last_claim_at)).scalar_one() > before


def test_a_queued_again_text_is_not_sent_with_the_old_words(desk: Newsroom) -> None:
    # Given: an issue of which this worker has built mails already
    with desk.hand() as hand:
        planned(desk, hand, readers=1)
        builders = hand.sender.builders
        issue = desk.issue()
        first = builders.get(issue.id, issue.fingerprint)

        # When / Then
        assert builders.get(issue.id, issue.fingerprint) is first
        assert builders.get(issue.id, "0" * 64) is not first


def test_a_retry_is_sent_before_those_whose_first_turn_is_to_come(desk: Newsroom) -> None:
    # Given: one copy is due again, 200 others have not been tried
    desk.readers(["defer-451+1.anna@example.org", *(f"reader{n}@example.org" for n in range(200))])
    desk.queue()
    with desk.hand(claim_size="200") as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice()
        hand.submitted(part)
        part.give_back()
        desk.bring_forward()

        # When
        batch = hand.slice().claim()

    # Then
    assert batch is not None
    assert (batch.claim.kind, batch.claim.left) == ("retry", 1)


def test_the_first_wait_that_is_stored_is_not_shorter_than_a_second(desk: Newsroom) -> None:
    # Given: a relay that just refused everybody at the door
    desk.readers(3)
    desk.queue()
    with desk.relayed_by(ScriptedRelay([On("connect", b"421 not now\r\n")])) as hand:
        # When
        hand.send()

    # Then: the tick comes again in a while, not at once
    issue = desk.issue()
    assert issue.state is IssueState.SENDING
    assert issue.nudge_at is not None
    with desk.database.read() as conn:
        assert (issue.nudge_at - desk.database.now(conn)).total_seconds() > 0
    assert "421" in desk.wait_reason()


def test_nothing_leaves_while_what_begins_cannot_be_written_down(desk: Newsroom) -> None:
    # Given a disk without room for the claim log
    desk.readers(3)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        hand.sender.claim_log._is_in_place = lambda: True  # type: ignore[method-assign]
        kept, hand.sender.claim_log._file = hand.sender.claim_log._file, os.open("/dev/full", os.O_RDWR)
        hand.sender.draining.wait = lambda timeout=None: False  # type: ignore[method-assign]

        # When
        with pytest.raises(UnreachableError) as refused:
            hand.work(most=1)

        # Then
        assert refused.value.trouble.code == "journal.cannot_be_kept"
        assert desk.copies().total() == 0
        assert (desk.totals().waiting, desk.totals().sending) == (3, 0)

        # When there is room again
        hand.sender.claim_log._file = kept
        hand.send()
    assert desk.copies().total() == 3
    desk.assert_books_add_up()


def test_that_results_are_kept_is_said_once_an_outage(desk: Newsroom) -> None:
    # Given
    away = Trouble("database.silent", place="there", reason="away")
    with desk.hand() as hand, structlog.testing.capture_logs() as logs:
        settler = Settler(hand.sender, planned(desk, hand))

        # When the database stays away for several settlements
        for rows in (3, 4, 5):
            settler.say_away(away, rows)
        assert hand.sender.note == away

    # Then
    said = [(entry["log_level"], entry["rows"]) for entry in logs if "rows" in entry and "are kept" in entry["event"]]
    assert said == [("warning", 3)]
