"""Codes and sentences keep together: what is raised can be worded, what can be worded is raised, with the same fields.

Read from the syntax tree, so that a raise which no test reaches is held too.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from tests.house.checkout import modules
from worker import errors
from worker.errors import CorrantoError, Remedy
from worker.screen.sentences import FIXES, SENTENCES, Sentence, names_of
from worker.web.sentences import PAGES, STATUS_OF, status_of

CODE = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")
COMMAND = re.compile(r"\bcorranto [a-z]|(?<![\w-])--[a-z]")
ABOVE = ("worker/cli/", "worker/web/", "worker/demo/", "worker/screen/", "worker/supervisor.py")
"""Where commands and options may be named: the faces, and what is shown by them."""


@dataclass(frozen=True)
class Site:
    """Where a trouble is made. `fields` None: made of values the tree does not show."""

    place: str
    code: str | None
    fields: frozenset[str] | None

    @property
    def file(self) -> str:
        return self.place.partition(":")[0]


@cache
def files() -> dict[str, ast.Module]:
    return {str(path): tree for path, tree in modules()}


@cache
def error_classes() -> set[str]:
    """Names of CorrantoError and of every class below it, in whatever file."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for tree in files().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    known = {"CorrantoError"}
    while more := {name for name, parents in bases.items() if parents & known} - known:
        known |= more
    return known


def sites(path: str, tree: ast.Module) -> Iterator[Site]:
    """Every call that makes a Trouble or an error of ours."""
    for function, node in _calls(tree):
        name = ast.unparse(node.func).rpartition(".")[2]
        if name == "SettingsError" or name not in {"Trouble", *error_classes(), "__init__"}:
            continue
        if name == "__init__" and not (node.args and CODE.fullmatch(str(getattr(node.args[0], "value", "")))):
            continue
        first = node.args[0] if node.args else None
        is_code = isinstance(first, ast.Constant) and isinstance(first.value, str) and CODE.fullmatch(first.value)
        yield Site(f"{path}:{node.lineno}", first.value if is_code else None, _fields(node, function))


def _calls(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Each call with the function around it."""

    def walk(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield function, child
            inside = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            yield from walk(child, inside)

    return walk(tree, tree)


def _fields(call: ast.Call, function: ast.AST) -> frozenset[str] | None:
    named = {keyword.arg for keyword in call.keywords if keyword.arg and keyword.arg != "remedy"}
    for keyword in call.keywords:
        if keyword.arg is None:
            literal = _literal(ast.unparse(keyword.value), function)
            if literal is None:
                return None
            named |= literal
    return frozenset(named)


def _literal(name: str, function: ast.AST) -> set[str] | None:
    """The keys of a dictionary that the function writes down under this name."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name and isinstance(node.value, ast.Dict):
            return {str(ast.literal_eval(key)) for key in node.value.keys if key is not None}
    return None


@cache
def all_sites() -> list[Site]:
    """Of errors.py only those that give a code: the others are the classes' own."""
    found = [site for path, tree in files().items() for site in sites(path, tree)]
    return [site for site in found if site.code or site.file != "worker/errors.py"]


def commands(tree: ast.Module) -> Iterator[str]:
    """Every text, docstrings aside, that tells somebody what to type."""
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if is_text and COMMAND.search(node.value):
            yield f"line {node.lineno}: {node.value[:60]!r}"


def prose() -> dict[str, list[str]]:
    """What each file still says by itself."""
    seen: dict[str, list[str]] = defaultdict(list)
    for site in all_sites():
        if site.code is None:
            seen[site.file].append(f"{site.place} gives no code")
    for path, tree in files().items():
        if not path.startswith(ABOVE):
            for said in commands(tree):
                seen[path].append(said)
    return seen


def test_a_room_below_the_faces_says_codes_and_leaves_commands_to_them() -> None:
    assert prose() == {}


def test_a_person_reads_a_sentence_for_everything_that_can_go_wrong() -> None:
    assert {site.place: site.code for site in all_sites() if site.code and site.code not in SENTENCES} == {}


def test_no_sentence_waits_for_something_that_cannot_happen() -> None:
    raised = {site.code for site in all_sites()}
    assert {code for code in SENTENCES if code not in raised} == set()
    assert set(FIXES) <= set(SENTENCES)


def test_a_sentence_finds_every_field_it_names() -> None:
    # When
    short = {
        site.place: sorted(missing)
        for site in all_sites()
        if site.code in SENTENCES and site.fields is not None
        for sentence in (SENTENCES[site.code], FIXES.get(site.code, ""))
        if (missing := _misfit(sentence, site.fields))
    }

    # Then
    assert short == {}


def _misfit(sentence: Sentence, given: frozenset[str]) -> set[str]:
    """Fields that a sentence needs and is not given."""
    texts = [sentence] if isinstance(sentence, str) else sentence
    return {name for text in texts for name in names_of(text)} - given


def test_one_code_has_the_same_fields_wherever_it_is_raised() -> None:
    # When
    shapes: dict[str, set[frozenset[str]]] = defaultdict(set)
    for site in all_sites():
        if site.code and site.fields is not None:
            shapes[site.code].add(site.fields)

    # Then
    assert {code: [sorted(one) for one in shape] for code, shape in shapes.items() if len(shape) > 1} == {}


def test_a_page_has_an_answer_for_every_remedy_and_kind_of_error() -> None:
    # When
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CorrantoError)]
    answers = {status_of(kind([]) if kind is errors.SettingsError else kind("test.code")) for kind in kinds}

    # Then
    assert set(STATUS_OF) == set(Remedy)
    assert {*STATUS_OF.values(), *answers} <= set(PAGES)


@pytest.mark.parametrize(
    "text",
    [
        'raise RefusedError("it exists already")',
        'raise errors.UsageError(f"{name} is wrong")',
        "raise UsageError(text)",
        'return UnreachableError("no. " + cause)',
        'Trouble("Not a code")',
    ],
)
def test_the_rule_sees_a_sentence_in_every_dress(text: str) -> None:
    assert [site.code for site in sites("any.py", ast.parse(text.replace("return ", "")))] == [None]
