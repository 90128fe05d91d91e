"""The pages about leaving and the one-click answer, by raw bytes and by a plain HTTP client."""

import base64
import re

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text, update

from tests.support.web_server import exchange
from tests.web.conftest import Desk
from worker.storage import schema
from worker.tokens import Keyring, Purpose, Token, TokenError

URLENCODED = b"List-Unsubscribe=One-Click"
MULTIPART = b'--X42\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--X42--\r\n'
ENCODINGS = {
    "urlencoded": (b"application/x-www-form-urlencoded", URLENCODED),
    "multipart": (b"multipart/form-data; boundary=X42", MULTIPART),
    "without a type": (b"", URLENCODED),
}


def one_click(
    desk: Desk, token: str, encoding: str = "urlencoded", version: bytes = b"1.1"
) -> tuple[int, bytes, bytes]:
    """(status, head, body) of a bare request: only what RFC 8058 3.1 promises to send."""
    kind, body = ENCODINGS[encoding]
    head = b"POST /u/" + token.encode() + b" HTTP/" + version + b"\r\nHost: news.example.org\r\nConnection: close\r\n"
    if kind:
        head += b"Content-Type: " + kind + b"\r\n"
    raw = exchange(desk.place, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer, _, content = raw.partition(b"\r\n\r\n")
    return int(answer.split()[1]), answer.lower(), content


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_one_click_post_unsubscribes_at_once_without_cookie_or_redirect(
    desk: Desk, encoding: str, version: bytes
) -> None:
    # Given a reader and the mail's link
    # When a mail provider posts as RFC 8058 says, three times
    answers = [one_click(desk, desk.link, encoding, version) for _ in range(3)]

    # Then each answer is a short 200, and the reader is out of this publication only
    for status, head, body in answers:
        assert status == 200
        assert b"\r\nlocation:" not in head
        assert b"\r\nset-cookie:" not in head
        assert len(body) < 200
    assert desk.readers.state(desk.here)[0] == "ended"
    assert desk.readers.state(desk.other)[0] == "confirmed"
    assert desk.readers.rows("consent_log") == 1


def test_a_one_click_post_of_an_older_generation_still_unsubscribes(desk: Desk) -> None:
    # Given a subscription that ended once and goes on
    desk.client.post(f"/u/{desk.link}", data={"scope": "one"})
    desk.client.post(f"/u/{desk.link}/undo", data={"scope": "one"})
    assert desk.readers.state(desk.here) == ("confirmed", 2)

    # When the first mail's button is pressed
    status, _, _ = one_click(desk, desk.link)

    # Then it works
    assert status == 200
    assert desk.readers.state(desk.here)[0] == "ended"


def test_a_one_click_post_says_when_a_copy_may_be_on_its_way(desk: Desk) -> None:
    # Given a worker that holds this reader's row
    desk.readers.claim(desk.issue, 1, 1)

    # When the reader leaves
    status, _, body = one_click(desk, desk.link)

    # Then the wish holds and the answer is honest
    assert (status, body) == (200, b"You are unsubscribed.\nOne copy may be on its way.\n")
    assert desk.readers.state(desk.here)[0] == "ended"


def test_a_one_click_post_of_an_erased_reader_is_answered_neutrally(desk: Desk) -> None:
    # Given a reader whose data is deleted
    with desk.readers.database.write() as conn:
        conn.execute(
            update(schema.subscriber).values(address=None, address_hash=None, erased_at=text("CURRENT_TIMESTAMP"))
        )

    # When an old mail's link is posted and opened
    status, _, _ = one_click(desk, desk.link)
    page = desk.client.get(f"/u/{desk.link}")

    # Then nothing is wrong, and nobody is named
    assert status == 200
    assert page.status_code == 200
    assert "•••" not in page.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"List-Unsubscribe=No",
        b"list=One-Click",
        b"scope=everything",
        b"token=other",
        b"\xff\xfe\x00",
        b"&" * 500,
        b"a=b&" * 100,
    ],
)
def test_a_post_with_another_body_is_refused_and_changes_nothing(desk: Desk, body: bytes) -> None:
    # Given a valid link
    before = desk.readers.checksum()

    # When something else is posted to it
    answer = desk.client.post(
        f"/u/{desk.link}", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )

    # Then a page says so
    assert answer.status_code == 400
    assert "Nothing was changed" in answer.text
    assert desk.readers.checksum() == before


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=X42", b"garbage"),
        ("multipart/form-data", MULTIPART),
        ("multipart/form-data; boundary=X42", MULTIPART.replace(b'"List', b'"x"; filename="List')),
        ("application/json", b'{"List-Unsubscribe": "One-Click"}'),
        ("text/plain", URLENCODED),
    ],
)
def test_a_post_in_another_form_is_refused_and_changes_nothing(desk: Desk, kind: str, body: bytes) -> None:
    # Given a valid link
    before = desk.readers.checksum()

    # When a form arrives broken or as something else
    answer = desk.client.post(f"/u/{desk.link}", content=body, headers={"Content-Type": kind})

    # Then it is refused
    assert answer.status_code == 400
    assert desk.readers.checksum() == before


