"""Erasing a reader: out of everything, then gone, and never half of it."""

from pathlib import Path

import pytest
from sqlalchemy import select

from tests.support.publication import CONSENT, publish
from tests.support.readers import Killed, Readers, WatchedDatabase
from tests.support.words import refuses
from worker.consent import optout
from worker.consent.erasure import erase_reader
from worker.consent.optout import Wish
from worker.consent.readers import find_reader
from worker.consent.subscribe import add_subscriber
from worker.consent.suppressions import list_suppressions, suppress_addresses
from worker.domain.subscription import Channel
from worker.errors import NotFoundError, RefusedError, UsageError
from worker.storage import schema
from worker.storage.engine import Database
from worker.storage.people.subscribers import Erased

JANE = "jane@example.org"


def erase(database: Database, folder: Path, *, keep_no: bool = True, wait_s: float = 0) -> Erased:
    return erase_reader(database, JANE, actor="editor", state_dir=folder, wait_s=wait_s, keep_no=keep_no)


def test_an_erased_reader_is_out_of_everything_and_nothing_names_them(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader of two publications, of whom language and values are known
    add_subscriber(
        database, "newsline", JANE, name="Jane", language="pt-BR", attributes={"city": "Ghent"}, consent=CONSENT,
        actor="editor",
    )  # fmt: skip
    reader = find_reader(database, JANE)
    readers.subscribe(reader.id, readers.publication("magazine"))
    earlier = readers.subscribe(reader.id, readers.publication("notes"))
    optout.opt_out(database, Wish(earlier, Channel.PAGE, "reader"), tmp_path / "before", 0)

    # When they are erased
    erased = erase(database, tmp_path)

    # Then what ended is in the opt-out log for a restore, and the row is empty
    assert (erased.subscriber_id, erased.subscriptions, erased.suppressed) == (reader.id, 2, True)
    assert erased.on_its_way == ()
    lines = (tmp_path / "optouts.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["out 1:1 2:1", "did 1:1 2:1", "erased 1", "did 1"]
    assert [readers.state(one)[0] for one in (1, 2)] == ["ended", "ended"]
    with database.read() as conn:
        row = conn.execute(select(schema.subscriber)).one()
    assert (row.address, row.address_hash, row.name, row.language, row.attributes) == (None, None, "", None, {})
    with refuses(NotFoundError, match="no subscriber has the address"):
        erase(database, tmp_path)


def test_a_crash_after_leaving_and_before_erasing_is_ended_by_erasing_again(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a process that dies at its second commit
    (here,) = readers.reader(JANE, newsline)
    commits: list[str] = []

    def die_at_the_second(kind: str) -> None:
        commits.append(kind)
        if len(commits) == 2:
            raise Killed

    # When it erases a reader
    with pytest.raises(Killed):
        erase(WatchedDatabase(database, die_at_the_second), tmp_path)

    # Then the reader gets nothing any more, is still there, and erasing again goes on from there
    assert readers.state(here)[0] == "ended"
    assert find_reader(database, JANE).address == JANE
    assert erase(database, tmp_path).suppressed
    assert commits == ["durable", "durable"]
    with pytest.raises(NotFoundError):
        find_reader(database, JANE)


def test_erasing_names_a_copy_in_flight_of_every_publication(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader whose copy of the second publication is being handed over
    magazine = readers.publication("magazine")
    _, other = readers.reader(JANE, newsline, magazine)
    readers.claim(readers.issue(magazine, [other], subject="In flight"), 1, 1)

    # When they are erased
    erased = erase(database, tmp_path)

    # Then whoever erases can say so
    assert erased.on_its_way == ("In flight",)


def test_a_reader_without_any_subscription_is_erased_too(database: Database, readers: Readers, tmp_path: Path) -> None:
    # Given somebody who is only known
    readers.subscriber(JANE)

    # When they are erased
    erased = erase(database, tmp_path)

    # Then there was nothing to end
    assert (erased.subscriptions, erased.on_its_way) == (0, ())
    line, _ = (tmp_path / "optouts.log").read_text().splitlines()
    assert line.endswith(" erased 1")


def test_an_old_link_of_an_erased_reader_brings_nothing_back(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left and was erased, without even a hash kept
    (here,) = readers.reader(JANE, newsline)
    erase(database, tmp_path, keep_no=False)
    before = readers.checksum()

    # When somebody presses Undo on an old page
    undone = optout.undo(database, Wish(here, Channel.PAGE, "reader"), tmp_path)

    # Then nobody is subscribed, and whoever asks again begins as somebody new
    assert undone == ()
    assert readers.state(here) == ("ended", 1)
    assert readers.checksum() == before
    assert add_subscriber(database, "newsline", JANE, consent=CONSENT, actor="editor").subscription_id != here


@pytest.mark.parametrize("keep_no", [True, False])
def test_a_suppression_from_before_outlives_the_erasure_without_the_address(
    database: Database, readers: Readers, newsline: int, tmp_path: Path, keep_no: bool
) -> None:
    # Given a suppressed reader
    readers.reader(JANE, newsline)
    suppress_addresses(database, [JANE], evidence=f"letter of {JANE}", actor="editor", state_dir=tmp_path, wait_s=0)

    # When they are erased
    erase(database, tmp_path, keep_no=keep_no)

    # Then the no stays, and neither address nor evidence names them
    (kept,) = list_suppressions(database)
    assert (kept.address, kept.reason) == (None, "erased")
    assert JANE not in kept.evidence
    with refuses(RefusedError, match="do-not-mail"):
        add_subscriber(database, "newsline", JANE, consent=CONSENT, actor="editor")


def test_what_is_no_address_erases_nobody(database: Database, readers: Readers, newsline: int, tmp_path: Path) -> None:
    # Given a reader
    readers.reader(JANE, newsline)
    before = readers.checksum()

    # When the editor mistypes
    with refuses(UsageError, match="is not a mailbox address"):
        erase_reader(database, "jane@", actor="editor", state_dir=tmp_path, wait_s=0)

    # Then
    assert readers.checksum() == before


def test_no_file_holds_an_erased_reader(sqlite_database: Database, tmp_path: Path) -> None:
    # Given
    slug = publish(sqlite_database).slug
    add_subscriber(
        sqlite_database, slug, JANE, name="Jane Quill", attributes={"city": "Ghent"}, consent=CONSENT,
        actor="editor",
    )  # fmt: skip
    assert any(b"Quill" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    # When
    erase(sqlite_database, tmp_path)

    # Then neither the database file, nor the log beside it, nor the state directory does
    sqlite_database.close()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            held = path.read_bytes().lower()
            assert not any(trace in held for trace in (b"jane@", b"quill", b"ghent")), path.name
