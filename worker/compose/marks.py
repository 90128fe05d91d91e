"""Recipient tags as inert marks, so that no HTML tool ever sees a template. Pure.

Texts come in with tags; they go on with marks: an opening private-use character, a number, a closing one. Markdown,
the sanitiser, the layouts and the CSS inliner carry them like letters. Last of all the tags are put back. In between
nothing can move unnoticed: `census` lists every mark with the element around it, before and after each tool.
"""

import re
from dataclasses import dataclass
from enum import Enum
from html.parser import HTMLParser

from worker.compose.template import PASSES, TemplateProblem, check_template, recipient_environment
from worker.errors import Trouble

OPEN, CLOSE = "\ue000", "\ue001"
MARK = re.compile(f"{OPEN}([0-9]+){CLOSE}")
RESERVED = re.compile("[\ue000\ue001]")

_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)


class Part(Enum):
    """What a mark stands for in the structure of its template."""

    OUTPUT = "output"  # {{ … }}: puts in a value
    BEGIN = "begin"  # opens a block: if, for
    MIDDLE = "middle"  # divides one: elif, else
    END = "end"  # closes one: endif, endfor


_PART_OF = {"if": Part.BEGIN, "for": Part.BEGIN, "elif": Part.MIDDLE, "else": Part.MIDDLE}


@dataclass(frozen=True)
class Tag:
    """One tag as it will be put back. `line` is that of the issue file, 0 for tags of the layouts."""

    source: str
    part: Part
    line: int


class Marks:
    """The tags taken out of one issue. Grows while texts are taken in; numbers are never reused."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.tags: list[Tag] = []
        self.names: set[str] = set()
        self._environment = recipient_environment(autoescape=False)

    def take_out(self, text: str, line: int = 0) -> str:
        """`text` with every tag replaced by a mark. Raises TemplateProblem with the line of the file."""
        if RESERVED.search(text):
            raise TemplateProblem(Trouble("tag.private_use"), line)
        if "{" not in text:
            return text
        try:
            self.names.update(check_template(text))
        except TemplateProblem as problem:
            raise TemplateProblem(problem.trouble, line + problem.line - 1) from problem
        pieces: list[str] = []
        tag: list[tuple[str, str]] | None = None
        tag_line = 1
        for number, kind, value in self._environment.lex(text):
            if kind in ("variable_begin", "block_begin"):
                tag, tag_line = [], number
            elif kind in ("variable_end", "block_end"):
                pieces.append(self._add(tag or [], kind == "block_end", line + tag_line - 1))
                tag = None
            elif tag is not None:
                tag.append((kind, value))
            elif kind == "data":
                pieces.append(value)
            elif kind == "comment_begin":
                raise TemplateProblem(Trouble("tag.comment"), line + number - 1)
            elif kind == "raw_begin":
                raise TemplateProblem(Trouble("tag.not_allowed", construct="raw"), line + number - 1)
        return "".join(pieces)

    def system(self, source: str, part: Part = Part.OUTPUT) -> str:
        """The mark of a tag that a layout needs, such as the unsubscribe address."""
        return self._mark(source, part, 0)

    def put_back(self, text: str, *, html: bool) -> str:
        """`text` as a Jinja source: tags where marks were, and nothing else in it able to act as a tag."""
        inert = re.sub(rf"\{{(?=[{{%#{OPEN}])", "&#123;" if html else f"{OPEN}brace{CLOSE}", text)
        inert = inert.replace(f"{OPEN}brace{CLOSE}", "{{ '{' }}")
        return MARK.sub(lambda mark: self.tags[int(mark[1])].source, inert)

    def _add(self, tokens: list[tuple[str, str]], is_block: bool, line: int) -> str:
        words = [value for kind, value in tokens if kind == "name"]
        inside = "".join(self._dated(tokens)).strip()
        if is_block and words[0] == "for" and words[-1] != PASSES:
            inside = f"{inside} | {PASSES}"
        if is_block:
            return self._mark(f"{{% {inside} %}}", _PART_OF.get(words[0], Part.END), line)
        return self._mark(f"{{{{ {inside} }}}}", Part.OUTPUT, line)

    def _mark(self, source: str, part: Part, line: int) -> str:
        self.tags.append(Tag(source, part, line))
        return f"{OPEN}{len(self.tags) - 1}{CLOSE}"

    def _dated(self, tokens: list[tuple[str, str]]) -> list[str]:
        """The tag's text, one line, with the issue's language written into a plain `| date`."""
        solid = [(kind, value) for kind, value in tokens if kind != "whitespace"]
        out: list[str] = []
        for at, (kind, value) in enumerate(solid):
            before, after = solid[at - 1][1] if at else "(", solid[at + 1][1] if at + 1 < len(solid) else ""
            glued = before == "(" or value in ("(", ")", ",")
            out.append(value if glued else f" {value}")
            if (kind, value) == ("name", "date") and before == "|" and after != "(":
                out.append(f'("{self.language}")')
        return out


@dataclass(frozen=True)
class Seen:
    """One mark met in a document: its number and the path of elements around it, `@attribute` when inside one."""

    number: int
    parent: str


def census(html: str) -> list[Seen]:
    """Every mark of `html` in document order with its parent."""
    reader = _Census()
    reader.feed(html)
    reader.close()
    return reader.seen


def check_census(marks: Marks, html: str) -> list[Seen]:
    """The census, once every block tag opens and closes in one element and no author's mark stands in an attribute.

    Raises TemplateProblem naming the tag and its line.
    """
    seen = census(html)
    stack: list[tuple[Tag, str]] = []
    for mark in seen:
        tag = marks.tags[mark.number]
        if "@" in mark.parent and tag.line:
            raise TemplateProblem(Trouble("tag.in_attribute", tag=tag.source), tag.line)
        if tag.part is Part.BEGIN:
            stack.append((tag, mark.parent))
        elif tag.part is not Part.OUTPUT:
            opened, parent = stack[-1] if stack else (tag, "")
            if parent != mark.parent:
                raise TemplateProblem(Trouble("tag.across_elements", opening=opened.source, tag=tag.source), tag.line)
            if tag.part is Part.END:
                stack.pop()
    if stack:
        raise TemplateProblem(Trouble("tag.left_open", tag=stack[-1][0].source), stack[-1][0].line)
    return seen


class _Census(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[Seen] = []
        self.path: list[str] = []
        self.count = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            for number in MARK.findall((value or "").replace("%EE%80%80", OPEN).replace("%EE%80%81", CLOSE)):
                self.seen.append(Seen(int(number), f"{self._here()}/{tag}@{name}"))
        if tag not in _VOID:
            self.count += 1
            self.path.append(f"{tag}.{self.count}")

    def handle_endtag(self, tag: str) -> None:
        while self.path and self.path.pop().partition(".")[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for number in MARK.findall(data):
            self.seen.append(Seen(int(number), self._here()))

    def _here(self) -> str:
        return "/".join(self.path)
