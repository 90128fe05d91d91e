"""What readers read, what operators ask, and the promises every answer keeps."""

import json
import re
import socket
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from prometheus_client import generate_latest
from sqlalchemy import text

from tests.support.lists import until
from tests.support.readers import KEY, PIXEL, Readers, settings_for
from tests.support.web_server import exchange, running_web
from tests.web.conftest import Desk
from worker import metrics
from worker.consent.noted import FILE_NAME
from worker.domain.delivery import DeliveryState
from worker.domain.provider import Provider
from worker.storage.engine import Database, open_database
from worker.storage.ledger.gauges import read_gauges
from worker.tokens import Keyring, Purpose, Token
from worker.transport.shaping import provider_of

LARGEST_PAGE = 30_000


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src", "action") and value]


def links_of(page: httpx.Response) -> list[str]:
    parser = _Links()
    parser.feed(page.text)
    return parser.found


@pytest.fixture
def stocked(desk: Desk) -> dict[str, str]:
    """Path of each kind of page, all of which exist."""
    picture = desk.readers.media(PIXEL, "png", "image/png")
    paper = desk.readers.media(b"%PDF-1.7 invented", "pdf", "application/pdf", 'Résumé "final"\r\nX: y.pdf')
    desk.readers.figure("sector-9", desk.issue, picture)
    desk.readers.compiled(
        desk.issue, "<!doctype html><html lang=en><title>T</title><p style='color:red'>Hello</p></html>"
    )
    view = desk.readers.keyring.sign(Token(Purpose.VIEW, issue=desk.issue))
    (proof,) = desk.readers.proof(desk.newsline, "editor@example.org")
    return {
        "home": "/",
        "privacy": "/privacy",
        "leave": f"/u/{desk.link}",
        "done": f"/u/{desk.link}/done",
        "back": f"/u/{desk.link}/back",
        "proof": f"/u/{proof}",
        "proof page": f"/proof/{proof}",
        "damaged": "/u/broken",
        "view": f"/v/{view}",
        "figure": "/figure/sector-9",
        "picture": f"/media/{picture}",
        "paper": f"/media/{paper}",
        "style": "/style.css",
        "icon": "/favicon.svg",
        "robots": "/robots.txt",
        "missing": "/no/such/page",
        "livez": "/livez",
        "readyz": "/readyz",
    }


def test_every_answer_has_the_strict_headers(desk: Desk, stocked: dict[str, str]) -> None:
    # Given every kind of page, and requests that go wrong
    answers = {name: desk.client.get(path) for name, path in stocked.items()}
    answers["not allowed"] = desk.client.delete("/")
    answers["bad form"] = desk.client.post(f"/u/{desk.link}", data={"a": "b"})
    answers["posted"] = desk.client.post(f"/u/{desk.link}", data={"scope": "one"})

    # When their headers are read
    # Then nothing is sniffed, told, indexed, framed or remembered
    for name, answer in answers.items():
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff", name
        assert headers["referrer-policy"] == "no-referrer", name
        assert headers["x-robots-tag"] == "noindex", name
        assert "default-src 'none'" in headers["content-security-policy"], name
        assert "script-src" not in headers["content-security-policy"], name
        assert "set-cookie" not in headers, name
        assert "server" not in headers, name
        if name not in ("picture", "paper", "style", "icon", "robots"):
            assert headers["cache-control"] == "no-store", name
        if name not in ("picture", "paper"):
            assert "frame-ancestors 'none'" in headers["content-security-policy"], name


def test_pages_are_small_and_bring_no_script_and_nothing_foreign(desk: Desk, stocked: dict[str, str]) -> None:
    # Given every page a reader opens
    style = len(desk.client.get("/style.css").content) + len(desk.client.get("/favicon.svg").content)

    for name in ("home", "privacy", "leave", "proof", "damaged", "figure", "missing"):
        # When it is fetched
        page = desk.client.get(stocked[name])

        # Then page and style weigh little, and every address is a path of ours or somebody to write to
        assert len(page.content) + style < LARGEST_PAGE, name
        assert "<script" not in page.text, name
        for link in links_of(page):
            assert link.startswith(("/", "#", "mailto:")), (name, link)


