"""Publications as editors make and change them, and as pages list them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.domain.publication import Publication
from worker.domain.subscription import SubscriptionState
from worker.storage import publications
from worker.storage.engine import Database


@dataclass(frozen=True)
class Counted:
    """A publication, and how many subscriptions stand in each state."""

    publication: Publication
    subscriptions: Mapping[SubscriptionState, int]

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        return {"publication": self.publication.as_dict(), "subscriptions": self._counts()}

    def as_list_item(self) -> dict[str, Any]:
        """The same as one item of a list: the publication's own fields, and the counts beside them."""
        return {**self.publication.as_dict(), "subscriptions": self._counts()}

    def _counts(self) -> dict[str, int]:
        return {str(state): count for state, count in self.subscriptions.items()}


@dataclass(frozen=True)
class Edited:
    """A publication after an edit, and the fields that are another than before."""

    publication: Publication
    changed: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        return {"publication": self.publication.as_dict(), "changed": list(self.changed)}


def create_publication(database: Database, typed: Mapping[str, str | None], *, actor: str) -> Publication:
    """Make one from what was typed. Raises UsageError for wrong values, RefusedError when the slug is taken."""
    with database.write() as conn:
        return publications.create_publication(conn, typed, actor=actor)


def edit_publication(database: Database, slug: str, typed: Mapping[str, str | None], *, actor: str) -> Edited:
    """Change what was typed and keep the rest. Raises NotFoundError, UsageError for wrong values."""
    with database.write() as conn:
        before = publications.get_publication(conn, slug).as_dict()
        after = publications.edit_publication(conn, slug, typed, actor=actor)
    return Edited(after, [name for name, value in after.as_dict().items() if value != before[name]])


def count_publication(database: Database, slug: str) -> Counted:
    """One of them with its readers counted. Raises NotFoundError."""
    with database.read() as conn:
        publication = publications.get_publication(conn, slug)
        return Counted(publication, publications.count_subscriptions(conn, publication.id))


def count_publications(database: Database) -> list[Counted]:
    """All of them by title, with their readers counted."""
    with database.read() as conn:
        everything = publications.list_publications(conn)
        return [Counted(one, publications.count_subscriptions(conn, one.id)) for one in everything]


def list_publications(database: Database) -> list[Publication]:
    """All of them by title; counts nothing, so that a page may ask at every request."""
    with database.read() as conn:
        return publications.list_publications(conn)
