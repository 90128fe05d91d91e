"""What a reader's page may know about them: where they stand, masked, and what came to an end together."""

from pathlib import Path

from sqlalchemy import update

from tests.support.readers import Readers
from worker.consent import optout
from worker.consent.erasure import erase_reader
from worker.consent.optout import Wish
from worker.consent.preferences import read_preferences
from worker.domain.subscription import Channel
from worker.storage import schema
from worker.storage.engine import Database

JANE = "jane.invented@example.org"


def leave(database: Database, folder: Path, subscription_id: int, **more: object) -> None:
    wish = Wish(subscription_id, **{"channel": Channel.PAGE, "actor": "reader", **more})  # type: ignore[arg-type]
    optout.opt_out(database, wish, folder, 0)


def test_a_reader_sees_this_subscription_first_and_the_others_that_go_on(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader of three who left one, and somebody else
    here, other, left = readers.reader(JANE, newsline, readers.publication("magazine"), readers.publication("notes"))
    readers.reader("joe@example.org", newsline)
    leave(database, tmp_path, left)

    # When the page of the first asks
    seen = read_preferences(database, here)

    # Then nobody else's are there, nor what ended, and the address is masked
    assert seen is not None
    assert (seen.here.id, seen.here.is_active, seen.here.title) == (here, True, "Newsline")
    assert [one.id for one in seen.still] == [other]
    assert seen.ended_together == ()
    assert seen.masked == "j•••@example.org"


def test_a_subscription_that_waits_for_its_confirmation_counts_as_going_on(
    database: Database, readers: Readers, newsline: int
) -> None:
    # Given a reader whose second subscription is not confirmed yet
    here, other = readers.reader(JANE, newsline, readers.publication("magazine"))
    with database.write() as conn:
        conn.execute(
            update(schema.subscription)
            .where(schema.subscription.c.id == other)
            .values(state="pending", confirmed_at=None)
        )

    # When the page asks
    seen = read_preferences(database, here)

    # Then the reader can end it there
    assert seen is not None
    assert [one.id for one in seen.still] == [other]


def test_undo_of_all_is_offered_for_what_the_same_press_ended_only(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left one earlier, and later all
    magazine, notes = readers.publication("magazine"), readers.publication("notes")
    here, together, earlier = readers.reader(JANE, newsline, magazine, notes)
    leave(database, tmp_path, earlier)
    leave(database, tmp_path, here, scope="all")

    # When the page asks
    seen = read_preferences(database, here)

    # Then the earlier no stays out of it
    assert seen is not None
    assert [one.id for one in seen.ended_together] == [together]
    assert seen.still == ()


def test_what_a_complaint_ended_is_not_offered_back(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader whose provider reported abuse
    here, _ = readers.reader(JANE, newsline, readers.publication("magazine"))
    leave(database, tmp_path, here, scope="all", channel=Channel.COMPLAINT)

    # When the page asks
    seen = read_preferences(database, here)

    # Then nothing may come back
    assert seen is not None
    assert not seen.here.undoable
    assert seen.ended_together == ()


def test_an_erased_reader_and_a_deleted_subscription_show_nothing(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who was erased
    (here,) = readers.reader(JANE, newsline)
    erase_reader(database, JANE, actor="editor", state_dir=tmp_path, wait_s=0)

    # Then neither that link nor an invented one opens anything
    assert read_preferences(database, here) is None
    assert read_preferences(database, 4711) is None
