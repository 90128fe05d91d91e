"""Which local part asks the sink for which fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sink.faults import LONGEST_SLOW_S, Fault, FaultKind, fault_of

CASES = {
    "jane@example.org": Fault(FaultKind.ACCEPT),
    "bounce-550@example.org": Fault(FaultKind.BOUNCE),
    "Bounce-550.anna@example.org": Fault(FaultKind.BOUNCE),
    "bounce-5500@example.org": Fault(FaultKind.ACCEPT),
    "bounce@example.org": Fault(FaultKind.ACCEPT),
    "full-452+anything@example.org": Fault(FaultKind.FULL),
    "defer-451@example.org": Fault(FaultKind.DEFER),
    "defer-451+2@example.org": Fault(FaultKind.DEFER, 2),
    "defer-451+2.ivan@example.org": Fault(FaultKind.DEFER, 2),
    "defer-451.ivan+2@example.org": Fault(FaultKind.DEFER, 2),
    "defer-451+news@example.org": Fault(FaultKind.DEFER),
    "slow@example.org": Fault(FaultKind.SLOW, 3),
    "slow+0.5@example.org": Fault(FaultKind.SLOW, 0.5),
    "slow.mei+12@example.org": Fault(FaultKind.SLOW, 12),
    "slow+9999@example.org": Fault(FaultKind.SLOW, LONGEST_SLOW_S),
    "slow+1e9@example.org": Fault(FaultKind.SLOW, 3),
    "drop@example.org": Fault(FaultKind.DROP),
    "drop+before@example.org": Fault(FaultKind.DROP_BEFORE),
    "drop.noor+before@example.org": Fault(FaultKind.DROP_BEFORE),
    "drop+later@example.org": Fault(FaultKind.DROP),
    "postmaster": Fault(FaultKind.ACCEPT),
}


@pytest.mark.parametrize("address", CASES)
def test_a_local_part_asks_for_its_fault(address: str) -> None:
    assert fault_of(address) == CASES[address]


@given(st.text(max_size=80))
def test_any_text_has_a_bounded_fault(text: str) -> None:
    fault = fault_of(text)

    assert fault.amount is None or 0 <= fault.amount <= 9999
