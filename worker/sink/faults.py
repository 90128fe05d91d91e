"""What the sink does to a recipient, written in the recipient's own local part. Pure.

`name[.suffix][+parameter]@domain`, case ignored: `bounce-550.anna@example.org` is refused like `bounce-550@`.
A parameter that cannot be read leaves the fault at its default; any other local part is simply accepted.
"""

import re
from dataclasses import dataclass
from enum import Enum

SLOW_S = 3.0
LONGEST_SLOW_S = 900.0
"""Above the client's deadline for a final reply (600 s, RFC 5321 4.5.3.2.6), so that the deadline can be tried."""

_AMOUNT = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)(?=\.|\Z)")


class Act(Enum):
    """Where in the dialogue a fault strikes."""

    ACCEPT = "accept"
    BOUNCE = "bounce"
    """550 to RCPT, always."""
    DEFER = "defer"
    """451 to RCPT: always, or for the first `amount` tries of this address."""
    FULL = "full"
    """452 to RCPT, always."""
    SLOW = "slow"
    """The body is answered after `amount` seconds."""
    DROP = "drop"
    """The body is taken, the line closed without a reply, nothing kept: in doubt for the sender."""
    DROP_BEFORE = "drop_before"
    """The line is closed in place of RCPT's reply, so that in every wire form no body can have left."""


_ACTS = {
    "bounce-550": Act.BOUNCE,
    "defer-451": Act.DEFER,
    "full-452": Act.FULL,
    "slow": Act.SLOW,
    "drop": Act.DROP,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`amount` is seconds for SLOW, tries for DEFER (None = for ever), None otherwise."""

    act: Act
    amount: float | None = None


_NO_FAULT = Fault(Act.ACCEPT)


def fault_of(address: str) -> Fault:
    """The fault that an addr-spec asks for."""
    local = address.rpartition("@")[0].lower()
    name, _, parameter = local.partition("+")
    act = _ACTS.get(name) or _ACTS.get(name.partition(".")[0])
    if act is None:
        return _NO_FAULT
    if act is Act.DROP and parameter.partition(".")[0] == "before":
        return Fault(Act.DROP_BEFORE)
    found = _AMOUNT.match(parameter)
    if act is Act.SLOW:
        return Fault(act, min(float(found[1]), LONGEST_SLOW_S) if found else SLOW_S)
    if act is Act.DEFER:
        return Fault(act, float(int(float(found[1]))) if found else None)
    return Fault(act)
