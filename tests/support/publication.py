"""A publication and files of readers, for tests of consent and storage."""

import tempfile
from pathlib import Path

from worker.domain.publication import Publication
from worker.storage.engine import Database
from worker.storage.publications import create_publication

TYPED = {
    "slug": "briefing",
    "title": "Members’ Briefing",
    "from": "The Briefing <briefing@news.example.org>",
    "postal_address": "1 Example Road, 12345 Exampleton",
}
CONSENT = "paper form at the 2024-05-04 open day"
ACTOR = "editor@desk"
_FOLDER = tempfile.TemporaryDirectory(prefix="corranto-state-")
ANYWHERE = Path(_FOLDER.name)
"""A state directory for tests that never look into it."""


def publish(database: Database, slug: str = "briefing") -> Publication:
    """A publication with this slug."""
    with database.write() as conn:
        return create_publication(conn, {**TYPED, "slug": slug}, actor=ACTOR)


def write_csv(folder: Path, text: str, encoding: str = "utf-8", name: str = "readers.csv") -> Path:
    """A file exactly as given, line ends included."""
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path
