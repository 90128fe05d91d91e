"""An error of our own, or a stop at a bad moment, costs time: nobody twice, nobody lost, nothing claimed for ever."""

import asyncio
import contextlib
import math
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.lists import Newsroom, relay_in_thread, until
from tests.support.scripted_smtp import CLOSE, HANG, On, ScriptedRelay
from tests.transport.handing import Handed, mails, relay_for
from worker.broker.build import build_broker
from worker.dispatch import send as sending
from worker.dispatch import settle as settling
from worker.dispatch.events import Step
from worker.dispatch.process import SendingProcess
from worker.dispatch.reconcile import nudge_forgotten
from worker.dispatch.send import Slice
from worker.domain.issue import IssueState
from worker.operations.status import collect
from worker.screen.sentences import word
from worker.screen.status import render_status
from worker.storage import schema
from worker.storage.ledger.deliveries import Due
from worker.transport.pool import Pool
from worker.transport.replies import Outcome


@pytest.mark.parametrize(
    "stored",
    [
        "123",
        "[1]",
        '"text"',
        "true",
        '{"code":"relay.new_trouble","cause":"of a newer worker"}',
        '{"code":"relay.fault"}',
        '{"code":7}',
        '{"code":"wait.again_in","cause":"x","seconds":"soon"}',
        '{"code":"subscription.left","publication":"p","since":"2026-01-01"}',
    ],
)
def test_status_bears_any_stored_note(desk: Newsroom, stored: str) -> None:
    with desk.hand():
        with desk.database.write() as conn:
            conn.execute(update(schema.worker).values(note=stored))
        status = collect(desk.settings, desk.database)
        assert render_status(status)
        assert status.as_dict(word)


def test_status_bears_a_deep_note(desk: Newsroom) -> None:
    with desk.hand():
        with desk.database.write() as conn:
            conn.execute(update(schema.worker).values(note="[" * 200_000))
        assert render_status(collect(desk.settings, desk.database))


def test_an_own_fault_keeps_the_issue_from_being_claimed_again_at_once(desk: Newsroom) -> None:
    # Given: every slice fails after it has put its nudge back
    claimed = []

    def fail(step: Step, claim_id: int, _: int) -> None:
        if step is Step.CLAIMED:
            claimed.append(claim_id)
        if step is Step.RECHECKED:
            raise RuntimeError("an error of our own")

    desk.readers(3)
    desk.queue()
    with desk.hand(fail) as hand:
        hand.tick()
        hand.work(most=1)
        for _ in range(20):
            with contextlib.suppress(RuntimeError):
                hand.work()
    assert desk.wait_reason() == "own_fault"
    assert len(claimed) == 1


def test_a_missing_journal_is_said(desk: Newsroom) -> None:
    desk.readers(3)
    desk.queue()
    broker = build_broker("sql", database=lambda: desk.database, secret=b"secret", namespace="test")
    process = SendingProcess(desk.database, desk.settings, broker)
    process.start()
    try:
        desk.until(lambda: desk.issue().state is IssueState.SENDING, "the hold is over")
        process.plan(1)
        process.journal.path.unlink()
        process.send(1, desk.issue().nudge_no)
        assert desk.states() == {"waiting": 3}
        assert process.sender.note is not None
        assert process.sender.note.code == "journal.gone"
    finally:
        process.stop()


def test_an_orderly_stop_is_not_taken_for_a_fault(desk: Newsroom) -> None:
    # Given: a slice that is still at work when drain_s is over
    go_on, built = threading.Event(), threading.Event()

    def hold(step: Step, claim_id: int, _: int) -> None:
        if step is Step.RECHECKED:
            built.set()
            go_on.wait(30)

    desk.readers(3)
    desk.queue()
    broker = build_broker("sql", database=lambda: desk.database, secret=b"secret", namespace="test")
    process = SendingProcess(desk.database, desk.settings.model_copy(update={"drain_s": 0}), broker, hold)
    ended = threading.Event()
    process.on_must_end = ended.set
    process.start()
    stop = threading.Thread(target=process.stop)
    try:
        desk.until(lambda: desk.issue().state is IssueState.SENDING, "the hold is over")
        process.plan(1)
        threading.Thread(target=process.send, args=(1, desk.issue().nudge_no), daemon=True).start()
        assert built.wait(30)
        # When: told to stop
        stop.start()
        stop.join(30)
        # Then
        assert not process.must_end.is_set()
        assert not ended.is_set()
    finally:
        go_on.set()


