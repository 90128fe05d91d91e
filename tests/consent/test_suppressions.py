"""The do-not-mail list by hand and by file: all of it, once, and nothing by half."""

from pathlib import Path

import pytest

from tests.support.publication import ANYWHERE, CONSENT, write_csv
from tests.support.readers import Readers, WatchedDatabase
from tests.support.words import refuses
from worker.consent.how import How
from worker.consent.readers import show_reader
from worker.consent.subscribe import add_subscriber
from worker.consent.suppressions import (
    MAX_REJECTS,
    PAGE,
    find_suppression,
    lift_suppression,
    list_suppressions,
    suppress_addresses,
    suppress_file,
)
from worker.domain.suppression import SuppressionReason
from worker.errors import NotFoundError, RefusedError, UsageError
from worker.screen.sentences import word
from worker.storage.engine import Database

BY_HAND = {"evidence": "letter", "actor": "editor", "state_dir": ANYWHERE, "wait_s": 0}
JANE = "jane@example.org"


def test_a_mistyped_address_among_good_ones_suppresses_nobody(database: Database) -> None:
    # When an editor mistypes the second of two
    with refuses(UsageError, match='"joe@" is not a mailbox address'):
        suppress_addresses(database, [JANE, "joe@"], **BY_HAND)

    # Then the first is not on the list either
    assert list_suppressions(database) == []


def test_one_person_in_three_spellings_is_counted_once(database: Database) -> None:
    # When the list holds them thrice, and again tomorrow
    first = suppress_addresses(database, [JANE, "Jane@Example.org", " jane@example.ORG "], **BY_HAND)
    again = suppress_addresses(database, ["JANE@example.org"], **BY_HAND)

    # Then
    assert (first.added, first.already) == (1, 0)
    assert (again.added, again.already) == (0, 1)


def test_an_opt_out_by_list_is_on_disk_before_it_is_answered(database: Database) -> None:
    # Given a database that tells how each commit is made
    commits: list[str] = []

    # When an address is suppressed
    suppress_addresses(WatchedDatabase(database, commits.append), [JANE], **BY_HAND)

    # Then
    assert commits == ["durable"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("jane@example.org\njoe@example.org\n", ["jane@example.org", "joe@example.org"]),
        ("name;E-Mail;email\nJ;x@example.org;jane@example.org\n", ["jane@example.org"]),
        ("Email\njane@example.org\n\n", ["jane@example.org"]),
        ("name,email\nA name and no more\nJ,jane@example.org\n", ["jane@example.org"]),
    ],
)
def test_a_list_of_addresses_is_read_from_the_column_email_or_the_only_one(
    database: Database, tmp_path: Path, text: str, wanted: list[str]
) -> None:
    # When
    done = suppress_file(database, write_csv(tmp_path, text), **BY_HAND)

    # Then
    assert done.rejects == []
    assert sorted(str(one.address) for one in list_suppressions(database)) == wanted


def test_lines_without_an_address_are_named_and_the_rest_is_kept_out(database: Database, tmp_path: Path) -> None:
    # When a list holds two lines that are none
    path = write_csv(tmp_path, "email\njane@example.org\nnobody\njoe@example.org\n@\n")
    done = suppress_file(database, path, **BY_HAND)

    # Then
    assert done.result.added == 2
    assert [line for line, _ in done.rejects] == [3, 5]
    assert [word(why) for _, why in done.rejects] == ["the address has no @", "nothing stands before the @"]


def test_a_list_is_read_as_whoever_gives_it_says(database: Database, tmp_path: Path) -> None:
    # Given a list in the letters of an old machine, with quotes behind backslashes
    text = 'name,email\n"J \\"the\\", r, x",jos\u00e9@example.org\n'
    path = write_csv(tmp_path, text, encoding="mac_roman")

    # When
    suppress_file(database, path, how=How(encoding="mac_roman", escape="backslash"), **BY_HAND)

    # Then
    assert [one.address for one in list_suppressions(database)] == ["jos\u00e9@example.org"]


def test_the_first_line_of_a_list_without_headings_is_a_line_like_any_other(database: Database, tmp_path: Path) -> None:
    done = suppress_file(database, write_csv(tmp_path, "jane@\njoe@example.org\n"), **BY_HAND)
    assert ([line for line, _ in done.rejects], done.rejected, done.result.added) == ([1], 1, 1)


