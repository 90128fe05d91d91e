"""`corranto subscriber`: readers, one by one and by file."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from worker.cli.context import open_ledger
from worker.cli.exports import export
from worker.cli.files import Encoding, Escape, Map, NotLeft, read_pairs, show_result
from worker.cli.output import (
    Json,
    Yes,
    confirm,
    end,
    hint,
    say,
    tell,
    tell_fields,
    tell_json,
    tell_lines,
    tell_table,
    warn,
)
from worker.consent.dates import DateOrder
from worker.consent.erasure import erase_reader
from worker.consent.how import How
from worker.consent.imports import import_subscribers
from worker.consent.readers import find_reader, list_readers, show_reader
from worker.consent.subscribe import add_subscriber
from worker.domain.subscription import SubscriptionState
from worker.quantities import count
from worker.screen.layout import paragraph
from worker.screen.sentences import word
from worker.screen.terminal import err_console

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Readers: import, add, look up, export, erase.",
)

Publication = Annotated[str, typer.Option("--publication", "-p", metavar="SLUG", help="The publication.")]
Consent = Annotated[
    str, typer.Option("--consent", help="Where and when they asked; an ISO date in it counts as evidence.")
]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The reader's address.")]

app.command()(export)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with email, name, language, any attributes; - reads a pipe.")],
    publication: Publication,
    consent: Consent,
    map_: Map = None,
    left_column: Annotated[
        list[str] | None,
        typer.Option("--left-column", metavar="COLUMN", help="Says who left; they go onto the do-not-mail list."),
    ] = None,
    not_left_column: NotLeft = None,
    dates: Annotated[DateOrder | None, typer.Option(help="How to read 03/04/2021.")] = None,
    encoding: Encoding = None,
    escape: Escape = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Write refused lines with their reason to this file.")] = None,
    json: Json = False,
) -> None:
    """Subscribe the readers in FILE. Nobody who opted out comes back by an import, or is said to have left."""
    ledger = open_ledger()
    mapping = read_pairs(map_ or [], "--map", "email='E-mail Address'")
    how = How(mapping, encoding, escape, dates, tuple(left_column or []), tuple(not_left_column or []))
    with _bar() as bar:
        task = bar.add_task(file.name, total=None)
        result = import_subscribers(
            ledger.database,
            publication,
            file,
            consent=consent,
            how=how,
            dry_run=dry_run,
            rejects_path=rejects,
            words=word,
            actor=ledger.actor,
            state_dir=ledger.settings.state_dir,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            wait_s=ledger.settings.optout_fresh_s,
        )
    if json:
        tell_json({"publication": publication, **result.as_dict(word)})
    else:
        show_result(result, publication, file, how, rejects)
    if result.rejected and result.rejected == result.read:
        end(1)


@app.command()
def add(
    address: Address,
    publication: Publication,
    consent: Consent,
    name: Annotated[str, typer.Option(help="The reader's name.")] = "",
    language: Annotated[str | None, typer.Option(help="Language tag, such as fr.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", metavar="NAME=VALUE", help="An attribute; may be repeated.")
    ] = None,
) -> None:
    """Subscribe one reader who asked for it."""
    ledger = open_ledger()
    done = add_subscriber(
        ledger.database,
        publication,
        address,
        name=name,
        language=language,
        attributes=read_pairs(attribute or [], "--attribute", "NAME=VALUE"),
        consent=consent,
        actor=ledger.actor,
    )
    if done.added:
        tell(f"{done.address} gets {publication} from the next issue on")
    else:
        tell(f"{done.address} gets {publication} already; name, language and attributes are as given now")
    hint(f"corranto subscriber show {done.address}")


@app.command()
def show(address: Address, json: Json = False) -> None:
    """Tell everything about one reader as a timeline: consent, every issue and what became of it, leaving."""
    reader = show_reader(open_ledger().database, address)
    if json:
        tell_json(reader.as_dict())
        return
    person = reader.subscriber
    tell(f"{person.address}" + (f"  {person.name}" if person.name else ""), style="bold")
    fields = {"language": person.language or "not known", **person.attributes}
    fields |= {one.title: _spell_state(one.state) for one in reader.subscriptions}
    tell_fields(fields)
    say("\nTimes are UTC.")
    for one in reader.timeline:
        at = f"{one.at:%Y-%m-%d %H:%M}" if one.at else "not yet         "
        tell("  ".join(part for part in (at, one.what, one.publication, one.issue) if part))
        if one.detail and one.detail != one.what:
            tell_lines(paragraph(one.detail, first=" " * 18, rest=" " * 18, style="dim"))


@app.command("list")
def list_some(
    publication: Annotated[
        str | None, typer.Option("-p", "--publication", metavar="SLUG", help="Only this publication's.")
    ] = None,
    state: Annotated[SubscriptionState | None, typer.Option(help="Only those in this state.")] = None,
    domain: Annotated[str | None, typer.Option(help="Only addresses at this domain.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 100,
    json: Json = False,
) -> None:
    """List readers, oldest first."""
    listed = list_readers(open_ledger().database, publication=publication, state=state, domain=domain, limit=limit)
    if json:
        tell_json(listed.as_dict())
    elif not listed.readers:
        say("No reader matches.")
    else:
        rows = [
            [
                one.subscriber.address or "",
                one.subscriber.name,
                one.subscriber.language or "",
                ", ".join(f"{slug}: {_spell_state(its)}" for slug, its in one.states.items()),
            ]
            for one in listed.readers
        ]
        tell_table(["ADDRESS", "NAME", "LANGUAGE", "SUBSCRIPTIONS"], rows)
        if listed.more:
            say(f"More than {limit:,}: --limit shows more.")


@app.command()
def erase(
    address: Address,
    forget_no: Annotated[
        bool, typer.Option("--forget-no", help="Keep no hash either: a later import may bring them back.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove a reader's address, name and attributes for good. The counts of past issues stay, naming nobody."""
    ledger = open_ledger()
    confirm(f"Erasing {find_reader(ledger.database, address).address} cannot be undone.", yes=yes)
    erased = erase_reader(
        ledger.database,
        address,
        actor=ledger.actor,
        state_dir=ledger.settings.state_dir,
        wait_s=ledger.settings.optout_fresh_s,
        keep_no=not forget_no,
    )
    tell(f"erased subscriber {erased.subscriber_id}: {count(erased.subscriptions, 'subscription')} ended")
    if erased.suppressed:
        say("A keyed hash stays on the do-not-mail list, so that no import brings them back.")
    for subject in erased.on_its_way:
        warn(f'one copy of "{subject}" may be on its way')


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} lines"),
        TimeRemainingColumn(),
        console=err_console(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def _spell_state(state: SubscriptionState) -> str:
    return {
        SubscriptionState.PENDING: "unconfirmed",
        SubscriptionState.CONFIRMED: "subscribed",
        SubscriptionState.ENDED: "left",
    }[state]
