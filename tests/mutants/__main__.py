"""`./run mutants [ROOM…]`: change our code in small ways, one at a time, and see whether the room's tests notice.

All changes of all rooms take a day; `--tenths 1` tries one in ten, spread evenly, `--seed` says which.

Works in copies below `.mutants/`, so the checkout is never changed, and goes on where an interrupted run stopped while
neither code nor tests changed. A survivor is shown as a diff, unless `accepted.toml` says why nobody needs to notice
it. Exit 1 when a room is below 90 %.
"""

import argparse
import fnmatch
import random
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.rooms import ROOMS, Room
from worker.places import HOME

PLACE = HOME / ".mutants"
COPIED = ("worker", "tests", "templates", "config", "pyproject.toml", "README.md", "CHANGELOG.md")
ENOUGH = 0.9
CAUGHT = {"killed", "timeout", "segfault", "caught by type check"}

_RESULT = re.compile(r"^\s+(\S+): (.+)$")


@dataclass(frozen=True)
class Survivor:
    """A change that no test noticed."""

    name: str
    function: str
    line: str
    """The changed line as it is in the mutant, without its indentation."""
    diff: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run mutants")
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"some of {', '.join(ROOMS)} (default: all)")
    parser.add_argument("--tenths", type=int, choices=range(1, 11), default=10, metavar="N", help="of the changes")
    parser.add_argument("--seed", type=int, default=0, help="which tenths")
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="processes (default 2)")
    given = parser.parse_args()
    digits = random.Random(given.seed).sample(range(10), given.tenths)
    chosen = [] if given.tenths == 10 else [f"*__mutmut_*{digit}" for digit in digits]
    if unknown := [name for name in given.rooms if name not in ROOMS]:
        parser.error(f"there is no room {', '.join(unknown)}")
    accepted = _accepted()
    lacking = []
    for name in given.rooms or ROOMS:
        counts, survivors = run_room(name, ROOMS[name], chosen, given.at_once)
        left = [one for one in survivors if not any(_fits(one, each) for each in accepted)]
        caught, passed = counts["caught"], len(survivors) - len(left)
        share = caught / max(1, caught + len(left))
        for one in left:
            sys.stdout.write(f"\n{one.name}\n{one.diff}\n")
        sys.stdout.write(
            f"{name}: {caught} of {caught + len(left)} caught, {share:.1%}; accepted survivors {passed}; "
            f"not reached by these tests {counts['no tests']}\n"
        )
        sys.stdout.flush()
        if share < ENOUGH:
            lacking.append(name)
    return 1 if lacking else 0


def run_room(name: str, room: Room, chosen: list[str], at_once: int) -> tuple[Counter[str], list[Survivor]]:
    """Change one room's code, of changes whose names fit `chosen` if given; how many there were by what became of them,
    earlier runs' among them, and the survivors.
    """
    place = PLACE / name
    place.mkdir(parents=True, exist_ok=True)
    for item in COPIED:
        _copy(HOME / item, place / item)
    lines = ["[mutmut]", "source_paths=worker", "use_git_change_detection=false", "only_mutate="]
    lines += [f"    {path}" for path in room.code]
    lines += ["pytest_add_cli_args_test_selection=", *(f"    {path}" for path in room.tests)]
    # Each mutant is a run of its own, and starting a database server takes longer than all its tests.
    quick = ("-p", "no:xdist", "-p", "no:cacheprovider", "-k", "not postgresql")
    lines += ["pytest_add_cli_args=", *(f"    {word}" for word in quick)]
    # A change that makes a test wait for ever is caught by that; mutmut itself would give it a quarter of an hour.
    lines += ["timeout_multiplier=5"]
    lines += ["also_copy=", *(f"    {item}" for item in COPIED if item != "worker")]
    (place / "setup.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (place / "log").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            _mutmut("run", "--max-children", str(at_once), *chosen), cwd=place, stdout=log, stderr=log, check=False
        )
    if done.returncode:
        said = (place / "log").read_text(encoding="utf-8", errors="replace")[-2_000:]
        raise SystemExit(f"the mutants of {name} could not be run:\n{said}")
    counts: Counter[str] = Counter()
    survivors = []
    for mutant, state in _results(place):
        counts["caught" if state in CAUGHT else state] += 1
        if state == "survived":
            survivors.append(_survivor(place, mutant))
    return counts, survivors


def _results(place: Path) -> list[tuple[str, str]]:
    said = subprocess.run(_mutmut("results", "--all", "true"), cwd=place, capture_output=True, text=True, check=True)
    return [(found[1], found[2]) for line in said.stdout.splitlines() if (found := _RESULT.match(line))]


def _survivor(place: Path, name: str) -> Survivor:
    said = subprocess.run(_mutmut("show", name), cwd=place, capture_output=True, text=True, check=True).stdout
    diff = "\n".join(
        line for line in said.splitlines() if line.startswith(("+", "-")) and line[:3] not in ("+++", "---")
    )
    changed = next((line[1:].strip() for line in diff.splitlines() if line.startswith("+")), "")
    return Survivor(name, re.sub(r"__mutmut_\d+$", "", name), changed, diff)


def _copy(source: Path, target: Path) -> None:
    """Only what changed: whoever compares times sees that the rest did not."""
    if source.is_file():
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        return
    names = {
        path.relative_to(source) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    for path in names:
        _copy(source / path, target / path)
    for path in [path for path in target.rglob("*") if path.is_file() and path.relative_to(target) not in names]:
        path.unlink()


def _mutmut(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mutmut", *arguments]


def _fits(survivor: Survivor, accepted: dict[str, str]) -> bool:
    is_there = fnmatch.fnmatchcase(survivor.function, accepted["function"])
    return is_there and fnmatch.fnmatchcase(survivor.line, accepted["line"])


def _accepted() -> list[dict[str, str]]:
    text = (Path(__file__).parent / "accepted.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text).get("accepted", []))


if __name__ == "__main__":
    sys.exit(main())
