"""Cells: guarded on the way out, so that no spreadsheet runs one, and back again on the way in. Pure.

The two are inverse: whatever is kept about a reader leaves in a CSV and comes back as it was.
"""

import re

NOTHING = frozenset(
    {"null", "\\n", "n/a", "#n/a", "na", "nan", "none", "undefined", "-", "--", "(null)", "nil", "<null>"}
)
"""What databases, spreadsheets and languages write for no value; "na" only as NA."""

_FORMULA = "[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]"
"""A spreadsheet runs a cell that begins with one of these, full-width forms included."""

_RUNS = re.compile(rf"'*(?:[ \u00a0]*{_FORMULA})", re.DOTALL)


def is_nothing(text: str) -> bool:
    """Whether a value stands for none. The name Na and the word none of a sentence are values."""
    return text.lower() in NOTHING and (
        text.lower() not in ("na", "none", "nan") or text in ("NA", "None", "NaN", "nan")
    )


def _wants_guard(text: str) -> bool:
    return _RUNS.match(text) is not None or is_nothing(text.lstrip("'"))


def neutral_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula, and no import for nothing: an apostrophe stands before it."""
    return "'" + text if _wants_guard(text) else text


def unguarded(text: str) -> str:
    """Inverse of `neutral_cell`; spreadsheets write the same apostrophe before what is text."""
    return text[1:] if text[:1] == "'" and _wants_guard(text) else text


_BRACKETED = re.compile(r"[^<>]*<\s*([^<>@]+@[^<>@]+?)\s*>", re.DOTALL)


def unwrapped(text: str) -> str:
    """The address in what mail programs and pages copy with it: `Jane <jane@…>`, `mailto:jane@…`, `jane@…;`."""
    text = text.strip().rstrip(";,. \t")
    if bracketed := _BRACKETED.fullmatch(text):
        text = bracketed[1]
    if text[:7].lower() == "mailto:":
        text = text[7:].partition("?")[0]
    return text.strip("'\" ") if text[:1] in "'\"" and text[:1] == text[-1:] else text
