"""Whatever is done to an issue, its copies and its readers, in any order: states move only where they may, the books
add up after each step, nobody gets a mail too many, and a no is a no."""

import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from tests.support.lists import Hand, Newsroom, newsroom, relay_in_thread
from tests.support.scripted_smtp import CLOSE, KEEP, On, ScriptedRelay
from worker.consent import optout
from worker.consent.optout import Wish
from worker.dispatch import orders
from worker.dispatch.reconcile import repeat_never_miss
from worker.dispatch.send import Slice
from worker.domain.delivery import TRANSITIONS, DeliveryState, DoubtPolicy
from worker.domain.issue import ISSUE_TRANSITIONS, IssueState
from worker.domain.subscription import Channel, Scope
from worker.errors import RefusedError
from worker.operations import verify
from worker.storage import schema

READERS = [*(f"ok{n}@example.org" for n in range(6)), "later1@example.org", "later2@example.org", "gone1@example.org",
           "gone2@example.org", "cut1@example.org", "spam1@example.org"]  # fmt: skip
FATES = (
    On("rcpt", b"450 4.2.0 later\r\n", line="<later"),
    On("rcpt", b"550 5.1.1 no such user\r\n", line="<gone"),
    On("body", KEEP, CLOSE, line="<cut"),
    On("body", b"554 5.7.1 looks like spam\r\n", line="<spam"),
)
NUMBERS = st.integers(1, len(READERS))


def reachable(table: dict[Any, frozenset[Any]]) -> dict[Any, frozenset[Any]]:
    """Where a state may be after any number of moves, itself included."""
    closed = {state: {state} | set(after) for state, after in table.items()}
    for _ in closed:
        for after in closed.values():
            after |= {far for near in tuple(after) for far in closed[near]}
    return {state: frozenset(after) for state, after in closed.items()}


MAY_BECOME, ISSUE_MAY_BECOME = reachable(TRANSITIONS), reachable(ISSUE_TRANSITIONS)


class Sending(RuleBasedStateMachine):
    """One issue, a worker that may die at any time, an editor and readers."""

    template: Path

    @initialize(doubt=st.sampled_from(list(DoubtPolicy)))
    def open(self, doubt: DoubtPolicy) -> None:
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="corranto-machine-")))
        url = f"sqlite:///{shutil.copy(self.template, folder / 'lab.sqlite3')}"
        self.relay = ScriptedRelay([On(one.event, *one.steps, line=one.line) for one in FATES])
        smtp = self.stack.enter_context(relay_in_thread(self.relay))
        given = {"smtp_url": smtp, "smtp_connections": "2", "optout_fresh_s": "0.5", "claim_size": "200"}
        self.desk: Newsroom = self.stack.enter_context(newsroom(folder, url, with_relay=False, **given))
        self.desk.readers(READERS)
        self.desk.queue(doubt=doubt)
        self.hand = Hand(self.desk.database, self.desk.settings)
        self.held: Slice | None = None
        self.states: dict[str, str] = {}
        self.issue_state = IssueState.HOLDING
        self.orders, self.repeats = 0, 0
        self.silent: dict[int, int] = {}
        """Readers who were told that nothing leaves any more, and how many mails each had then."""

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.hand.end()
            self.stack.close()

    # What time and workers do.

    @rule()
    def tick(self) -> None:
        self.hand.tick()

    @rule(most=st.integers(1, 4))
    def work(self, most: int) -> None:
        self.hand.work(most)

    @precondition(lambda self: self.held is None)
    @rule(built=st.booleans())
    def begin_a_slice_and_stop_in_it(self, built: bool) -> None:
        part = self.hand.slice()
        batch = part.claim()
        if batch is None:
            return
        self.held = part
        if built:
            part.hand_over(batch)
            self.desk.until(lambda: not batch.flying, "every mail was answered")

    @precondition(lambda self: self.held is not None)
    @rule()
    def end_the_slice(self) -> None:
        assert self.held is not None
        self.held.drain(0.0)
        self.held.give_back()
        self.held = None

    @rule()
    def die(self) -> None:
        self.hand.die()
        self.held = None
        self.hand = Hand(self.desk.database, self.desk.settings)

    @rule()
    def bury(self) -> None:
        self.desk.bury()

    @rule()
    def later(self) -> None:
        self.desk.bring_forward()
        self.desk.age_nudges()

    @rule()
    def repeat(self) -> None:
        self.repeats += repeat_never_miss(self.desk.database, settle_s=0)

    # What an editor does.

    @rule(order=st.sampled_from(["pause", "resume", "undo"]))
    def order(self, order: str) -> None:
        database, nudges = self.desk.database, self.hand.nudges
        with suppress(RefusedError):
            if order == "pause":
                orders.pause(database, self.desk.settings, "spring", "editor")
            elif order == "resume":
                orders.resume(database, nudges, "spring", "editor")
            elif self.issue_state is not IssueState.HOLDING:
                orders.undo(database, "spring", "editor")

    @rule(states=st.sets(st.sampled_from(["failed", "bounced", "in_doubt"]), min_size=1))
    def retry(self, states: set[str]) -> None:
        with suppress(RefusedError):
            self.orders += orders.retry(self.desk.database, self.hand.nudges, "spring", states, "editor") > 0

    @precondition(lambda self: self.orders > 1)  # nothing much happens after it
    @rule()
    def cancel(self) -> None:
        with suppress(RefusedError):
            orders.cancel(self.desk.database, self.desk.settings, "spring", "editor", margin_s=0.0)

    # What readers do.

    @rule(number=NUMBERS, scope=st.sampled_from(list(Scope)))
    def leave(self, number: int, scope: Scope) -> None:
        wish = Wish(number, Channel.ONE_CLICK, "reader", 1, scope)
        done = optout.opt_out(self.desk.database, wish, self.desk.folder / "state", 0.5)
        if done.settled:
            self.silent[number] = self.mails()[READERS[number - 1]]

    @rule(number=NUMBERS)
    def come_back(self, number: int) -> None:
        wish = Wish(number, Channel.PAGE, "reader", 1)
        optout.undo(self.desk.database, wish, self.desk.folder / "state")
        self.silent.pop(number, None)

    # What must hold.

    def mails(self) -> Counter[str]:
        return Counter(mail.rcpt.partition("<")[2].rstrip(">") for mail in self.relay.taken)

    @invariant()
    def books_add_up(self) -> None:
        assert verify.prove(self.desk.database, self.desk.folder / "state").discrepancies == ()

    @invariant()
    def states_move_only_where_they_may(self) -> None:
        now = {address: row.state for address, row in self.desk.rows().items()}
        for address, before in self.states.items():
            assert now[address] in MAY_BECOME[DeliveryState(before)], (address, before, now[address])
        issue = self.desk.issue()
        assert issue.state in ISSUE_MAY_BECOME[self.issue_state], (self.issue_state, issue.state)
        self.states, self.issue_state = now, issue.state
        is_over = all(state not in ("waiting", "deferred") for state in now.values())
        assert issue.state is not IssueState.FINISHED or is_over

    @invariant()
    def nobody_gets_a_mail_too_many(self) -> None:
        most = 1 + self.orders + self.repeats
        assert {address: count for address, count in self.mails().items() if count > most} == {}

    @invariant()
    def no_means_no(self) -> None:
        mails = self.mails()
        for number, had in self.silent.items():
            assert mails[READERS[number - 1]] == had, READERS[number - 1]


