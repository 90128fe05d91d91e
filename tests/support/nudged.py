"""A dramatiq worker with one actor that writes down what woke it."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import dramatiq

from worker.broker.nudges import NudgeBroker
from worker.broker.sealed import Sealer

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


class CommittedFirst:
    """A store of nudges that asks, when one is put, whether what it speaks of can be seen by others already."""

    def __init__(self, is_true: Callable[[str, dict[str, int]], bool]) -> None:
        self._is_true = is_true
        self._sealer = Sealer(b"a secret of the tests", "corranto")
        self.waiting: deque[tuple[str, dict[str, int]]] = deque()
        self.seen: list[tuple[str, dict[str, int]]] = []
        self.early: list[tuple[str, dict[str, int]]] = []
        """Nudges that were put before the commit of what they name."""

    def broker(self, queue: str, actors: Iterable[str]) -> NudgeBroker:
        """A broker that puts nudges for these actors here."""
        broker = NudgeBroker(self, self._sealer)
        for name in actors:
            dramatiq.actor(actor_name=name, queue_name=queue, broker=broker)(lambda **_: None)
        return broker

    def put(self, queue: str, body: bytes) -> None:
        message = self._sealer.unseal(body)
        nudge = (message.actor_name, dict(message.kwargs))
        self.seen.append(nudge)
        self.waiting.append(nudge)
        if not self._is_true(*nudge):
            self.early.append(nudge)

    def take(self, queue: str, wait_s: float, stop: threading.Event) -> bytes | None:
        return None

    def size(self, queue: str) -> int:
        return len(self.waiting)

    def purge(self, queue: str) -> None:
        self.waiting.clear()

    def close(self) -> None:
        pass
