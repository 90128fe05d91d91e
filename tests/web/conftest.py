"""What the tests of the readers' pages share: a ledger with a reader, and the application before it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.readers import KEY, Readers, settings_for
from tests.support.web_server import running_web
from worker.settings import Settings
from worker.storage.engine import Database
from worker.tokens import Keyring


@dataclass
class Desk:
    """A running web process with one reader of two publications. `client` follows no redirect."""

    readers: Readers
    settings: Settings
    place: tuple[str, int]
    client: httpx.Client
    newsline: int
    magazine: int
    here: int
    other: int
    issue: int
    link: str

    @property
    def base(self) -> str:
        return f"http://{self.place[0]}:{self.place[1]}"


@pytest.fixture
def readers(database: Database) -> Readers:
    """Rows on each kind of database."""
    return Readers(database, Keyring([KEY]))


@pytest.fixture
def desk(sqlite_database: Database, sqlite_url: str, tmp_path: Path) -> Iterator[Desk]:
    """The application on a free port, its ledger on SQLite."""
    settings = settings_for(sqlite_url, tmp_path / "state", optout_fresh_s="0.5")
    rows = Readers(sqlite_database, Keyring([KEY]))
    newsline = rows.publication("newsline", "Newsline")
    magazine = rows.publication("magazine", "Magazine")
    here, other = rows.reader("jane.invented@example.org", newsline, magazine)
    issue = rows.issue(newsline, [here])
    link = rows.link(here, issue_id=issue)
    with (
        running_web(settings, sqlite_database) as place,
        httpx.Client(base_url=f"http://{place[0]}:{place[1]}", follow_redirects=False, timeout=60) as client,
    ):
        yield Desk(rows, settings, place, client, newsline, magazine, here, other, issue, link)
