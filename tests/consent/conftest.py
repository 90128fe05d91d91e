"""What the tests of joining and leaving share: rows on each kind of database."""

import pytest

from tests.support.readers import KEY, Readers
from worker.storage.engine import Database
from worker.tokens import Keyring


@pytest.fixture
def readers(database: Database) -> Readers:
    return Readers(database, Keyring([KEY]))


@pytest.fixture
def newsline(readers: Readers) -> int:
    return readers.publication("newsline", "Newsline")
