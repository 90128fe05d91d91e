"""Rules about the source language (805, 806): what would stand in a mail as it was typed, or would be lost. Pure.

They read what is left as words once Markdown has taken what it understands, so that a sign in code, or after a
backslash, is what its author meant it to be.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from markdown_it.rules_block.table import escapedSplit
from markdown_it.token import Token

from worker.compose.findings import (
    ERROR,
    MOVED,
    WARN,
    Authored,
    Finding,
    Level,
    LintFacts,
    authored_texts,
    issue_references,
    structural,
)
from worker.compose.links import judge_link
from worker.compose.markdown import is_line_break, markdown_parser, with_own
from worker.compose.marks import Marks, check_census
from worker.compose.markup import MarkdownRenderer, Segment, split_all
from worker.compose.spans import TAG_STAND_IN, Lines, find_spans, without_tags
from worker.compose.template import TemplateProblem
from worker.domain.issue import IssueText
from worker.quantities import count

MOST_OF_A_KIND = 20  # findings of one rule in one text: a file pasted from elsewhere has the same one everywhere

_INSTEAD = {
    **dict.fromkeys(("b", "strong"), "write **words**"),
    **dict.fromkeys(("i", "em", "cite"), "write *words*"),
    **dict.fromkeys(("s", "del", "strike"), "write ~~words~~"),
    **dict.fromkeys(("code", "pre", "kbd", "tt"), "put the words between backticks"),
    **dict.fromkeys(("p", "div", "section", "center"), "part paragraphs with a blank line"),
    **dict.fromkeys(("ul", "ol", "li"), "begin each entry with a dash and a blank"),
    **dict.fromkeys(("table", "tr", "td", "th", "thead", "tbody"), "write the table with | between its cells"),
    **dict.fromkeys(("h1", "h2", "h3", "h4"), "write ## before the heading"),
    **{"a": "write [words](https://…)", "img": "write ![what it shows](file.png)"},
    **dict.fromkeys(("sup", "sub"), "write the raised or lowered character itself, such as ² or ₂"),
    **dict.fromkeys(
        ("u", "span", "font", "small", "big", "mark", "ins"), "delete the tag, and write *words* or **words**"
    ),
    **{"hr": "write *** on a line of its own", "blockquote": "begin each line with >"},
}
"""What to write for an HTML element."""

_BACKSLASH = "delete it; if it is meant to be read, write a backslash before <"
_PLAIN = "this line is shown as it is typed: write words only"
_URL_START = r"(?:https?://|mailto:|www\.)"
_BARE = re.compile(rf"{_URL_START}(?=\S+$)|\w(?=\S*@\S+$)", re.IGNORECASE)
_ENTITY = r"&(?:[A-Za-z][A-Za-z0-9]{1,31};|#[0-9xX][0-9A-Fa-f]{0,6};|(?:nbsp|amp|lt|gt|quot|copy|reg|euro|[mn]dash)\b)"


class _Sign(NamedTuple):
    pattern: re.Pattern[str]
    what: str
    fix: str
    level: Level = ERROR


def _sign(pattern: str, what: str, fix: str, level: Level = ERROR) -> _Sign:
    return _Sign(re.compile(pattern, re.MULTILINE | re.IGNORECASE), what, fix, level)


_IN_WORDS = "put the signs directly before and after the words"
_EVERYWHERE = (
    _sign(r"!\[[^\]\n]{0,60}", "a picture", "write ![what it shows](file.png), on one line"),
    _sign(r"\[[^\[\]]{0,300}\]\(", "a link", "write [words](https://…), on one line"),
    _sign(rf"\][ \t]{{1,3}}\(\s?{_URL_START}", "a link", "write [words](https://…) without a blank between"),
    _sign(r"\[\^[^\]\s]{1,40}\]:?", "a footnote", "write the note in brackets, or at the end of the text"),
    _sign(
        r"\[[^\[\]]{0,300}\][ ]?\[[^\]\n]{0,60}\]?",
        "a link without an address",
        "add a line [label]: https://… below",
    ),
    _sign(r"\[\[[^\]\n]{0,60}", "a link of a wiki", "write [words](https://…)"),
    _sign(r"<!--.{0,20}|-->", "a remark that is not closed", "write <!-- before and --> after it"),
    _sign(r"\{#|#\}", "a remark of the template language", "delete it"),
    _sign(r"</?[a-z][^<>\n]{0,60}>|</?[a-z]{1,10}(?=\s[a-z]+=)|<[?%!][^<>\n]{0,60}", "HTML", _BACKSLASH),
    _sign(rf"<[ ]?{_URL_START}", "an address in brackets", "correct the address, or delete the bracket"),
    _sign(_ENTITY, "an entity", "write the character itself"),
    _sign(r"(?<!\*)\*\*(?!\*)", "bold", _IN_WORDS),
    _sign(r"(?<!\w)__(?=[^\W_])|(?<=[^\W_])__(?!\w)", "bold", _IN_WORDS),
    _sign(r"(?<!~)~~(?!~)", "words struck out", _IN_WORDS),
    _sign(r"(?<![=\w])==(?=\w)", "highlighted words", "write **words**"),
    _sign(r"(?<=\w)~[^\s~]{1,20}~(?!~)", "lowered characters", "write the character itself, such as ₂"),
    _sign(r"(?<=\w)\^[^\s^]{1,20}\^", "raised characters", "write the character itself, such as ²"),
    _sign(r"(?<![\w+])\+\+[^\s+][^+\n]{0,60}\+\+(?![\w+])", "underlined words", "write **words**"),
    _sign(r"(?<!\|)\|\|[^\s|][^|\n]{0,60}\|\|(?!\|)", "hidden words", "write the words alone, or leave them out"),
    _sign(r"(?<!%)%%[^%\n]{1,60}%%|^%%$", "a remark", "write <!-- before and --> after it"),
    _sign(r"\$[^\s$][^$\n]{0,60}[\\^_{][^$\n]{0,60}\$", "a formula", "write it in words, or as a picture", WARN),
    _sign(r"\{:?[ ]?[.#][\w-][^}\n]{0,60}\}", "attributes", "delete them"),
    _sign(r"`{1,3}", "code that is not closed", "close it, or write ' or a backslash before it", WARN),
    _sign(r"(?<![\w:]):[a-z][a-z0-9_+-]{1,30}:(?![\w:])", "the name of an emoji", "type the emoji itself", WARN),
)
_AT_LINE_STARTS = (
    _sign(r"^[ \t]{0,20}:{3,}.{0,40}", "a block", "begin ::: where a line of the body begins"),
    _sign(r"^#{1,6}(?:[^\W\d]|#)[^\n]{0,20}", "a heading", "write a blank after #, or \\# for a hashtag", WARN),
    _sign(r"^[ \t]{0,9}\|?[ \t]{0,9}:?-{2,}:?[ \t]{0,9}\|[^\n]{0,40}", "a table", "give its head as many cells"),
    _sign(r"^[ \t]{0,9}\|[^\n|]{0,60}\|[^\n]{0,20}", "a table", "add a line |---|---| below its head"),
    _sign(r"^\[!(?:note|tip|important|warning|caution)\]", "a box", "write the word in bold"),
    _sign(r"^(?:!!!|\?\?\?)[ +]?\w[^\n]{0,40}", "a box", "write ::: quote, or a heading"),
    _sign(r"^:[ \t]{1,9}\S[^\n]{0,20}", "a definition list", "write **term**: and what it means"),
    _sign(
        r"(?<=\n)[•‣◦▪●○■□➢➤►][ \t\u00a0]{0,9}\S[^\n]{0,20}", "a list", "begin each entry with a dash and a blank", WARN
    ),
    _sign(r"^\[_?toc_?\]$", "a table of contents", "delete it"),
    _sign(r"^\*\[[^\]\n]{1,40}\]:", "an abbreviation", "delete it"),
    _sign(r"^(?:~{3,}|\+{3,})[^\n]{0,20}", "the edge of a block", "delete it, or leave a blank line around it"),
)
_MARKDOWN_ELEMENTS = {
    "strong_open": "bold",
    "em_open": "italics",
    "s_open": "words struck out",
    "code_inline": "code",
    "image": "a picture",
    "link_open": "a link",
    "html_inline": "HTML",
    "text_special": "an entity, or a backslash",
}
"""What Markdown would make, in a line that is no Markdown."""


def check_source(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """805 and 806 in every text and line an editor wrote."""
    references = issue_references(issue)
    for field in authored_texts(issue):
        if not field.markdown:
            yield from _in_a_line(field)
            continue
        text, offsets = without_tags(field.text)
        for segment in _segments(field, text):
            try:
                env = with_own(references, segment.text)
                tokens = _PARSER.parse(segment.text, env)
            except TemplateProblem:
                continue  # compiling says why
            found = [*_in_tokens(tokens), *_in_blocks(tokens, segment.text)]
            for level, code, line, why, fix in found:
                yield Finding(level, code, field.line + offsets[min(segment.line + line, len(offsets) - 1)], why, fix)
        yield from _open_fence(field, text)
    yield from _definitions(issue, references)


_PARSER = markdown_parser().disable("text_join")  # it would hide what was escaped

_Found = tuple[Level, int, int, str, str]
"""Level, code, line from 0 inside the text, why, fix."""


def _segments(field: Authored, text: str) -> list[Segment]:
    """The parts of a body between its blocks, their lines counted from 0."""
    if field.key == "body":
        return [part for part in split_all(text, 0)[0] if part.kind in ("text", "quote")]
    return [Segment("text", text, 0)]


def check_blocks(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """501: whatever keeps a text from being compiled, all of it in one run."""
    references = issue_references(issue)
    marks = Marks("en")
    renderer = MarkdownRenderer(marks, lambda src: None, references)
    for field in authored_texts(issue):
        if not field.markdown:
            continue
        segments, problems = split_all(field.text, field.line) if field.key == "body" else ([], [])
        yield from (structural(problem.line, problem.trouble) for problem in problems)
        for segment in segments or [Segment("text", field.text, field.line)]:
            if segment.kind in ("figure", "cards"):
                continue
            try:
                check_census(marks, renderer.html(segment.text, segment.line))
            except TemplateProblem as problem:
                if not problem.trouble.code.startswith("tag.") or problem.trouble.code in MOVED:
                    yield structural(problem.line, problem.trouble)


def _in_a_line(field: Authored) -> Iterator[Finding]:
    """A line that is no Markdown: whatever Markdown would read as more than words is a slip."""
    text, _ = without_tags(field.text)
    tokens = _PARSER.parseInline(text)[0].children or []
    made = [token for token in tokens if token.type in _MARKDOWN_ELEMENTS]
    for token in made:
        is_bare = token.type == "link_open" and token.markup != "autolink" and "](" not in text
        if not is_bare:
            what = _MARKDOWN_ELEMENTS[token.type]
            yield Finding(ERROR, 805, field.line, f'"{_cut(text)}" has signs for {what} in it', _PLAIN)
            return
    for level, code, _, why, fix in _signs(_words(tokens), (*_EVERYWHERE, *_AT_LINE_STARTS[:1])):
        yield Finding(level, code, field.line, why, fix)


def _in_tokens(tokens: list[Token]) -> Iterator[_Found]:
    for block in tokens:
        if block.type != "inline":
            continue
        first = block.map[0] if block.map else 0
        children = block.children or []
        for level, code, line, why, fix in _signs(_words(children), (*_AT_LINE_STARTS, *_EVERYWHERE)):
            yield level, code, first + line, why, fix
        line = first
        for token in children:
            line += token.type in ("softbreak", "hardbreak")
            if token.type == "html_inline" and not is_line_break(token):
                tag = re.match(r"</?([A-Za-z0-9]+)", token.content)
                fix = _INSTEAD.get(tag[1].lower(), _BACKSLASH) if tag else _BACKSLASH
                yield ERROR, 805, line, f"{_cut(token.content)} is HTML and would be shown as it stands", fix
            elif token.type == "image":
                yield from ((one[0], one[1], line, one[3], one[4]) for one in _signs(token.content, _EVERYWHERE))


def _words(tokens: Iterable[Token]) -> str:
    """What is left as words; signs after a backslash and in code are somebody's will and stand aside."""
    words, linked = [], False
    for token in tokens:
        match token.type:
            case "text":
                start = _BARE.match(token.content) if linked else None  # an address has signs of its own
                words.append(start[0] + TAG_STAND_IN if start else token.content)
            case "link_open" | "link_close":
                linked = token.type == "link_open"
            case "text_special":
                words.append("&" if token.info == "entity" and token.content == "&" else TAG_STAND_IN)
            case "softbreak" | "hardbreak":
                words.append("\n")
            case "code_inline" | "image" | "html_inline":
                words.append(TAG_STAND_IN)
    return "".join(words)