def test_a_huge_body_is_cut_off(desk: Desk) -> None:
    # Given a valid link
    # When far too much is posted
    answer = desk.client.post(f"/u/{desk.link}", content=b"x" * 200_000)

    # Then nobody reads it all
    assert answer.status_code == 413
    assert desk.readers.state(desk.here)[0] == "confirmed"


def test_the_token_is_read_from_the_path_only(desk: Desk) -> None:
    # Given a damaged path and a good token in body and query
    # When it is posted
    answer = desk.client.post(
        f"/u/{desk.link[:-1]}?token={desk.link}", data={"List-Unsubscribe": "One-Click", "token": desk.link}
    )

    # Then it is a damaged link
    assert answer.status_code == 404
    assert desk.readers.state(desk.here)[0] == "confirmed"


def test_a_thousand_providers_behind_one_address_are_not_held_up(desk: Desk) -> None:
    # Given many readers, and some broken links between their good ones
    ids = [desk.readers.reader(f"r{at}@example.org", desk.newsline)[0] for at in range(60)]

    # When all post from one address
    codes = [desk.client.post(f"/u/{desk.readers.link(one)}", content=URLENCODED).status_code for one in ids]
    broken = [desk.client.post("/u/broken", content=URLENCODED).status_code for _ in range(20)]
    last = desk.client.post(f"/u/{desk.link}", content=URLENCODED).status_code

    # Then every good one is taken
    assert codes == [200] * 60
    assert broken == [404] * 20
    assert last == 200


def test_the_page_names_publication_and_masked_address_and_changes_nothing(desk: Desk) -> None:
    # Given a reader
    before = desk.readers.checksum()

    # When the link is opened, by people and by scanners
    agents = ["Mozilla/5.0", "Barracuda Sentinel", "Slackbot-LinkExpanding 1.0", "Microsoft Office Existence Discovery"]
    answers = [
        desk.client.request(method, f"/u/{desk.link}", headers={"User-Agent": agent, "Sec-Purpose": "prefetch"})
        for agent in agents
        for method in ("GET", "HEAD", "OPTIONS")
    ]

    # Then the page is there, and the ledger is as before
    page = answers[0].text
    assert "Unsubscribe from Newsline" in page
    assert "Stop all publications" in page
    assert "j•••@example.org" in page
    assert "jane.invented" not in page
    assert re.search(r"Forwarded to you\? This is j•••@example\.org[’']s subscription\.", page)
    assert desk.readers.checksum() == before


def test_leaving_on_the_page_leads_to_done_with_undo_and_the_rest(desk: Desk) -> None:
    # Given the page
    # When its button is pressed
    answer = desk.client.post(f"/u/{desk.link}", data={"scope": "one"})
    done = desk.client.get(answer.headers["location"])

    # Then a reload-safe page says what ended, what goes on, and offers the way back
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/u/{desk.link}/done"
    assert "You no longer get" in done.text
    assert "Undo: get Newsline again" in done.text
    assert "You still get:" in done.text
    assert "We send no further mail about this" in done.text
    # And the button of the other publication ends that one
    other = re.findall(r'action="(/u/[A-Za-z0-9_-]{44})"', done.text)
    assert desk.client.post(other[-1], data={"scope": "one"}).status_code == 303
    assert desk.readers.state(desk.other)[0] == "ended"


