"""What a reader's page may know about them: where they stand, masked, and what came to an end together."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support.readers import Readers
from worker.consent import optout
from worker.consent.erasure import erase_reader
from worker.consent.optout import Wish
from worker.consent.preferences import may_stop_all, read_preferences
from worker.domain.subscription import Channel
from worker.storage import schema
from worker.storage.engine import Database

JANE = "jane.invented@example.org"


def leave(database: Database, folder: Path, subscription_id: int, **more: object) -> None:
    wish = Wish(subscription_id, **{"channel": Channel.PAGE, "actor": "reader", **more})  # type: ignore[arg-type]
    optout.opt_out(database, wish, folder, 0)


def test_a_link_shows_its_own_publication_and_no_other(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader of three who left one
    here, _, left = readers.reader(JANE, newsline, readers.publication("magazine"), readers.publication("notes"))
    leave(database, tmp_path, left)

    # When the page of the first asks
    seen = read_preferences(database, here, None)

    # Then whoever holds a forwarded mail learns of nothing else, and the address is masked
    assert seen is not None
    assert (seen.here.id, seen.here.is_active, seen.here.title) == (here, True, "Newsline")
    assert (seen.still, seen.ended_together, seen.may_stop_all) == ((), (), False)
    assert seen.masked == "j•••@example.org"


@pytest.mark.parametrize(
    ("channel", "minutes", "of_this_issue", "is_owner"),
    [
        (Channel.ONE_CLICK, 59, True, True),
        (Channel.ONE_CLICK, 61, True, False),
        (Channel.ONE_CLICK, 1, False, False),
        (Channel.PAGE, 1, True, False),
        (Channel.CLI, 1, True, False),
    ],
)
def test_the_mail_programs_own_button_opens_the_others_for_an_hour(
    database: Database,
    readers: Readers,
    newsline: int,
    tmp_path: Path,
    channel: Channel,
    minutes: int,
    of_this_issue: bool,
    is_owner: bool,
) -> None:
    # Given a reader of two, one of them not confirmed yet, whose first was ended some time ago
    here, other = readers.reader(JANE, newsline, readers.publication("magazine"))
    issues = [readers.issue(newsline, [here]) for _ in range(2)]
    with database.write() as conn:
        mine = schema.subscription.c.id == other
        conn.execute(update(schema.subscription).where(mine).values(state="pending", confirmed_at=None))
    leave(database, tmp_path, here, channel=channel, issue_id=issues[0])
    readers.ended(here, at=datetime.now(UTC) - timedelta(minutes=minutes))

    # When a link's page asks
    issue = issues[0] if of_this_issue else issues[1]
    seen = read_preferences(database, here, issue)

    # Then the others are there only for the link whose header was pressed, and not for long
    assert seen is not None
    assert seen.may_stop_all == may_stop_all(database, here, issue) == is_owner
    assert [one.id for one in seen.still] == ([other] if is_owner else [])


def test_undo_of_all_is_offered_for_what_the_same_press_ended_only(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left one earlier, and later all
    magazine, notes = readers.publication("magazine"), readers.publication("notes")
    here, together, earlier = readers.reader(JANE, newsline, magazine, notes)
    leave(database, tmp_path, earlier)
    leave(database, tmp_path, here, scope="all")

    # When the page asks
    seen = read_preferences(database, here, None)

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
    seen = read_preferences(database, here, None)

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
    assert read_preferences(database, here, None) is None
    assert read_preferences(database, 4711, None) is None
