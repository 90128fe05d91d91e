"""The inbox's templates and stylesheet, and how values look on its pages."""

from collections.abc import Iterable
from datetime import datetime

import jinja2

from worker.places import TEMPLATES

FOLDER = TEMPLATES / "web" / "sink"
"""The room's pages lie beside all others."""


def environment() -> jinja2.Environment:
    """Templates that escape everything and fail on a value they were not given."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["moment"] = _moment
    made.filters["octets"] = _octets
    made.filters["number"] = lambda value: f"{value:,}"
    made.filters["people"] = _people
    made.filters["name_of"] = name_of
    made.filters["initial"] = _initial
    return made


def name_of(sender: str) -> str:
    """The display name of a From field, or its address when there is none."""
    name = sender.partition("<")[0].strip().strip('"').strip()
    return name or sender.strip("<> ") or "(no sender)"


def _initial(sender: str) -> str:
    return next((char for char in name_of(sender) if char.isalnum()), "•").upper()[:1]


def _moment(when: datetime) -> str:
    """In this machine's zone: sink and reader sit at the same machine."""
    return when.astimezone().strftime("%d %b %Y, %H:%M:%S")


def _octets(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:.1f} KB" if size < 1024 * 1024 else f"{size / (1024 * 1024):.1f} MB"


def _people(addresses: Iterable[str]) -> str:
    first, *rest = list(addresses) or [""]
    return f"{first} and {len(rest)} more" if rest else first
