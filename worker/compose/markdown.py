"""The Markdown of an issue: CommonMark with tables and strikethrough, and what editors take for granted. Pure.

Taken for granted: bare addresses are links, blanks may stand in a target, `<br>` breaks a line, `- [ ]` is a box to
tick, `[text][1]` finds its address wherever in the issue it stands, columns keep their alignment. All other HTML is
words. What stays unread is named by the rules; here nothing is refused but what would be lost or never end.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Literal

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from worker.compose.template import TemplateProblem
from worker.errors import Trouble

MAX_PARAGRAPH_CHARS = 20_000  # three thousand words; some steps cost the square of a paragraph
MAX_OPEN_BRACKETS = 50  # each one that is never closed makes the parser read on to the paragraph's end
MAX_NESTED = 19  # the parser drops without a word what is nested deeper; a list counts two, a quote one
MAX_TARGET_CHARS, MAX_TARGET_BRACKETS = 2_000, 4  # of an address with blanks: a mailto with a letter in it

References = dict[str, dict[str, Any]]
"""What `[label]: address` lines define, by label as the parser folds it."""

# GFM 6.9, but without Han, kana and Hangul, which follow an address without a blank and do not belong to it.
_URL = re.compile('[^\\s<>"`\u00ab\u00bb\u2018-\u201f\u2026\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]++')
_BARE = re.compile(
    r"(?<![\w@./:+-])(?:(?P<www>www\.(?=[\w-]))|(?P<mail>[A-Za-z0-9_][\w.+-]*+@(?:[\w-]++\.)+[^\W\d_]{2,}+)(?![\w@-]))",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(?:^|[^a-z0-9.+-])(https?)$", re.IGNORECASE)
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TITLE = re.compile(r"""\s("[^"]*"|'[^']*')$""")
_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|www\.|[/#.]")
_TARGET_SIGN = re.compile(r"[()\n<>]")
_BOX = re.compile(r"\[([ xX])\](?=[ \n])")


def markdown_parser() -> MarkdownIt:
    """A parser with our rules. Its `env` may hold `references` found elsewhere in the issue."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.disable("html_block")  # HTML is words, and a paragraph with a tag in it stays a paragraph
    # Judged by links.judge_link and the sanitiser; the parser would leave a bad link as text that no rule sees.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    parser.inline.ruler.after("link", "link_with_blanks", _link_with_blanks)
    parser.inline.ruler.after("image", "image_with_blanks", _image_with_blanks)
    parser.inline.ruler.push("bare_url", _bare_url)
    parser.core.ruler.before("inline", "bounds", _check_bounds)
    parser.core.ruler.after("inline", "bare_words", _bare_words)
    parser.core.ruler.push("boxes", _boxes)
    parser.core.ruler.push("shift_headings", _shift_headings)
    parser.core.ruler.push("align", _align)
    parser.add_render_rule("html_inline", lambda _renderer, tokens, at, _options, _env: _typed_html(tokens[at]))
    return parser


def is_line_break(token: Token) -> bool:
    """True for a `<br>` that an editor typed."""
    return token.type == "html_inline" and _LINE_BREAK.fullmatch(token.content) is not None


def find_references(texts: Iterable[str]) -> References:
    """The definitions of all texts; of two with the same label the first one counts."""
    references: References = {}
    for text in texts:
        if "]:" in text:
            references = {**_references_of(text), **references}
    return references


@lru_cache(maxsize=16)
def _references_of(text: str) -> References:
    """Kept, because lint asks for those of one issue a dozen times. Nobody may change the answer."""
    parser = markdown_parser()
    references: References = {}
    parser.block.parse(text, parser, {"references": references}, [])
    return references


def with_own(references: References, text: str) -> dict[str, Any]:
    """What to parse `text` with: its own definitions go before those of the rest of the issue."""
    return {"references": {**references, **find_references([text])}}


def _typed_html(token: Token) -> str:
    if is_line_break(token):
        return "<br>"
    return token.content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _check_bounds(state: StateCore) -> None:
    """Refuses what the parser would drop, or read for minutes."""
    for token in state.tokens:
        line = (token.map[0] if token.map else 0) + 1
        if token.type in ("blockquote_open", "list_item_open") and token.level >= MAX_NESTED:
            raise TemplateProblem(Trouble("block.nested_too_deep"), line)
        if token.type != "inline":
            continue
        if len(token.content) > MAX_PARAGRAPH_CHARS:
            raise TemplateProblem(Trouble("block.paragraph_too_long", limit=MAX_PARAGRAPH_CHARS), line)
        opened = 0
        for char in token.content:
            opened = opened + 1 if char == "[" else max(0, opened - 1) if char == "]" else opened
            if opened > MAX_OPEN_BRACKETS:
                raise TemplateProblem(Trouble("block.brackets", limit=MAX_OPEN_BRACKETS), line)


def _push_link(push: Callable[[str, str, Literal[-1, 0, 1]], Token], href: str, shown: str) -> None:
    push("link_open", "a", 1).attrs = {"href": href}
    push("text", "", 0).content = shown
    push("link_close", "a", -1)


def _bare_url(state: StateInline, silent: bool) -> bool:
    """`https://…` in running text; before emphasis is looked for, so that stars and underscores stay in it."""
    if silent or state.linkLevel or not state.src.startswith("://", state.pos):
        return False
    scheme = _SCHEME.search(state.pending[-6:])
    found = _URL.match(state.src, state.pos + 3, state.posMax) if scheme else None
    url = _trimmed(found[0]) if found else ""
    if scheme is None or not url:
        return False
    state.pending = state.pending[: -len(scheme[1])]
    whole = f"{scheme[1]}://{url}"
    _push_link(state.push, state.md.normalizeLink(whole), whole)
    state.pos += len("://") + len(url)
    return True


def _trimmed(url: str) -> str:
    """An address without the punctuation of the sentence around it (GFM 6.9)."""
    missing = url.count(")") - url.count("(")
    end = len(url)
    while end:
        if url[end - 1] == ")" and missing > 0:
            missing -= 1
        elif url[end - 1] not in "?!.,:;*_~'|]}":
            break
        end -= 1
    return url[:end]


def _bare_words(state: StateCore) -> None:
    """`www.…` and mail addresses in running text."""
    for block in state.tokens:
        if block.type != "inline" or not re.search("@|www", block.content, re.IGNORECASE):
            continue
        children: list[Token] = []
        inside = 0
        for token in block.children or []:
            inside += {"link_open": 1, "link_close": -1}.get(token.type, 0)
            children += [token] if inside or token.type != "text" else _parted(state, token)
        block.children = children


def _parted(state: StateCore, token: Token) -> list[Token]:
    parts: list[Token] = []
    at = 0

    def push(kind: str, tag: str, nesting: Literal[-1, 0, 1]) -> Token:
        parts.append(Token(kind, tag, nesting, level=token.level))
        return parts[-1]

    for match in _BARE.finditer(token.content):
        if match.start() < at:
            continue
        shown = match["mail"] or _trimmed(_URL.match(token.content, match.start())[0])  # type: ignore[index]
        if not match["mail"] and "." not in shown[4:]:
            continue
        push("text", "", 0).content = token.content[at : match.start()]
        _push_link(push, state.md.normalizeLink(("mailto:" if match["mail"] else "https://") + shown), shown)
        at = match.start() + len(shown)
    push("text", "", 0).content = token.content[at:]
    return parts


def _link_with_blanks(state: StateInline, silent: bool) -> bool:
    """`[words](mailto:a@example.org?subject=Two words)`: what the rule before refused for its blanks."""
    if state.src[state.pos] != "[":
        return False
    label_end = state.md.helpers.parseLinkLabel(state, state.pos, True)
    target = _target_with_blanks(state, label_end)
    if target is None or not _TARGET.match(target[0]):
        return False
    href, end = target
    if not silent:
        state.pos, maximum, state.posMax = state.pos + 1, state.posMax, label_end
        state.push("link_open", "a", 1).attrs = {"href": href}
        state.linkLevel += 1
        state.md.inline.tokenize(state)
        state.linkLevel -= 1
        state.push("link_close", "a", -1)
        state.posMax = maximum
    state.pos = end
    return True


def _image_with_blanks(state: StateInline, silent: bool) -> bool:
    """`![words](Picture 1.png)`."""
    if not state.src.startswith("![", state.pos):
        return False
    label_end = state.md.helpers.parseLinkLabel(state, state.pos + 1, False)
    target = _target_with_blanks(state, label_end)
    if target is None:
        return False
    if not silent:
        words = state.src[state.pos + 2 : label_end]
        children: list[Token] = []
        state.md.inline.parse(words, state.md, state.env, children)
        token = state.push("image", "img", 0)
        token.attrs, token.content, token.children = {"src": target[0], "alt": ""}, words, children
    state.pos = target[1]
    return True


def _target_with_blanks(state: StateInline, label_end: int) -> tuple[str, int] | None:
    """(address with its blanks encoded, position behind the bracket) of `(…)` after a label, on one line."""
    if label_end < 0 or not state.src.startswith("(", label_end + 1):
        return None
    depth, at = 0, label_end + 1
    for sign in _TARGET_SIGN.finditer(state.src, at, min(state.posMax, at + MAX_TARGET_CHARS)):
        depth += {"(": 1, ")": -1}.get(sign[0], MAX_TARGET_BRACKETS)
        at = sign.start()
        if depth == 0 or depth >= MAX_TARGET_BRACKETS:
            break
    if depth or state.src[at] != ")":
        return None
    inside = _TITLE.sub("", state.src[label_end + 2 : at].strip()).strip()
    return (state.md.normalizeLink(inside.replace(" ", "%20")), at + 1) if " " in inside else None


def _boxes(state: StateCore) -> None:
    """`- [ ]` and `- [x]` as boxes, empty and ticked."""
    for item, _paragraph, words in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        box = _BOX.match(words.content) if item.type == "list_item_open" and words.type == "inline" else None
        if box and words.children and words.children[0].content.startswith(box[0]):
            first = words.children[0]
            first.content = ("☐" if box[1] == " " else "☑") + first.content[len(box[0]) :]


def _shift_headings(state: StateCore) -> None:
    """The layout owns h1: # and ## become h2, ### h3, and everything below h4."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = {"h1": "h2", "h2": "h2", "h3": "h3"}.get(token.tag, "h4")


def _align(state: StateCore) -> None:
    """Columns as an attribute: the sanitiser takes every style."""
    for token in state.tokens:
        if token.type in ("th_open", "td_open") and token.attrs:
            token.attrs = {"align": str(token.attrs.get("style", "")).removeprefix("text-align:")}
