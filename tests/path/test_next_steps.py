"""What a command says to do next, and what it refuses before it asks: true, and right when pasted."""

import json
import shlex
from dataclasses import fields
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from tests.path.test_cli import GOOD, corranto, issue_file, publication, readers  # noqa: F401 - the fixtures
from tests.support.ledgers import add_issue
from worker.domain.issue import WaitReason
from worker.operations.deliveries import DeliveryRow
from worker.screen.deliveries import spell_why
from worker.screen.instants import When
from worker.storage import schema, workers
from worker.storage.engine import Database


def _pasted(said: str, begin: str) -> list[str]:
    """The words of the printed command that begins so, as a shell takes them."""
    line = next(line for line in said.splitlines() if begin in line)
    return shlex.split(line[line.index(begin) :])[1:]


def test_a_file_whose_name_has_a_blank_can_be_pasted_from_every_remedy(corranto, readers, tmp_path):  # noqa: F811
    # Given a file that may not be queued
    issue_file(tmp_path, GOOD + "foo: bar\n", name="our letter.md")

    refused = corranto("queue", "our letter.md")
    assert corranto(*_pasted(refused.err, "corranto lint")).code == 3

    # And one that was queued before
    issue_file(tmp_path, GOOD, name="our letter.md")
    assert corranto("queue", "our letter.md").code == 0
    warned = corranto("preview", "our letter.md", "--text")
    assert "E804" in corranto(*_pasted(warned.err, "corranto lint")).out


def test_an_unknown_publication_hides_no_other_fault(corranto, readers, tmp_path):  # noqa: F811
    head = GOOD.replace("ring-news", "rings") + "foo: bar\nlanguage: klingon!\n"
    issue_file(tmp_path, head, body="{{ name }} and [a word](htp://x)\n")

    said = corranto("lint", "note.md")

    for finding in ("there is no publication rings", "foo is not a key", "klingon!", "has no default", "htp://x"):
        assert finding in " ".join(said.out.split())
    assert "is not known for this publication" not in said.out


def test_a_key_that_is_like_none_gets_no_advice(corranto, readers, tmp_path):  # noqa: F811
    issue_file(tmp_path, GOOD + "headline: News\nsignatry: x\n")

    said = corranto("lint", "note.md").out

    assert "did you mean preheader" not in said
    assert "did you mean signatory" in said


def test_what_is_over_is_not_cancelled_and_nobody_is_asked(corranto, readers, tmp_path):  # noqa: F811
    corranto("queue", str(issue_file(tmp_path, GOOD, name="gone.md")))
    corranto("issue", "cancel", "gone", "--yes")

    again = corranto("issue", "cancel", "gone")

    assert again.code == 4
    assert "gone is cancelled" in again.err
    assert "--yes" not in again.err


def test_an_issue_that_has_not_begun_names_steps_that_fit(corranto, readers, tmp_path):  # noqa: F811
    corranto("queue", str(issue_file(tmp_path, GOOD, name="held.md")))

    held = corranto("issue", "show", "held")
    assert "Next: corranto issue undo held" in held.err
    assert corranto(*_pasted(held.err, "corranto issue undo")).code == 0
    assert "Next: corranto queue FILE" in corranto("issue", "show", "held").err


def test_an_issue_that_waits_says_for_what(corranto, publication, sqlite_database: Database):  # noqa: F811
    with sqlite_database.write() as conn:
        number = add_issue(conn, 1)
        waits = {"wait_reason": WaitReason.RELAY, "wait_detail": "nothing listens at 127.0.0.1:9"}
        conn.execute(update(schema.issue).where(schema.issue.c.id == number).values(**waits))

    assert "no worker is running" in corranto("issue", "show", str(number)).out
    with sqlite_database.write() as conn:
        workers.register(conn, "w1", "host-1", "host 4711")
    assert "nothing listens at 127.0.0.1:9" in corranto("issue", "show", str(number)).out


def test_erasing_counts_the_subscriptions_it_ended(corranto, readers):  # noqa: F811
    assert "1 subscription ended" in corranto("subscriber", "erase", "r1@example.org", "--yes").out
    corranto("unsubscribe", "r2@example.org", "--all")
    assert "0 subscriptions ended" in corranto("subscriber", "erase", "r2@example.org", "--yes").out


@pytest.mark.parametrize(
    "command",
    [("issue", "list", "--nonsense"), ("queue", "x", "--doubt", "maybe"), ("new", "letter", "x.md"), ("new",)],
)
def test_what_the_parser_refuses_is_one_plain_line_and_json_for_programs(corranto, command):  # noqa: F811
    plain, for_programs = corranto(*command), corranto(*command, "--json")

    assert (plain.code, for_programs.code) == (2, 2)
    assert "\\x0a" not in plain.err
    assert "Value error" not in plain.err
    assert len(plain.err.splitlines()) == 2
    assert json.loads(for_programs.err)["errors"][0]["code"] == "command.usage"


def test_report_and_show_speak_of_one_zone_in_the_same_words(corranto, publication, sqlite_database: Database):  # noqa: F811
    # Given an issue of a zone whose short name few people know
    begun = datetime(2026, 11, 24, 9, 0, 5, tzinfo=UTC)
    with sqlite_database.write() as conn:
        add_issue(conn, 1, zone="Europe/Lisbon", queued_at=begun, started_at=begun)

    assert "09:00 Europe/Lisbon (UTC)" in corranto("issue", "show").out
    assert "2026-11-24 09:00:05 Europe/Lisbon (UTC)" in corranto("issue", "report").out
    assert When(begun, "Asia/Kolkata").spell_second() == "2026-11-24 14:30:05 Asia/Kolkata (UTC+5:30)"
    assert When(begun, "UTC").spell_second() == "2026-11-24 09:00:05 UTC"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"reason": "line_broke", "reply_text": "closed"}, "the line broke before the final reply: closed"),
        ({"reason": "at_handover", "code": 550, "enhanced": "5.1.1", "reply_text": "5.1.1 None"}, ": 550 5.1.1 None"),
        ({"code": 451, "reply_text": "Later", "next_try": datetime(2026, 1, 2, 3, 4)}, "451 Later; next try 03:04 UTC"),
        ({"code": 250, "enhanced": "2.0.0"}, "250 2.0.0"),
    ],
)
def test_our_reason_and_the_relays_words_are_two_things(row, said):
    empty = dict.fromkeys(field.name for field in fields(DeliveryRow))
    assert spell_why(DeliveryRow(**{**empty, "reason": "", "reply_text": "", **row})).endswith(said)
