"""The mails that wait for a connection, how often a line broke under each, and who waits for their number to fall."""

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable

from worker.transport.transaction import Transaction

MAX_STRIKES = 3
"""Connections that may break under one mail before it is deferred."""


class Waiting:
    """A queue that counts what was added and is not settled yet. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.outstanding = 0
        self._queue: deque[Transaction] = deque()
        self._strikes: dict[Hashable, int] = {}
        self._gates: list[tuple[int, asyncio.Future[None]]] = []

    def __len__(self) -> int:
        """How many no connection has begun."""
        return len(self._queue)

    def add(self, transactions: Iterable[Transaction]) -> None:
        new = list(transactions)
        self.outstanding += len(new)
        self._queue.extend(new)

    def take(self) -> Transaction | None:
        """The next one; it stays outstanding."""
        return self._queue.popleft() if self._queue else None

    def strike(self, transaction: Transaction) -> bool:
        """A line broke under this mail. Whether that was once too often."""
        strikes = self._strikes[transaction.key] = self._strikes.get(transaction.key, 0) + 1
        return strikes >= MAX_STRIKES

    def put_back(self, transaction: Transaction) -> None:
        """It is the next one again."""
        self._queue.appendleft(transaction)

    def take_all(self) -> list[Transaction]:
        """Everything that waits; none of it is outstanding any more."""
        taken = list(self._queue)
        self._queue.clear()
        self.outstanding -= len(taken)
        self.open_gates()
        return taken

    def settled(self, transaction: Transaction) -> None:
        """One that was taken has its result."""
        if self._strikes:
            self._strikes.pop(transaction.key, None)
        self.outstanding -= 1

    def open_gates(self) -> None:
        """Wake whoever waits for a number that is reached."""
        still = []
        for n, gate in self._gates:
            if self.outstanding >= n:
                still.append((n, gate))
            elif not gate.done():
                gate.set_result(None)
        self._gates = still

    def open_all_gates(self) -> None:
        """Wake everybody who waits."""
        for _, gate in self._gates:
            if not gate.done():
                gate.set_result(None)

    async def below(self, n: int) -> None:
        """Wait until fewer than `n` are outstanding, or until all gates are opened."""
        if self.outstanding >= n:
            gate = asyncio.get_running_loop().create_future()
            self._gates.append((n, gate))
            await gate
