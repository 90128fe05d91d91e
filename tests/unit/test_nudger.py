"""Nudges past a broker that hangs: what one costs, and that the next ones do not cost it again."""

import pytest
from dramatiq import Message
from dramatiq.brokers.stub import StubBroker

from worker import clock
from worker.dispatch.nudger import Nudger
from worker.errors import UnreachableError


class HangingBroker(StubBroker):
    """Takes five seconds to fail, by a clock of its own."""

    def __init__(self) -> None:
        super().__init__(middleware=[])
        self.now, self.asked, self.cost_s = 100.0, 0, 5.0

    def monotonic(self) -> float:
        return self.now

    def enqueue(self, message: Message[object], *, delay: int | None = None) -> Message[object]:
        self.asked += 1
        self.now += self.cost_s
        if self.cost_s:
            raise UnreachableError("broker.unreachable")
        return message


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> HangingBroker:
    hanging = HangingBroker()
    monkeypatch.setattr(clock, "monotonic", hanging.monotonic)
    return hanging


def test_a_tick_with_many_issues_waits_once_for_a_broker_that_hangs(broker: HangingBroker) -> None:
    nudger = Nudger(broker)

    assert not any(nudger.send(issue, 1) for issue in range(50))

    assert broker.asked == 1
    assert nudger.trouble


def test_a_broker_that_is_back_is_asked_after_as_long_as_it_hung(broker: HangingBroker) -> None:
    nudger = Nudger(broker)
    nudger.send(1, 1)
    broker.cost_s = 0.0

    broker.now += 5.0

    assert nudger.send(1, 1)
    assert nudger.send(2, 1)
    assert nudger.trouble is None
