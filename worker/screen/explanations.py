"""What `corranto explain` knows: the words of `templates/terminal/explain.toml`, and the manual of the settings.

A test keeps the names together with what the code accepts, finds, stores and returns.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args

from worker.calling import as_called
from worker.places import TEMPLATES
from worker.settings import DEFAULTS_FILE, PREFIX, Settings

GROUPS = ("key", "text", "rule", "delivery", "issue", "reason", "exit", "setting")
PAGES = {
    "issue-file": ("key", "text"),
    "keys": ("key",),
    "texts": ("text",),
    "rules": ("rule",),
    "lint": ("rule",),
    "states": ("delivery", "issue"),
    "reasons": ("reason",),
    "exit-codes": ("exit",),
    "settings": ("setting",),
}
"""Words behind `explain` that stand for everything of some groups."""

_ENTRIES = {"cards": "card", "lead": "card", "figures": "figure", "enclosures": "enclosure"}
"""Lists of an issue file, and how the group of each entry is called."""

_FINDING = re.compile(r"[ewi]?([0-9]{3})")


@dataclass(frozen=True)
class Explanation:
    """One thing explained. `facts` are short lines with a label each; `example` is what may be typed or written."""

    group: str
    name: str
    says: str
    facts: Mapping[str, str] = field(default_factory=dict)
    example: str = ""
    head: str = ""
    """Of an example text: what it needs in the head of its issue."""

    def as_dict(self) -> dict[str, object]:
        """For --json."""
        shown: dict[str, object] = {"group": self.group, "name": self.name, "says": self.says, **self.facts}
        return {**shown, "example": self.example} if self.example else shown


@cache
def about() -> Mapping[str, str]:
    """What each group is."""
    return {group: str(said) for group, said in _read()["about"].items()}


@cache
def everything() -> tuple[Explanation, ...]:
    """All of them, in the order in which they are listed."""
    tables = _read()
    made = [_explanation(group, name, told) for group in GROUPS[:-1] for name, told in tables[group].items()]
    return (*made, *_settings(DEFAULTS_FILE.read_text(encoding="utf-8")))


def find(word: str) -> list[Explanation]:
    """What a word means; several things where it is the name of several, none where it is unknown."""
    wanted = _fold(word)
    page = wanted.replace("_", "-")
    if page in PAGES:
        return [each for each in everything() if each.group in PAGES[page]]
    return [each for each in everything() if wanted in _names(each)]


def near(word: str) -> list[str]:
    """Up to three words that `find` knows and that look alike."""
    known = {name: name for each in everything() for name in _names(each)} | {page: page for page in PAGES}
    return difflib.get_close_matches(_fold(word), known, n=3, cutoff=0.6)


def _fold(word: str) -> str:
    """As names are compared: `in doubt`, `In-Doubt` and `in_doubt` are one; so are `W401` and `401`, `CORRANTO_X` and
    `x`, `cards.0.title`, `lead.title` and `card.title`."""
    folded = re.sub(r"\s*\(.*\)$", "", word.strip().lower()).removeprefix(PREFIX.lower())
    if finding := _FINDING.fullmatch(folded):
        return finding[1]
    folded = re.sub(r"^exit[ _-]?(?:code[ _-]?)?(?=[0-9])", "", folded)
    if "." in folded:
        parts = [_ENTRIES.get(part, part) for part in folded.split(".") if not part.isdigit()]
        folded = ".".join(parts[-2:])
    return re.sub(r"[\s-]+", "_", folded.rstrip(":"))


def _names(each: Explanation) -> set[str]:
    """A key inside a group is known by its own word too."""
    own = each.name.lower()
    return {own, own.rpartition(".")[2]} if each.group == "key" else {own}


@cache
def _read() -> dict[str, dict[str, Any]]:
    return tomllib.loads((TEMPLATES / "terminal" / "explain.toml").read_text(encoding="utf-8"))


def _explanation(group: str, name: str, told: Mapping[str, object]) -> Explanation:
    facts = {
        label: " or ".join(value) if isinstance(value, list) else as_called(str(value))
        for label, value in told.items()
        if label not in ("says", "example", "head")
    }
    example, head = str(told.get("example", "")).strip("\n"), str(told.get("head", ""))
    return Explanation(group, name, as_called(str(told["says"])), facts, example, head)


def _settings(manual: str) -> list[Explanation]:
    """config/default.toml as explanations: a comment belongs to the keys right below it."""
    defaults = tomllib.loads(manual)
    made: list[Explanation] = []
    comment: list[str] = []
    after_key = True
    for line in manual.splitlines():
        if line.startswith("#"):
            comment = [*([] if after_key else comment), line.lstrip("# ")]
            after_key = False
        elif match := re.match(r"(\w+) *=", line):
            made.append(_setting(match[1], " ".join(comment), defaults[match[1]]))
            after_key = True
        else:
            after_key = True
    return made


def _setting(key: str, says: str, default: object) -> Explanation:
    facts = {"allowed": _allowed(key), "default": str(default) if default != "" else "empty"}
    example = f'export {PREFIX}{key.upper()}="{default}"' if default != "" else ""
    return Explanation("setting", key, as_called(says), {n: v for n, v in facts.items() if v}, example)


def _allowed(key: str) -> str:
    """The range or the choice that the type of a setting holds; other bounds stand in its prose."""
    known = Settings.model_fields[key]
    if choices := [str(choice) for choice in get_args(known.annotation) if isinstance(choice, str)]:
        return " or ".join(choices)
    bounds = {name: getattr(mark, name) for mark in known.metadata for name in ("ge", "le") if hasattr(mark, name)}
    return f"{bounds['ge']} to {bounds['le']}" if len(bounds) == 2 else ""
