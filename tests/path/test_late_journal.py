"""A machine taken for dead comes back: what its journals tell moves the copies in doubt on, and nothing else does."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support.lists import Hand, Newsroom
from worker.dispatch import orders
from worker.dispatch.bury import LOST_ROWS_KEPT, Observer, bury_dead_workers
from worker.domain.delivery import DeliveryState
from worker.domain.issue import IssueState
from worker.errors import UnreachableError
from worker.storage import acts, schema, workers
from worker.storage.ledger import settlements
from worker.storage.workers import WorkerRow

READERS = 200


class Deaf(Observer):
    """Hears nothing of any host, as another machine does behind a broken line."""

    def silent_hosts(self, rows: list[WorkerRow], own_host: str, now: float) -> set[str]:
        del own_host, now
        return {row.host_id for row in rows}


def give_up(desk: Newsroom) -> int:
    """Another machine takes every living worker for dead."""
    return bury_dead_workers(desk.database, desk.folder / "state", timedelta(days=1), Deaf()).in_doubt


def under_way(hand: Hand) -> None:
    """Three answered: taken, refused for good, put off; two on the wire; one came back; the others not begun."""
    batch = hand.slice().claim()
    assert batch is not None
    for n in range(1, 7):
        assert hand.journal.arm((batch.claim.id, n), 2525, 0.0, None)
    hand.journal.answer((batch.claim.id, 1), "alb", 250, "2.0.0")
    hand.journal.answer((batch.claim.id, 2), "prr", 550, "5.1.1")
    hand.journal.answer((batch.claim.id, 3), "tlb", 451, "4.3.0")
    hand.journal.disarm((batch.claim.id, 6))


def test_a_late_journal_resolves_what_its_machine_left_in_doubt(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(READERS)
    desk.queue()
    with desk.hand(claim_size=str(READERS)) as sleeper:
        sleeper.tick()
        sleeper.work(most=1)
        under_way(sleeper)
        assert give_up(desk) == READERS

        # When
        sleeper.die()
        assert desk.bury() == 0

        # Then
        states = {n: row.state for n, row in enumerate(desk.rows().values(), 1)}
        assert [states[n] for n in range(1, 8)] == [
            "accepted",
            "bounced",
            "waiting",
            "in_doubt",
            "in_doubt",
            "waiting",
            "waiting",
        ]
        assert desk.totals().adds_up
        with desk.database.read() as conn:
            told = [(act.act, act.object, dict(act.counts)) for act in acts.latest(conn) if act.actor == "corranto"]
        resolved = {"accepted": 1, "bounced": 1, "unsent": READERS - 4}
        assert told == [("doubt.journal", f"issue:{desk.issue().id}", resolved)]
        desk.age_nudges()
        assert not list((desk.folder / "state").glob(f"*/{sleeper.id}.journal"))
    with desk.hand() as other:
        other.send()
    assert desk.totals().accepted == READERS - 3
    assert desk.issue().state is IssueState.FINISHED
    assert set(desk.copies().values()) == {1}
    desk.assert_books_add_up()


def test_every_claim_of_a_silent_machine_is_counted_and_its_workers_are_forgotten_later(desk: Newsroom) -> None:
    # Given a worker with two claims of one issue
    desk.readers(READERS + 50)
    desk.queue()
    with desk.hand(claim_size=str(READERS)) as sleeper:
        sleeper.tick()
        sleeper.work(most=1)
        part = sleeper.slice()
        assert [batch is not None for batch in (part.claim(), part.claim())] == [True, True]

        # When
        assert give_up(desk) == READERS + 50
        with desk.database.write() as conn:
            conn.execute(update(schema.worker).values(seen_at=desk.database.now(conn) - 2 * LOST_ROWS_KEPT))
        assert give_up(desk) == 0

        # Then it can be read that it was there
        with desk.database.read() as conn:
            (forgotten,) = [act for act in acts.latest(conn) if act.actor == "corranto"]
            assert workers.list_workers(conn) == []
        assert forgotten.act == "worker.forget"
        assert forgotten.object.startswith("worker:")
        sleeper.die()


def test_an_older_copy_of_the_folder_proves_nothing(desk: Newsroom, tmp_path: Path) -> None:
    # Given: the state directory was copied while a copy was on the wire, and more followed before the worker died
    desk.readers(READERS)
    desk.queue()
    state = desk.folder / "state"
    with desk.hand(claim_size=str(READERS)) as sleeper:
        sleeper.tick()
        sleeper.work(most=1)
        batch = sleeper.slice().claim()
        assert batch is not None
        assert sleeper.journal.arm((batch.claim.id, 1), 2525, 0.0, None)
        shutil.copytree(state, tmp_path / "copy")
        assert sleeper.journal.arm((batch.claim.id, 2), 2525, 0.0, None)

        # When: it is looked at from the copy while the worker lives
        assert bury_dead_workers(desk.database, tmp_path / "copy", timedelta(days=1), Observer()).in_doubt == 0
        assert desk.totals().sending == READERS

        # And when the copy takes the folder's place after its death
        sleeper.die()
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "copy", state)
    assert desk.bury() == 0
    assert desk.totals().sending == READERS
    assert give_up(desk) == READERS
    desk.bury()

    # Then its silence about the second one is no proof that nothing left
    assert desk.totals().in_doubt == READERS


def test_what_was_taken_in_an_outage_keeps_its_slots(desk: Newsroom, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: two copies were answered, the database did not answer their settlement, and another machine gave us up
    desk.readers(READERS)
    desk.queue()
    with desk.hand(claim_size=str(READERS)) as sleeper:
        sleeper.tick()
        sleeper.work(most=1)
        part = sleeper.slice()
        batch = sleeper.submitted(part)

        def away(*_: object, **__: object) -> None:
            raise UnreachableError("database.silent", place="there", reason="away")

        with monkeypatch.context() as outage:
            outage.setattr(settlements, "settle", away)
            part.settle()
        assert give_up(desk) == READERS

        # When it is back, and the process ends
        part.settle()
        assert not batch.is_ours
        assert len(sleeper.journal._held) == READERS + 1
        sleeper.die()
        desk.bury()

    # Then its journal tells
    assert desk.totals().accepted == READERS


@pytest.mark.parametrize("order", ["retry", "cancel"])
def test_evidence_moves_nothing_that_an_editor_decided(desk: Newsroom, order: str) -> None:
    # Given
    desk.readers(READERS)
    desk.queue()
    with desk.hand(claim_size=str(READERS)) as sleeper, desk.hand() as other:
        sleeper.tick()
        sleeper.work(most=1)
        under_way(sleeper)
        give_up(desk)
        if order == "retry":
            orders.retry(desk.database, other.nudges, "spring", {"in_doubt"}, "an editor")
            other.send()
        else:
            orders.cancel(desk.database, desk.settings, "spring", "an editor")
        before = desk.states()

        # When
        sleeper.die()
        desk.bury()

    # Then: of a cancelled issue only what is known is written
    if order == "retry":
        assert desk.states() == before
    else:
        assert desk.states()[DeliveryState.WAITING] == 0
        assert desk.states()[DeliveryState.ACCEPTED] == 1
    desk.assert_books_add_up()
