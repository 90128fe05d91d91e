"""Explanations as lines: all their names in groups, or one with its facts and example. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence

from worker.calling import as_called
from worker.screen.explanations import GROUPS, Explanation, about
from worker.screen.layout import Line, join_parts, paragraph
from worker.screen.terminal import PLAIN_WIDTH

_WIDTH = 10
_HARD_BLANK = "\ue000"  # private use: in no text of ours
_GAP = Line("")


def render_names(everything: Sequence[Explanation]) -> list[Line]:
    """The names of everything there is to ask for, by group."""
    lines: list[Line] = []
    for group in GROUPS:
        names = [_label(each) for each in everything if each.group == group]
        lines += [Line(about()[group], "bold")]
        lines += [Line(f"  {line}") for line in join_parts(names, "  ", PLAIN_WIDTH - 2)]
        lines.append(_GAP)
    asked = "`corranto explain NAME` tells of one; all of them: issue-file, rules, states, reasons, settings"
    return [*lines, *_said(as_called(asked))]


def render(found: Sequence[Explanation]) -> list[Line]:
    """Each in full, one below the other, with the group's line before the first of it."""
    lines: list[Line] = []
    group = ""
    for each in found:
        if each.group != group:
            lines += [*([_GAP] if lines else []), Line(about()[each.group], "dim")]
            group = each.group
        lines += [_GAP, *_one(each)]
    return lines


def _one(each: Explanation) -> Iterator[Line]:
    yield Line(_label(each), "bold")
    yield from _said(each.says, "  ", "  ")
    for label, said in each.facts.items():
        yield from _said(said, f"  {label:<{_WIDTH}}", " " * (_WIDTH + 2))
    if each.example:
        yield from _example([*each.head.splitlines(), *(["---"] if each.head else []), *each.example.splitlines()])


def _said(text: str, first: str = "", rest: str = "") -> list[Line]:
    """A paragraph in which a command, which stands between backticks, is not broken: it may be copied."""
    whole = re.sub(r"`[^`]+`", lambda command: command[0].replace(" ", _HARD_BLANK), text)
    return [Line(line.text.replace(_HARD_BLANK, " ")) for line in paragraph(whole, first=first, rest=rest)]


def _example(lines: Iterable[str]) -> Iterator[Line]:
    """As it stands in a file: never cut, since it may be copied."""
    yield Line("  example")
    yield from (Line(f"    {line}".rstrip(), "green") for line in lines)


def _label(each: Explanation) -> str:
    """A name as it is met: W303, E/W401, `in doubt` with a blank."""
    if each.group == "rule":
        return f"{each.facts['level'].replace(' or ', '/')}{each.name}"
    return each.name.replace("_", " ") if each.group in ("delivery", "issue") else each.name
