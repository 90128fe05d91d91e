"""A dramatiq worker with one actor that writes down what woke it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq

from worker.broker.nudges import NudgeBroker

QUEUE = "dispatch"
JOIN_MS = 20_000  # a bound for a hanging test, not a measurement


class Woken:
    """What arrived, in order; `wait_for` returns once so many did."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.changed = threading.Condition()

    def add(self, issue_id: int) -> None:
        with self.changed:
            self.ids.append(issue_id)
            self.changed.notify_all()

    def wait_for(self, count: int) -> list[int]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ids) >= count, timeout=JOIN_MS / 1000), self.ids
            return list(self.ids)


def declare(broker: NudgeBroker, woken: Woken) -> None:
    dramatiq.actor(actor_name="send", queue_name=QUEUE, broker=broker)(lambda issue_id: woken.add(issue_id))


@contextmanager
def working(broker: NudgeBroker, woken: Woken, threads: int = 2) -> Iterator[dramatiq.Worker]:
    """A worker on that broker, stopped at the end."""
    declare(broker, woken)
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=100)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
