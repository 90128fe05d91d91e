"""Rules of the house that no checker knows: sizes, purity, where SQL lives, and what never stands in a file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.checkout import ROOT, WORKER, imported, modules, text_files

MOST_MODULE_LINES = 400
MOST_FUNCTION_LINES = 60
LONGER_WITH_A_REASON = {"worker/storage/schema.py": 600}  # declarations one after another: nothing to hold in the head
FROZEN = "worker/storage/migrations/versions/"  # what ran at somebody's place is not rewritten for looks

READS_FILES = {
    "worker/compose/media.py",  # takes in the pictures beside an issue file; its result is a value
    "worker/compose/issue_file.py",  # reads the issue file and what lies beside it; all else in the room is pure
    "worker/compose/file_names.py",  # finds those files in their folders
    "worker/message/key_store.py",  # the DKIM keys on disk; what signs with them is pure
}
PURE = [
    name
    for room in ("", "domain", "received", "compose", "message", "transport", "feedback")
    for path in sorted((WORKER / room).glob("*.py"))
    if (name := str(path.relative_to(ROOT))) not in READS_FILES
    and (
        room in ("domain", "received", "compose", "message")
        or path.stem in ("errors", "tokens", "replies", "retry", "shaping", "report")
    )
]
IMPURE_MODULES = {
    "os", "time", "secrets", "socket", "subprocess", "asyncio", "threading", "tempfile", "shutil", "logging",
    "structlog", "sqlalchemy", "sqlite3", "psycopg", "urllib.request", "http", "starlette", "worker.settings",
    "worker.clock", "worker.log", "worker.metrics", "worker.storage", "worker.journal",
}  # fmt: skip
IMPURE_CALLS = re.compile(
    r"(?<!\w)open\(|\.(?:utc)?now\(|\bdate\.today\(|\.(?:read|write)_(?:text|bytes)\(|\.(?:exists|is_file|stat)\("
    r"|\benviron\b|\brandom\.(?!Random\b)"  # a generator comes in as an argument
)

DRIVERS = {"sqlalchemy", "sqlite3", "psycopg", "alembic"}
SQL_TEXT = re.compile(
    r"^\s*(?:SELECT\s.+\sFROM\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|CREATE\s+TABLE\s)", re.DOTALL
)
OWN_DATABASES = ("worker/storage/", "worker/sink/")
"""The sink's mailbox is its own file, so that the ledger never depends on a development tool."""

BANNED_FILE_NAMES = re.compile(r"^(?:.*_)?(?:utils?|helpers?|common|manager|service|misc)\.py$|^base(?:_.*)?\.py$")
BANNED_TEXT = {
    "a path of one machine": re.compile(r"(?<![\w.<{])/(?:work|root|home|Users)/(?=[a-z])"),
    "a package index other than PyPI": re.compile(
        r"https?://(?!pypi\.org|files\.pythonhosted\.org)[^/\s\"']*/(?:simple|packages)/"
    ),
    "an unfinished piece": re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|[Nn]ot (?:yet )?implemented|lorem ipsum", re.ASCII),
    "the number of a ticket": re.compile(r"(?:[Ii]ssue|[Tt]icket|PR|[Ff]ixes|[Cc]loses) #\d+"),
    "a word this trade does not use here": re.compile(r"\b(?:e-?mail blast|campaigns?(?! Monitor))\b", re.IGNORECASE),
    "the maker instead of the thing": re.compile(r"\b(?:Claude|ChatGPT|Copilot|Anthropic|OpenAI|LLM)\b"),
}
RESERVED = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)
ADDRESS = re.compile(r"[A-Za-z0-9.+_-]+@((?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})")
INVENTED_CONTENT = (
    "templates/mail/", "templates/web/", "config/", "tests/samples/", "worker/demo/", "README.md", "Procfile",
)  # fmt: skip


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_no_module_is_too_long_to_hold_in_the_head() -> None:
    long = {}
    for path in [*WORKER.rglob("*.py"), ROOT / "run"]:
        name = str(path.relative_to(ROOT))
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if not name.startswith(FROZEN) and lines > LONGER_WITH_A_REASON.get(name, MOST_MODULE_LINES):
            long[name] = lines
    assert not long


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{path}:{function.lineno} {function.name}": function.end_lineno - function.lineno + 1
        for path, tree in [*modules(), (Path("run"), ast.parse((ROOT / "run").read_text(encoding="utf-8")))]
        for function in _functions(tree)
        if not str(path).startswith(FROZEN) and (function.end_lineno or 0) - function.lineno + 1 > MOST_FUNCTION_LINES
    }
    assert not long


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_reaches_no_io_clock_or_settings(name: str) -> None:
    # Given
    text = (ROOT / name).read_text(encoding="utf-8")
    tree = ast.parse(text)

    # When
    reached = {
        module
        for module in imported(tree)
        if any(module == bad or module.startswith(bad + ".") for bad in IMPURE_MODULES)
    }
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call | ast.Attribute)]

    # Then
    assert not reached
    assert not [call for call in calls if IMPURE_CALLS.search(call)]


def test_only_storage_speaks_sql() -> None:
    found = []
    for path, tree in modules():
        if str(path).startswith(OWN_DATABASES):
            continue
        # A transaction is handed from room to room; what is asked in it is not.
        names = [name for name in imported(tree) if name != "sqlalchemy.Connection"]
        found += [f"{path}: import {name}" for name in names if name.partition(".")[0] in DRIVERS]
        found += [
            f"{path}:{node.lineno}: SQL text"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_TEXT.match(node.value)
        ]
    assert not found


def test_no_import_goes_round_the_contracts_inside_a_function_or_by_name() -> None:
    hidden = [
        f"{path}:{node.lineno}"
        for path, tree in modules()
        for function in _functions(tree)
        for node in ast.walk(function)
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("worker"))
        or (isinstance(node, ast.Import) and any(alias.name.startswith("worker") for alias in node.names))
        or (isinstance(node, ast.Attribute) and node.attr == "import_module")
    ]
    # The command line loads a command's rooms when it is called, so that `--help` is quick: nothing lies above it.
    assert not [place for place in hidden if not place.startswith("worker/cli")]


def test_no_file_is_named_after_nothing() -> None:
    assert not [str(path) for path, _ in text_files() if BANNED_FILE_NAMES.match(path.name)]


@pytest.mark.parametrize("what", sorted(BANNED_TEXT))
def test_no_file_holds(what: str) -> None:
    mine = Path(__file__).resolve()
    found = [
        f"{path}:{text.count(chr(10), 0, hit.start()) + 1}: {hit.group()}"
        for path, text in text_files()
        if (ROOT / path) != mine and path.name != "LICENSE"
        for hit in BANNED_TEXT[what].finditer(text)
    ]
    assert not found


def test_sample_addresses_are_on_reserved_domains() -> None:
    found = [
        f"{path}: {hit.group()}"
        for path, text in text_files()
        if str(path).startswith(INVENTED_CONTENT)
        for hit in ADDRESS.finditer(text)
        if not RESERVED.search(hit.group(1))
    ]
    assert not found
