"""The pages about leaving and the one-click answer, by raw bytes and by a plain HTTP client."""

import base64
import re
import socket

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


BODIES = {
    "nothing": ("", b""),
    "a form of nothing": ("application/x-www-form-urlencoded", b""),
    "another value": ("application/x-www-form-urlencoded", b"List-Unsubscribe=No"),
    "another field": ("application/x-www-form-urlencoded", b"list=One-Click"),
    "a page's field, wrong": ("application/x-www-form-urlencoded", b"scope=everything"),
    "no text": ("application/x-www-form-urlencoded", b"\xff\xfe\x00\xed\xa0\x80"),
    "no fields": ("application/x-www-form-urlencoded", b"&" * 500),
    "a million fields": ("application/x-www-form-urlencoded", b"a=b&" * 1_000_000),
    "another case": ("application/x-www-form-urlencoded", b"LIST-UNSUBSCRIBE=one-click"),
    "plain text": ("text/plain", URLENCODED),
    "JSON": ("application/json", b'{"List-Unsubscribe": "One-Click"}'),
    "a kind nobody knows": ("\xff;;=", URLENCODED),
    "garbage for parts": ("multipart/form-data; boundary=X42", b"garbage"),
    "parts without a boundary": ("multipart/form-data", MULTIPART),
    "parts cut off": ("multipart/form-data; boundary=X42", MULTIPART[:-12]),
    "parts in an unknown charset": ("multipart/form-data; boundary=X42; charset=klingon", MULTIPART),
    "a file": ("multipart/form-data; boundary=X42", MULTIPART.replace(b'"List', b'"x"; filename="List')),
    "a file bomb": ("multipart/form-data; boundary=X42", MULTIPART[:70] + b"x" * 3_000_000),
    "far too much": ("application/x-www-form-urlencoded", b"x" * 3_000_000),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_whole_token_sent_by_post_is_a_no_whatever_its_body(desk: Desk, body: str) -> None:
    # Given a valid link
    kind, content = BODIES[body]

    # When something posts it that sends no form of ours
    head = f"POST /u/{desk.link} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n"
    head += f"Content-Type: {kind}\r\n" if kind else ""
    answer = exchange(desk.place, head.encode("latin-1") + b"\r\n" + content)

    # Then the reader is out of that publication, and told so in one line
    assert answer[9:12] == b"200"
    assert answer.endswith(b"You are unsubscribed.\n")
    assert desk.readers.state(desk.here)[0] == "ended"
    assert desk.readers.state(desk.other)[0] == "confirmed"


@pytest.mark.parametrize(
    "extra",
    [
        "Transfer-Encoding: chunked\r\n\r\n1a\r\nList-Unsubscribe=One-Click\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Expect: 100-continue\r\nContent-Length: 26\r\n\r\nList-Unsubscribe=One-Click",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
        "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
        "Cookie: " + "a=b; " * 4_000 + "\r\nContent-Length: 0\r\n\r\n",
        "X-Forwarded-Host: evil.example.org\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["chunked", "chunked nothing", "expect", "upgrade", "gzip", "cookies", "forwarded"],
)
@pytest.mark.parametrize("host", ["news.example.org", "a_b:1", "[", "", "x, y"])
def test_no_header_stands_between_a_reader_and_the_way_out(desk: Desk, extra: str, host: str) -> None:
    # When a whole token is posted with it
    request = f"POST /u/{desk.link} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{extra}"
    answer = exchange(desk.place, request.encode("latin-1"))

    # Then
    assert b"You are unsubscribed." in answer
    assert desk.readers.state(desk.here)[0] == "ended"


def turned(link: str) -> dict[str, str]:
    """A link as it comes back from mail programs, filters and hands; every one holds the whole token."""
    encoded = "".join(f"%{ord(sign):02x}" for sign in link)
    once = f"%75%2F{encoded}"
    signs = {
        f"URL{sign}": f"/u/{link}{sign}" for sign in (*"./)>,\"];:!'*&=|}_-", "...", ").", "=20", "%20", "%E2%80%9D")
    }
    return signs | {
        "query": f"/u/{link}?utm_source=x&scope=all",
        "query of the wrong sign": f"/u/{link}&utm_source=x",
        "encoded query": f"/u/{link}%3Futm_source=x",
        "entity": f"/u/{link}&gt;",
        "words swallowed": f"/u/{link}%20to%20leave",
        "other script swallowed": f"/u/{link}%E3%81%A7%E3%81%99",
        "slashes before": f"//u/{link}",
        "slashes between": f"/u//{link}",
        "more slashes": f"///u///{link}//",
        "capital": f"/U/{link}",
        "turned slashes": f"/u%5C{link}",
        "dot": f"/./u/./{link}",
        "brackets": f"/u/%3C{link}%3E",
        "encoded": f"/{once}",
        "encoded twice": f"/{once.replace('%', '%25')}",
        "encoded three times": f"/{once.replace('%', '%2525')}",
        "whole URL": f"http://news.example.org/u/{link}",
        "quoted-printable": f"/u/=3D{link}=3D",
        "quoted-printable letter": f"/u/={ord(link[0]):02X}{link[1:]}",
        "soft break": f"/u/{link[:20]}=%0D%0A{link[20:]}",
        "soft break, bare": f"/u/{link[:20]}=%0A{link[20:]}",
        "soft break without its line end": f"/u/{link[:20]}={link[20:]}",
        "line break": f"/u/{link[:20]}%0D%0A%20{link[20:]}",
        "soft hyphen": f"/u/{link[:20]}%C2%AD{link[20:]}",
        "zero width": f"/u/{link[:20]}%E2%80%8B{link[20:]}",
        "a page of it": f"/u/{link}/done",
        "below it": f"/u/{link}/x",
    }


@pytest.mark.parametrize("shape", turned("x" * 44))
def test_a_link_works_however_it_comes_back(desk: Desk, shape: str) -> None:
    # Given a link as other programs pass it on
    target = turned(desk.link)[shape]
    before = desk.readers.checksum()

    # When it is looked at in every way, then posted
    looks = {}
    for method in ("GET", "HEAD", "OPTIONS", "PUT"):
        request = f"{method} {target} HTTP/1.1\r\nHost: news.example.org\r\nConnection: close\r\n\r\n"
        looks[method] = exchange(desk.place, request.encode())[9:12]
    unchanged = desk.readers.checksum()
    posted = exchange(
        desk.place,
        f"POST {target} HTTP/1.0\r\nHost: news.example.org\r\nContent-Length: 26\r\n\r\n".encode() + URLENCODED,
    )

    # Then looking shows the page and changes nothing, and the post ends it
    assert looks == {"GET": b"200", "HEAD": b"200", "OPTIONS": b"405", "PUT": b"405"}
    assert unchanged == before
    assert posted[9:12] == b"200"
    assert posted.endswith(b"You are unsubscribed.\n")
    assert desk.readers.state(desk.here)[0] == "ended"
    assert desk.readers.state(desk.other)[0] == "confirmed"


def test_a_token_that_is_not_whole_works_in_no_shape(desk: Desk) -> None:
    # Given tokens cut, lengthened, turned to capitals or mixed up
    good = desk.link
    bad = [
        good[:-1], good[1:], good + "A", good + "_A", "A" + good, good[:-1] + ".", good[:22] + "/" + good[22:],
        good.upper(), good.lower(), good[:22] + good[23:] + good[22], good[:20] + "%3D" + good[21:],
        good[:22] + "%25" + good[22:], f"{good[:22]}../{good[22:]}", "A" * 44, f"{'u/' * 5000}", "%" * 5000,
    ]  # fmt: skip
    before = desk.readers.checksum()

    # When they are posted
    for token in bad:
        request = f"POST /u/{token} HTTP/1.0\r\nHost: x\r\nContent-Length: 26\r\n\r\n".encode() + URLENCODED

        # Then each is a damaged link, or no page
        assert exchange(desk.place, request)[9:12] in (b"404", b"405"), token
    assert desk.readers.checksum() == before


def test_who_breaks_off_in_the_middle_of_the_body_is_out_all_the_same(desk: Desk) -> None:
    # Given a post whose head names a whole token
    with socket.create_connection(desk.place, timeout=15) as line:
        line.sendall(f"POST /u/{desk.link} HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\nList-Un".encode())

        # When no more comes
        line.shutdown(socket.SHUT_WR)
        while line.recv(4096):
            pass

    # Then the wish is taken, whoever else is answered meanwhile
    tries = (desk.client.get("/livez") and desk.readers.state(desk.here)[0] for _ in range(500))
    assert "ended" in tries


def test_a_page_press_and_a_mail_programs_post_are_told_apart(desk: Desk) -> None:
    # When both buttons arrive in one form, as no page of ours sends them
    answer = desk.client.post(f"/u/{desk.link}", data={"List-Unsubscribe": "One-Click", "scope": "all"})

    # Then it is the mail program's: one line, one publication
    assert (answer.status_code, answer.text) == (200, "You are unsubscribed.\n")
    assert [desk.readers.state(one)[0] for one in (desk.here, desk.other)] == ["ended", "confirmed"]


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
    assert "Stop all publications" not in page
    assert "Magazine" not in page
    assert "j•••@example.org" in page
    assert "jane.invented" not in page
    assert re.search(r"Forwarded to you\? This is j•••@example\.org[’']s subscription\.", page)
    assert desk.readers.checksum() == before


def test_leaving_on_the_page_leads_to_done_with_undo_and_the_rest(desk: Desk) -> None:
    # Given the page
    # When its button is pressed
    answer = desk.client.post(f"/u/{desk.link}", data={"scope": "one"})
    done = desk.client.get(answer.headers["location"])

    # Then a reload-safe page says what ended and offers the way back; nobody learns what else is read
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/u/{desk.link}/done"
    assert "You no longer get" in done.text
    assert "Undo: get Newsline again" in done.text
    assert "Magazine" not in done.text
    assert "We send no further mail about this" in done.text


def test_stop_all_is_offered_after_the_mail_programs_own_button(desk: Desk) -> None:
    # Given a reader who pressed Unsubscribe beside the sender's name
    one_click(desk, desk.link)

    # When the mail's link is opened
    page = desk.client.get(f"/u/{desk.link}").text

    # Then it shows what goes on, each with its button, and one for all
    assert "You still get:" in page
    assert "Stop all publications" in page
    own = re.findall(r'action="(/u/[A-Za-z0-9_-]{44})"', page)
    assert desk.client.post(own[0], data={"scope": "one"}).headers["location"] == f"{own[0]}/done"
    assert desk.readers.state(desk.other)[0] == "ended"


def test_a_forwarded_mails_link_ends_its_own_publication_only(desk: Desk) -> None:
    # Given somebody who holds the link and writes the form of the button that is not offered
    # When it is posted
    answer = desk.client.post(f"/u/{desk.link}", data={"scope": "all"})

    # Then the link's own publication ended, and the page says that and no more
    assert answer.headers["location"] == f"/u/{desk.link}/done"
    assert [desk.readers.state(one)[0] for one in (desk.here, desk.other)] == ["ended", "confirmed"]
    page = desk.client.get(f"/u/{desk.link}/done").text
    assert re.search("You no longer get.*Newsline", page)
    assert "any of our publications" not in page


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
    # Given a reader who left by the mail program's button and then stopped all
    one_click(desk, desk.link)
    desk.client.post(f"/u/{desk.link}", data={"scope": "all"})
    assert "any of our publications" in desk.client.get(f"/u/{desk.link}/done").text

    # When the reader takes all of it back
    answer = desk.client.post(f"/u/{desk.link}/undo", data={"scope": "all"})
    page = desk.client.get(answer.headers["location"])

    # Then both go on
    assert answer.status_code == 303
    assert "Welcome back" in page.text
    assert [desk.readers.state(one) for one in (desk.here, desk.other)] == [("confirmed", 2), ("confirmed", 2)]


@pytest.mark.parametrize("path", ["/undo", "/undo/", "/undo.", "/UNDO"])
@pytest.mark.parametrize("body", ["", "List-Unsubscribe=One-Click", "scope=everything", "scope=one&x=" + "x" * 20_000])
def test_only_a_pages_whole_form_undoes(desk: Desk, path: str, body: str) -> None:
    # Given a reader who left
    one_click(desk, desk.link)

    # When something else is posted to the undo address
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = desk.client.post(f"/u/{desk.link}{path}", content=body, headers=kind)

    # Then it neither undoes nor leaves
    assert answer.status_code in (400, 413)
    assert desk.readers.rows("consent_log") == 1


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
