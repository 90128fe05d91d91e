"""The lock, the two exported lists and the licences of what we run on."""

import importlib.metadata
import re
import tomllib

import pytest

from tests.house.checkout import ROOT

LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
PACKAGES = {package["name"]: package for package in LOCK["package"]}
RUNTIME_LIST, DEV_LIST = ROOT / "config" / "requirements.txt", ROOT / "config" / "requirements-dev.txt"

FREE_TO_USE = re.compile(
    r"\b(?:MIT|MIT-0|MIT-CMU|HPND|BSD|Apache|ISC|MPL|PSF|Python Software Foundation|Unlicense|LGPL|Lesser General)\b"
)
COPYLEFT = re.compile(r"\bA?GPL|(?<!Lesser )General Public Licen[sc]e")


def _listed(path: object) -> dict[str, tuple[str, frozenset[str]]]:
    """Name → (version, hashes) of an exported list."""
    entries = re.split(r"\n(?=\S)", path.read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    found = {}
    for entry in entries:
        if match := re.match(r"([\w.-]+)==([\w.+!-]+)", entry):
            found[match[1]] = (match[2], frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry)))
    return found


def _locked(name: str) -> tuple[str, frozenset[str]]:
    package = PACKAGES[name]
    files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    return package["version"], frozenset(file["hash"] for file in files)


def _reachable() -> set[str]:
    """What `corranto` needs to run, by the lock: dependencies of dependencies, with the extras asked for."""
    seen: set[tuple[str, str]] = set()
    todo = [
        (dependency["name"], tuple(dependency.get("extra", ()))) for dependency in PACKAGES["corranto"]["dependencies"]
    ]
    while todo:
        name, extras = todo.pop()
        for extra in ("", *extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            package = PACKAGES[name]
            further = (
                package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
            )
            todo += [(dependency["name"], tuple(dependency.get("extra", ()))) for dependency in further]
    return {name for name, _ in seen}


def test_the_runtime_list_is_what_the_lock_says() -> None:
    assert _listed(RUNTIME_LIST) == {name: _locked(name) for name in _reachable()}


def test_the_test_list_is_the_whole_lock() -> None:
    assert _listed(DEV_LIST) == {name: _locked(name) for name in PACKAGES if name != "corranto"}


def test_the_lock_was_made_for_these_dependencies() -> None:
    # Given
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    # When
    wanted = {_name(line) for line in project["project"]["dependencies"]}
    wanted_dev = {_name(line) for line in project["dependency-groups"]["dev"]}

    # Then
    assert wanted == {dependency["name"] for dependency in PACKAGES["corranto"]["dependencies"]}
    assert wanted_dev == {dependency["name"] for dependency in PACKAGES["corranto"]["dev-dependencies"]["dev"]}


def test_every_file_comes_from_the_public_index() -> None:
    for name, package in PACKAGES.items():
        if name == "corranto":
            continue
        assert package["source"] == {"registry": "https://pypi.org/simple"}
        for file in [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]:
            assert file["url"].startswith("https://files.pythonhosted.org/packages/")


def _is_installed(name: str) -> bool:
    """Some packages of the list are for other platforms and never come here."""
    return any(importlib.metadata.distributions(name=name))


@pytest.mark.parametrize("name", sorted(filter(_is_installed, _listed(RUNTIME_LIST))))
def test_a_package_we_run_on_has_a_licence_we_may_ship_beside(name: str) -> None:
    metadata = importlib.metadata.metadata(name)

    stated = " | ".join(
        [
            metadata.get("License-Expression") or "",
            (metadata.get("License") or "").partition("\n")[0],
            *(line.rpartition("::")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License")),
        ]
    )

    assert FREE_TO_USE.search(stated), stated
    assert not COPYLEFT.search(stated), stated


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower()