def test_the_done_page_names_what_is_still_on_its_way(desk: Desk) -> None:
    # Given a copy in flight when the reader left
    claim = desk.readers.claim(desk.issue, 1, 1)
    desk.client.post(f"/u/{desk.link}", data={"scope": "one"})
    while_sending = desk.client.get(f"/u/{desk.link}/done").text

    # When it is given back
    desk.readers.release(claim)
    afterwards = desk.client.get(f"/u/{desk.link}/done").text

    # Then the page tells each time what is true
    assert "November news" in while_sending
    assert "may be on its way" in while_sending
    assert "may be on its way" not in afterwards


def test_a_reader_who_left_sees_the_date_and_the_way_back(desk: Desk) -> None:
    # Given a reader who left by the mail program's button
    one_click(desk, desk.link)

    # When the mail's link is opened
    page = desk.client.get(f"/u/{desk.link}")

    # Then it does not ask again
    assert "You no longer get" in page.text
    assert re.search(r'taken off the list on <time datetime="\d{4}-\d\d-\d\d">', page.text)
    assert "Undo" in page.text


def test_undo_welcomes_the_reader_back(desk: Desk) -> None:
    # Given a reader who stopped all
    desk.client.post(f"/u/{desk.link}", data={"scope": "all"})
    assert "any of our publications" in desk.client.get(f"/u/{desk.link}/done").text

    # When the reader takes all of it back
    answer = desk.client.post(f"/u/{desk.link}/undo", data={"scope": "all"})
    page = desk.client.get(answer.headers["location"])

    # Then both go on
    assert answer.status_code == 303
    assert "Welcome back" in page.text
    assert [desk.readers.state(one) for one in (desk.here, desk.other)] == [("confirmed", 2), ("confirmed", 2)]


def test_an_undo_by_a_mail_program_is_refused(desk: Desk) -> None:
    # Given a reader who left
    one_click(desk, desk.link)

    # When a one-click body is posted to the undo address
    answer = desk.client.post(f"/u/{desk.link}/undo", content=URLENCODED)

    # Then nobody is signed up by a machine
    assert answer.status_code == 400
    assert desk.readers.state(desk.here)[0] == "ended"


def test_a_proof_shows_every_page_and_changes_nothing(desk: Desk) -> None:
    # Given a proof's token
    (token,) = desk.readers.proof(desk.newsline, "editor@example.org")
    before = desk.readers.checksum()

    # When each of its links and buttons is used
    page = desk.client.get(f"/u/{token}")
    posted = desk.client.post(f"/u/{token}", data={"scope": "all"})
    done = desk.client.get(posted.headers["location"])
    undone = desk.client.post(f"/u/{token}/undo", data={"scope": "one"})
    back = desk.client.get(undone.headers["location"])
    status, _, said = one_click(desk, token)

    # Then the pages look real and say what they are
    for shown in (page, done, back):
        assert shown.status_code == 200
        assert "This is a proof: nothing changes" in shown.text
        assert f'<a href="/proof/{token}">Approve this text</a>' in shown.text
    assert 'Stop getting <bdi lang="en">Newsline</bdi>?' in page.text
    assert "e•••@example.org" in page.text
    assert (status, said) == (200, b"This is a proof: nothing was changed.\n")
    assert desk.readers.checksum() == before


def test_the_links_of_a_preview_and_of_a_proof_no_longer_kept_say_so(desk: Desk) -> None:
    # Given
    token = desk.readers.keyring.sign(Token(Purpose.PROOF))

    # When both of its links are opened
    leaving, view = desk.client.get(f"/u/{token}"), desk.client.get(f"/v/{token}")

    # Then both are pages that say so
    assert (leaving.status_code, view.status_code) == (200, 200)
    assert "This is a proof" in leaving.text
    assert "This is a proof" in view.text


