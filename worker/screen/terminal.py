"""What reaches a terminal: text made harmless, tables that fit, colour only where it is wanted. No IO but `consoles`.

Everything from a file, a mailbox or a relay passes `clean`: an escape sequence in a subject must not move the cursor,
rename the window or paint a wrong number (the attack has a name: terminal escape injection).
"""

import sys
import unicodedata
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console

PLAIN_WIDTH = 80
"""Columns assumed where nothing says better, and the width every screen is made for."""

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Direction marks can show a sentence in another order than it is stored: harmless in a mail, not beside a number."""


def clean(text: object, *, keep_lines: bool = False) -> str:
    """The text with every control character, line separator and direction mark shown as its escape.

    `keep_lines` leaves line feeds as they are, for texts of several lines.
    """
    return "".join(
        char if (char == "\n" and keep_lines) or not _is_harmful(char) else _escape(char) for char in str(text)
    )


def _is_harmful(char: str) -> bool:
    return char in _BIDI or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")


def _escape(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def out_console() -> Console:
    """Data goes here: standard output, without wrapping, so that a pipe gets whole lines."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)


def err_console() -> Console:
    """Talk goes here: progress, hints, questions, errors."""
    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def fit(text: str, width: int) -> str:
    """The text in exactly `width` terminal cells: padded, or cut with an ellipsis. Counts wide scripts as two."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…" if width > 1 else set_cell_size(text, width)


def table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, width: int | None, right: Sequence[int] = ()
) -> list[str]:
    """Lines of a table whose columns are as wide as their contents; `right` names the columns of numbers.

    With a width, the widest column gives way until the lines fit; without one (a pipe), nothing is cut.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max([cell_len(head), *(cell_len(row[i]) for row in cells)]) for i, head in enumerate(heads)]
    if width is not None:
        while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > 8:
            widths[widths.index(max(widths))] -= 1
    return [_line(row, widths, right) for row in [list(heads), *cells]]


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    parts = []
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        fitted = fit(cell, width)
        if i in right and cell_len(cell) < width:
            fitted = " " * (width - cell_len(cell)) + cell
        parts.append(fitted)
    return "  ".join(parts).rstrip()


def table_width() -> int | None:
    """Columns a table may use on standard output: the terminal's, or no limit in a pipe."""
    return out_console().width if sys.stdout.isatty() else None
