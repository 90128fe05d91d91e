"""The two sample issues, their publications, and what reading and compiling one needs."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from worker.compose.compile import compile_issue
from worker.compose.issue_file import load_layouts, read_issue_file, take_in_media
from worker.compose.media import MediaItem
from worker.compose.rules_targets import pictures_of
from worker.compose.source import read_whole
from worker.compose.typeset import large_key
from worker.domain.compiled import CompiledIssue
from worker.domain.issue import IssueText
from worker.domain.publication import DEFAULT_PROMISE, Publication

SAMPLES = Path(__file__).parents[2] / "worker" / "demo" / "samples"
MEMBERS = SAMPLES / "2026-11-members.md"
STATEMENT = SAMPLES / "2026-11-statement.md"
BASE_URL = "https://news.example.org"
VIEW_URL = f"{BASE_URL}/v/{'0' * 44}"


def publication(slug: str = "ring-news", title: str = "Orrin Ring News", language: str = "en") -> Publication:
    """An invented publication."""
    return Publication(
        id=1,
        slug=slug,
        title=title,
        from_name="The Orrin Ring",
        from_address="news@orrin-ring.test",
        postal_address="The Orrin Ring\nQuay House, 7 Harbour Street\nPortavela",
        reply_to=None,
        bounce_address=None,
        contact="people@orrin-ring.test",
        promise=DEFAULT_PROMISE,
        privacy_url=None,
        language=language,
        zone="UTC",
        description="",
    )


def load_issue_file(path: Path) -> tuple[IssueText, dict[str, MediaItem]]:
    """The issue and its media, as every command takes them in."""
    issue = read_issue_file(path)
    return issue, take_in_media(issue)[0]


def stand_in_media(issue: IssueText, folder: Path = SAMPLES) -> dict[str, MediaItem]:
    """Media of the right size whose names do not depend on an encoder's version."""

    def stand_in(key: str) -> MediaItem:
        path = folder / key.removeprefix("large:")
        digest = hashlib.sha256(key.encode()).hexdigest()
        if path.suffix == ".pdf":
            return MediaItem(f"{digest}.pdf", "application/pdf", 0, 0, path.read_bytes())
        with Image.open(path) as picture:
            width, height = picture.size
        return MediaItem(f"{digest}.jpg", "image/jpeg", width, height, b"picture")

    keys = {picture.src for picture in pictures_of(issue) if not picture.src.startswith("large:")}
    keys |= {enclosure.file for enclosure in issue.enclosures if enclosure.file}
    keys |= {large_key(figure) for figure in issue.figures}
    return {key: stand_in(key) for key in sorted(keys)}


def compiled(
    issue: IssueText,
    media: dict[str, MediaItem] | None = None,
    language: str = "en",
    base_url: str = BASE_URL,
    **changes: Any,
) -> CompiledIssue:
    """The issue compiled for an invented publication, changed."""
    return compile_issue(
        issue,
        replace(publication(issue.publication, "Orrin Ring News", language), **changes),
        base_url=base_url,
        templates=load_layouts(),
        media=media or {},
        view_url=VIEW_URL,
        boundary="=_golden",
    )


def newsletter(
    body: str = "Some words that make a body.\n", front: str = "", subject: str = "A plain subject"
) -> IssueText:
    """A small newsletter; `front` adds front-matter lines."""
    return read_whole(
        "small.md",
        f"---\nkind: newsletter\npublication: ring-news\nsubject: {subject}\npreheader: Before it\n{front}---\n{body}",
    )


def item(width: int = 0, height: int = 0, name: str = "a") -> MediaItem:
    """A hosted picture of this size, or a file without one."""
    digest, suffix = name * 64, "png" if width else "pdf"
    return MediaItem(f"{digest}.{suffix}", "image/png" if width else "application/pdf", width, height, b"x" * 34_000)


def statement(body: str = "Some words that make a body.\n", front: str = "") -> IssueText:
    """A small statement; `front` adds front-matter lines, the first one is line 6."""
    return read_whole(
        "small.md",
        f"---\nkind: statement\npublication: ring-news\nsubject: A plain subject\npreheader: x\n{front}---\n{body}",
    )
