"""The language authors may use for what is personal: a small subset of Jinja, checked on the syntax tree. Pure.

A template text comes in, the names it reads go out; anything outside the subset is refused. Allowed are output,
if/elif/else, `for` over one value, comparisons with == and !=, and/or/not, and six filters. No call, attribute,
index, arithmetic, set, macro, include or nested loop exists, so the time and size of one mail are bounded by the
length of its template and of its values. The immutable sandbox is the second lock, never the only one.
"""

import re
from datetime import date as calendar_date
from functools import cache, lru_cache

import jinja2
from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from worker.compose.spans import TAG_STAND_IN, without_tags
from worker.errors import Trouble

MAX_TEMPLATE_CHARS = 400_000  # four times the largest mail that is not clipped; the parser never sees more
MAX_TAG_DEPTH = 20  # deeper nesting is a mistake, and the parser recurses once per level
MAX_TRUNCATE = 500  # as long as an imported value gets (consent.import_rows.MAX_VALUE_CHARS)
MAX_PASSES = 50  # of a loop over a reader's value: no list of a person's is longer
MAX_WORK = 20_000  # outputs of one mail, each counted once for every pass of its loop: 20 ms of a worker
MAX_NUMBER = 10**18  # Python refuses to write out one of thousands of digits

TAGS = ("if", "elif", "else", "for")
FILTERS = ("default", "upper", "lower", "title", "truncate", "date")
PASSES = "passes"
"""The filter that compiling writes behind the value of every loop. No author needs to."""


class TemplateProblem(ValueError):
    """Raised when a template steps outside the subset. `line` counts from 1 inside the text given.

    Some of the parser's own nodes have no line: they count as the first.
    """

    def __init__(self, trouble: Trouble, line: int | None) -> None:
        self.trouble, self.line = trouble, line or 1
        super().__init__(str(trouble))


class TooManyPassesError(jinja2.TemplateRuntimeError):
    """Raised when a reader's value would make a loop run more than MAX_PASSES times."""

    def __init__(self, passes: int) -> None:
        self.passes = passes
        super().__init__(f"{passes} passes of a loop")


def recipient_environment(autoescape: bool) -> ImmutableSandboxedEnvironment:
    """Where recipient templates are rendered: our six filters, no globals, no tests, no loader.

    A name without a value is empty: conditions on it are false and `default` steps in.
    """
    environment = ImmutableSandboxedEnvironment(autoescape=autoescape, keep_trailing_newline=True)
    environment.globals.clear()
    environment.tests.clear()
    keep = {name: environment.filters[name] for name in ("upper", "lower", "title")}
    environment.filters.clear()
    environment.filters.update(keep, default=_default, truncate=_truncate, date=_date, passes=_passes)
    return environment


def without_values(text: str) -> str:
    """`text` as a reader sees it of whom nothing is known: defaults filled in, a tag that cannot be read left out."""
    if "{" not in text:
        return text.strip()
    try:
        check_template(text)
        return recipient_environment(autoescape=False).from_string(text).render().strip()
    except (TemplateProblem, jinja2.TemplateError):
        return without_tags(text)[0].replace(TAG_STAND_IN, "").strip()


@cache
def _checking() -> ImmutableSandboxedEnvironment:
    """Only parses; made once, because an issue may have thousands of tags."""
    return recipient_environment(autoescape=False)