def _signs(words: str, signs: Iterable[_Sign]) -> Iterator[_Found]:
    lines = Lines(words, 0)
    taken: list[tuple[int, int]] = []
    for pattern, what, fix, level in signs:
        for match in islice(pattern.finditer(words), MOST_OF_A_KIND):
            if any(start < match.end() and match.start() < end for start, end in taken):
                continue  # said already, by a sign that says more
            taken.append(match.span())
            why = f'"{_cut(match[0])}" looks like {what} and would be shown as it stands'
            yield level, 805, lines.at(match.start()), why, fix


def _in_blocks(tokens: list[Token], text: str) -> Iterator[_Found]:
    """Headings nobody meant, and cells beyond the last column."""
    lines = text.split("\n")
    columns = 0
    for at, token in enumerate(tokens):
        if token.type == "heading_open" and token.markup in "-=" and token.map:
            words = tokens[at + 1].content
            if token.markup == "-" or "\n" in words:
                why = f'"{_cut(words)}" becomes a heading, because {token.markup * 3} follows without a blank line'
                yield WARN, 805, token.map[1] - 1, why, "put a blank line before it for a rule, or ## before a heading"
        elif token.type == "thead_open":
            columns = 0
        elif token.type == "th_open":
            columns += 1
        elif token.type == "tr_open" and token.map and columns:
            cells = escapedSplit(lines[token.map[0]].strip("> \t"))
            cells = cells[not cells[0] : len(cells) - (not cells[-1])]  # what bars at both ends leave
            if len(cells) > columns:
                why = f"the row has {len(cells)} cells, the table {count(columns, 'column')}: the rest would be lost"
                yield ERROR, 806, token.map[0], why, "write \\| for a bar inside a cell, or add a column"