def test_crawling_everything_changes_nothing(desk: Desk, stocked: dict[str, str]) -> None:
    # Given the ledger, and every page as a start
    before = desk.readers.checksum()
    waiting, seen = list(stocked.values()), set()

    # When each link and form target is fetched in every reading way
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        page = desk.client.get(path)
        for method in ("HEAD", "OPTIONS"):
            desk.client.request(method, path)
        if "text/html" in page.headers.get("content-type", ""):
            targets = [urlsplit(urljoin(f"http://here{path}", link)) for link in links_of(page)]
            waiting += [found.path for found in targets if found.netloc == "here"]

    # Then nothing moved, and the forms' targets were among them
    assert any(path.endswith("/undo") or path == f"/u/{desk.link}" for path in seen)
    assert desk.readers.checksum() == before
    assert not (desk.settings.state_dir / "optouts.log").exists()


def test_the_view_shows_the_neutral_page_under_its_own_policy(desk: Desk, stocked: dict[str, str]) -> None:
    # Given an issue
    # When it is opened in the browser
    page = desk.client.get(stocked["view"])

    # Then it is the compiled page; its styles work, nothing else does
    assert "Hello" in page.text
    policy = page.headers["content-security-policy"]
    assert "style-src 'unsafe-inline'" in policy
    assert "img-src 'self' http://127.0.0.1:8025" in policy
    assert "form-action 'none'" in policy


@pytest.mark.parametrize("purpose", [Purpose.UNSUBSCRIBE, Purpose.PROBE])
def test_a_token_of_another_purpose_opens_no_view(desk: Desk, stocked: dict[str, str], purpose: Purpose) -> None:
    # Given a token that was not made for it
    token = desk.readers.keyring.sign(Token(purpose, desk.here, 1, desk.issue))

    # When it is tried
    # Then there is no such page
    assert desk.client.get(f"/v/{token}").status_code == 404


def test_a_figure_leads_back_to_its_issue(desk: Desk, stocked: dict[str, str]) -> None:
    # Given a figure's page
    page = desk.client.get(stocked["figure"])

    # When its links are followed
    back = next(link for link in links_of(page) if link.startswith("/v/"))

    # Then caption and credit are there, and the issue behind the link
    assert "The last sector leaves the hall." in page.text
    assert "Photo: Invented Agency" in page.text
    assert 'alt="A grey steel sector under a crane"' in page.text
    assert "Hello" in desk.client.get(back).text


@pytest.mark.parametrize("number", ["%00", "a%00", "%ed%a0%80", "a" * 5_000])
def test_a_figure_that_cannot_be_is_missing(database: Database, database_url: str, tmp_path: Path, number: str) -> None:
    # Given a web process on either database
    with running_web(settings_for(database_url, tmp_path / "state"), database) as place:
        # When a number is asked for that no text column takes
        answer = exchange(place, f"GET /figure/{number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    # Then there is no such page
    assert answer[9:12] == b"404"


def test_media_are_immutable_and_cannot_run(desk: Desk, stocked: dict[str, str]) -> None:
    # Given a picture and a file whose title tries to write a header
    picture, paper = desk.client.get(stocked["picture"]), desk.client.get(stocked["paper"])

    # When they are fetched again with what the browser knows
    again = desk.client.get(stocked["picture"], headers={"If-None-Match": picture.headers["etag"]})

    # Then they stay cached for ever, pictures in place, files as downloads with a clean name
    for answer in (picture, paper):
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "sandbox" in answer.headers["content-security-policy"]
    assert (picture.headers["content-type"], picture.content) == ("image/png", PIXEL)
    assert picture.headers["content-disposition"] == "inline"
    assert again.status_code == 304
    assert paper.headers["content-type"] == "application/pdf"
    assert paper.headers["content-disposition"].startswith('attachment; filename="R_sum_ _final___X_ y.pdf"')
    assert "filename*=UTF-8''R%C3%A9sum%C3%A9" in paper.headers["content-disposition"]
    assert "x" not in paper.headers


def test_svg_is_never_shown_in_place(desk: Desk) -> None:
    # Given a drawing, which may bring script
    drawing = desk.readers.media(b"<svg/>", "svg", "image/svg+xml", "drawing.svg")

    # When it is fetched
    answer = desk.client.get(f"/media/{drawing}")

    # Then it is a download
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "abc.png", "0" * 64 + ".png", "0" * 64, "%00"])
def test_media_that_do_not_exist_are_missing(desk: Desk, name: str) -> None:
    # Given a name that is no file of ours
    # When it is asked for
    # Then there is no such page
    assert desk.client.get(f"/media/{name}").status_code == 404


def test_a_file_under_another_ending_is_missing(desk: Desk) -> None:
    # Given a picture
    name = desk.readers.media(PIXEL, "png", "image/png")

    # When it is asked for by its own name, and as a page
    own, other = desk.client.get(f"/media/{name}"), desk.client.get(f"/media/{name.replace('.png', '.html')}")

    # Then
    assert (own.status_code, other.status_code) == (200, 404)


