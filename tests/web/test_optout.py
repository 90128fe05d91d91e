"""The one way out: what it commits, what it waits for, what it brings back. On both databases."""

import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update

from tests.support.publication import ANYWHERE
from tests.support.readers import Readers
from worker.consent import optout
from worker.consent.optout import OptOut, Wish
from worker.domain.address import parse_address
from worker.domain.subscription import Channel
from worker.domain.suppression import SuppressionReason
from worker.errors import NotFoundError, Remedy, Trouble, UsageError
from worker.screen.sentences import word
from worker.storage import acts, schema
from worker.storage.engine import Database
from worker.storage.people import subscriptions


def leave(database: Database, state_dir: Path, subscription_id: int, *, wait_s: float = 0.2, **more: object) -> OptOut:
    wish = Wish(subscription_id, **{"channel": Channel.PAGE, "actor": "reader", **more})  # type: ignore[arg-type]
    return optout.opt_out(database, wish, state_dir, wait_s)


@pytest.fixture
def newsline(readers: Readers) -> int:
    return readers.publication("newsline", "Newsline")


def test_an_opt_out_ends_one_subscription_and_leaves_its_evidence(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader of two publications
    here, other = readers.reader("jane@example.org", newsline, readers.publication("magazine"))
    issue = readers.issue(newsline, [here])

    # When one is left
    outcome = leave(database, tmp_path, here, issue_id=issue, channel=Channel.ONE_CLICK)

    # Then only that one ended, with its channel, its issue, a consent line, an act and a line in the log
    assert outcome.changed == ("Newsline",)
    assert not outcome.already
    assert outcome.on_its_way == ()
    assert readers.state(here) == ("ended", 1)
    assert readers.state(other) == ("confirmed", 1)
    with database.read() as conn:
        ended = conn.execute(text("SELECT ended_by, ended_issue_id FROM subscription WHERE state = 'ended'")).one()
        line = conn.execute(text("SELECT event, channel, issue_id, generation FROM consent_log")).one()
        act = conn.execute(text("SELECT actor, act, object FROM act")).one()
    assert tuple(ended) == ("one_click", issue)
    assert tuple(line) == ("ended", "one_click", issue, 1)
    assert tuple(act) == ("reader", "subscription.end", f"subscription:{here}")
    log = (tmp_path / "optouts.log").read_text()
    assert re.fullmatch(rf"[0-9T:.+-]+ out {here}:1\n[0-9T:.+-]+ did {here}:1\n", log)


def test_a_repeated_opt_out_changes_nothing_and_says_since_when(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left
    (here,) = readers.reader("jane@example.org", newsline)
    first = leave(database, tmp_path, here)
    before = readers.checksum()

    # When the same wish comes again
    again = leave(database, tmp_path, here)

    # Then it is known already, and no row is new
    assert again.already
    assert again.changed == ()
    assert again.since == first.since
    assert readers.checksum() == before


def test_ten_wishes_at_once_end_a_subscription_once(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader
    (here,) = readers.reader("jane@example.org", newsline)
    outcomes: list[OptOut] = []

    # When ten threads post the same wish
    threads = [
        threading.Thread(target=lambda: outcomes.append(leave(database, tmp_path, here, wait_s=0))) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    # Then one of them ended it, and the consent log has one line
    assert sorted(len(outcome.changed) for outcome in outcomes) == [0] * 9 + [1]
    assert readers.rows("consent_log") == 1
    assert readers.rows("act") == 1


def test_an_opt_out_of_all_ends_every_publication_of_that_reader_only(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given two readers of two publications
    magazine = readers.publication("magazine", "Magazine")
    mine = readers.reader("jane@example.org", newsline, magazine)
    theirs = readers.reader("joe@example.org", newsline, magazine)

    # When one stops all
    outcome = leave(database, tmp_path, mine[0], scope="all")

    # Then the other still gets both
    assert sorted(outcome.changed) == ["Magazine", "Newsline"]
    assert [readers.state(one)[0] for one in mine] == ["ended", "ended"]
    assert [readers.state(one)[0] for one in theirs] == ["confirmed", "confirmed"]


def test_an_opt_out_of_a_deleted_subscription_is_answered_neutrally(
    database: Database, readers: Readers, tmp_path: Path
) -> None:
    # Given no such subscription
    # When its link is used
    outcome = leave(database, tmp_path, 4711)

    # Then nothing is said about it, and nothing written
    assert outcome.already
    assert outcome.changed == ()
    assert not (tmp_path / "optouts.log").exists()


def test_an_opt_out_waits_until_a_copy_in_flight_is_released(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader whose row an owned range covers
    (here,) = readers.reader("jane@example.org", newsline)
    claim = readers.claim(readers.issue(newsline, [here]), 1, 1)

    # When the reader leaves, and the worker gives the row back after the first look
    steps = optout.leave(database, Wish(here, Channel.PAGE, "reader"), tmp_path, 30)
    first = next(steps)
    readers.release(claim)
    last = list(steps)[-1]

    # Then the first look saw it leaving, the last one is settled: nothing is on its way
    assert not first.settled
    assert first.on_its_way == ("November news",)
    assert last.settled
    assert last.on_its_way == ()
    with database.read() as conn:
        ended = subscriptions.find(conn, here)
    assert ended is not None
    assert first.since == last.since == ended.ended_at


def test_an_opt_out_names_the_copy_that_was_accepted_while_it_waited(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a row in flight
    (here,) = readers.reader("jane@example.org", newsline)
    issue = readers.issue(newsline, [here])
    claim = readers.claim(issue, 1, 1)
    steps = optout.leave(database, Wish(here, Channel.PAGE, "reader"), tmp_path, 30)
    next(steps)

    # When the relay takes it before the worker could look again
    readers.accept(issue, 1, claim)
    last = list(steps)[-1]

    # Then the answer is settled and honest
    assert last.settled
    assert last.on_its_way == ("November news",)


def test_an_opt_out_gives_up_waiting_and_says_what_may_come(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a row whose worker does not answer
    (here,) = readers.reader("jane@example.org", newsline)
    readers.claim(readers.issue(newsline, [here]), 1, 1)

    # When the reader leaves
    outcome = leave(database, tmp_path, here, wait_s=0.1)

    # Then the end is committed all the same
    assert readers.state(here)[0] == "ended"
    assert outcome.on_its_way == ("November news",)
    assert not outcome.settled


def test_an_opt_out_sees_a_retry_in_flight(database: Database, readers: Readers, newsline: int, tmp_path: Path) -> None:
    # Given a deferred row that carries an owned retry claim
    (here,) = readers.reader("jane@example.org", newsline)
    issue = readers.issue(newsline, [here])
    readers.defer(issue, 1, readers.claim(issue, 1, 1, kind="retry"))

    # When the reader leaves
    outcome = leave(database, tmp_path, here, wait_s=0)

    # Then that copy is named
    assert outcome.on_its_way == ("November news",)


@pytest.mark.parametrize("case", ["released", "other reader", "deferred and free", "other publication"])
def test_an_opt_out_does_not_wait_for_rows_nobody_is_sending(
    database: Database, readers: Readers, newsline: int, tmp_path: Path, case: str
) -> None:
    # Given a row that is not `sending` for this reader and publication
    (here,) = readers.reader("jane@example.org", newsline)
    (theirs,) = readers.reader("joe@example.org", newsline)
    issue = readers.issue(newsline, [here, theirs])
    if case == "released":
        readers.claim(issue, 1, 2, owner=None)
    elif case == "other reader":
        readers.claim(issue, 2, 2)
    elif case == "deferred and free":
        readers.defer(issue, 1, None)
        readers.claim(issue, 1, 2)
    else:
        magazine = readers.publication("magazine")
        with database.read() as conn:
            jane = conn.execute(text("SELECT min(id) FROM subscriber")).scalar_one()
        readers.claim(readers.issue(magazine, [readers.subscribe(jane, magazine)]), 1, 1)

    # When the reader leaves
    outcome = leave(database, tmp_path, here, wait_s=30)

    # Then the answer comes with the first look
    assert outcome.settled
    assert outcome.on_its_way == ()


def test_an_undo_restores_the_subscription_one_generation_later_and_its_old_link_still_ends_it(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left
    (here,) = readers.reader("jane@example.org", newsline)
    issue = readers.issue(newsline, [here])
    leave(database, tmp_path, here, issue_id=issue)

    # When the reader takes it back
    undone = optout.undo(database, Wish(here, Channel.PAGE, "reader", issue), tmp_path)

    # Then the subscription goes on, both lines stand in the log, and leaving works again
    assert undone == ("Newsline",)
    assert readers.state(here) == ("confirmed", 2)
    with database.read() as conn:
        assert conn.execute(text("SELECT ended_by, ended_issue_id FROM subscription")).one() == (None, None)
    assert leave(database, tmp_path, here).changed == ("Newsline",)
    words = [line.split(" ", 1)[1] for line in (tmp_path / "optouts.log").read_text().splitlines()]
    assert words == [f"out {here}:1", f"did {here}:1", f"undo {here}:2", f"out {here}:2", f"did {here}:2"]
    with database.read() as conn:
        events = list(conn.execute(text("SELECT event FROM consent_log ORDER BY id")).scalars())
        told = [(act.actor, act.act, act.object, dict(act.counts)) for act in acts.latest(conn)][::-1]
    assert events == ["ended", "undone", "ended"]
    ends, undoes = ("subscription.end", {"ended": 1}), ("subscription.undo", {"restored": 1})
    assert told == [("reader", act, f"subscription:{here}", counts) for act, counts in (ends, undoes, ends)]


def test_an_undo_of_all_brings_back_what_the_same_act_ended_and_nothing_else(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left one publication, and later all
    magazine, statements = readers.publication("magazine"), readers.publication("statements")
    here, second, earlier = readers.reader("jane@example.org", newsline, magazine, statements)
    leave(database, tmp_path, earlier)
    leave(database, tmp_path, here, scope="all")

    # When the last act is taken back
    optout.undo(database, Wish(here, Channel.PAGE, "reader", scope="all"), tmp_path)

    # Then the one left earlier stays ended
    assert [readers.state(one)[0] for one in (here, second, earlier)] == ["confirmed", "confirmed", "ended"]


ISSUES = pytest.mark.parametrize("with_issue", [True, False])


@pytest.mark.parametrize("channel", [one for one in Channel if not one.is_a_link])
@pytest.mark.parametrize("order", ["alone", "after the link", "before the link"])
@ISSUES
def test_a_link_takes_back_nothing_that_another_way_ended(
    database: Database,
    readers: Readers,
    newsline: int,
    tmp_path: Path,
    channel: Channel,
    order: str,
    with_issue: bool,
) -> None:
    # Given an operator, a mail or a complaint that ended it, whatever the link's own press did before or after
    (here,) = readers.reader("jane@example.org", newsline)
    issue = readers.issue(newsline, [here]) if with_issue else None
    wishes = [{"channel": channel}, {"channel": Channel.PAGE, "issue_id": issue}]
    for wish in {"alone": wishes[:1], "after the link": wishes[::-1], "before the link": wishes}[order]:
        leave(database, tmp_path, here, **wish)

    # When the link's Undo is pressed
    undone = optout.undo(database, Wish(here, Channel.PAGE, "reader", issue), tmp_path)

    # Then nothing comes back; only taking an import back is nobody's no, and the link's own press stands
    is_the_links = channel is Channel.IMPORT and order != "alone"
    assert bool(undone) == is_the_links
    assert readers.state(here)[0] == ("confirmed" if is_the_links else "ended")


def test_a_no_by_another_way_after_the_links_keeps_its_time_and_leaves_its_own_evidence(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left by a link
    (here,) = readers.reader("jane@example.org", newsline)
    first = leave(database, tmp_path, here, issue_id=readers.issue(newsline, [here]))

    # When an operator ends it too, twice
    again = [leave(database, tmp_path, here, channel=Channel.CLI, actor="op") for _ in range(2)]

    # Then it ended when it ended, and the log has one line of each
    assert [(one.already, one.since) for one in again] == [(True, first.since)] * 2
    with database.read() as conn:
        lines = conn.execute(text("SELECT event, channel, evidence FROM consent_log ORDER BY id")).all()
    assert [tuple(line) for line in lines] == [("ended", "page", "by reader"), ("ended", "cli", "by op")]


def test_the_link_of_another_issue_takes_nothing_back(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left by one issue's link
    (here,) = readers.reader("jane@example.org", newsline)
    pressed, other = (readers.issue(newsline, [here]) for _ in range(2))
    leave(database, tmp_path, here, issue_id=pressed)

    # When the Undo of an older or newer mail, or of a link of no issue, is pressed
    strange = [optout.undo(database, Wish(here, Channel.PAGE, "reader", issue), tmp_path) for issue in (other, None)]
    own = optout.undo(database, Wish(here, Channel.PAGE, "reader", pressed), tmp_path)

    # Then only its own does
    assert (strange, own) == ([(), ()], ("Newsline",))


def test_an_end_is_taken_back_three_times_a_month_at_most(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a link that somebody uses as a switch
    (here,) = readers.reader("jane@example.org", newsline)
    undone = []

    # When it is pressed on and on
    for _ in range(5):
        leave(database, tmp_path, here)
        undone.append(bool(optout.undo(database, Wish(here, Channel.PAGE, "reader"), tmp_path)))

    # Then leaving works always, coming back three times
    assert undone == [True, True, True, False, False]
    assert readers.state(here) == ("ended", 4)


@pytest.mark.parametrize("case", ["complaint", "too old", "suppressed", "never ended"])
def test_an_undo_is_refused_where_the_reader_must_be_asked_anew(
    database: Database, readers: Readers, newsline: int, tmp_path: Path, case: str
) -> None:
    # Given an end that a link may not take back
    (here,) = readers.reader("jane@example.org", newsline)
    if case != "never ended":
        leave(database, tmp_path, here, channel=Channel.COMPLAINT if case == "complaint" else Channel.PAGE)
    if case == "too old":
        with database.write() as conn:
            conn.execute(update(schema.subscription).values(ended_at=schema.subscription.c.confirmed_at))
            conn.execute(text("UPDATE subscription SET ended_at = '2020-01-01 00:00:00'"))
    if case == "suppressed":
        optout.suppress(
            database, [parse_address("jane@example.org")], reason=SuppressionReason.MANUAL, evidence="asked by phone",
            actor="op", state_dir=ANYWHERE, wait_s=0,
        )  # fmt: skip
    before = readers.state(here)

    # When somebody tries
    undone = optout.undo(database, Wish(here, Channel.PAGE, "reader"), tmp_path)

    # Then nothing comes back
    assert undone == ()
    assert readers.state(here) == before


def test_an_operator_ends_a_subscription_by_address_in_any_spelling(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader
    (here,) = readers.reader("jane@example.org", newsline)

    # When an operator types the address as on the telephone
    outcome = optout.opt_out_address(
        database, address=" Jane@EXAMPLE.org", publication="newsline", actor="op", state_dir=tmp_path, wait_s=0
    )

    # Then it is the same mailbox
    assert outcome.changed == ("Newsline",)
    assert readers.state(here)[0] == "ended"


@pytest.mark.parametrize("publication", [None, "newsline"])
def test_an_unknown_address_is_refused_with_the_way_to_keep_it_out(
    database: Database, readers: Readers, newsline: int, tmp_path: Path, publication: str | None
) -> None:
    # Given nobody
    # When an operator ends them
    with pytest.raises(NotFoundError) as refused:
        optout.opt_out_address(
            database, address="nobody@example.org", publication=publication, actor="op", state_dir=tmp_path, wait_s=0
        )

    # Then the sentence says what helps
    assert "corranto suppression add nobody@example.org" in word(refused.value)
    assert refused.value.trouble == Trouble("subscription.none", address="nobody@example.org", publication=publication)
    assert refused.value.remedy is Remedy.OTHER_ORDER


def test_a_suppression_waits_for_copies_to_its_addresses_in_one_barrier(
    database: Database, readers: Readers, newsline: int
) -> None:
    # Given two readers in flight
    ids = [*readers.reader("jane@example.org", newsline), *readers.reader("joe@example.org", newsline)]
    readers.claim(readers.issue(newsline, ids), 1, 2)

    # When both are suppressed, and a third whom we never wrote to
    addresses = [parse_address(f"{name}@example.org") for name in ("jane", "joe", "ann")]
    done = optout.suppress(
        database,
        addresses,
        reason=SuppressionReason.COMPLAINED,
        evidence="abuse report",
        actor="op",
        state_dir=ANYWHERE,
        wait_s=0.05,
    )

    # Then all three are on the list, and two copies may still come
    assert (done.added, done.on_their_way) == (3, 2)


def test_an_unwritable_log_does_not_keep_a_reader_on_the_list(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a state directory that is a file
    (here,) = readers.reader("jane@example.org", newsline)
    blocked = tmp_path / "state"
    blocked.write_text("")

    # When the reader leaves
    outcome = leave(database, blocked, here)

    # Then the ledger has it
    assert outcome.changed == ("Newsline",)
    assert readers.state(here)[0] == "ended"


def test_leaving_all_names_a_copy_in_flight_of_another_publication(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader whose copy of the other publication is being handed over
    magazine = readers.publication("magazine")
    here, other = readers.reader("jane@example.org", newsline, magazine)
    readers.claim(readers.issue(magazine, [other], subject="The other one"), 1, 1)

    # When all is left from the first one's link
    outcome = leave(database, tmp_path, here, scope="all", wait_s=0)

    # Then the answer says what may still come
    assert outcome.on_its_way == ("The other one",)
    assert not outcome.settled


@pytest.mark.parametrize(
    ("state", "seconds", "named"),
    [("accepted", -60, False), ("accepted", 60, True), ("in_doubt", 60, True), ("bounced", 60, False)],
)
def test_only_a_copy_that_may_arrive_after_the_opt_out_is_named(
    database: Database, readers: Readers, newsline: int, tmp_path: Path, state: str, seconds: int, named: bool
) -> None:
    # Given a copy whose result was known before or after the reader left
    (here,) = readers.reader("jane@example.org", newsline)
    issue = readers.issue(newsline, [here])
    if state != "bounced":
        readers.settle(issue, 1, state, at=datetime.now(UTC) + timedelta(seconds=seconds))

    # When the reader leaves
    outcome = leave(database, tmp_path, here, wait_s=0)

    # Then nobody is told of a mail that lies in the mailbox already
    assert outcome.on_its_way == (("November news",) if named else ())


def test_a_page_opened_long_after_an_opt_out_speaks_of_no_copy(
    database: Database, readers: Readers, newsline: int
) -> None:
    # Given a copy that a dead worker still seems to hold
    (here,) = readers.reader("jane@example.org", newsline)
    readers.claim(readers.issue(newsline, [here]), 1, 1)
    now = datetime.now(UTC)

    # When the page asks minutes, and hours, after the end
    soon = optout.copies_on_their_way(database, [here], now - timedelta(minutes=5))
    late = optout.copies_on_their_way(database, [here], now - timedelta(hours=2))

    # Then
    assert [copy.subject for copy in soon] == ["November news"]
    assert late == []


@pytest.mark.parametrize(("days", "comes_back"), [(29, True), (31, False)])
def test_an_opt_out_can_be_taken_back_for_thirty_days(
    database: Database, readers: Readers, newsline: int, tmp_path: Path, days: int, comes_back: bool
) -> None:
    # Given a reader who left some time ago
    (here,) = readers.reader("jane@example.org", newsline)
    leave(database, tmp_path, here)
    readers.ended(here, at=datetime.now(UTC) - timedelta(days=days))

    # When Undo is pressed
    undone = optout.undo(database, Wish(here, Channel.PAGE, "reader"), tmp_path)

    # Then an old mail that was passed on signs nobody up
    assert bool(undone) == comes_back


def test_a_subscription_that_was_never_confirmed_comes_back_unconfirmed(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given somebody who never confirmed, and left
    (here,) = readers.reader("jane@example.org", newsline)
    with database.write() as conn:
        conn.execute(update(schema.subscription).values(state="pending", confirmed_at=None))
    leave(database, tmp_path, here)

    # When they press Undo
    optout.undo(database, Wish(here, Channel.PAGE, "reader"), tmp_path)

    # Then nobody gets mail they never confirmed
    assert readers.state(here) == ("pending", 2)


def test_an_undo_without_all_brings_back_one_publication_only(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader who left all at once
    here, other = readers.reader("jane@example.org", newsline, readers.publication("magazine"))
    leave(database, tmp_path, here, scope="all")

    # When one is taken back
    undone = optout.undo(database, Wish(other, Channel.PAGE, "reader"), tmp_path)

    # Then the other stays ended
    assert undone == ("Magazine",)
    assert [readers.state(one)[0] for one in (here, other)] == ["ended", "confirmed"]


@pytest.mark.parametrize(("publication", "left"), [("magazine", ["confirmed", "ended"]), (None, ["ended", "ended"])])
def test_an_operator_ends_the_named_publication_or_all_of_them(
    database: Database, readers: Readers, newsline: int, tmp_path: Path, publication: str | None, left: list[str]
) -> None:
    # Given a reader of two
    ids = readers.reader("jane@example.org", newsline, readers.publication("magazine"))

    # When an operator ends one, or all
    optout.opt_out_address(
        database, address="jane@example.org", publication=publication, actor="op", state_dir=tmp_path, wait_s=0
    )

    # Then
    assert [readers.state(one)[0] for one in ids] == left


def test_an_operator_who_names_no_address_or_no_publication_ends_nothing(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a reader
    readers.reader("jane@example.org", newsline)
    before = readers.checksum()

    # When an operator mistypes
    for address, publication, kind in [("jane", None, UsageError), ("jane@example.org", "newslien", NotFoundError)]:
        with pytest.raises(kind):
            optout.opt_out_address(
                database, address=address, publication=publication, actor="op", state_dir=tmp_path, wait_s=0
            )

    # Then
    assert readers.checksum() == before


def test_a_no_after_an_undone_import_is_the_readers_own(
    database: Database, readers: Readers, newsline: int, tmp_path: Path
) -> None:
    # Given a subscription that only taking an import back ended
    (here,) = readers.reader("jane@example.org", newsline)
    leave(database, tmp_path, here, channel=Channel.IMPORT)

    # When the reader presses the button of an old mail
    outcome = leave(database, tmp_path, here, channel=Channel.ONE_CLICK)

    # Then from now on no import may bring them back
    assert outcome.changed == ("Newsline",)
    with database.read() as conn:
        assert conn.scalars(text("SELECT ended_by FROM subscription")).one() == "one_click"
