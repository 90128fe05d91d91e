"""The faces are thin: they parse, call one function of a room below, and show. No transaction, no SQL, no tables."""

import ast
from collections.abc import Iterator

import pytest

from tests.house.checkout import imported, modules

FACES = ("worker/cli/", "worker/web/", "worker/demo/", "worker/api/")
TRANSACTIONS = {"read", "write", "write_durably"}
ENGINE = "worker.storage.engine"


def transactions(tree: ast.AST) -> Iterator[str]:
    """Every transaction that a file opens: `with X.read()`, or any of the three on something called database."""
    entered = {id(item.context_expr) for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr not in TRANSACTIONS:
            continue
        owner = ast.unparse(node.func.value)
        if id(node) in entered or node.func.attr == "write_durably" or "database" in owner.lower():
            yield f"line {node.lineno}: {owner}.{node.func.attr}()"


def tables(tree: ast.AST) -> Iterator[str]:
    """Imports of storage other than the engine, and of SQL."""
    for name in imported(tree):
        is_storage = name.startswith("worker.storage") and not name.startswith(ENGINE)
        if is_storage or name.partition(".")[0] == "sqlalchemy":
            yield name


def test_a_face_opens_no_transaction_and_knows_no_table() -> None:
    # When
    faces = {str(path): tree for path, tree in modules() if str(path).startswith(FACES)}
    seen = {path: found for path, tree in faces.items() if (found := [*transactions(tree), *tables(tree)])}

    # Then what one face does by itself, no other face would do the same way
    assert len(faces) > 30
    assert seen == {}


@pytest.mark.parametrize(
    "text",
    [
        "with ledger.database.write() as conn: pass",
        "with self._database.read() as conn: pass",
        "with place.read() as conn: pass",
        "conn = database.write()",
        "database.write_durably()",
        "from worker.storage import publications",
        "from worker.storage.people.subscriptions import find",
        "import worker.storage.schema",
        "from sqlalchemy import select",
    ],
)
def test_the_rule_sees_every_way_round_it(text: str) -> None:
    tree = ast.parse(text)
    assert [*transactions(tree), *tables(tree)]


@pytest.mark.parametrize(
    "text",
    [
        "from worker.storage.engine import Database, open_database",
        "sys.stdout.write(text)",
        "self._keyring.read(token, Purpose.VIEW)",
        "file.read()",
    ],
)
def test_the_rule_lets_a_face_read_files_and_tokens(text: str) -> None:
    tree = ast.parse(text)
    assert not [*transactions(tree), *tables(tree)]
