"""The links of a proof: they show what a reader would see, change nothing for readers, and take a yes by POST only."""

import re

import pytest
from sqlalchemy import select

from tests.support.readers import PIXEL
from tests.web.conftest import Desk
from worker.storage import proof_mails, schema
from worker.tokens import Purpose, Token


def acts(desk: Desk) -> list[tuple[str, str, str]]:
    with desk.readers.database.read() as conn:
        table = schema.act
        return [tuple(row) for row in conn.execute(select(table.c.actor, table.c.act, table.c.object))]


def test_the_browser_view_of_a_proof_is_its_text_under_a_banner(desk: Desk) -> None:
    # Given
    first, second = desk.readers.proof(desk.newsline, "editor@example.org", "chief@example.org")

    # When
    page = desk.client.get(f"/v/{second}")

    # Then the text's own links carry the copy's token, so they lead to this copy's pages
    assert page.status_code == 200
    assert "This is a proof: nothing changes." in page.text
    assert f'href="/proof/{second}"' in page.text
    assert f"href='/v/{second}'" in page.text
    assert first not in page.text
    assert "form-action 'none'" in page.headers["content-security-policy"]


def test_a_copy_is_approved_by_post_and_taken_back(desk: Desk) -> None:
    # Given
    first, second = desk.readers.proof(desk.newsline, "editor@example.org", "chief@example.org")
    before = desk.readers.checksum()

    # When a scanner follows every link
    for path in (f"/proof/{second}", f"/v/{second}", f"/u/{second}"):
        assert desk.client.get(path).status_code == 200
        assert desk.client.head(path).status_code == 200
    assert desk.client.get(f"/proof/{second}/approve").status_code == 404

    # Then nothing changed
    assert desk.readers.checksum() == before

    # When its reader presses the button twice
    for _ in range(2):
        answer = desk.client.post(f"/proof/{second}/approve", data={"scope": "one"})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/proof/{second}")

    # Then this copy is approved, and no other
    page = desk.client.get(f"/proof/{second}").text
    assert "You approved this text on" in page
    assert "c•••@example.org" in page
    assert "You approved" not in desk.client.get(f"/proof/{first}").text
    assert [act for act in acts(desk) if act[1].startswith("proof")] == [
        ("proof 1, copy 2", "proof.approve", "issue spring")
    ]

    # When
    desk.client.post(f"/proof/{second}/withdraw")

    # Then
    assert "Approve this text" in desk.client.get(f"/proof/{second}").text
    assert acts(desk)[-1] == ("proof 1, copy 2", "proof.withdraw", "issue spring")


def test_an_older_text_says_that_a_later_one_was_mailed(desk: Desk) -> None:
    (old,) = desk.readers.proof(desk.newsline, "editor@example.org", text="one")
    (new,) = desk.readers.proof(desk.newsline, "editor@example.org", text="two")

    assert "A later text of this issue was mailed" in desk.client.get(f"/proof/{old}").text
    assert "A later text" not in desk.client.get(f"/proof/{new}").text


def test_a_figure_of_a_proof_has_its_page_before_the_issue_is_queued(desk: Desk) -> None:
    # Given
    picture = desk.readers.media(PIXEL, "png", "image/png")
    figure = {
        "id": "f1",
        "media": picture,
        "alt": "A crane",
        "caption": "The <last> sector.",
        "credit": "Photo: Agency",
    }
    (token,) = desk.readers.proof(desk.newsline, "editor@example.org", figures=(figure,))

    # When
    page = desk.client.get(f"/proof/{token}/f1")

    # Then
    assert page.status_code == 200
    assert "The &lt;last&gt; sector." in page.text
    assert f'src="/media/{picture}"' in page.text
    assert f'href="/v/{token}"' in page.text
    assert desk.client.get(f"/proof/{token}/f2").status_code == 404


@pytest.mark.parametrize("purpose", [Purpose.UNSUBSCRIBE, Purpose.VIEW, Purpose.PROBE])
def test_only_a_proof_s_token_opens_its_page(desk: Desk, purpose: Purpose) -> None:
    desk.readers.proof(desk.newsline, "editor@example.org")
    token = desk.readers.keyring.sign(Token(purpose, generation=1, issue=1))

    assert desk.client.get(f"/proof/{token}").status_code == 404
    assert desk.client.post(f"/proof/{token}/approve").status_code == 404


def test_a_preview_s_token_approves_nothing(desk: Desk) -> None:
    desk.readers.proof(desk.newsline, "editor@example.org")
    token = desk.readers.keyring.sign(Token(Purpose.PROOF))
    before = desk.readers.checksum()

    assert desk.client.post(f"/proof/{token}/approve").status_code == 303
    assert "preview" in desk.client.get(f"/proof/{token}").text
    assert desk.readers.checksum() == before


def test_an_erased_address_leaves_the_proofs(desk: Desk) -> None:
    (token,) = desk.readers.proof(desk.newsline, "Editor@Example.org")
    with desk.readers.database.write() as conn:
        proof_mails.forget_address(conn, "editor@example.org")

    page = desk.client.get(f"/proof/{token}").text

    assert "an erased address" in page
    assert not re.search("editor@", page, re.IGNORECASE)
