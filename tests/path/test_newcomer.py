"""What a newcomer meets between queueing and the report: words for the state a thing is in, remedies that work."""

import re
from datetime import UTC, datetime

import pytest

from tests.path.test_cli import GOOD, corranto, issue_file, publication, readers  # noqa: F401 - the fixtures
from tests.support.ledgers import FINGERPRINT, add_issue, planned_issue, send
from worker.compose.template import without_values
from worker.domain.delivery import DeliveryState
from worker.operations import report
from worker.operations.issues import show_issue
from worker.storage.engine import Database

PERSONAL = (
    "kind: statement\npublication: ring-news\nsubject: \"{{ name | default('Friends') }}, a word from the ring\"\n"
)
UNDELIVERABLE = {
    "state": DeliveryState.BOUNCED,
    "reason": "at_handover",
    "code": 550,
    "enhanced": "5.1.1",
    "phase": "rcpt",
    "text": "5.1.1 no such mailbox 5.1.1 see https://relay.example.net/5.1.1",
}
DOUBTFUL = {"state": DeliveryState.IN_DOUBT, "reason": "line_broke", "fingerprint": FINGERPRINT}
ACCEPTED = {"state": DeliveryState.ACCEPTED, "code": 250}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Plain", "Plain"),
        ('{{ name | default("Friends") }}, hello', "Friends, hello"),
        ('{{ name | default("friends") | upper }}, hello', "FRIENDS, hello"),
        ("{% if name %}Dear {{ name | default('') }}{% else %}Dear reader{% endif %}", "Dear reader"),
        ("{{ name }}, hello", ", hello"),
        ("{{ name.__class__ }} hello", "hello"),
        ("an open {{ brace", "an open {{ brace"),
    ],
)
def test_a_subject_reads_as_for_a_reader_of_whom_nothing_is_known(written: str, read: str) -> None:
    assert without_values(written) == read


def test_no_screen_shows_the_braces_of_a_subject(corranto, readers, tmp_path):  # noqa: F811
    path = issue_file(tmp_path, PERSONAL, name="word.md")

    queued = corranto("queue", str(path))
    shown = [queued.err, corranto("issue", "show", "word").out, corranto("issue", "report", "word").out]

    assert queued.code == 0, queued.err
    for text in shown:
        assert "Friends, a word from the ring" in text
        assert "{" not in text


def test_what_has_not_begun_speaks_of_who_would_get_it(corranto, readers, tmp_path):  # noqa: F811
    corranto("queue", str(issue_file(tmp_path, GOOD, name="held.md")))

    shown, report = corranto("issue", "show", "held").out, corranto("issue", "report", "held").out
    as_json = corranto("issue", "show", "held", "--json").json
    listed = corranto("issue", "list").out
    asked = corranto("issue", "cancel", "held")
    done = corranto("issue", "cancel", "held", "--yes")

    for text in (shown, report):
        assert "not begun: 3 people would get it now, and nothing has left" in text
        assert "= 0" not in text
    assert "left through this issue" not in report
    assert as_json["would_get"] == 3
    assert re.search(r"held +holding +\S+ +- +- +-", listed)
    assert "This stops held for good; 3 people will not get it." in asked.err
    assert "Nobody was mailed." in done.out
    assert corranto("issue", "show", "held", "--json").json["would_get"] is None
    assert "cancelled before it began: nobody was mailed" in corranto("issue", "report", "held").out


def test_what_was_taken_back_says_so(corranto, readers, tmp_path):  # noqa: F811
    corranto("queue", str(issue_file(tmp_path, GOOD, name="back.md")))
    corranto("issue", "undo", "back")

    report, listed = corranto("issue", "report", "back").out, corranto("issue", "list").out

    assert "taken back: nothing of it leaves until its file is queued again" in report
    assert "= 0" not in report
    assert re.search(r"back +draft +\S+ +- +- +-", listed)


def test_undo_is_offered_while_there_is_time_for_it(corranto, readers, tmp_path):  # noqa: F811
    now = corranto("queue", str(issue_file(tmp_path, GOOD, name="now.md")), "--hold", "0")
    later = corranto("queue", str(issue_file(tmp_path, GOOD, name="later.md")), "--at", "+2h", "--hold", "0")
    held = corranto("queue", str(issue_file(tmp_path, GOOD, name="held.md")), "--hold", "5m")

    assert "sending starts now" in now.out
    assert "issue undo" not in now.err
    assert "Next: corranto issue watch now" in now.err
    assert "Next: corranto issue undo later" in later.err
    assert "Next: corranto issue undo held" in held.err