def test_the_first_page_lists_what_there_is_and_how_to_leave(desk: Desk) -> None:
    # Given two publications
    # When the first page is opened
    page = desk.client.get("/").text

    # Then each is there with its words, and the way out
    for words in ("Newsline", "Magazine", "Short reports, once a month.", "English", "newsline-help@example.org"):
        assert words in page
    assert "How to leave" in page
    assert "Your address is used only to send what you asked for." in page


def test_robots_are_kept_from_tokens(desk: Desk) -> None:
    # Given the rules for robots
    rules = desk.client.get("/robots.txt").text

    # Then paths with tokens are out of bounds
    assert "Disallow: /u/" in rules
    assert "Disallow: /v/" in rules


def test_a_base_url_with_a_path_is_in_every_link_and_both_kinds_of_proxy_work(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given an installation below a path
    settings = settings_for(sqlite_url, tmp_path, base_url="https://www.example.org/news/")
    readers = Readers(sqlite_database, Keyring([KEY]))
    (here,) = readers.reader("jane@example.org", readers.publication("newsline"))
    link = readers.link(here)
    with (
        running_web(settings, sqlite_database) as place,
        httpx.Client(base_url=f"http://{place[0]}:{place[1]}", timeout=60) as client,
    ):
        # When a proxy passes the path on, or strips it
        kept, stripped = client.get(f"/news/u/{link}"), client.get(f"/u/{link}")

    # Then both answer alike, and every link stays below the path
    assert kept.status_code == stripped.status_code == 200
    assert all(found.startswith(("/news/", "#", "mailto:")) for found in links_of(kept))


def test_a_lost_database_is_a_page_a_retry_and_a_failing_check(tmp_path: Path) -> None:
    # Given a web process whose database is away
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://reader:secret@127.0.0.1:{port}/corranto"
    settings = settings_for(url, tmp_path)
    link = Keyring([KEY]).sign(Token(Purpose.UNSUBSCRIBE, 1, 1))
    with (
        running_web(settings, open_database(url)) as place,
        httpx.Client(base_url=f"http://{place[0]}:{place[1]}", timeout=20) as client,
    ):
        # When readers and load balancers come
        page = client.get(f"/u/{link}")
        posted = client.post(f"/u/{link}", content=b"List-Unsubscribe=One-Click")
        pressed = client.post(f"/u/{link}", data={"scope": "one"})
        undone = client.post(f"/u/{link}/undo", data={"scope": "one"})
        live, ready = client.get("/livez"), client.get("/readyz")

    # Then a wish to leave is on disk and answered in words that are true, nothing else is promised, no inside is
    # shown, and the check names what fails
    assert (page.status_code, undone.status_code) == (503, 503)
    assert undone.headers["retry-after"] == "120"
    assert (posted.status_code, posted.text) == (200, "Noted: it is in force as soon as our records answer.\n")
    assert pressed.status_code == 200
    assert "Your wish to leave is noted." in pressed.text
    lines = (tmp_path / FILE_NAME).read_text().splitlines()
    assert [line.split(" ")[1:] for line in lines] == [["1", "one_click", "one", "0"], ["1", "page", "one", "0"]]
    assert "secret" not in page.text + ready.text
    assert "Traceback" not in page.text
    assert (live.status_code, live.text) == (200, "ok\n")
    assert ready.status_code == 503
    assert json.loads(ready.text)["failing"] == ["database"]


def test_readiness_names_a_broker_that_does_not_answer(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given a Redis that is away
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = settings_for(sqlite_url, tmp_path, broker_url=f"redis://127.0.0.1:{port}/0")
    with running_web(settings, sqlite_database) as place:
        # When readiness is asked
        answer = httpx.get(f"http://{place[0]}:{place[1]}/readyz", timeout=20)

    # Then the pages are ready, since they need no broker, and the broker is named
    assert answer.status_code == 200
    said = json.loads(answer.text)
    assert (said["status"], said["failing"], said["degraded"]) == ("ready", [], ["broker"])
    assert (said["checks"]["database"], said["checks"]["broker"]) == ("ok", "fails")


def test_readiness_names_an_old_schema(desk: Desk) -> None:
    # Given a database of another version
    assert desk.client.get("/readyz").json() == {
        "status": "ready",
        "failing": [],
        "degraded": [],
        "checks": {"database": "ok", "schema": "ok", "sending": "ok", "broker": "ok"},
    }
    with desk.readers.database.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = 'older'"))

    # When readiness is asked once the kept answer is old
    answers = (desk.client.get("/readyz") for _ in range(10_000))
    answer = next(each for each in answers if each.status_code != 200)

    # Then the schema fails
    assert (answer.status_code, answer.json()["failing"]) == (503, ["schema"])


def test_a_fault_of_ours_is_a_page_with_a_number(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an installation whose stored issue is broken
    readers = Readers(sqlite_database, Keyring([KEY]))
    issue = readers.issue(readers.publication("newsline"), [])
    with sqlite_database.write() as conn:
        conn.execute(text("INSERT INTO compiled_issue VALUES (:id, 'f', 'not json')"), {"id": issue})
    token = readers.keyring.sign(Token(Purpose.VIEW, issue=issue))
    with running_web(settings_for(sqlite_url, tmp_path), sqlite_database) as place:
        # When it is opened
        page = httpx.get(f"http://{place[0]}:{place[1]}/v/{token}", timeout=30)

    # Then the page has a number to name, and nothing of our insides
    assert page.status_code == 500
    assert re.search(r"please name this number: [0-9a-f]{12}", page.text)
    assert "json" not in page.text.lower()
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_sink_inbox_is_served_only_beside_the_embedded_sink(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    # Given mail that goes to the embedded sink: of this machine alone, beside a public address, or seen from outside;
    # and mail that goes to a real relay
    sink = "smtp://127.0.0.1:1025"
    beside = settings_for(sqlite_url, tmp_path, smtp_url=sink)
    public = settings_for(sqlite_url, tmp_path, smtp_url=sink, base_url="https://news.example.org")
    outside = settings_for(sqlite_url, tmp_path, smtp_url=sink, web_host="0.0.0.0")
    real = settings_for(sqlite_url, tmp_path, smtp_url="smtp://relay.example.org")
    codes = []
    for settings in (beside, public, outside, real):
        with running_web(settings, sqlite_database) as place:
            # When the inbox is opened
            codes.append(httpx.get(f"http://{place[0]}:{place[1]}/sink", timeout=60).status_code)

    # Then it is there, or there is no such page
    assert codes == [200, 404, 404, 404]


def scrape() -> str:
    return generate_latest(metrics.registry).decode()


def test_metrics_count_by_route_and_hold_no_token_and_no_address(desk: Desk) -> None:
    # Given requests with tokens
    desk.client.post(f"/u/{desk.link}", content=b"List-Unsubscribe=One-Click")
    desk.client.get("/u/not-a-token-of-ours")
    desk.client.request("BREW", "/coffee")

    # When the series are read: a request is counted just after its answer
    until(lambda: 'method="other"' in scrape(), "the last request is counted")
    said = scrape()

    # Then routes are templates, methods are from a list, and nobody is named
    assert 'corranto_http_requests_total{method="POST",route="/u/{token}",status="200"}' in said
    assert 'corranto_unsubscribes_total{method="one_click"}' in said
    assert 'method="other"' in said
    assert "corranto_build_info" in said
    for secret in (desk.link, "not-a-token", "coffee", "example.org", "BREW"):
        assert secret not in said


def test_gauges_say_what_the_ledger_says(database: Database, readers: Readers) -> None:
    # Given one issue with three copies, one of them in flight
    newsline = readers.publication("newsline")
    ids = [readers.reader(f"r{at}@example.org", newsline)[0] for at in range(3)]
    readers.claim(readers.issue(newsline, ids), 1, 1)

    # When the gauges are read
    with database.read() as conn:
        reading = read_gauges(conn)

    # Then they sum to the audience
    assert reading.issues["sending"] == 1
    assert (reading.deliveries["waiting"], reading.deliveries["sending"]) == (2, 1)
    assert sum(reading.deliveries.values()) == 3
    assert reading.discrepancy == 0
    assert reading.oldest_waiting_s >= 0


def test_provider_labels_are_those_the_transport_knows() -> None:
    # Given results and replies for known and unknown domains
    domains = ["gmail.com", "yahoo.co.jp", *(f"some-domain-{n}.example" for n in range(100))]
    for domain in domains:
        metrics.count_result(DeliveryState.ACCEPTED, provider_of(domain))
        metrics.count_reply(provider_of(domain), "2.0.0")

    # Then the labels are members of the one closed list
    labels = {
        sample.labels["provider"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if "provider" in sample.labels
    }
    assert {"gmail", "yahoo", "other"} <= labels <= set(Provider)
    assert provider_of("some-domain.example") is Provider.OTHER