class Subscribed(RuleBasedStateMachine):
    """One reader of one publication: who ended it decides who may begin it again."""

    template: Path

    @initialize()
    def open(self) -> None:
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="corranto-machine-")))
        url = f"sqlite:///{shutil.copy(self.template, folder / 'lab.sqlite3')}"
        self.desk: Newsroom = self.stack.enter_context(newsroom(folder, url, with_relay=False))
        self.desk.readers(["jane@example.org"])
        self.state, self.ended_by, self.undos = "confirmed", "", 0

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    def row(self) -> Any:
        with self.desk.database.read() as conn:
            return conn.execute(select(schema.subscription)).one()

    @rule(channel=st.sampled_from(list(Channel)))
    def leave(self, channel: Channel) -> None:
        optout.opt_out(self.desk.database, Wish(1, channel, "reader", 1), self.desk.folder / "state", 0.0)
        by_import, is_a_no = self.ended_by == Channel.IMPORT, channel is not Channel.IMPORT
        # Another way than a link makes a link's no one that no Undo lifts.
        is_harder = bool(self.ended_by) and Channel(self.ended_by).is_a_link and not channel.is_a_link
        if self.state == "confirmed" or (is_a_no and (by_import or is_harder)):
            self.ended_by = str(channel)
        self.state = "ended"

    @rule()
    def come_back(self) -> None:
        back = optout.undo(self.desk.database, Wish(1, Channel.PAGE, "reader", 1), self.desk.folder / "state")
        if not back:
            return
        assert self.state == "ended"
        assert self.ended_by in (Channel.ONE_CLICK, Channel.PAGE), self.ended_by
        self.undos += 1
        self.state, self.ended_by = "confirmed", ""

    @invariant()
    def it_stands_where_it_should(self) -> None:
        row = self.row()
        assert row.state == self.state
        assert (row.ended_at is not None) is (self.state == "ended")
        assert (row.ended_by or "") == self.ended_by
        assert self.undos <= 3


@pytest.mark.parametrize(("machine", "examples", "steps"), [(Sending, 8, 25), (Subscribed, 10, 12)])
def test_in_whatever_order_it_happens(machine: type[Any], examples: int, steps: int, sqlite_template: Path) -> None:
    machine.template = sqlite_template
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=limits)