def test_a_slice_that_submits_after_the_close_ends(desk: Newsroom) -> None:
    # Given: a slice that has built its mails when the connections are closed
    def close(step: Step, claim_id: int, _: int) -> None:
        if step is Step.BUILT:
            hand.sender.draining.set()
            hand.sender.hand_over.close(0.0)

    desk.readers(3)
    desk.queue()
    with desk.hand(close) as hand:
        hand.tick()
        hand.work(most=1)
        part = threading.Thread(target=hand.work, daemon=True)
        part.start()
        part.join(8)
        # Then
        assert not part.is_alive()
        assert desk.totals().sending == 0


def test_a_recheck_that_fails_by_an_error_of_ours_loses_no_outcome(
    desk: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: the second recheck always fails, not for the database's absence
    def fail(*_: object) -> None:
        raise RuntimeError("an error of our own")

    monkeypatch.setattr(sending, "recheck_batches", fail)
    desk.readers(30)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        with contextlib.suppress(RuntimeError):
            hand.work(most=1)
        monkeypatch.undo()
        # Then: nothing stays claimed by a process that lives
        with desk.database.read() as conn:
            owned = conn.execute(select(schema.claim.c.id).where(schema.claim.c.owner.is_not(None))).all()
        assert owned == []
        assert hand.sender.batches.get(1) is None


def test_a_relay_that_is_slow_on_one_connection_and_refuses_others_is_not_stormed() -> None:
    async def story() -> int:
        scenario = [On("connect", HANG, times=1), On("connect", b"421 4.7.0 too many\r\n", CLOSE)]
        async with ScriptedRelay(scenario) as server:
            handed = Handed()
            pool = Pool(relay_for(server, connections=4), arm=handed.arm, record=handed.record)
            pool.submit(mails(10))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while server.connections < 100:
                        await asyncio.sleep(0.01)
            await pool.close(0.0)
            return server.connections

    assert asyncio.run(story()) < 20


def test_a_copy_deferred_while_the_issue_waits_for_a_later_one_is_tried_in_its_time(desk: Newsroom) -> None:
    # Given: one copy is due in hours; the other is on the wire; a second nudge finds nothing to claim
    desk.readers(2)
    desk.queue()
    with relay_in_thread(ScriptedRelay([On("rcpt", b"450 4.2.0 later\r\n")])) as url, desk.hand(smtp_url=url) as hand:
        hand.tick()
        hand.work(most=1)
        with desk.database.write() as conn:
            far = datetime.now(UTC) + timedelta(hours=3)
            conn.execute(
                update(schema.delivery).where(schema.delivery.c.n == 1).values(next_try=far, first_try=far, tries=1)
            )
        part = hand.slice()
        batch = part.claim()
        assert batch is not None
        assert batch.claim.left == 1
        part.hand_over(batch)
        Slice(hand.sender, 1).run(desk.issue().nudge_no)
        assert desk.wait_reason() == "later_tries"
        until(lambda: not batch.flying, "the relay has answered")
        part.give_back()
        hand.nudges.waiting.clear()
        hand.work()

        # When: five minutes later
        row = next(row for row in desk.rows().values() if row.n == 2)
        assert row.state == "deferred"
        with desk.database.write() as conn:
            past = datetime(2026, 1, 2, tzinfo=UTC)
            conn.execute(update(schema.delivery).where(schema.delivery.c.n == 2).values(next_try=past))
            conn.execute(update(schema.issue).values(last_claim_at=past, last_nudged_at=past))
        nudge_forgotten(desk.database, hand.nudges)
        assert hand.nudges.waiting


def fail_to_judge_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Judging an outcome fails by an error of ours, the first time; the list then holds whose it was."""
    usual, failed = settling.judge, []

    def judge(due: Due, outcome: Outcome, **kw: Any) -> Any:
        if not failed:
            failed.append(due.recipient.address)
            raise RuntimeError("an error of our own")
        return usual(due, outcome, **kw)

    monkeypatch.setattr(settling, "judge", judge)
    return failed


def test_one_error_in_the_drain_leaves_no_claim_behind(desk: Newsroom, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: the relay has taken a mail, and judging its outcome fails by an error of ours, once
    failed = fail_to_judge_once(monkeypatch)
    desk.readers(3)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        with contextlib.suppress(RuntimeError):
            hand.work()
        desk.bring_forward()
        hand.tick()
        hand.work()
    # Then
    assert failed
    assert max(desk.copies().values()) == 1
    assert desk.states()["waiting"] == 0
    assert desk.totals().sending == 0


def test_a_drain_that_meets_an_error_in_the_metrics_releases_all(desk: Newsroom) -> None:
    def fail(_: object) -> None:
        raise ValueError("an error in a counter")

    desk.readers(30)
    desk.queue()
    with desk.hand() as hand:
        hand.sender.on_result = fail
        hand.tick()
        hand.work(most=1)
        with contextlib.suppress(ValueError):
            hand.work(most=1)
        assert hand.sender.batches.get(1) is None
        assert desk.totals().sending == 0


def test_a_released_claim_that_fails_does_not_keep_the_next_from_its_release(
    desk: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: two claims with nothing handed over; the first release fails by an error of ours
    usual, failed = sending.claims.release, []

    def release(*args):
        if not failed:
            failed.append(1)
            raise RuntimeError("an error of our own")
        return usual(*args)

    monkeypatch.setattr(sending.claims, "release", release)
    desk.readers(450)
    desk.queue()
    with desk.hand(claim_size="200") as hand:
        hand.tick()
        hand.work(most=1)
        part = hand.slice()
        first, second = part.claim(), part.claim()
        assert first is not None
        assert second is not None
        with contextlib.suppress(RuntimeError):
            part.give_back()
        assert desk.totals().sending <= first.claim.left


def test_an_outcome_that_was_taken_up_and_not_judged_is_not_given_back(
    desk: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: the relay has taken three mails, and judging the first outcome fails by an error of ours, once
    failed = fail_to_judge_once(monkeypatch)
    desk.readers(3)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        hand.nudges.waiting.clear()
        part = hand.slice()
        hand.submitted(part)
        # When: what Slice.run does with an error between two claims
        with contextlib.suppress(RuntimeError):
            part.settle()
        part.drain(0.0)
        part.give_back()
        hand.nudges.waiting.clear()
        desk.age_nudges()
        hand.tick()
        hand.work()
    # Then: nobody twice
    assert failed
    assert max(desk.copies().values()) == 1


def test_a_worker_without_its_journal_leaves_the_nudge_to_others(desk: Newsroom) -> None:
    desk.readers(3)
    desk.queue()
    with desk.hand() as hand:
        hand.tick()
        hand.work(most=1)
        hand.journal.path.unlink()
        hand.work(most=1)
        assert hand.nudges.waiting or desk.issue().nudge_at is not None
        hand.journal.path.touch()


def test_an_unknown_claim_that_is_locked_for_a_moment_is_released_later(big_desk: Newsroom) -> None:
    from worker.dispatch.claim import release_unknown
    from worker.storage.ledger import claims

    desk = big_desk
    with desk.hand() as hand:
        desk.readers(3)
        desk.queue()
        hand.tick()
        hand.work(most=1)
        hand.sender.batches.unsure_until = math.inf
        # The commit reaches the server after its line broke and after the heartbeat's look.
        with desk.database.write() as conn:
            assert claims.claim_first(conn, 1, hand.id, 200) is not None
            release_unknown(desk.database, hand.sender.batches, hand.id)
        release_unknown(desk.database, hand.sender.batches, hand.id)
        assert desk.totals().sending == 0


@pytest.mark.parametrize(
    "said", ["550 <o'brien@example.org> unknown", "550 user=reader=40example.org", "550 reader%40example.org unknown"]
)
def test_no_address_of_a_reader_reaches_a_log(said: str) -> None:
    from worker.log import scrub

    assert not any(part in scrub(said) for part in ("o'", "reader", "example.org"))


def test_a_safety_stop_that_cannot_be_written_leaves_no_claim_behind(
    desk: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: a breaker stops the issue, and writing it down fails by an error of ours
    def stop(step: Step, claim_id: int, _: int) -> None:
        if step is Step.CLAIMED:
            hand.sender.batches.stop_issue(1, "safety stop")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("an error of our own")

    desk.readers(3)
    desk.queue()
    with desk.hand(stop) as hand:
        hand.tick()
        hand.work(most=1)
        monkeypatch.setattr(sending.issues, "move", fail)

        # When
        hand.work(most=1)
        monkeypatch.undo()

        # Then
        assert hand.sender.batches.get(1) is None
        assert desk.totals().sending == 0
    assert desk.copies() == {}
