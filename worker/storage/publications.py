"""Publications: made, changed, found, counted. Each change writes its act in the same transaction."""

import difflib
from collections.abc import Mapping
from typing import Any
from zoneinfo import available_timezones

from sqlalchemy import Connection, Row, func, select

from worker.domain.publication import Publication, read_publication
from worker.domain.subscription import SubscriptionState
from worker.errors import NotFoundError, RefusedError, Remedy, UsageError
from worker.storage import acts
from worker.storage.engine import database_now
from worker.storage.schema import publication as table
from worker.storage.schema import subscription

_FIELDS = tuple(Publication.__dataclass_fields__)
_COLUMNS = [table.c[name] for name in _FIELDS]


def create_publication(conn: Connection, typed: Mapping[str, str | None], *, actor: str) -> Publication:
    """Make one from what was typed (see `domain.publication.read_publication`).

    Raises UsageError for wrong values, RefusedError when the slug is taken.
    """
    # First of all: whoever meant to change a publication need not learn what a new one would lack.
    slug = (typed.get("slug") or "").strip()
    if conn.execute(select(table.c.id).where(table.c.slug == slug)).first():
        raise RefusedError("publication.exists", slug=slug)
    wanted = read_publication(typed, available_timezones())
    conn.execute(table.insert().values(**_values(wanted), created_at=database_now()))
    acts.record(conn, actor, "publication.create", f"publication:{wanted.slug}")
    return get_publication(conn, wanted.slug)


def edit_publication(conn: Connection, slug: str, typed: Mapping[str, str | None], *, actor: str) -> Publication:
    """Change what was typed and keep the rest; queued issues keep what they were compiled with.

    The slug never changes: List-Id, archive and files name it. Raises NotFoundError, UsageError for wrong values.
    """
    before = get_publication(conn, slug)
    if typed.get("slug") not in (None, slug):
        raise UsageError("publication.slug_stays", slug=slug)
    after = read_publication(typed, available_timezones(), before)
    changed = {name: value for name, value in _values(after).items() if value != getattr(before, name)}
    if changed:
        conn.execute(table.update().where(table.c.id == before.id).values(**changed))
        acts.record(conn, actor, "publication.edit", f"publication:{slug}", {"fields": len(changed)})
    return after


def get_publication(conn: Connection, slug: str) -> Publication:
    """The publication with this slug. Raises NotFoundError that names near slugs."""
    row = conn.execute(select(*_COLUMNS).where(table.c.slug == slug)).one_or_none()
    if row is not None:
        return _publication(row)
    slugs = list(conn.scalars(select(table.c.slug).order_by(table.c.slug)))
    if not slugs:
        raise NotFoundError("publication.none_yet", slug=slug, remedy=Remedy.CREATE)
    near = difflib.get_close_matches(slug, slugs, n=3, cutoff=0.5)
    raise NotFoundError("publication.unknown", slug=slug, near=near, some=slugs[:5])


def get_publication_by_id(conn: Connection, publication_id: int) -> Publication:
    """The publication a row points to. Raises NotFoundError."""
    row = conn.execute(select(*_COLUMNS).where(table.c.id == publication_id)).one_or_none()
    if row is None:
        raise NotFoundError("publication.unknown_number", id=publication_id)
    return _publication(row)


def list_publications(conn: Connection) -> list[Publication]:
    """All of them by title."""
    return [_publication(row) for row in conn.execute(select(*_COLUMNS).order_by(table.c.title, table.c.id))]


def count_subscriptions(conn: Connection, publication_id: int) -> dict[SubscriptionState, int]:
    """How many subscriptions stand in each state; zero where none does."""
    query = (
        select(subscription.c.state, func.count())
        .where(subscription.c.publication_id == publication_id)
        .group_by(subscription.c.state)
    )
    counts: dict[str, int] = {row[0]: row[1] for row in conn.execute(query)}
    return {state: counts.get(str(state), 0) for state in SubscriptionState}


def _values(publication: Publication) -> dict[str, Any]:
    return {name: getattr(publication, name) for name in _FIELDS if name != "id"}


def _publication(row: Row[Any]) -> Publication:
    return Publication(**row._mapping)