def check_template(
    source: str, allowed_names: frozenset[str] | None = None, *, always: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """The sorted names `source` reads. `allowed_names` None allows every name; those in `always` need no default.

    Raises TemplateProblem for broken syntax, a construct outside the subset, an unknown name, or an output of a
    name without the default filter.
    """
    if len(source) > MAX_TEMPLATE_CHARS:
        raise TemplateProblem(Trouble("tag.text_too_long", limit=MAX_TEMPLATE_CHARS), 1)
    try:
        tree = _checking().parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateProblem(_syntax_trouble(error), error.lineno) from error
    except RecursionError as error:
        raise TemplateProblem(Trouble("tag.nested_endlessly"), 1) from error
    except ValueError as error:  # Python turns no text of thousands of digits into a number
        raise TemplateProblem(Trouble("tag.number_too_long"), 1) from error
    walker = _Walker(allowed_names, always)
    walker.visit_all(tree.body, depth=0)
    return tuple(sorted(walker.names))


class _Walker:
    """Walks one tree once; anything it does not know is refused."""

    def __init__(self, allowed: frozenset[str] | None, always: frozenset[str]) -> None:
        self.allowed = allowed
        self.always = always
        self.names: set[str] = set()
        self.loop_names: list[str] = []
        self.work = 0

    def visit_all(self, children: list[nodes.Node], depth: int) -> None:
        if depth > MAX_TAG_DEPTH:
            line = children[0].lineno if children else 1
            raise TemplateProblem(Trouble("tag.nested_too_deep", limit=MAX_TAG_DEPTH), line)
        for node in children:
            self.visit(node, depth)

    def visit(self, node: nodes.Node, depth: int) -> None:
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                if not isinstance(part, nodes.TemplateData):
                    self.output(part, depth)
        elif isinstance(node, nodes.If):
            self.expression(node.test, depth + 1)
            self.visit_all(node.body, depth + 1)
            self.visit_all(list(node.elif_), depth + 1)
            self.visit_all(node.else_, depth + 1)
        elif isinstance(node, nodes.For):
            self.loop(node, depth)
        else:
            raise TemplateProblem(Trouble("tag.not_allowed", construct=type(node).__name__), node.lineno)

    def loop(self, node: nodes.For, depth: int) -> None:
        if self.loop_names:
            raise TemplateProblem(Trouble("tag.for_in_for"), node.lineno)
        if node.recursive or node.test is not None or node.else_:
            raise TemplateProblem(Trouble("tag.for_misused"), node.lineno)
        value = bounded(node)
        if not isinstance(node.target, nodes.Name) or not isinstance(value, nodes.Name):
            raise TemplateProblem(Trouble("tag.for_misused"), node.lineno)
        self.name(value)
        self.loop_names.append(node.target.name)
        self.visit_all(node.body, depth + 1)
        self.loop_names.pop()

    def output(self, node: nodes.Node, depth: int) -> None:
        """An expression whose value is printed: every name in it needs a default."""
        self.work += MAX_PASSES if self.loop_names else 1
        if self.work > MAX_WORK:
            raise TemplateProblem(Trouble("tag.too_much_work", limit=MAX_WORK, passes=MAX_PASSES), node.lineno)
        bare = _bare_name(node)
        if bare is not None and bare not in self.loop_names and bare not in self.always:
            self.known(bare, node.lineno)
            raise TemplateProblem(Trouble("tag.without_default", name=bare), node.lineno)
        self.expression(node, depth)

    def expression(self, node: nodes.Node, depth: int) -> None:
        if depth > MAX_TAG_DEPTH:
            raise TemplateProblem(Trouble("tag.expression_too_deep"), node.lineno)
        if isinstance(node, nodes.Name):
            self.name(node)
        elif isinstance(node, nodes.Const):
            if not isinstance(node.value, str | int):
                raise TemplateProblem(Trouble("tag.odd_value"), node.lineno)
            if isinstance(node.value, int) and abs(node.value) > MAX_NUMBER:
                raise TemplateProblem(Trouble("tag.number_too_long"), node.lineno)
        elif isinstance(node, nodes.Filter):
            self.filter(node, depth)
        elif isinstance(node, nodes.Compare):
            if any(operand.op not in ("eq", "ne") for operand in node.ops):
                raise TemplateProblem(Trouble("tag.odd_comparison"), node.lineno)
            for part in (node.expr, *(operand.expr for operand in node.ops)):
                self.expression(part, depth + 1)
        elif isinstance(node, nodes.And | nodes.Or):
            self.expression(node.left, depth + 1)
            self.expression(node.right, depth + 1)
        elif isinstance(node, nodes.Not):
            self.expression(node.node, depth + 1)
        else:
            raise TemplateProblem(Trouble("tag.not_allowed", construct=type(node).__name__), node.lineno)

    def filter(self, node: nodes.Filter, depth: int) -> None:
        if node.name not in FILTERS:
            raise TemplateProblem(Trouble("tag.filter_unknown", name=node.name, known=FILTERS), node.lineno)
        if node.node is None or node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
            raise TemplateProblem(Trouble("tag.filter_overfull", name=node.name), node.lineno)
        values = [arg.value for arg in node.args if isinstance(arg, nodes.Const)]
        if len(values) != len(node.args) or not _fits(node.name, values):
            raise TemplateProblem(Trouble("tag.filter_misused", name=node.name, limit=MAX_TRUNCATE), node.lineno)
        self.expression(node.node, depth + 1)

    def name(self, node: nodes.Name) -> None:
        if node.ctx != "load":
            raise TemplateProblem(Trouble("tag.sets_a_value"), node.lineno)
        if node.name not in self.loop_names:
            self.known(node.name, node.lineno)
            self.names.add(node.name)

    def known(self, name: str, line: int) -> None:
        if self.allowed is not None and name not in self.allowed:
            raise TemplateProblem(Trouble("tag.name_unknown", name=name, known=sorted(self.allowed)), line)


def bounded(node: nodes.For) -> nodes.Node:
    """What a loop runs over, without the filter that bounds it."""
    value = node.iter
    if isinstance(value, nodes.Filter) and value.name == PASSES and value.node is not None and not value.args:
        return value.node
    return value


def _fits(name: str, values: list[object]) -> bool:
    if name == "default":
        return len(values) == 1 and isinstance(values[0], str)
    if name == "truncate":
        return len(values) == 1 and type(values[0]) is int and 1 <= values[0] <= MAX_TRUNCATE
    if name == "date":
        return not values or (len(values) == 1 and isinstance(values[0], str))
    return not values


def _bare_name(node: nodes.Node) -> str | None:
    """The name an output would print without a default, if any: `default` may stand anywhere in the filter chain."""
    while isinstance(node, nodes.Filter):
        if node.name == "default" or node.node is None:
            return None
        node = node.node
    return node.name if isinstance(node, nodes.Name) else None


def _syntax_trouble(error: jinja2.TemplateSyntaxError) -> Trouble:
    """What the parser complains about."""
    said = error.message or ""
    if "end of comment" in said:
        return Trouble("tag.comment")
    if match := re.search(r"[Uu]nknown tag '(\w+)'", said):
        if match[1] in ("elif", "else", "endif", "endfor"):
            return Trouble("tag.without_opening", tag=match[1], opening="for" if match[1] == "endfor" else "if")
        return Trouble("tag.unknown", tag=match[1], known=TAGS)
    if match := re.search(r"needs to be closed is '(\w+)'", said):
        return Trouble("tag.never_closed", tag=match[1])
    if match := re.search(r"unexpected char (.+) at", said):
        return Trouble("tag.odd_character", character=match[1])
    match = re.search(r"got (.+)$", said)
    return Trouble("tag.unreadable", at=match[1] if match else "", known=TAGS)


def _default(value: object, instead: str = "") -> object:
    """Also for an empty value: a reader without a name is the usual case, not the odd one."""
    return instead if isinstance(value, jinja2.Undefined) or value in ("", None) else value


def _passes(value: object) -> str:
    text = "" if isinstance(value, jinja2.Undefined) else str(value)
    if len(text) > MAX_PASSES:
        raise TooManyPassesError(len(text))
    return text


def _truncate(value: object, length: int) -> str:
    return cut_at_word(str(value), length)


def _date(value: object, language: str = "en") -> str:
    return spell_date(str(value), language)


def spell_date(iso: str, language: str) -> str:
    """`2026-05-03` spelled out in a language ("3 mai 2026"); what is not an ISO date comes back unchanged."""
    try:
        day = calendar_date.fromisoformat(iso[:10])
    except ValueError:
        return iso
    return format_date(day, "long", locale=babel_locale(language))


@lru_cache(maxsize=64)
def babel_locale(language: str) -> Locale:
    """The nearest known locale of a BCP 47 tag, English when there is none. Plain English means day before month."""
    parts = language.split("-")
    for tag in (language, parts[0]):
        try:
            found = Locale.parse(tag, sep="-")
        except (UnknownLocaleError, ValueError):
            continue
        # Only who asks for the month first gets it: en-US and its kin are known, en alone and en-ZZ are not.
        is_plain = found.language == "en" and found.territory not in {part.upper() for part in parts[1:]}
        return Locale.parse("en_GB") if is_plain else found
    return Locale.parse("en_GB")


_JOINED = re.compile("[\u0300-\u036f\u200c\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\u0900-\u0903\u093a-\u094f]")


def cut_at_word(text: str, limit: int) -> str:
    """`text` if it fits in `limit` characters, else cut after a whole word with "…" (inside the limit).

    Scripts without blanks, and words longer than the limit, are cut between characters, never inside one that
    several code points make up.
    """
    if len(text) <= limit:
        return text
    at = cut_position(text, limit - 1)
    return text[:at].rstrip(" \t\n,;:.–-") + "…"


def cut_position(text: str, room: int) -> int:
    """Where to cut so that at most `room` characters stay."""
    if room >= len(text):
        return len(text)
    at = max((at for at in range(room + 1) if text[at].isspace()), default=-1)
    if at >= room // 2 and at > 0:
        return at
    at = room
    while at > 0 and (_JOINED.match(text[at]) or text[at - 1] == "\u200d"):
        at -= 1
    return at
