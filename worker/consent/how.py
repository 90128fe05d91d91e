"""How a file is to be read, where it does not say so itself. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.consent.dates import DateOrder


@dataclass(frozen=True)
class How:
    """How a file is to be read, where it does not say so itself."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    """Variable → heading of the column, or its place as `#3`."""
    encoding: str | None = None
    escape: str | None = None
    """A name out of csv_file.ESCAPES."""
    dates: DateOrder | None = None
    left: tuple[str, ...] = ()
    """Headings of columns that say who left; whoever they name goes onto the do-not-mail list."""
    not_left: tuple[str, ...] = ()
    """Headings of columns that say something else, though theirs are such as say who left."""


AS_IT_SAYS = How()
