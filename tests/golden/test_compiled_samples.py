"""The two samples, compiled, byte for byte. CORRANTO_WRITE_GOLDEN=1 writes them anew; look at the difference."""

import os
from pathlib import Path

import pytest

from tests.support.issues import MEMBERS, STATEMENT, compiled, stand_in_media
from worker.compose.source import read_issue

GOLDEN = Path(__file__).parent


@pytest.mark.parametrize("path", [MEMBERS, STATEMENT], ids=["members", "statement"])
@pytest.mark.parametrize("part", ["html", "text", "view_html"])
def test_compiled_sample_is_as_recorded(path: Path, part: str) -> None:
    issue = read_issue(path.name, path.read_text("utf-8"))
    suffix = {"html": "mail.html", "text": "mail.txt", "view_html": "view.html"}[part]
    recorded = GOLDEN / f"{path.stem}.{suffix}"

    made = getattr(compiled(issue, stand_in_media(issue)), part)

    if os.environ.get("CORRANTO_WRITE_GOLDEN"):
        recorded.write_text(made, "utf-8", newline="\n")
    assert made == recorded.read_text("utf-8")