def _open_fence(field: Authored, text: str) -> Iterator[Finding]:
    for span in find_spans(text):
        if not span.closed:
            sign = text[span.start : span.start + 3]
            line = field.line + text.count("\n", 0, span.start)
            why = f"{sign} is never closed: all that follows is shown as code"
            yield Finding(ERROR, 805, line, why, f"add a line {sign} where the code ends")


def _definitions(issue: IssueText, references: dict[str, Any]) -> Iterator[Finding]:
    """`[label]: address` lines vanish from the text: those nobody uses, and those of which one wins."""
    used: set[str] = set()
    defined: list[tuple[Authored, int, str, str, bool]] = []
    parser = markdown_parser()
    parser.options["store_labels"] = True
    parser.options["inline_definitions"] = True
    for field in authored_texts(issue):
        if not field.markdown or not references:
            continue
        text, offsets = without_tags(field.text)
        seen: set[str] = set()
        for segment in _segments(field, text):
            try:
                tokens = parser.parse(segment.text, with_own(references, segment.text))
            except TemplateProblem:
                continue
            for token in tokens:
                used |= {str(child.meta["label"]) for child in token.children or [] if "label" in child.meta}
                if token.type == "definition" and token.map:
                    line = field.line + offsets[min(segment.line + token.map[0], len(offsets) - 1)]
                    label = token.meta["id"]
                    defined.append((field, line, label, token.meta["url"], label in seen))
                    seen.add(label)
    for _, line, label, url, again in defined[: MOST_OF_A_KIND * 5]:
        if label.startswith("^"):
            why, fix = f"[{_cut(label)}]: is a footnote and would be lost", "write the note in brackets, or at the end"
            yield Finding(ERROR, 806, line, why, fix, waivable=False)
        elif again:
            why = f"[{_cut(label)}]: is defined twice; only the first address is used"
            yield Finding(ERROR, 806, line, why, "give one of them another label")
        elif label not in used:
            level = WARN if judge_link(url) is None else ERROR
            why = f"[{_cut(label)}]: defines a link that nothing uses, so this line is not shown"
            yield Finding(level, 806, line, why, f"write [words][{_cut(label).lower()}] where it belongs, or delete it")


def _cut(text: str) -> str:
    text = " ".join(text.replace(TAG_STAND_IN, "…").split())
    return text if len(text) <= 40 else text[:39] + "…"