def test_of_many_lines_without_an_address_the_first_are_told_and_all_are_counted(
    database: Database, tmp_path: Path
) -> None:
    path = write_csv(tmp_path, "email\n" + "nobody\n" * (MAX_REJECTS + 2) + "jane@example.org\n")
    done = suppress_file(database, path, **BY_HAND)
    assert [line for line, _ in done.rejects] == list(range(2, MAX_REJECTS + 2))
    assert (done.rejected, done.result.added) == (MAX_REJECTS + 2, 1)


def test_a_file_of_which_nobody_left_is_refused_with_what_says_so(database: Database, tmp_path: Path) -> None:
    path = write_csv(tmp_path, "email,subscribed_to_emails\njane@example.org,true\n")
    with refuses(UsageError, "nobody in readers.csv left") as refused:
        suppress_file(database, path, **BY_HAND)
    assert refused.value.trouble.fields == {"file": "readers.csv", "columns": ["subscribed_to_emails"]}


def test_of_a_file_that_says_who_left_only_they_are_kept_out(database: Database, tmp_path: Path) -> None:
    # Given an export of all members
    path = write_csv(tmp_path, "email,subscribed_to_emails\njane@example.org,true\njoe@example.org,false\n")

    # When
    done = suppress_file(database, path, **BY_HAND)

    # Then
    assert (done.result.added, done.stayed) == (1, 1)
    assert find_suppression(database, JANE) is None
    assert suppress_file(database, path, **BY_HAND, every=True).result.added == 1


def test_a_file_whose_only_status_is_about_something_else_is_not_taken_whole(
    database: Database, tmp_path: Path
) -> None:
    path = write_csv(tmp_path, "email,status\nanna@example.org,gold\n")
    how = How(not_left=("status",))
    with refuses(UsageError, "nothing in .* says who left"):
        suppress_file(database, path, how=how, **BY_HAND)
    assert suppress_file(database, path, how=how, every=True, **BY_HAND).result.added == 1


@pytest.mark.parametrize("text", ["name,city\nJ,Ghent\n", "email\nnobody\n"])
def test_a_file_without_any_address_changes_nothing(database: Database, tmp_path: Path, text: str) -> None:
    with refuses(UsageError, match="none holds addresses|holds no address"):
        suppress_file(database, write_csv(tmp_path, text), **BY_HAND)
    assert list_suppressions(database) == []


def test_a_long_list_is_suppressed_and_shown_to_its_end(sqlite_database: Database) -> None:
    # Given more addresses than any page holds
    addresses = [f"r{n}@example.org" for n in range(5 * PAGE + 1)]

    # When all are suppressed
    done = suppress_addresses(sqlite_database, addresses, **BY_HAND)

    # Then none is missing, in the list or in its view, which is read page by page
    assert (done.added, done.already) == (5 * PAGE + 1, 0)
    reads: list[int] = []
    watched = WatchedDatabase(sqlite_database, lambda _: None, lambda: reads.append(1))
    assert len({one.address for one in list_suppressions(watched)}) == 5 * PAGE + 1
    assert len(reads) == 6
    assert list_suppressions(sqlite_database, SuppressionReason.COMPLAINED) == []


def test_lifting_a_suppression_lets_the_address_in_again_and_subscribes_nobody(
    database: Database, readers: Readers, newsline: int
) -> None:
    # Given a suppressed address among others
    suppress_addresses(database, [JANE, "joe@example.org"], **BY_HAND)
    assert find_suppression(database, "JANE@example.org") is not None

    # When it is lifted in another spelling
    with refuses(RefusedError, match="do-not-mail"):
        add_subscriber(database, "newsline", JANE, consent=CONSENT, actor="editor")
    lifted = lift_suppression(database, "Jane@example.org", actor="editor", state_dir=ANYWHERE)

    # Then
    assert lifted.reason is SuppressionReason.MANUAL
    assert find_suppression(database, JANE) is None
    assert find_suppression(database, "joe@example.org") is not None
    assert readers.rows("subscription") == 0
    assert add_subscriber(database, "newsline", JANE, consent=CONSENT, actor="editor").added
    with refuses(NotFoundError, match="suppression list"):
        lift_suppression(database, JANE, actor="editor", state_dir=ANYWHERE)


def test_who_is_only_on_the_list_is_said_to_be(database: Database) -> None:
    with refuses(NotFoundError, "no subscriber has the address"):
        show_reader(database, JANE)
    suppress_addresses(database, [JANE], **BY_HAND)
    with refuses(NotFoundError, "it is on the do-not-mail list since .*so nothing is ever sent to it"):
        show_reader(database, JANE)
