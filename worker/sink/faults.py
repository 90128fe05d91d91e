"""What the sink does to a recipient, written in the recipient's own local part. Pure.

`name[.suffix][+parameter]@domain`, case ignored: `bounce-550.anna@example.org` is refused like `bounce-550@`.
A parameter that cannot be read leaves the fault at its default; any other local part is simply accepted.
"""

import re
from dataclasses import dataclass
from enum import Enum

SLOW_S = 3.0  # without a parameter: long enough to be seen, short enough for a demo
LONGEST_SLOW_S = 900.0
"""Above the client's deadline for a final reply (600 s, RFC 5321 4.5.3.2.6), so that the deadline can be tried."""

_AMOUNT = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)(?=\.|\Z)")


class FaultKind(Enum):
    """What the sink does wrong, and where in the dialogue."""

    ACCEPT = "accept"  # nothing: the mail is taken and kept
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


_KINDS = {
    "bounce-550": FaultKind.BOUNCE,
    "defer-451": FaultKind.DEFER,
    "full-452": FaultKind.FULL,
    "slow": FaultKind.SLOW,
    "drop": FaultKind.DROP,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What one recipient asks for. `amount` is seconds for SLOW, tries for DEFER (None = for ever), None otherwise."""

    kind: FaultKind
    amount: float | None = None


_NO_FAULT = Fault(FaultKind.ACCEPT)


def fault_of(address: str) -> Fault:
    """The fault that an addr-spec asks for."""
    local = address.rpartition("@")[0].lower()
    name, _, parameter = local.partition("+")
    kind = _KINDS.get(name) or _KINDS.get(name.partition(".")[0])
    if kind is None:
        return _NO_FAULT
    if kind is FaultKind.DROP and parameter.partition(".")[0] == "before":
        return Fault(FaultKind.DROP_BEFORE)
    amount = _AMOUNT.match(parameter)
    if kind is FaultKind.SLOW:
        return Fault(kind, min(float(amount[1]), LONGEST_SLOW_S) if amount else SLOW_S)
    if kind is FaultKind.DEFER:
        return Fault(kind, float(int(float(amount[1]))) if amount else None)
    return Fault(kind)
