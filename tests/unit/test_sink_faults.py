"""Which local part asks the sink for which fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sink.faults import LONGEST_SLOW_S, Act, Fault, fault_of

CASES = {
    "jane@example.org": Fault(Act.ACCEPT),
    "bounce-550@example.org": Fault(Act.BOUNCE),
    "Bounce-550.anna@example.org": Fault(Act.BOUNCE),
    "bounce-5500@example.org": Fault(Act.ACCEPT),
    "bounce@example.org": Fault(Act.ACCEPT),
    "full-452+anything@example.org": Fault(Act.FULL),
    "defer-451@example.org": Fault(Act.DEFER),
    "defer-451+2@example.org": Fault(Act.DEFER, 2),
    "defer-451+2.ivan@example.org": Fault(Act.DEFER, 2),
    "defer-451.ivan+2@example.org": Fault(Act.DEFER, 2),
    "defer-451+news@example.org": Fault(Act.DEFER),
    "slow@example.org": Fault(Act.SLOW, 3),
    "slow+0.5@example.org": Fault(Act.SLOW, 0.5),
    "slow.mei+12@example.org": Fault(Act.SLOW, 12),
    "slow+9999@example.org": Fault(Act.SLOW, LONGEST_SLOW_S),
    "slow+1e9@example.org": Fault(Act.SLOW, 3),
    "drop@example.org": Fault(Act.DROP),
    "drop+before@example.org": Fault(Act.DROP_BEFORE),
    "drop.noor+before@example.org": Fault(Act.DROP_BEFORE),
    "drop+later@example.org": Fault(Act.DROP),
    "postmaster": Fault(Act.ACCEPT),
}


@pytest.mark.parametrize("address", CASES)
def test_a_local_part_asks_for_its_fault(address: str) -> None:
    assert fault_of(address) == CASES[address]


@given(st.text(max_size=80))
def test_any_text_has_a_bounded_fault(text: str) -> None:
    fault = fault_of(text)

    assert fault.amount is None or 0 <= fault.amount <= 9999
