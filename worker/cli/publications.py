"""`corranto publication`: what one can subscribe to."""

from dataclasses import asdict
from typing import Annotated

import typer

from worker.cli.context import open_ledger
from worker.cli.output import Json, hint, say, tell, tell_fields, tell_json, tell_table
from worker.domain.publication import Publication
from worker.domain.subscription import SubscriptionState
from worker.quantities import count
from worker.storage import publications

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What one can subscribe to.")

Slug = Annotated[str, typer.Argument(metavar="SLUG", help="Short name in small letters, such as newsline.")]
Title = Annotated[str | None, typer.Option("--title", help="Its name, as readers know it.")]
From = Annotated[str | None, typer.Option("--from", metavar='"NAME <A@B>"', help="Who writes, and the From address.")]
Postal = Annotated[str | None, typer.Option("--postal-address", help="The publisher's postal address, for the footer.")]
ReplyTo = Annotated[str | None, typer.Option("--reply-to", metavar="A@B", help="Where answers go, if not to From.")]
Bounce = Annotated[str | None, typer.Option("--bounce-address", metavar="A@B", help="Where returned mail goes.")]
Contact = Annotated[str | None, typer.Option("--contact", metavar="A@B", help="Whom readers may ask for help.")]
Promise = Annotated[str | None, typer.Option("--promise", help="What is done with an address, for footer and pages.")]
Privacy = Annotated[str | None, typer.Option("--privacy-url", metavar="URL", help="The publisher's privacy page.")]
Language = Annotated[
    str | None, typer.Option("--language", metavar="TAG", help="Main language, such as en or zh-Hans.")
]
Zone = Annotated[str | None, typer.Option("--zone", help="Time zone of its editors, such as Europe/Paris.")]
Description = Annotated[str | None, typer.Option("--description", help="A sentence for the page that lists it.")]


@app.command()
def create(
    slug: Slug,
    title: Title = None,
    sender: From = None,
    postal_address: Postal = None,
    reply_to: ReplyTo = None,
    bounce_address: Bounce = None,
    contact: Contact = None,
    promise: Promise = None,
    privacy_url: Privacy = None,
    language: Language = None,
    zone: Zone = None,
    description: Description = None,
    json: Json = False,
) -> None:
    """Make a publication. --title, --from and --postal-address are required."""
    typed = {
        "slug": slug,
        "title": title,
        "from": sender,
        "postal_address": postal_address,
        "reply_to": reply_to,
        "bounce_address": bounce_address,
        "contact": contact,
        "promise": promise,
        "privacy_url": privacy_url,
        "language": language,
        "zone": zone,
        "description": description,
    }
    ledger = open_ledger()
    with ledger.database.write() as conn:
        made = publications.create_publication(conn, typed, actor=ledger.actor)
    if json:
        tell_json({"publication": _plain(made)})
        return
    tell(f"made the publication {made.slug}: {made.title}, from {made.from_name} <{made.from_address}>")
    hint(f'corranto subscriber import FILE -p {made.slug} --consent "where and when they asked"')


@app.command()
def edit(
    slug: Slug,
    title: Title = None,
    sender: From = None,
    postal_address: Postal = None,
    reply_to: ReplyTo = None,
    bounce_address: Bounce = None,
    contact: Contact = None,
    promise: Promise = None,
    privacy_url: Privacy = None,
    language: Language = None,
    zone: Zone = None,
    description: Description = None,
    json: Json = False,
) -> None:
    """Change what is given and keep the rest. Issues already queued stay as they are."""
    typed = {
        "title": title,
        "from": sender,
        "postal_address": postal_address,
        "reply_to": reply_to,
        "bounce_address": bounce_address,
        "contact": contact,
        "promise": promise,
        "privacy_url": privacy_url,
        "language": language,
        "zone": zone,
        "description": description,
    }
    ledger = open_ledger()
    with ledger.database.write() as conn:
        before = publications.get_publication(conn, slug)
        after = publications.edit_publication(conn, slug, typed, actor=ledger.actor)
    changed = [name for name, value in asdict(after).items() if value != getattr(before, name)]
    if json:
        tell_json({"publication": _plain(after), "changed": changed})
    elif changed:
        tell(f"changed {', '.join(name.replace('_', ' ') for name in changed)} of {slug}")
    else:
        tell(f"nothing to change: {slug} already is like that")


@app.command()
def show(slug: Slug, json: Json = False) -> None:
    """Show a publication and how many subscribe to it."""
    ledger = open_ledger()
    with ledger.database.read() as conn:
        found = publications.get_publication(conn, slug)
        counts = publications.count_subscriptions(conn, found.id)
    if json:
        tell_json({"publication": _plain(found), "subscriptions": {str(k): v for k, v in counts.items()}})
        return
    fields = {
        "slug": found.slug,
        "title": found.title,
        "from": f"{found.from_name} <{found.from_address}>",
        "reply to": found.reply_to or "the From address",
        "bounces to": found.bounce_address or "not set: needed for a relay that is not on this machine",
        "contact": found.contact,
        "language": found.language,
        "zone": found.zone,
        "postal": found.postal_address.replace("\n", ", "),
        "promise": found.promise,
        "privacy": found.privacy_url or "not set",
        "about": found.description or "not set",
        "readers": _spell_counts(counts),
    }
    tell_fields(fields)


@app.command("list")
def list_all(json: Json = False) -> None:
    """List the publications."""
    ledger = open_ledger()
    with ledger.database.read() as conn:
        found = [(one, publications.count_subscriptions(conn, one.id)) for one in publications.list_publications(conn)]
    if json:
        items = [{**_plain(one), "subscriptions": {str(k): v for k, v in counts.items()}} for one, counts in found]
        tell_json({"publications": items})
    elif not found:
        say("There is no publication yet.")
        hint("corranto publication create --help")
    else:
        rows = [
            [one.slug, one.title, f"{counts[SubscriptionState.CONFIRMED]:,}", one.language] for one, counts in found
        ]
        tell_table(["SLUG", "TITLE", "READERS", "LANGUAGE"], rows, right=[2])


def _plain(publication: Publication) -> dict[str, object]:
    return asdict(publication)


def _spell_counts(counts: dict[SubscriptionState, int]) -> str:
    confirmed = count(counts[SubscriptionState.CONFIRMED], "person gets it", "people get it")
    return f"{confirmed}, {counts[SubscriptionState.PENDING]:,} unconfirmed, {counts[SubscriptionState.ENDED]:,} left"
