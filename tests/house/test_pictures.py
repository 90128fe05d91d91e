"""The state tables in ARCHITECTURE.md are the ones in the code."""

import re

from tests.house.checkout import WORKER
from worker.domain.delivery import TRANSITIONS
from worker.domain.issue import ISSUE_TRANSITIONS

TEXT = (WORKER / "ARCHITECTURE.md").read_text(encoding="utf-8")


def drawn(name: str) -> dict[str, set[str]]:
    """The table after the comment of that name: state → states it may go to."""
    table = TEXT.partition(f"<!-- {name} -->\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\w+) \| ([\w, ()]+) \|$", table, re.MULTILINE)
    return {old: set() if new == "(nowhere)" else set(new.split(", ")) for old, new in rows if old != "from"}


def test_delivery_states_are_drawn_as_they_are() -> None:
    assert drawn("delivery states") == {str(old): {str(new) for new in news} for old, news in TRANSITIONS.items()}


def test_issue_states_are_drawn_as_they_are() -> None:
    assert drawn("issue states") == {str(old): {str(new) for new in news} for old, news in ISSUE_TRANSITIONS.items()}


def test_every_room_is_described() -> None:
    rooms = {path.name for path in WORKER.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    described = set(re.findall(r"`(\w+)`", TEXT.partition("## The rooms")[2].partition("##")[0]))
    assert rooms <= described