def test_a_probe_is_answered_like_a_one_click_post_and_changes_nothing(desk: Desk) -> None:
    # Given a probe's token
    token = desk.readers.keyring.sign(Token(Purpose.PROBE))
    before = desk.readers.checksum()

    # When the installation asks itself in both encodings
    answers = [one_click(desk, token, encoding)[0] for encoding in ("urlencoded", "multipart")]

    # Then it answers
    assert answers == [200, 200]
    assert desk.readers.checksum() == before


def test_every_bad_token_meets_the_same_page(desk: Desk) -> None:
    # Given tokens that are wrong in different ways
    good = desk.link
    foreign = Keyring(["another-key-for-tests-0123456789abcdef"]).sign(Token(Purpose.UNSUBSCRIBE, desk.here, 1))
    wrong_purpose = desk.readers.keyring.sign(Token(Purpose.VIEW, issue=desk.issue))
    bad = ["x", good[:-1], good + "A", good.swapcase(), good[::-1], foreign, wrong_purpose, "%F0%9F%92%8C", "a" * 4000]

    # When they are opened and posted
    pages = [desk.client.get(f"/u/{token}") for token in bad]
    posts = [desk.client.post(f"/u/{token}", content=URLENCODED) for token in bad]

    # Then one page answers all of them, with people to write to
    assert {answer.status_code for answer in (*pages, *posts)} == {404}
    assert len({answer.text for answer in (*pages, *posts)}) == 1
    assert "This link is damaged" in pages[0].text
    assert "newsline-help@example.org" in pages[0].text
    assert "magazine-help@example.org" in pages[0].text


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_token_is_refused(data: st.DataObject) -> None:
    # Given a signed token
    ring = Keyring(["a-key-for-tests-only-0123456789abcdef"])
    good = ring.sign(Token(Purpose.UNSUBSCRIBE, 12345, 3, 678))
    octets = bytearray(base64.urlsafe_b64decode(good))

    # When some of its bits are others
    for at in data.draw(st.lists(st.integers(0, len(octets) * 8 - 1), min_size=1, max_size=6, unique=True)):
        octets[at // 8] ^= 1 << at % 8
    mutated = base64.urlsafe_b64encode(bytes(octets)).decode()

    # Then it opens nothing
    with pytest.raises(TokenError):
        ring.read(mutated, *Purpose)


def test_a_link_of_a_rotated_key_still_works(desk: Desk) -> None:
    # Given a mail signed with yesterday's key, which now verifies only
    old = Keyring(["yesterdays-key-0123456789abcdef-0123"])
    mail = old.sign(Token(Purpose.UNSUBSCRIBE, desk.here, 1))

    # When the keyring of both reads it
    token = Keyring(["a-key-for-tests-only-0123456789abcdef", "yesterdays-key-0123456789abcdef-0123"]).read(
        mail, Purpose.UNSUBSCRIBE
    )

    # Then it names the same subscription
    assert token.subscription == desk.here


def test_a_foreign_host_header_reaches_no_link(desk: Desk) -> None:
    # Given a request as a cache poisoner sends it
    poison = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}

    # When pages and forms are used with it
    answers = [
        desk.client.get("/", headers=poison),
        desk.client.get(f"/u/{desk.link}", headers=poison),
        desk.client.get("/u/broken", headers=poison),
        desk.client.post(f"/u/{desk.link}", data={"scope": "one"}, headers=poison),
    ]

    # Then no answer repeats it
    for answer in answers:
        assert "evil.example" not in answer.text
        assert "evil.example" not in answer.headers.get("location", "")


def test_what_an_editor_typed_is_shown_as_text(desk: Desk) -> None:
    # Given a publication whose texts try to be markup
    with desk.readers.database.write() as conn:
        conn.execute(
            update(schema.publication).values(
                title='<script>alert(1)</script>"', description="<img src=x onerror=alert(1)>", promise="{{ 7*7 }}<b>"
            )
        )

    # When every page shows it
    pages: list[httpx.Response] = [
        desk.client.get("/"), desk.client.get("/privacy"), desk.client.get(f"/u/{desk.link}"), desk.client.get("/u/x")
    ]  # fmt: skip

    # Then nothing of it is markup
    for page in pages:
        assert "<script" not in page.text
        assert "<img" not in page.text
        assert "<b>" not in page.text
        assert "49" not in page.text
