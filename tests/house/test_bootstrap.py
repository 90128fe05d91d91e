"""The `run` file, without installing anything."""

import ast
import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.house.checkout import ROOT

RUN = ROOT / "run"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The bootstrap as a module, at home in a made-up checkout whose environment is finished."""
    home = tmp_path / "a checkout"
    (home / "config").mkdir(parents=True)
    shutil.copy(RUN, home / "run")
    for name in ("uv.lock", "config/requirements.txt", "config/requirements-dev.txt"):
        (home / name).write_text(name)
    packages = home / ".venv" / "lib" / "python3.11" / "site-packages"
    (packages / "dramatiq").mkdir(parents=True)
    (home / ".venv" / "bin").mkdir()
    (home / ".venv" / "bin" / "python").symlink_to(sys.executable)
    loader = importlib.machinery.SourceFileLoader("corranto_run", str(home / "run"))
    spec = importlib.util.spec_from_loader("corranto_run", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    stamp = {"set": "runtime", "facts": module.facts(), "installed": ["dramatiq"]}
    module.STAMP.write_text(json.dumps(stamp))
    return module


def test_run_parses_on_an_interpreter_too_old_to_run_it() -> None:
    ast.parse(RUN.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_run_needs_the_standard_library_only() -> None:
    names = {
        alias.name if isinstance(node, ast.Import) else node.module or ""
        for node in ast.walk(ast.parse(RUN.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_help_names_every_command_and_an_unknown_one_is_wrong_usage() -> None:
    # Given / When
    helped = subprocess.run([sys.executable, RUN, "help"], capture_output=True, text=True)
    wrong = subprocess.run([sys.executable, RUN, "dance"], capture_output=True, text=True)

    # Then
    assert helped.returncode == 0
    assert all(f"\n  {verb} " in helped.stdout for verb in ("demo", "corranto", "test", "bench", "help"))
    assert wrong.returncode == 2
    assert "'dance'" in wrong.stderr


def test_an_environment_made_here_for_this_lock_is_used_at_once(run: ModuleType) -> None:
    assert run.is_current("runtime")
    assert not run.is_current("dev")


@pytest.mark.parametrize(
    "change", ["lock", "moved", "interrupted", "package lost", "interpreter lost", "stamp damaged"]
)
def test_an_environment_is_not_trusted_when(run: ModuleType, change: str) -> None:
    # Given
    assert run.is_current("runtime")

    # When
    if change == "lock":
        (run.ROOT / "uv.lock").write_text("newer")
    elif change == "moved":
        run.ROOT = run.ROOT.parent / "elsewhere"
    elif change == "interrupted":
        run.UNFINISHED.touch()
    elif change == "package lost":
        (run.site_packages() / "dramatiq").rmdir()
    elif change == "interpreter lost":
        run.PYTHON.unlink()
    else:
        run.STAMP.write_text('["half')

    # Then
    try:
        current = run.is_current("runtime")
    except FileNotFoundError:  # a moved checkout has no lists at the made-up place
        current = False
    assert not current


def test_a_live_demo_lends_its_settings_and_a_dead_one_does_not(
    run: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", "demo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert sleeper.stdout is not None
    sleeper.stdout.readline()  # its command line can be read from here on
    live = run.ROOT / "demo-data" / "live.json"
    live.parent.mkdir()
    live.write_text(
        json.dumps({"pid": sleeper.pid, "environment": {"CORRANTO_DATABASE_URL": "sqlite:///demo.sqlite3"}})
    )

    # When
    lent: dict[str, str] = {}
    own = {"CORRANTO_DATABASE_URL": "sqlite:///mine.sqlite3"}
    keyed = {"CORRANTO_SECRET_KEYS": "mine"}
    try:
        run.join_live_demo(keyed)
        run.join_live_demo(lent)
        run.join_live_demo(own)
    finally:
        sleeper.communicate(b"\n")
    dead: dict[str, str] = {}
    run.join_live_demo(dead)

    # Then
    said = capsys.readouterr().err
    assert lent == {"CORRANTO_DATABASE_URL": "sqlite:///demo.sqlite3"}
    assert keyed == {"CORRANTO_SECRET_KEYS": "mine"}
    assert "CORRANTO_SECRET_KEYS is set: using your settings" in said
    assert own == {"CORRANTO_DATABASE_URL": "sqlite:///mine.sqlite3"}
    assert dead == {}
    assert "using its settings" in said
    assert "using your settings" in said


def test_tests_run_in_parallel_unless_the_caller_chose(run: ModuleType) -> None:
    assert run.parallel([])[0] == "-n"
    assert run.parallel(["tests/unit", "-k", "name"])[0] == "-n"
    assert run.parallel(["-n", "0"]) == []
    assert run.parallel(["--pdb"]) == []


def test_without_a_venv_module_the_sentence_names_the_package(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)

    # When
    with pytest.raises(SystemExit) as ended:
        run.install_with_pip("runtime")

    # Then
    assert ended.value.code == 1
    assert "apt install python3-venv" in capsys.readouterr().err


def test_a_blank_home_is_no_place_for_downloads(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    assert not run.has_home()
    monkeypatch.delenv("HOME")
    assert not run.has_home()
    monkeypatch.setenv("HOME", os.fspath(run.ROOT))
    assert run.has_home()
