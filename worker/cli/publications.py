"""`corranto publication`: what one can subscribe to."""

from collections.abc import Mapping
from typing import Annotated

import typer

from worker.cli.context import open_ledger
from worker.cli.output import Json, hint, say, tell, tell_fields, tell_json, tell_table
from worker.domain.subscription import SubscriptionState
from worker.editorial import publications
from worker.quantities import count

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="What one can subscribe to.")

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
Zone = Annotated[
    str | None, typer.Option("--zone", metavar="ZONE", help="Time zone of its editors, such as Europe/Paris.")
]
Description = Annotated[str | None, typer.Option("--description", help="A sentence for the page that lists it.")]


@app.command("edit", help="Change what is given and keep the rest. Issues already queued stay as they are.")
@app.command("create", help="Make a publication. --title, --from and --postal-address are required.")
def write(
    ctx: typer.Context,
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
    """Two commands with the same options."""
    options = {"from" if name == "sender" else name: value for name, value in locals().items()}
    typed: dict[str, str | None] = {name: value for name, value in options.items() if name not in ("ctx", "json")}
    if ctx.command.name == "create":
        _create(typed, json=json)
    else:
        _edit(slug, {**typed, "slug": None}, json=json)


def _create(typed: Mapping[str, str | None], *, json: bool) -> None:
    ledger = open_ledger()
    made = publications.create_publication(ledger.database, typed, actor=ledger.actor)
    if json:
        tell_json({"publication": made.as_dict()})
        return
    tell(f"made the publication {made.slug}: {made.title}, from {made.from_name} <{made.from_address}>")
    hint(f'corranto subscriber import FILE -p {made.slug} --consent "where and when they asked"')


def _edit(slug: str, typed: Mapping[str, str | None], *, json: bool) -> None:
    ledger = open_ledger()
    edited = publications.edit_publication(ledger.database, slug, typed, actor=ledger.actor)
    if json:
        tell_json(edited.as_dict())
    elif edited.changed:
        tell(f"changed {', '.join(name.replace('_', ' ') for name in edited.changed)} of {slug}")
    else:
        tell(f"nothing to change: {slug} already is like that")


@app.command()
def show(slug: Slug, json: Json = False) -> None:
    """Show a publication and how many subscribe to it."""
    ledger = open_ledger()
    counted = publications.count_publication(ledger.database, slug)
    if json:
        tell_json(counted.as_dict())
        return
    publication = counted.publication
    fields = {
        "slug": publication.slug,
        "title": publication.title,
        "from": f"{publication.from_name} <{publication.from_address}>",
        "reply to": publication.reply_to or "the From address",
        "bounces to": publication.bounce_address or "not set: needed for a relay that is not on this machine",
        "contact": publication.contact,
        "language": publication.language,
        "zone": publication.zone,
        "postal": publication.postal_address.replace("\n", ", "),
        "promise": publication.promise,
        "privacy": publication.privacy_url or "not set",
        "about": publication.description or "not set",
        "readers": _spell_counts(counted.subscriptions),
    }
    tell_fields(fields)


@app.command("list")
def list_all(json: Json = False) -> None:
    """List the publications."""
    ledger = open_ledger()
    listed = publications.count_publications(ledger.database)
    if json:
        tell_json({"publications": [one.as_list_item() for one in listed]})
    elif not listed:
        say("There is no publication yet.")
        hint("corranto publication create --help")
    else:
        confirmed = SubscriptionState.CONFIRMED
        rows = [
            [one.publication.slug, one.publication.title, f"{one.subscriptions[confirmed]:,}", one.publication.language]
            for one in listed
        ]
        tell_table(["SLUG", "TITLE", "READERS", "LANGUAGE"], rows, right=[2])


def _spell_counts(counts: Mapping[SubscriptionState, int]) -> str:
    confirmed = count(counts[SubscriptionState.CONFIRMED], "person gets it", "people get it")
    return f"{confirmed}, {counts[SubscriptionState.PENDING]:,} unconfirmed, {counts[SubscriptionState.ENDED]:,} left"
