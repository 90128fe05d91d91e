"""What a page says when something went wrong: by the kind of the error and of its remedy, never with its fields. Pure.

A reader can do nothing about a setting, a file or a port, and must learn nothing of our insides; so a page knows few
sentences, each under the status that goes with it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from worker.errors import CorrantoError, Remedy, UnreachableError

TOO_MANY, SERVER_FAULT, UNREACHABLE = 429, 500, 503


class PageText(NamedTuple):
    """A heading, and the sentences below it."""

    heading: str
    sentences: tuple[str, ...]


_NOT_CHANGED = "Nothing was changed."

PAGES: Mapping[int, PageText] = {
    400: PageText(
        "We did not understand that", ("The form arrived incomplete. " + _NOT_CHANGED, "Go back and try again.")
    ),
    404: PageText("There is no such page", ("The address may be cut off or mistyped.",)),
    405: PageText("That does not work here", ("This page cannot be used in that way. " + _NOT_CHANGED,)),
    408: PageText("That took too long", ("The form did not arrive in time. " + _NOT_CHANGED, "Please try again.")),
    413: PageText("That is too much", ("The form was too large. " + _NOT_CHANGED,)),
    TOO_MANY: PageText(
        "One moment, please",
        ("Your network asked for too much at once. " + _NOT_CHANGED, "Try again in a few seconds."),
    ),
    SERVER_FAULT: PageText(
        "Something went wrong here", ("That is our fault, not yours.", "Please try again in a few minutes.")
    ),
    UNREACHABLE: PageText(
        "Please try again soon",
        (
            "We are too busy, or cannot reach our records just now, so we cannot do what you asked.",
            "Try again in a few minutes.",
        ),
    ),
}
"""By HTTP status."""

STATUS_OF: Mapping[Remedy, int] = {
    Remedy.START: UNREACHABLE, Remedy.UPGRADE: UNREACHABLE,
    # Pages answer what readers may do wrong by themselves; whatever else comes up here is a fault of ours.
    Remedy.CHANGE: SERVER_FAULT, Remedy.CHOOSE: SERVER_FAULT, Remedy.CREATE: SERVER_FAULT,
    Remedy.MEND_FILE: SERVER_FAULT, Remedy.CONFIGURE: SERVER_FAULT, Remedy.REPEAT: SERVER_FAULT,
    Remedy.OTHER_ORDER: SERVER_FAULT, Remedy.NONE: SERVER_FAULT,
}  # fmt: skip


def page_of(status: int) -> PageText:
    """What the page for a status says; an unknown one reads like 400 or 500."""
    return PAGES.get(status) or PAGES[SERVER_FAULT if status >= SERVER_FAULT else 400]


def status_of(error: Exception) -> int:
    """The status that answers an error no page foresaw: 503 when waiting helps, else 500."""
    if isinstance(error, UnreachableError):
        return UNREACHABLE  # whatever helps the operator, the reader can only come again
    return STATUS_OF[error.remedy] if isinstance(error, CorrantoError) else SERVER_FAULT
