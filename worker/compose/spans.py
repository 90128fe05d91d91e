"""Where a text holds tags, code and remarks: one walk, each character met once. Pure.

Remarks (`<!-- … -->`) leave a text when its file is read; tags are blanked out where a rule looks at the words alone.
Each closing sign is searched for once: a text full of opening ones costs no more than any other.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

TAG_STAND_IN = "\ufffc"
"""What stands for a reader's value: the object replacement character."""

_OPENING = re.compile(r"(?m)\\[^{\n]|<!--|\{[{%#]|`+|^[ ]{0,3}~{3,}")
_OPENING_TAG = re.compile(r"\{[{%#]")
_CLOSING = {"{{": "}}", "{%": "%}", "{#": "#}", "<!--": "-->"}


class Kind(Enum):
    """What a stretch of a text is."""

    TAG = "tag"  # {{ … }} or {% … %}
    COMMENT = "comment"  # {# … #}, which the template language would swallow
    REMARK = "remark"  # <!-- … -->
    CODE = "code"  # between backticks or fences


@dataclass(frozen=True)
class Span:
    """A stretch of a text, from `start` up to but not including `end`."""

    kind: Kind
    start: int
    end: int
    closed: bool = True
    """False for a fence that nothing closes: it reaches to the end."""


class Lines:
    """Line numbers of positions in one text, found without counting from its start each time."""

    def __init__(self, text: str, first: int = 1) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._first = first

    def at(self, position: int) -> int:
        """The line of the character at `position`."""
        return self._first + bisect_right(self._starts, position) - 1


def find_spans(text: str) -> Iterator[Span]:
    """Tags, comments, remarks and code in their order; what is opened and never closed is none of them."""
    missing: set[str] = set()
    at = 0
    while opening := _OPENING.search(text, at):
        start, sign = opening.start(), opening[0].strip(" ")
        at = opening.end()
        if sign.startswith("\\"):
            continue
        if sign[0] in "`~":
            end = _end_of_code(text, opening, sign, missing)
            kind = Kind.CODE
        else:
            closing = _CLOSING[sign]
            found = -1 if closing in missing else text.find(closing, at)
            if found < 0:
                missing.add(closing)
            end = found + len(closing) if found >= 0 else -1
            kind = {"{#": Kind.COMMENT, "<!--": Kind.REMARK}.get(sign, Kind.TAG)
        if end >= 0:
            yield Span(kind, start, min(end, len(text)), closed=end <= len(text))
            at = end


def _end_of_code(text: str, opening: re.Match[str], sign: str, missing: set[str]) -> int:
    """Where a fence or a run of backticks is closed; -1 when it never is, or only beyond its
    paragraph; behind the end of the text for an open fence."""
    before = text[text.rfind("\n", 0, opening.start()) + 1 : opening.start()]
    if len(sign) >= 3 and len(before) <= 3 and not before.strip():
        key = f"\n{sign}"
        closing = re.compile(rf"^ {{0,3}}{sign}{sign[0]}*[ \t]*$", re.MULTILINE)
        fence = None if key in missing else closing.search(text, opening.end())
        if fence is None:
            missing.add(key)
            return len(text) + 1  # CommonMark: an open fence reaches to the end
        return fence.end()
    if sign in missing or sign[0] == "~":
        return -1
    end = re.compile(rf"(?<!`){sign}(?!`)").search(text, opening.end())
    if end is None:
        missing.add(sign)
        return -1
    return -1 if "\n\n" in text[opening.end() : end.start()] else end.end()


def drop_remarks(text: str) -> str:
    """`text` without what stands between <!-- and -->; its line ends stay, so that lines keep their numbers."""
    if "<!--" not in text:
        return text
    pieces, at = [], 0
    for span in find_spans(text):
        if span.kind is Kind.REMARK:
            pieces += [text[at : span.start], "\n" * text.count("\n", span.start, span.end)]
            at = span.end
    return "".join([*pieces, text[at:]])


def without_tags(text: str) -> tuple[str, list[int]]:
    """(`text` with a stand-in for each tag, for each of its lines the offset of that line in `text`)."""
    pieces, lines, at, line = [], [0], 0, 0
    for span in [*find_tags(text), Span(Kind.TAG, len(text), len(text))]:
        between = text[at : span.start]
        for _ in range(between.count("\n")):
            line += 1
            lines.append(line)
        line += text.count("\n", span.start, span.end)
        pieces += [between, TAG_STAND_IN if span.end > span.start else ""]
        at = span.end
    return "".join(pieces), lines


def find_tags(text: str) -> Iterator[Span]:
    """Tags and comments, which the template language finds in code too."""
    missing: set[str] = set()
    at = 0
    while opening := _OPENING_TAG.search(text, at):
        closing = _CLOSING[opening[0]]
        found = -1 if closing in missing else text.find(closing, opening.end())
        if found < 0:
            missing.add(closing)
            at = opening.end()
            continue
        at = found + len(closing)
        yield Span(Kind.COMMENT if opening[0] == "{#" else Kind.TAG, opening.start(), at)
