"""What the demo begins with: two publications, a signing key, invented readers. Repeating it adds what is missing."""

from dataclasses import dataclass
from pathlib import Path

from worker.consent.imports import import_subscribers
from worker.demo.readers import CONSENT, as_csv
from worker.domain.subscription import SubscriptionState
from worker.editorial.publications import count_publication, create_publication, list_publications
from worker.message.key_store import key_files, make_key
from worker.settings import Settings
from worker.storage.engine import Database

DOMAIN = "orrin-ring.example.org"
ACTOR = "demo"

_COMMON = {
    "postal_address": "The Orrin Ring, 7 Quay of Posts, 1000 Lisbon (invented)",
    "bounce_address": f"bounces@{DOMAIN}",
    "contact": f"readers@{DOMAIN}",
    "language": "en",
    "zone": "Europe/Lisbon",
}
_PUBLICATIONS: tuple[dict[str, str], ...] = (
    {
        "slug": "ring-news",
        "title": "Ring News",
        "from": f"The Orrin Ring <news@{DOMAIN}>",
        "description": "Once a month: short reports from the seven members of an invented research project.",
    },
    {
        "slug": "ring-statements",
        "title": "Statements of the Orrin Ring",
        "from": f"The Orrin Ring <council@{DOMAIN}>",
        "description": "Now and then: what the council of an invented research project has decided.",
    },
)


@dataclass(frozen=True)
class Seeded:
    """What is there now: publications, and readers of the first one; `added` tells whether this run brought them."""

    publications: int
    readers: int
    added: bool


def seed(database: Database, settings: Settings, folder: Path, number: int, *, slow_s: float = 0.0) -> Seeded:
    """Add what is missing: the publications, a key for their domain, and `number` readers unless some are there.

    With `slow_s` no mail of theirs meets trouble, and the sink takes so many seconds with each.
    """
    known = {publication.slug for publication in list_publications(database)}
    for typed in _PUBLICATIONS:
        if typed["slug"] not in known:
            create_publication(database, {**_COMMON, **typed}, actor=ACTOR)
    if not key_files(settings.dkim_dir, DOMAIN):
        make_key(settings.dkim_dir, DOMAIN, "demo")
    added = False
    for typed in _PUBLICATIONS:
        if count_readers(database, typed["slug"]) == 0:
            file = folder / "readers.csv"
            file.write_text(as_csv(number, slow_s), encoding="utf-8")
            import_subscribers(database, typed["slug"], file, consent=CONSENT, actor=ACTOR, state_dir=folder)
            added = True
    return Seeded(len(_PUBLICATIONS), count_readers(database), added)


def count_readers(database: Database, slug: str = _PUBLICATIONS[0]["slug"]) -> int:
    """Who gets a publication now."""
    return count_publication(database, slug).subscriptions[SubscriptionState.CONFIRMED]