def test_a_retry_of_nobody_says_who_there_is_and_how_to_order_it(corranto, publication, sqlite_database: Database):  # noqa: F811
    issue_id = planned_issue(sqlite_database, 6)
    send(sqlite_database, issue_id, lambda n: {1: DOUBTFUL, 2: DOUBTFUL, 3: UNDELIVERABLE}.get(n, ACCEPTED))

    said = corranto("issue", "retry", "spring")
    ordered = re.findall(r"corranto (issue retry .*)", said.err)

    assert "Nobody of spring is failed (our side), so nothing is sent again." in said.out
    assert "1 reader is bounced." in said.out
    assert "2 readers are in doubt, and may get it twice." in said.out
    assert ordered == ["issue retry spring --state bounced", "issue retry spring --state in_doubt"]
    for command in ordered:
        assert "will be sent again" in corranto(*command.split(), "--yes").out
    assert "Next" not in corranto("issue", "retry", "spring", "--state", "failed").err


def test_a_code_stands_once_in_report_and_deliveries(corranto, publication, sqlite_database: Database):  # noqa: F811
    issue_id = planned_issue(sqlite_database, 2)
    send(sqlite_database, issue_id, lambda n: {1: UNDELIVERABLE}.get(n, ACCEPTED))

    report, listed = corranto("issue", "report").out, corranto("issue", "deliveries").out

    for text in (report, listed):
        assert len(re.findall(r"(?<!/)5\.1\.1", text)) == 1
        assert "no such mailbox see https://relay.example.net/5.1.1" in text


@pytest.mark.parametrize("number", [0, 7])
def test_an_unbegun_count_is_of_the_issues_own_audience(database: Database, number: int) -> None:
    # Given an issue for those whose copy of another one was accepted
    first = planned_issue(database, 10)
    send(database, first, lambda n: ACCEPTED if n <= number else UNDELIVERABLE)
    of = {"audience_kind": "accepted_of", "audience_of": first}
    with database.write() as conn:
        add_issue(conn, 1, "correction", state="holding", started_at=None, hold_until=datetime.now(UTC), **of)

    # When
    view = show_issue(database, "correction")

    # Then
    assert view.would_get == number
    assert report.build(database, "correction").would_get == number
    assert show_issue(database, first).would_get is None


def test_errors_name_the_value_and_a_remedy_that_works(corranto, readers):  # noqa: F811
    # Given
    number = corranto("import", "list", "--json").json["imports"][0]["id"]
    corranto("import", "undo", str(number), "--yes")

    # When
    unknown = corranto("subscriber", "show", "Nobody@Example.org")
    undone = corranto("import", "undo", str(number), "--yes")

    # Then
    assert "no subscriber has the address Nobody@Example.org" in unknown.err
    assert "r1@example.org" in corranto(*_remedy(unknown.err, "subscriber list .*")).out
    assert re.search(rf"import {number} was undone already, on \w+ \d+ \w+ 20\d\d", undone.err)
    assert corranto(*_remedy(undone.err, "import list")).code == 0


def test_a_time_in_the_past_says_what_to_give_instead(corranto, readers, tmp_path):  # noqa: F811
    path = str(issue_file(tmp_path, GOOD))

    past = corranto("queue", path, "--at", "2020-01-01 09:00")

    assert "'2020-01-01 09:00' means Wed 1 Jan 2020, 09:00 Europe/Lisbon" in past.err
    assert "give a later time, such as +10m, or leave --at out to start now" in past.err
    assert corranto("queue", path, "--at", "+10m").code == 0


def test_lint_names_what_explains_its_worst_finding(corranto, readers, tmp_path):  # noqa: F811
    broken = corranto("lint", str(issue_file(tmp_path, GOOD, "Write to [your name here].\n")))
    warned = corranto("lint", str(issue_file(tmp_path, GOOD)))

    assert _remedy(broken.err, "explain .*") == ["explain", "E801"]
    assert _remedy(warned.err, "explain .*") == ["explain", "W402"]
    assert "note.md" in warned.err.splitlines()[-1]
    assert "Something was left over" in corranto("explain", "E801").out


def _remedy(said: str, pattern: str) -> list[str]:
    found = re.search(f"corranto ({pattern})", said)
    assert found is not None, said
    return found[1].split()
