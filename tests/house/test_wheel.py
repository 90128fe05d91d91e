"""The program as an installer brings it: a wheel made from the source archive, in an environment of its own.

The packages it runs on are those of the tests' environment: which ones it asks for is read from its metadata.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_bytes
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.house.checkout import ROOT

LIMIT_S = 60


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip builds: from an unpacked source archive, so that this has to hold all of it."""
    made = tmp_path_factory.mktemp("made")
    _build(ROOT, "sdist", made)
    with tarfile.open(next(made.glob("*.tar.gz"))) as archive:
        archive.extractall(made, filter="data")
    _build(next(path for path in made.iterdir() if path.is_dir()), "wheel", made)
    return next(made.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the wheel."""
    if find_spec("ensurepip") is None:
        pytest.skip("this Python cannot make an environment with pip")
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", home], check=True, timeout=LIMIT_S)
    install = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, timeout=LIMIT_S, env={"PATH": os.environ["PATH"]})
    packages = next(home.glob("lib/python3*/site-packages"))
    theirs = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "of-the-tests.pth").write_text(f"{theirs}\n")
    return home / "bin"


@pytest.fixture
def corranto(installed: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls the installed program in an empty folder, with a key and no other setting."""
    environment = _environment()

    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [installed / "corranto", *arguments],
            cwd=tmp_path,
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    return call


def test_the_wheel_asks_for_what_the_program_needs(wheel: Path) -> None:
    # Given
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    # When
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))

    # Then
    assert metadata["Requires-Python"] == project["requires-python"]
    assert _plain(metadata.get_all("Requires-Dist") or []) == _plain(project["dependencies"])


def test_the_wheel_puts_nothing_beside_its_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"worker"}


def test_an_installed_program_works_in_an_empty_folder(corranto: Callable, installed: Path, tmp_path: Path) -> None:
    # Given
    before = _files(installed)

    # When
    done = [
        corranto("--version"),
        corranto("db", "upgrade"),
        corranto(
            *("publication", "create", "letters", "--title", "Letters", "--from", "Me <me@news.example.org>"),
            *("--postal-address", "1 Road, Town"),
        ),
    ]
    (tmp_path / "first.md").write_text(
        "---\nkind: newsletter\npublication: letters\nsubject: A letter to begin with\npreheader: It says hello\n---\n"
        "Dear reader,\n\nhello.\n"
    )
    done += [corranto("lint", "first.md"), corranto("preview", "first.md"), corranto("status")]

    # Then
    assert [(call.returncode, call.stderr) for call in done if call.returncode] == []
    assert "1 Road, Town" in (tmp_path / "first.preview.html").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"state", "first.md", "first.preview.html"}
    # Where programs are installed is often read-only.
    assert _files(installed) == before


@pytest.fixture
def demo(installed: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [installed / "corranto", "demo", "--recipients", "20"],
        cwd=tmp_path,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_the_demo_of_an_installed_program_lives_where_it_is_called(
    corranto: Callable, demo: subprocess.Popen[str], tmp_path: Path
) -> None:
    # Given
    live = tmp_path / "demo-data" / "live.json"
    deadline = time.monotonic() + LIMIT_S
    while not live.exists() and demo.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)

    # When
    # The environment wins over the file, so the key of the other tests makes room for the demo's.
    key = (tmp_path / "demo-data" / "key").read_text().strip()
    ours = {"CORRANTO_CONFIG": "demo-data/settings.toml", "CORRANTO_SECRET_KEYS": key}
    status = corranto("status", "--json", **ours)
    lint = corranto("lint", "demo-data/samples/2026-11-statement.md", **ours)
    base = json.loads(live.read_text())["environment"]["CORRANTO_BASE_URL"]
    with urllib.request.urlopen(f"{base}/sink", timeout=LIMIT_S) as page:
        inbox = page.status
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=LIMIT_S)

    # Then
    assert demo.returncode == 0, said
    assert status.returncode in (0, 6), status.stderr
    assert lint.returncode == 0, lint.stderr
    assert inbox == 200


def _environment() -> dict[str, str]:
    """No setting of whoever runs the tests; nothing compiled is written beside the code."""
    dropped = ("CORRANTO_", "PYTHON", "VIRTUAL_ENV", "CALLED_AS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "CORRANTO_SECRET_KEYS": "k" * 43, "PYTHONDONTWRITEBYTECODE": "1"}


def _build(source: Path, target: str, into: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=LIMIT_S)
    assert built.returncode == 0, built.stderr


def _plain(requirements: list[str]) -> set[tuple[str, ...]]:
    """Parts in any order: a builder may write them in its own."""
    return {
        tuple(sorted(re.findall(r"[a-z0-9._-]+(?:\[[a-z,]+\])?|[<>=!~]=?[0-9.]+", requirement.lower())))
        for requirement in requirements
    }


def _files(programs: Path) -> dict[str, int]:
    """Every file of the environment with the time it was written."""
    return {str(path): path.stat().st_mtime_ns for path in programs.parent.rglob("*") if path.is_file()}
