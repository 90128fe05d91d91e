"""A claim's mails in portions: what one row does wrong stays with it, whatever kind of wrong it is."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.mails import builder, reader
from worker.dispatch.batches import Batch
from worker.dispatch.build import PORTION_ROWS, Builders, build_batch
from worker.domain.delivery import ClaimKind, DeliveryState
from worker.message.dkim import Signer
from worker.settings import Settings
from worker.storage.engine import Database
from worker.storage.ledger.claims import Claim
from worker.storage.ledger.deliveries import Due


class Exhausted:
    """A signer that runs out of memory, or fails otherwise, at some readers' mails."""

    key_id = b"c1"

    def __init__(self, error: type[Exception], *addresses: bytes) -> None:
        self._error, self._addresses = error, addresses

    def sign(self, header: bytes, body: bytes, date: datetime) -> bytes:
        if any(address in header for address in self._addresses):
            raise self._error
        return b"X-Signed: yes\r\n"


def claimed(count: int) -> Batch:
    claim = Claim(1, 7, 0, ClaimKind.FIRST, 1, count, count, DeliveryState.WAITING, datetime(2026, 11, 2, tzinfo=UTC))
    batch = Batch(claim, threading.Event())
    for n in range(1, count + 1):
        recipient = reader(n=n, address=f"r{n}@example.org")
        batch.due[n] = Due(recipient, DeliveryState.WAITING, 0, None, None, None, None)
    return batch


@pytest.fixture
def builders() -> Builders:
    settings = SimpleNamespace(keys=["k" * 32])
    return Builders(cast("Database", None), cast("Settings", settings))


def build(batch: Batch, builders: Builders, signer: Any, go_on: Any = lambda: True) -> list[int]:
    with ThreadPoolExecutor(1) as executor:
        builders.signing = executor
        portions = list(build_batch(batch, builder(signer=cast("Signer", signer)), builders, go_on))
    return [cast("tuple[int, int]", mail.key)[1] for portion in portions for mail in portion]


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_an_error_without_a_row_is_found_to_be_one_rows(builders: Builders, error: type[Exception]) -> None:
    batch = claimed(30)
    built = build(batch, builders, Exhausted(error, b"<r7@", b"<r23@"))
    assert built == [n for n in range(1, 31) if n not in (7, 23)]
    assert [(result.n, result.reason) for result in batch.results] == [(7, "unbuildable"), (23, "unbuildable")]
    assert error.__name__ in batch.results[0].text
    assert builders.why_unbuildable(7) is None


def test_rows_of_which_none_can_be_built_are_not_tried_to_the_last(builders: Builders) -> None:
    batch = claimed(300)
    assert build(batch, builders, Exhausted(MemoryError, b"@")) == []
    assert len(batch.results) == 10
    assert "10 mails in a row could not be built" in (builders.why_unbuildable(7) or "")


def test_no_portion_is_built_that_nobody_wants(builders: Builders) -> None:
    batch = claimed(300)
    assert build(batch, builders, None, lambda: False) == list(range(1, PORTION_ROWS + 1))
    assert batch.results == []
