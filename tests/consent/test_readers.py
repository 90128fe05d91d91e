"""Readers as editors list, add and take them away."""

import csv
from pathlib import Path

from sqlalchemy import insert, select, update

from tests.support.publication import CONSENT
from tests.support.readers import WHEN, Readers
from tests.support.words import refuses
from worker.consent import optout
from worker.consent.exports import export_publication, export_reader
from worker.consent.optout import Wish
from worker.consent.readers import PAGE, list_readers, show_reader
from worker.consent.subscribe import add_subscriber
from worker.domain.subscription import Channel, SubscriptionState
from worker.errors import NotFoundError
from worker.storage import schema
from worker.storage.engine import Database
from worker.tokens import instance_hash

JANE = "jane@example.org"


def crowd(database: Database, publication: int, number: int) -> None:
    """So many confirmed readers of a publication."""
    pepper = database.instance().address_key
    addresses = [f"r{n}@example.org" for n in range(1, number + 1)]
    known = {"name": "", "attributes": {}, "created_at": WHEN}
    confirmed = {"publication_id": publication, "state": "confirmed", "confirmed_at": WHEN, "consent_source": "a form"}
    with database.write() as conn:
        people = [{"address": one, "address_hash": instance_hash(pepper, one), **known} for one in addresses]
        conn.execute(insert(schema.subscriber), people)
        ids = conn.scalars(select(schema.subscriber.c.id)).all()
        conn.execute(insert(schema.subscription), [{"subscriber_id": one, **confirmed} for one in ids])


def test_an_export_holds_whoever_gets_the_publication_now_and_nobody_else(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given readers who stay, left, never confirmed, and read something else
    add_subscriber(
        database, "newsline", JANE, name="=cmd|' /C calc'!A0", attributes={"city": "+Ghent"}, consent=CONSENT,
        actor="editor",
    )  # fmt: skip
    (left,) = readers.reader("left@example.org", newsline)
    (pending,) = readers.reader("pending@example.org", newsline)
    readers.reader("else@example.org", readers.publication("magazine"))
    optout.opt_out(database, Wish(left, Channel.PAGE, "reader"), tmp_path, 0)
    with database.write() as conn:
        mine = schema.subscription.c.id == pending
        conn.execute(update(schema.subscription).where(mine).values(state="pending", confirmed_at=None))

    # When the list is taken away
    lines = list(csv.reader(export_publication(database, "newsline")))

    # Then a spreadsheet that opens it runs nothing
    assert lines[0] == ["email", "name", "language", "consent_at", "city"]
    assert [(*line[:3], *line[4:]) for line in lines[1:]] == [(JANE, "'=cmd|' /C calc'!A0", "", "'+Ghent")]


def test_an_export_of_many_pages_holds_every_reader_once(sqlite_database: Database) -> None:
    # Given one reader more than two pages
    readers = Readers(sqlite_database, None)  # type: ignore[arg-type] - signs nothing
    crowd(sqlite_database, readers.publication("newsline"), 2 * PAGE + 1)

    # When the list is taken away
    header, *lines = csv.reader(export_publication(sqlite_database, "newsline"))

    # Then
    assert header == ["email", "name", "language", "consent_at"]
    assert [line[0] for line in lines] == [f"r{n}@example.org" for n in range(1, 2 * PAGE + 2)]


def test_an_unknown_publication_is_refused_before_the_first_line(database: Database, newsline: int) -> None:
    with refuses(NotFoundError, match="did you mean newsline"):
        export_publication(database, "newslien")


def test_a_list_ends_at_its_limit_and_says_that_there_is_more(sqlite_database: Database) -> None:
    # Given one reader more than a page
    readers = Readers(sqlite_database, None)  # type: ignore[arg-type] - signs nothing
    crowd(sqlite_database, readers.publication("newsline"), PAGE + 1)

    # When lists are asked for
    short, whole = list_readers(sqlite_database, limit=PAGE), list_readers(sqlite_database, limit=PAGE + 1)

    # Then
    assert (len(short.readers), short.more) == (PAGE, True)
    assert (len(whole.readers), whole.more) == (PAGE + 1, False)
    assert len({one.subscriber.id for one in whole.readers}) == PAGE + 1


def test_a_readers_own_data_names_every_no_and_where_it_came_from(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left by the button of an issue
    (here,) = readers.reader(JANE, newsline)
    issue = readers.issue(newsline, [here])
    optout.opt_out(database, Wish(here, Channel.ONE_CLICK, "reader", issue), tmp_path, 0)

    # When they ask for what is kept
    data = export_reader(database, JANE)
    told = show_reader(database, JANE).timeline

    # Then
    assert data["subscriptions"][0]["state"] == "ended"
    assert [(line["event"], line["channel"], line["issue"]) for line in data["consent"]] == [
        ("ended", "one_click", "issue-1")
    ]
    assert "by the mail program's unsubscribe button: from issue issue-1: by reader" in [one.detail for one in told]


def test_adding_a_reader_who_never_confirmed_confirms_them(database: Database, readers: Readers, newsline: int) -> None:
    # Given somebody whose confirmation never came
    (here,) = readers.reader(JANE, newsline)
    with database.write() as conn:
        conn.execute(update(schema.subscription).values(state="pending", confirmed_at=None))

    # When an editor adds them, holding the evidence
    made = add_subscriber(database, "newsline", JANE, consent=CONSENT, actor="editor")

    # Then they get the next issue
    assert (made.subscription_id, made.added) == (here, True)
    assert readers.state(here) == (SubscriptionState.CONFIRMED, 1)
    assert readers.rows("consent_log") == 1
