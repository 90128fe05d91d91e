"""A dramatiq broker for nudges, which are safe to lose, repeat, reorder or forge.

What a nudge points to stands in the ledger, and the tick nudges again, so a nudge is gone when it is fetched: nothing
is acknowledged, leased, delayed, retried or kept for the dead. A process that dies with one costs the tick's delay.
There are no delay queues and no middleware, so the options of a message mean nothing.
A broker that cannot be reached is said once by each process that waits for it; waiting goes on until it answers.
"""

import threading
from typing import Any, Protocol

from dramatiq import Broker, Consumer, Message, MessageProxy, QueueJoinTimeout, QueueNotFound
from dramatiq.errors import ActorNotFound

from worker import clock, log
from worker.broker.sealed import Sealer, SealError
from worker.errors import UnreachableError

OUTAGE_WAIT_S = 1.0
"""Between two tries while the broker is away: soon enough for a person, seldom enough for a server that starts."""

OVERSIZED = b""
"""What a store hands over instead of an entry that is too large to be a nudge; no nudge is empty, so it is dropped."""

_JOIN_POLL_S = 0.01
_QUIET_POLLS = 3

_log = log.logger("broker")


class NudgeStore(Protocol):
    """Where nudges lie. Every call raises UnreachableError, in one sentence, when it cannot be reached."""

    def put(self, queue: str, body: bytes) -> None:
        """Add at the end."""

    def take(self, queue: str, wait_s: float, stop: threading.Event) -> bytes | None:
        """Remove the oldest; when there is none, wait for one at most `wait_s` or until `stop`, then None."""

    def size(self, queue: str) -> int:
        """How many wait."""

    def purge(self, queue: str) -> None:
        """Forget them all."""

    def close(self) -> None:
        """Give up connections."""


class NudgeBroker(Broker):
    """Carries nudges through a NudgeStore. One per process; every method may be called from any thread."""

    def __init__(self, store: NudgeStore, sealer: Sealer) -> None:
        super().__init__(middleware=[])
        self.queues: set[str] = set()
        self.dropped = 0
        """Nudges refused since the process began."""
        self._store, self._sealer = store, sealer
        self._closed = threading.Event()
        self._guard = threading.Lock()
        self._in_hand: dict[str, int] = {}
        self._silent = False

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def get_declared_queues(self) -> set[str]:
        return self.queues.copy()

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Raises UnreachableError when the broker does not take it, ValueError for a delay or positional arguments."""
        if delay is not None or message.args:
            raise ValueError("a nudge names ids and has no delay: times stand in the ledger")
        self.emit_before("enqueue", message, delay)
        self._store.put(message.queue_name, self._sealer.seal(message))
        self.emit_after("enqueue", message, delay)
        return message

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30_000) -> Consumer:
        """`timeout` in milliseconds. A dramatiq worker asks to prefetch twice its threads; half of that is taken.

        More would let one process hoard what idle ones could work on.
        """
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]
        return _NudgeConsumer(self, queue_name, max(1, prefetch // 2), timeout / 1000)

    def flush(self, queue_name: str) -> None:
        self._store.purge(queue_name)

    def flush_all(self) -> None:
        for queue_name in self.queues:
            self.flush(queue_name)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until the queue is empty and this process has nothing of it in hand: for tests. Milliseconds.

        Raises QueueJoinTimeout.
        """
        deadline = None if timeout is None else clock.monotonic() + timeout / 1000
        quiet = 0
        # Between the pop and the count of what is in hand lies one network answer: one quiet poll proves nothing.
        while quiet < _QUIET_POLLS:
            quiet = 0 if self._store.size(queue_name) or self._in_hand.get(queue_name) else quiet + 1
            if deadline is not None and clock.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)  # type: ignore[no-untyped-call]
            self._closed.wait(_JOIN_POLL_S)

    def close(self) -> None:
        """Every consumer's wait ends at once."""
        self._closed.set()
        self._store.close()

    def fetch(self, queue_name: str, wait_s: float) -> Message[Any] | None:
        """The next nudge this process can act on, counted as in hand; None after `wait_s` without one.

        Raises nothing of the broker's.
        """
        try:
            body = self._store.take(queue_name, wait_s, self._closed)
        except UnreachableError as error:
            self._say_silent(str(error))
            self._closed.wait(OUTAGE_WAIT_S)
            return None
        self._say_back()
        if body is None:
            return None
        try:
            message = self._sealer.unseal(body)
            if message.queue_name != queue_name:
                raise SealError("a nudge of another queue")
            self.get_actor(message.actor_name)
        except (SealError, ActorNotFound) as error:
            self._drop(queue_name, error)
            return None
        self._hold(queue_name, +1)
        return message

    def let_go(self, queue_name: str) -> None:
        """One fetched nudge was worked on or put back."""
        self._hold(queue_name, -1)

    def put_back(self, message: Message[Any]) -> None:
        """A nudge that was fetched and never begun: back to the queue, for another process."""
        try:
            self._store.put(message.queue_name, self._sealer.seal(message))
        except UnreachableError as error:
            self._say_silent(str(error))

    def _hold(self, queue_name: str, change: int) -> None:
        with self._guard:
            self._in_hand[queue_name] = self._in_hand.get(queue_name, 0) + change

    def _drop(self, queue_name: str, error: Exception) -> None:
        with self._guard:
            self.dropped += 1
            count = self.dropped
        if count & (count - 1) == 0:  # 1, 2, 4, 8 ...: a flood must not fill the log
            _log.warning("nudge dropped", queue=queue_name, cause=type(error).__name__, dropped=count)

    def _say_silent(self, cause: str) -> None:
        with self._guard:
            first, self._silent = not self._silent, True
        if first:
            _log.warning("broker unreachable, waiting for it", cause=cause)

    def _say_back(self) -> None:
        with self._guard:
            again, self._silent = self._silent, False
        if again:
            _log.info("broker answers again")


class _NudgeConsumer(Consumer):
    """Hands nudges of one queue to one worker, never more than it has threads for."""

    def __init__(self, broker: NudgeBroker, queue_name: str, most: int, wait_s: float) -> None:
        self._broker, self._queue, self._most, self._wait_s = broker, queue_name, most, wait_s
        self._free = threading.Semaphore(most)

    def __next__(self) -> MessageProxy | None:
        if not self._free.acquire(timeout=self._wait_s):
            return None
        message = None
        try:
            message = self._broker.fetch(self._queue, self._wait_s)
        finally:
            if message is None:
                self._free.release()
        return None if message is None else MessageProxy(message)

    def ack(self, message: MessageProxy) -> None:
        self._done()

    nack = ack

    def requeue(self, messages: Any) -> None:  # noqa: ANN401 - an iterable of proxies, as dramatiq declares it
        for message in messages:
            self._broker.put_back(message._message)
            self._done()

    def _done(self) -> None:
        self._broker.let_go(self._queue)
        self._free.release()


def send_nudge(broker: Broker, actor_name: str, queue: str, **ids: int | str) -> None:
    """Wake a worker by the actor's name, so that no sender needs to import what it wakes.

    Only after the row the ids name was committed. Raises UnreachableError; the tick nudges again.
    """
    broker.enqueue(Message(queue_name=queue, actor_name=actor_name, args=(), kwargs=ids, options={}))
