"""The steps of a mail on its way, for whoever has to stand between two of them: tests, and a crash laboratory. Pure.

A process without a hook pays one comparison a step.
"""

from collections.abc import Callable
from enum import StrEnum


class Step(StrEnum):
    """What just happened, in walking order; the number that comes with it, and the thread it happens on."""

    CLAIMED = "claimed"
    """The claim is committed. Rows it holds; the slice's thread."""
    RECHECKED = "rechecked"
    """A query that began after the claim's commit said who left. Rows that may still leave; the slice's thread."""
    BUILT = "built"
    """The mails are built and not handed to the connections yet. Mails; the slice's thread."""
    ARMING = "arming"
    """The body may leave, and nobody has written that down. The row's number; the loop's thread."""
    ARMED = "armed"
    """The very next thing is the write of the body. The row's number; the loop's thread."""
    ANSWERED = "answered"
    """A reply was judged, and the journal does not have it. The row's number; the loop's thread."""
    RECORDED = "recorded"
    """A reply was judged, and only the journal knows. The row's number; the loop's thread."""
    SETTLING = "settling"
    """Results are about to be committed. Their number; the slice's thread."""
    SETTLED = "settled"
    """Results are committed. Rows written; the slice's thread."""
    RELEASED = "released"
    """The claim ended or was given back. 1 when rows came back that can be sent again, else 0; the slice's thread."""


Hook = Callable[[Step, int, int], None]
"""Told (step, claim id, number). What it raises counts as a fault of the step."""
