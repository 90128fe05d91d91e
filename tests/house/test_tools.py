"""The checkers an engineer runs by hand are part of the tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.checkout import ROOT

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "--quiet", "worker", "tests", "run"], id="ruff check"),
        pytest.param(["ruff", "format", "--check", "--quiet", "worker", "tests", "run"], id="ruff format"),
        pytest.param(["mypy", "--no-error-summary"], id="mypy --strict"),
        pytest.param(["lint-imports", "--no-cache"], id="import contracts"),
    ],
)
def test_the_checker_finds_nothing(command: list[str]) -> None:
    # Given / When
    found = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)

    # Then
    assert found.returncode == 0, f"{' '.join(command)}\n{found.stdout}\n{found.stderr}"
