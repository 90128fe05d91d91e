"""What the house rules read: the checkout's own files, found without git, so that a downloaded archive passes too."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKER = ROOT / "worker"

_NOT_OURS = {".git", ".venv", ".mutants", "demo-data", "demo-plug", "state", "dist", "node_modules"}


def text_files() -> Iterator[tuple[Path, str]]:
    """Every text file of the checkout as (path relative to it, content); caches, environment and data left out."""
    for folder, names, files in os.walk(ROOT):
        names[:] = [
            name
            for name in names
            if name not in _NOT_OURS
            and not name.endswith(("_cache", ".egg-info"))
            and name != "__pycache__"
            and name != ".hypothesis"
        ]
        for file in sorted(files):
            path = Path(folder, file)
            try:
                yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
            except (UnicodeDecodeError, OSError):
                continue


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file of worker/ as (path relative to the checkout, syntax tree)."""
    for path in sorted(WORKER.rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names a tree imports, also inside functions; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
