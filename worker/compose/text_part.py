"""Sanitised HTML with marks → the text part's lines, 72 columns where the words allow it. Pure.

Links are numbered and listed under the piece they belong to. Marks stay whole, in order, and a condition's tags hug
the block they steer, so that a false condition leaves no gap.
"""

import re
from html.parser import HTMLParser
from unicodedata import east_asian_width

from worker.compose.marks import MARK, Marks, Part

COLUMNS = 72  # the 78 of RFC 5322 2.1.1 with room for being quoted twice or thrice
_HOLE_COLUMNS = 12  # what a personal value is guessed to need

_BLOCKS = frozenset({"p", "h2", "h3", "h4", "li", "blockquote", "pre", "tr", "table", "ul", "ol", "hr"})
# Kinsoku: marks that may not begin a line of Chinese or Japanese, and those that may not end one.
_NO_START = frozenset("、。，．：；？！）」』】〉》〕’”…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ％")
_NO_END = frozenset("（「『【〈《〔‘“")


def shape_text(html: str, marks: Marks) -> str:
    """Blocks parted by blank lines, without trailing line end."""
    shaper = _Shaper(marks)
    shaper.feed(html)
    shaper.close()
    return shaper.finished()


def wrap(text: str, columns: int = COLUMNS, first: str = "", rest: str = "") -> str:
    """`text` in lines of at most `columns`, prefixed; a word wider than a line stands alone on its own."""
    lines: list[str] = []
    line, used = first, columns_of(first)
    filled = False
    for glue, word in _words(text):
        width = columns_of(word)
        if filled and used + len(glue) + width > columns:
            lines.append(line)
            line, used, filled = rest, columns_of(rest), False
        line += (glue if filled else "") + word
        used += (len(glue) if filled else 0) + width
        filled = True
    return "\n".join([*lines, line])


def columns_of(text: str) -> int:
    """Columns in a fixed-width face: East Asian wide characters count two, a personal value twelve."""
    holes = len(MARK.findall(text))
    bare = MARK.sub("", text)
    return holes * _HOLE_COLUMNS + sum(2 if east_asian_width(char) in "WF" else 1 for char in bare)


def _words(text: str) -> list[tuple[str, str]]:
    """(glue, word): wide characters may be parted without a blank, the rest only at blanks."""
    words: list[tuple[str, str]] = []
    for word in text.split():
        pieces: list[str] = []
        for char in word:
            before = pieces[-1][-1] if pieces else ""
            may_part = bool(before) and "W" in (east_asian_width(char), east_asian_width(before))
            inside_mark = bool(pieces) and pieces[-1].rfind("\ue000") > pieces[-1].rfind("\ue001")
            if pieces and (not may_part or inside_mark or char in _NO_START or before in _NO_END):
                pieces[-1] += char
            else:
                pieces.append(char)
        words += [(" " if at == 0 else "", piece) for at, piece in enumerate(pieces)]
    return words


class _Shaper(HTMLParser):
    def __init__(self, marks: Marks) -> None:
        super().__init__(convert_charrefs=True)
        self.marks = marks
        self.blocks: list[str] = []
        self.words = ""
        self.pending = ""
        self.lists: list[int | None] = []
        self.bullet = ""
        self.quoted = 0
        self.verbatim = False
        self.notes: list[tuple[int, str]] = []
        self.count = 0
        self.link: tuple[str, int] | None = None
        self.tight = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in _BLOCKS:
            self._flush()
        if tag in ("ul", "ol"):
            start = values.get("start", "1")
            self.lists.append(int(start) if tag == "ol" and start.isdigit() else 1 if tag == "ol" else None)
        elif tag == "li" and self.lists:
            number = self.lists[-1]
            self.bullet = "- " if number is None else f"{number}. "
            self.lists[-1] = None if number is None else number + 1
        elif tag == "blockquote":
            self.quoted += 1
        elif tag == "pre":
            self.verbatim = True
        elif tag == "br":
            self.words += "\n"
        elif tag == "hr":
            self._block("* * *")
        elif tag == "img" and values.get("alt"):
            self.words += f"[{values['alt']}]"
        elif tag == "a" and values.get("href"):
            self.link = (values["href"], len(self.words))
        elif tag in ("td", "th") and self.words.strip():
            self.words += " | "

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self.link is not None:
            self._end_link(*self.link)
            self.link = None
        if tag in _BLOCKS:
            self._flush()
        if tag in ("ul", "ol") and self.lists:
            self.lists.pop()
            self.tight = False
        elif tag == "blockquote":
            self.quoted -= 1
        elif tag == "pre":
            self.verbatim = False

    def handle_data(self, data: str) -> None:
        if not self.words.strip() and not self.verbatim:
            # Between blocks stand only line ends and the tags that steer whole blocks.
            for number in MARK.findall(data):
                if self._is_block(number) and not MARK.sub("", data).strip():
                    self._steer(number)
            if not MARK.sub("", data).strip() and all(self._is_block(number) for number in MARK.findall(data)):
                return
        self.words += data if self.verbatim else re.sub(r"\s+", " ", data)

    def _is_block(self, number: str) -> bool:
        return self.marks.tags[int(number)].part is not Part.OUTPUT

    def _steer(self, number: str) -> None:
        self._list_notes()
        self.pending += f"\ue000{number}\ue001"

    def _end_link(self, target: str, start: int) -> None:
        label = self.words[start:].strip()
        shown = target.removeprefix("mailto:")
        if label in ("", shown, target, target.removeprefix("https://")):
            self.words = self.words[:start] + shown
            return
        self.count += 1
        self.notes.append((self.count, target))
        self.words = self.words.rstrip() + f" [{self.count}]"

    def _flush(self) -> None:
        words, self.words = self.words, ""
        if not words.strip():
            return
        if self.verbatim:
            self._block("\n".join(f"    {line}" for line in words.strip("\n").split("\n")))
            return
        quote = "> " * self.quoted
        indent = "  " * max(0, len(self.lists) - 1)
        first, rest = quote + indent + self.bullet, quote + indent + " " * len(self.bullet)
        if self.lists and not self.bullet:
            first = rest = quote + indent + "  "
        lines = words.strip().split("\n")
        shaped = [wrap(line, first=first if at == 0 else rest, rest=rest) for at, line in enumerate(lines)]
        self._block("\n".join(shaped), tight=bool(self.lists) and self.tight)
        self.tight = bool(self.lists)
        self.bullet = ""

    def _block(self, text: str, *, tight: bool = False) -> None:
        before = "" if not self.blocks else "\n" if tight and not self.pending else "\n\n"
        self.blocks.append(before + self.pending + text)
        self.pending = ""

    def _list_notes(self) -> None:
        if self.notes:
            self._block("\n".join(f"[{number}] {target}" for number, target in self.notes))
            self.notes = []

    def finished(self) -> str:
        self._flush()
        self._list_notes()
        return "".join(self.blocks) + self.pending
