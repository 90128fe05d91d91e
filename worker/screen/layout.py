"""Screens as lines: text that was made harmless, each with the style a terminal may give it. Pure.

A screen is a list of these, at most 80 columns wide; whoever prints it decides about colour (NO_COLOR, pipes).
"""

import textwrap
from collections.abc import Iterable
from typing import NamedTuple

from worker.screen.terminal import PLAIN_WIDTH, clean


class Line(NamedTuple):
    """One line. `style` is a rich style such as "bold" or "red", empty for none; the text says everything without."""

    text: str
    style: str = ""


def paragraph(text: str, *, first: str = "", rest: str = "", style: str = "", width: int = PLAIN_WIDTH) -> list[Line]:
    """Cleaned text cut at blanks to the width; `first` and `rest` begin its lines. A long word is never cut.

    What may be copied, such as a command or a URL, therefore stays whole, even beyond the width.
    """
    cut = textwrap.wrap(
        clean(text), width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return [Line(line, style) for line in cut or [first.rstrip()]]


def join_parts(parts: Iterable[str], joint: str, width: int) -> list[str]:
    """Parts one after the other in as few lines as fit the width, broken only between two of them."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(joint) + len(part) <= width:
            lines[-1] += joint + part
        else:
            lines.append(part)
    return lines
