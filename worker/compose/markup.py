"""Markdown with marks → sanitised HTML with the same marks. Pure.

HTML typed into an issue is shown as it was written, never obeyed; what Markdown made is sanitised again against a
short list, because a parser's mistake must not reach a mailbox or the web page of an issue.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from typing import Any

import nh3
from markdown_it.token import Token

from worker.compose.links import SCHEMES, Link, judge_link
from worker.compose.markdown import is_line_break, markdown_parser, with_own
from worker.compose.marks import CLOSE, MARK, OPEN, RESERVED, Marks, Part
from worker.compose.template import TemplateProblem, cut_position
from worker.errors import Trouble

BLURB_CHARS = 240  # of a teaser: the rest is a link away

_TAGS = {
    *("p", "br", "hr", "h2", "h3", "h4", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("a", "img", "table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "th": {"align", "scope"},
    "td": {"align"},
}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_OPENING = re.compile(r"<(?!/|br|img)[a-z]")
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_MARKS_ALONE = re.compile(rf"(?:{MARK.pattern}\s*)+")


@dataclass(frozen=True)
class Segment:
    """A stretch of a body: `kind` is text, figure, quote or cards; `text` is Markdown, or the figure's number."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class SetPicture:
    """A picture as the layouts place it, in CSS pixels."""

    url: str
    alt: str
    width: int
    height: int


Resolve = Callable[[str], SetPicture | None]


def split_body(body: str, line: int) -> list[Segment]:
    """The body in its order. `line` is that of its first line. Raises TemplateProblem for an unknown ::: block."""
    segments, problems = split_all(body, line)
    if problems:
        raise problems[0]
    return segments


def split_all(body: str, line: int) -> tuple[list[Segment], list[TemplateProblem]]:
    """(the body in its order, what is wrong with its ::: lines)."""
    segments: list[Segment] = []
    problems: list[TemplateProblem] = []
    held: list[str] = []
    start, fence, quote_at = line, "", 0
    for number, text in enumerate(body.split("\n"), start=line):
        fence = _fence_after(text, fence)
        if fence or not text.startswith(":::"):
            held.append(text)
            continue
        word, _, rest = " ".join(text[3:].split()).lower().partition(" ")
        if quote_at and word:
            problems.append(TemplateProblem(Trouble("block.quote_never_closed", line=quote_at), number))
        kind, first = ("quote", quote_at + 1) if quote_at else ("text", start)
        segments.append(Segment(kind, "\n".join(held), first))
        held, start = [], number + 1
        if quote_at and not word:
            quote_at = 0
            continue
        quote_at = number if word == "quote" and not rest else 0
        if (word == "figure" and re.fullmatch("[0-9]{0,3}", rest)) or (word == "cards" and not rest):
            segments.append(Segment(word, rest, number))
        elif not quote_at:
            problems.append(TemplateProblem(Trouble("block.unknown", block=text.strip()[:60]), number))
    if quote_at:
        problems.append(TemplateProblem(Trouble("block.quote_never_closed", line=quote_at), quote_at))
    segments.append(Segment("text", "\n".join(held), start))
    return [one for one in segments if one.kind != "text" or one.text.strip()], problems


def _fence_after(text: str, fence: str) -> str:
    """The fence that is open behind the line `text`; CommonMark: nothing stands behind a closing one."""
    marker = _FENCE.fullmatch(text)
    if marker is None or (marker[1][0] == "`" and "`" in marker[2]):
        return fence
    if not fence:
        return marker[1]
    return "" if marker[1].startswith(fence) and not marker[2].strip() else fence


class MarkdownRenderer:
    """Turns Markdown of one issue into HTML. `resolve` finds the hosted form of a picture beside the issue."""

    def __init__(self, marks: Marks, resolve: Resolve, references: Mapping[str, Any] | None = None) -> None:
        self._marks = marks
        self._resolve = resolve
        self._references = dict(references or {})
        self._markdown = markdown_parser()
        self._markdown.add_render_rule("image", lambda _renderer, tokens, at, _options, _env: self._image(tokens[at]))

    def html(self, text: str, line: int) -> str:
        """Sanitised blocks (p, h2 to h4, lists, tables, quotes, code). Raises TemplateProblem."""
        marked = self._marks.take_out(text, line)
        try:
            made = str(self._markdown.render(marked, with_own(self._references, marked)))
        except TemplateProblem as problem:
            raise TemplateProblem(problem.trouble, line + problem.line - 1) from problem
        rendered = nh3.clean(
            made,
            tags=_TAGS,
            attributes=_ATTRIBUTES,
            attribute_filter=_keep_attribute,
            link_rel=None,
            url_schemes=set(SCHEMES),
        )
        self._check_marks(marked, rendered, line)
        # A table wider than a phone scrolls in a box of its own, so that the mail does not.
        boxed = rendered.replace("<table>", '<div class="wider"><table>').replace("</table>", "</table></div>")
        # Block tags on a line of their own leave their paragraph: they steer paragraphs, not words.
        return _PARAGRAPH.sub(lambda paragraph: self._hoist(paragraph[1]), boxed).strip()

    def _check_marks(self, marked: str, rendered: str, line: int) -> None:
        """Every mark came out once, and none was made by an entity such as &#xE000;."""
        shown = rendered.replace("%EE%80%80", OPEN).replace("%EE%80%81", CLOSE)  # as they stand in an address
        came_out = Counter(int(digits) for digits in MARK.findall(shown))
        for number in (int(digits) for digits in MARK.findall(marked)):
            if came_out.pop(number, 0) != 1:
                tag = self._marks.tags[number]
                raise TemplateProblem(Trouble("tag.would_be_lost", tag=tag.source), tag.line)
        if came_out or RESERVED.search(MARK.sub("", shown)):
            raise TemplateProblem(Trouble("tag.private_use"), line)

    def _image(self, token: Token) -> str:
        shown = self._resolve(str(token.attrs.get("src", "")))
        alt = escape(token.content)
        if shown is None:
            return f"[{alt}]" if alt else ""
        return f'<img src="{escape(shown.url)}" alt="{alt}" width="{shown.width}" height="{shown.height}">'

    def _hoist(self, inner: str) -> str:
        pieces: list[str] = []
        held: list[str] = []
        inside = 0  # elements open before this line, such as words in bold over several lines
        for line in inner.split("\n"):
            if not inside and _MARKS_ALONE.fullmatch(line.strip()) and self._all_blocks(line):
                pieces += [_paragraph(held), line.strip()]
                held = []
            else:
                held.append(line)
                inside += len(_OPENING.findall(line)) - line.count("</")
        return "".join([*pieces, _paragraph(held)])

    def _all_blocks(self, marked: str) -> bool:
        return all(self._marks.tags[int(number)].part is not Part.OUTPUT for number in MARK.findall(marked))


