"""What a posted form may ask for, by which token, and what is written down about it."""

from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from tests.support.readers import KEY, Readers, WatchedDatabase, settings_for
from tests.support.web_server import running_web
from tests.web.conftest import Desk
from worker.storage import schema
from worker.storage.engine import Database
from worker.tokens import Keyring, Purpose, Token

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.mark.parametrize("query", ["List-Unsubscribe=One-Click", "scope=all", "scope=one"])
def test_a_query_string_asks_for_nothing(desk: Desk, query: str) -> None:
    # Given a link that somebody lengthened
    before = desk.readers.checksum()

    # When it is opened, then posted without a body
    opened = desk.client.get(f"/u/{desk.link}?{query}")
    unchanged = desk.readers.checksum()
    posted = desk.client.post(f"/u/{desk.link}?{query}")

    # Then looking changed nothing, and the post is the no of its token alone
    assert (opened.status_code, posted.status_code) == (200, 200)
    assert unchanged == before
    assert [desk.readers.state(one)[0] for one in (desk.here, desk.other)] == ["ended", "confirmed"]
    assert ended_by(desk) == "page"


def ended_by(desk: Desk) -> str:
    with desk.readers.database.read() as conn:
        column = schema.subscription.c.ended_by
        return str(conn.scalar(select(column).where(schema.subscription.c.id == desk.here)))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("where", ["", "/done", "/back", "/undo"])
def test_only_a_post_changes_anything_on_any_address_below_a_link(desk: Desk, method: str, where: str) -> None:
    # Given a reader who left, so that both leaving and undoing would be seen
    desk.client.post(f"/u/{desk.link}", data={"scope": "one"})
    before = desk.readers.checksum()

    # When a scanner tries whatever there is
    for link in (desk.link, desk.readers.link(desk.other)):
        desk.client.request(method, f"/u/{link}{where}", params=ONE_CLICK, data=ONE_CLICK)
        desk.client.request(method, f"/u/{link}{where}", data={"scope": "all"})

    # Then
    assert desk.readers.checksum() == before


@pytest.mark.parametrize("purpose", [Purpose.VIEW, Purpose.PROBE, Purpose.VERP, Purpose.MAILTO])
def test_a_token_for_something_else_undoes_nothing_and_opens_no_page(desk: Desk, purpose: Purpose) -> None:
    # Given a reader who left, and a token of another purpose that names the same subscription
    desk.client.post(f"/u/{desk.link}", data={"scope": "one"})
    token = desk.readers.keyring.sign(Token(purpose, desk.here, 1, desk.issue))
    before = desk.readers.checksum()

    # When it is tried at every address
    answers = [desk.client.get(f"/u/{token}{where}") for where in ("", "/done", "/back")]
    answers.append(desk.client.post(f"/u/{token}/undo", data={"scope": "all"}))

    # Then each is the page for a damaged link
    assert {answer.status_code for answer in answers} == {404}
    assert desk.readers.checksum() == before


def test_a_page_cannot_press_the_button_of_a_probe(desk: Desk) -> None:
    # Given a probe's token that names a subscription
    token = desk.readers.keyring.sign(Token(Purpose.PROBE, desk.here, 1))
    before = desk.readers.checksum()

    # When a form is posted to it
    answer = desk.client.post(f"/u/{token}", data={"scope": "one"})

    # Then
    assert answer.status_code == 400
    assert desk.readers.checksum() == before


@pytest.mark.parametrize(("body", "channel"), [(ONE_CLICK, "one_click"), ({"scope": "one"}, "page")])
@pytest.mark.parametrize("from_issue", [True, False])
def test_the_evidence_of_an_opt_out_names_its_button_and_its_issue(
    desk: Desk, body: dict[str, str], channel: str, from_issue: bool
) -> None:
    # Given a link of an issue, or of none
    issue = desk.issue if from_issue else 0

    # When it is used
    desk.client.post(f"/u/{desk.readers.link(desk.here, issue_id=issue)}", data=body)

    # Then the consent log can be shown to whoever asks
    with desk.readers.database.read() as conn:
        ended = conn.execute(
            select(schema.subscription.c.ended_by, schema.subscription.c.ended_issue_id).where(
                schema.subscription.c.id == desk.here
            )
        ).one()
        line = conn.execute(select(schema.consent_log.c.channel, schema.consent_log.c.issue_id)).one()
    assert tuple(ended) == tuple(line) == (channel, issue or None)


def test_the_button_for_one_ends_one_and_the_button_for_all_ends_all(desk: Desk) -> None:
    # When one is left by the mail program's button, then all
    desk.client.post(f"/u/{desk.link}", data=ONE_CLICK)
    after_one = [desk.readers.state(one)[0] for one in (desk.here, desk.other)]
    desk.client.post(f"/u/{desk.link}", data={"scope": "all"})
    after_all = [desk.readers.state(one)[0] for one in (desk.here, desk.other)]

    # Then
    assert after_one == ["ended", "confirmed"]
    assert after_all == ["ended", "ended"]


def test_undo_of_one_leaves_the_other_ended(desk: Desk) -> None:
    # Given a reader who stopped all
    desk.client.post(f"/u/{desk.link}", data=ONE_CLICK)
    desk.client.post(f"/u/{desk.link}", data={"scope": "all"})

    # When Undo is pressed for one
    desk.client.post(f"/u/{desk.link}/undo", data={"scope": "one"})

    # Then
    assert [desk.readers.state(one) for one in (desk.here, desk.other)] == [("confirmed", 2), ("ended", 1)]


def test_the_answer_waits_for_a_copy_that_is_given_back_in_time(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given a reader whose copy a worker holds, and gives back when the answer has looked once
    readers = Readers(sqlite_database, Keyring([KEY]))
    newsline = readers.publication("newsline")
    (here,) = readers.reader("jane@example.org", newsline)
    claim = readers.claim(readers.issue(newsline, [here]), 1, 1)
    seen: list[str] = []

    def give_back(what: str) -> None:
        seen.append(what)
        if seen[seen.index("durable") :] == ["durable", "read", "read", "read"]:
            readers.release(claim)

    database = WatchedDatabase(sqlite_database, seen.append, lambda: give_back("read") if "durable" in seen else None)
    settings = settings_for(sqlite_url, tmp_path / "state", optout_fresh_s="10")

    # When the mail program's button is pressed
    with running_web(settings, database) as (host, port):
        answer = httpx.post(f"http://{host}:{port}/u/{readers.link(here)}", data=ONE_CLICK, timeout=30)

    # Then no copy is announced that never left
    assert answer.text == "You are unsubscribed.\n"


def test_the_done_page_names_a_copy_of_every_publication_that_was_left_together(desk: Desk) -> None:
    # Given a copy of the other publication in flight
    desk.readers.claim(desk.readers.issue(desk.magazine, [desk.other], subject="The other one"), 1, 1)

    # When all is left
    desk.client.post(f"/u/{desk.link}", data=ONE_CLICK)
    desk.client.post(f"/u/{desk.link}", data={"scope": "all"})

    # Then the page says what may still come
    assert "The other one" in desk.client.get(f"/u/{desk.link}/done").text