def _paragraph(lines: list[str]) -> str:
    inner = re.sub(r"<br>\s*$", "", "\n".join(lines).strip("\n"))
    return f"<p>{inner}</p>" if inner.strip() else ""


def find_links(text: str, line: int, references: Mapping[str, Any] | None = None) -> tuple[list[Link], list[Link]]:
    """(links, pictures) of a Markdown text with their lines; a picture's label is its alt text.

    None of either in a text that cannot be read as Markdown: compiling says why.
    """
    links: list[Link] = []
    pictures: list[Link] = []
    try:
        blocks = markdown_parser().parse(text, with_own(dict(references or {}), text))
    except TemplateProblem:
        return [], []
    for block in blocks:
        if block.type != "inline":
            continue
        at = line + (block.map[0] if block.map else 0)
        target: str | None = None
        label: list[str] = []
        for token in block.children or []:
            if token.type == "link_open":
                target, label = str(token.attrs.get("href", "")), []
            elif token.type == "link_close" and target is not None:
                links.append(Link(target, "".join(label).strip(), at))
                target = None
            elif token.type == "image":
                pictures.append(Link(str(token.attrs.get("src", "")), token.content, at))
                label.append(token.content)
            elif token.type in ("softbreak", "hardbreak"):
                at += 1
                label.append(" ")
            elif is_line_break(token):
                label.append(" ")
            else:
                label.append(token.content)
    return links, pictures


def _keep_attribute(tag: str, name: str, value: str) -> str | None:
    if name not in _ATTRIBUTES.get(tag, ()):
        return None  # the sanitiser lets title and lang through everywhere
    if tag == "a" and name == "href":
        fault = judge_link(value)
        return None if fault is not None and not fault.works else value
    return value


def cut_html(html: str, limit: int, marks: Marks) -> str:
    """`html` if its visible text fits in `limit` characters, else cut at a word with "…", every element closed.

    The cut never falls between a condition's tags: it moves before the condition.
    """
    counter = _Cutter(None, marks)
    counter.feed(html)
    counter.close()
    if counter.count <= limit:
        return html
    at = cut_position(counter.text, limit - 1)
    inside = [start for start, end in counter.conditions if start < at < end]
    cutter = _Cutter(min([at, *inside]), marks)
    cutter.feed(html)
    cutter.close()
    return cutter.finished()


class _Cutter(HTMLParser):
    """Counts visible characters; with a `limit`, copies until it is reached. A mark counts as one word."""

    def __init__(self, limit: int | None, marks: Marks) -> None:
        super().__init__(convert_charrefs=True)
        self.limit, self.marks = limit, marks
        self.text, self.out, self.open = "", [""], [""]
        self.conditions: list[tuple[int, int]] = []
        self.begun: list[int] = []
        self.full = False

    @property
    def count(self) -> int:
        return len(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.full:
            return
        if tag == "p" and self.text:
            self.text += " "
        self.out.append(self.get_starttag_text() or "")
        if tag not in ("br", "img", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.full and tag in self.open:
            while self.open[-1] != tag:
                self.out.append(f"</{self.open.pop()}>")
            self.out.append(f"</{self.open.pop()}>")

    def handle_data(self, data: str) -> None:
        for piece in re.split(f"({MARK.pattern.replace('(', '(?:')})", data):
            mark = MARK.fullmatch(piece)
            if self.full or not piece:
                continue
            if mark is None:
                self._words(piece)
                continue
            part = self.marks.tags[int(mark[1])].part
            if part is Part.BEGIN:
                self.begun.append(self.count)
                if self.limit is not None and self.count >= self.limit:
                    self._stop()
                    continue
            elif part is Part.END and self.begun:
                self.conditions.append((self.begun.pop(), self.count))
            elif part is Part.OUTPUT:
                self.text += "\N{OBJECT REPLACEMENT CHARACTER}" * 8
            self.out.append(piece)

    def _words(self, piece: str) -> None:
        room = None if self.limit is None else max(0, self.limit - self.count)
        if room is not None and len(piece) > room:
            self.out.append(escape(piece[:room], quote=False))
            self._stop()
            return
        self.text += piece
        self.out.append(escape(piece, quote=False))

    def _stop(self) -> None:
        self.full = True
        if not MARK.search(self.out[-1]):
            self.out[-1] = self.out[-1].rstrip(" \n,;:.–-")
        self.out.append("…")

    def finished(self) -> str:
        """What was copied, with what is open closed."""
        return "".join(self.out) + "".join(f"</{tag}>" for tag in reversed(self.open) if tag)
