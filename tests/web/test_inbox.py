"""The sink's inbox as people and scripts meet it: pages, the mail's own frame, the two client tests."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Page as BrowserPage
from playwright.sync_api import sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.support.programs import find_program
from worker.sink.acceptance_log import AcceptedMail
from worker.sink.inbox import routes
from worker.sink.mailbox import Mailbox
from worker.sink.mailbox_writer import MailboxWriter
from worker.web.host import names_us

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SCRIPT = "<script>alert(1)</script>"
FROM_HERE = {"sec-fetch-site": "same-origin"}


@dataclass
class Installation:
    """An inbox beside a small leaving page that remembers every request; `left` is its ledger."""

    folder: Path
    base_url: str = "http://127.0.0.1:8025"
    queue_command: str = "./run corranto queue FILE"
    left: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    writer: MailboxWriter = field(init=False)

    def __post_init__(self) -> None:
        self.writer = MailboxWriter(self.folder, limit=1000)

    def ledger(self, mail_from: str) -> dict[str, str] | None:
        token = mail_from.partition("@")[0].rpartition("+")[2]
        if not token.startswith("n"):
            return None
        return {"Issue": "2026-11-members", "Delivery": token, "Subscription": "ended" if token in self.left else "on"}

    async def leave(self, request: Request) -> Response:
        self.asked.append((request.method, request.url.path, dict(request.headers), await request.body()))
        if request.method == "POST":
            self.left.add(request.path_params["token"])
            return PlainTextResponse("You are off the list.\x1b[31m\n")
        return HTMLResponse("<!doctype html><html lang=en><title>Leave</title><h1>Leave?</h1>")

    async def elsewhere(self, request: Request) -> Response:
        return RedirectResponse("/u/n1", 307)

    def app(self) -> Starlette:
        inbox = routes(
            Mailbox(self.folder), ledger=self.ledger, base_url=self.base_url, queue_command=self.queue_command,
            names_us=names_us,
        )  # fmt: skip
        leaving = Route("/u/{token}", self.leave, methods=["GET", "HEAD", "POST"])
        return Starlette(routes=[*inbox, leaving, Route("/moved", self.elsewhere, methods=["POST"])])

    def keep(self, raw: bytes, token: str = "n1", rcpt: str = "jane@example.org") -> int:
        return self.writer.append(AcceptedMail(f"bounces+{token}@example.org", (rcpt,), raw, NOON))

    def keep_issue(self, token: str = "n1", name: str = "Jane", subject: str = "Seven members, one list") -> int:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "Tide Survey <news@example.org>", "jane@example.org", subject
        mail["List-Unsubscribe"] = f"<{self.base_url}/u/{token}>, <mailto:leave@example.org>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        mail.set_content(f"Dear {name},\n\nhttps://elsewhere.example.org/read\n\n{self.base_url}/u/{token}\n")
        mail.add_alternative(
            "<html lang=en><head><title>x</title><style>p{color:rgb(1,1,1)}"
            "@media (prefers-color-scheme:dark){p{color:rgb(250,250,250)}}</style></head><body>"
            f"<p id=dear>Dear {name}</p><a href='https://elsewhere.example.org/read'>Read</a> "
            f"<a href='{self.base_url}/u/{token}'>Unsubscribe</a>{SCRIPT}</body></html>",
            subtype="html",
        )
        return self.keep(mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), token)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "box")
    yield made
    made.writer.close()


@pytest.fixture
def client(place: Installation) -> TestClient:
    return TestClient(place.app(), raise_server_exceptions=True, base_url="http://127.0.0.1:8025")


@contextmanager
def served(place: Installation) -> Iterator[str]:
    """The installation behind a real port; its base URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    place.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(place.app(), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield place.base_url
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()


class Outline(HTMLParser):
    """What a page is made of, as far as a browser would run or fetch it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


PAGES = ["", "/text", "/headers", "/source", "/links", "/client-test"]


def test_an_empty_inbox_says_how_to_fill_it(client: TestClient) -> None:
    page = client.get("/sink").text

    assert "No mail yet." in page
    assert "./run corranto queue FILE" in page
    assert "<title>Inbox · Sink</title>" in page


def test_the_inbox_pages_through_its_mails_newest_first(place: Installation, client: TestClient) -> None:
    for number in range(120):
        place.keep(b"Subject: No. %d\r\nFrom: a@example.org\r\n\r\nx\r\n" % number)

    first, last = client.get("/sink"), client.get("/sink?page=3")

    assert re.findall(r"No\. (\d+)", first.text) == [str(n) for n in range(119, 69, -1)]
    assert re.findall(r"No\. (\d+)", last.text) == [str(n) for n in range(19, -1, -1)]
    assert "120 mails" in first.text
    assert 'href="/sink?page=2"' in first.text
    for odd in ("0", "-1", "x", "999999999999", "²"):
        assert client.get("/sink", params={"page": odd}).status_code == 200


def test_search_answers_in_words(place: Installation, client: TestClient) -> None:
    place.keep(b"Subject: Tides\r\n\r\nx\r\n", rcpt="ana@example.net")
    place.keep_issue()

    found, nothing = client.get("/sink?q=ANA@").text, client.get("/sink", params={"q": SCRIPT}).text

    assert "1 of 2 mails matches “ANA@”" in found
    assert "ana@example.net" in found
    assert "Seven members" not in found
    assert "Nothing matches “&lt;script&gt;" in nothing


def test_every_page_of_a_mail_shows_its_part_and_the_readers_ledger_row(
    place: Installation, client: TestClient
) -> None:
    mail = f"/sink/mail/{place.keep_issue(name='Zoë')}"

    pages = {path: client.get(mail + path) for path in PAGES}

    for path, page in pages.items():
        outline = Outline(page.text)
        assert page.status_code == 200, path
        assert outline.tags.count("h1") == 1
        assert "Seven members, one list · Sink</title>" in page.text
        assert "2026-11-members" in page.text
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in pages[""].text
    assert "Dear Zoë," in pages["/text"].text
    assert "List-Unsubscribe-Post" in pages["/headers"].text
    assert "MIME-Version: 1.0" in pages["/source"].text
    assert pages["/links"].text.count("https://elsewhere.example.org/read</a>") == 2
    raw = client.get(mail + "/mail.eml")
    assert raw.headers["content-disposition"] == 'attachment; filename="mail-1.eml"'
    assert raw.content.startswith(b"From: Tide Survey")


def test_a_mail_without_a_delivery_has_no_ledger_row(place: Installation, client: TestClient) -> None:
    mail_id = place.keep(b"Subject: Welcome\r\n\r\nhello\r\n", token="system")

    assert "names no delivery" in client.get(f"/sink/mail/{mail_id}").text


@pytest.mark.parametrize("path", ["/sink", "/sink/mail/1", "/sink/mail/1/links", "/sink/mail/99", "/sink/sink.css"])
def test_pages_run_nothing_keep_nothing_and_set_no_cookie(place: Installation, client: TestClient, path: str) -> None:
    place.keep_issue()

    page = client.get(path)

    assert "set-cookie" not in page.headers
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    if not path.endswith(".css"):
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'")
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
        outline = Outline(page.text)
        assert not {"script", "style"} & set(outline.tags)
        assert not [name for name, _ in outline.attributes if name.startswith("on") or name == "style"]


def test_the_frame_is_locked_by_its_own_policy(place: Installation, client: TestClient) -> None:
    mail_id = place.keep_issue()

    light, dark = (client.get(f"/sink/mail/{mail_id}/frame?scheme={scheme}") for scheme in ("light", "dark"))

    policy = light.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; ")
    assert "img-src http://127.0.0.1:8025 data:; style-src 'unsafe-inline'" in policy
    assert "script" not in Outline(light.text).tags
    assert "@media (min-width: 0px)" in dark.text
    assert "@media (max-width: 0px)" in light.text


HOSTILE = f"""{SCRIPT}"><img src=x onerror=alert(1)>{{{{7*7}}}}{{% raw %}}'"""


def test_nothing_in_a_mail_becomes_markup(place: Installation, client: TestClient) -> None:
    raw = (
        f"Subject: {HOSTILE}\r\nFrom: {HOSTILE} <a@example.org>\r\n{SCRIPT}: x\r\nX-{SCRIPT}: {HOSTILE}\r\n"
        f"List-Unsubscribe: <javascript:alert(1)>, <{HOSTILE}>\r\n"
        f'Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n{HOSTILE} http://x/"onmouseover="alert(1)\r\n'
        f'--a\r\nContent-Type: text/html\r\n\r\n<a href="javascript:alert(1)">{HOSTILE}</a>\r\n'
        f'--a\r\nContent-Type: image/png; name="{SCRIPT}.png"\r\n\r\nx\r\n--a--\r\n'
    ).encode()
    mail_id = place.keep(raw, rcpt=f'"{SCRIPT}"@example.org')

    pages = [client.get("/sink"), *(client.get(f"/sink/mail/{mail_id}{path}") for path in PAGES)]
    pages.append(client.post(f"/sink/mail/{mail_id}/client-test/scan", headers=FROM_HERE))

    for page in pages:
        outline = Outline(page.text)
        assert page.status_code == 200
        assert not {"script", "img"} & set(outline.tags), page.url
        assert not [name for name, _ in outline.attributes if name.startswith("on")]
        assert not [value for name, value in outline.attributes if name == "href" and "script:" in value]
        assert "49" not in re.findall(r"<title>(.*?)</title>", page.text)[0]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\r\n\r\n\xff",
        b"X: y\r\n" * 50_000,
        b"Subject: x\r\nContent-Type: text/html; charset=klingon\r\n\r\n" + b"<p>hello " * 1_200_000,
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\nx\r\n" * 5000,
        b"Content-Type: text/plain" + b";a" * 100_000 + b"\r\n\r\nx",
        b"Subject: \xe2\x80\xae\x1b[2J =?utf-8?q?=E2=80=AE=00?=\r\nContent-Type: text/html; charset=punycode\r\n\r\na-",
        b"Content-Type: text/plain; charset=\xff\x00\r\nContent-Transfer-Encoding: base64\r\n\r\n=\x00",
    ],
    ids=["nothing", "octets", "header bomb", "ten megabytes", "many parts", "parameters", "controls", "charset"],
)
def test_a_broken_mail_has_all_its_pages(place: Installation, client: TestClient, raw: bytes) -> None:
    mail_id = place.keep(raw)

    for path in ["", "/frame", "/text", "/headers", "/source", "/links", "/client-test", "/mail.eml"]:
        assert client.get(f"/sink/mail/{mail_id}{path}").status_code == 200
    assert client.get(f"/sink/api/messages/{mail_id}").status_code == 200
    assert client.get(f"/sink/mail/{mail_id}/mail.eml").content == raw
    assert not re.search("[\x00\x1b\u202e]", client.get("/sink").text + client.get(f"/sink/mail/{mail_id}/source").text)


def test_a_mail_that_was_rotated_away_is_explained(client: TestClient) -> None:
    for path in ("/sink/mail/7", "/sink/mail/7/frame", "/sink/mail/7/mail.eml"):
        page = client.get(path)
        assert page.status_code == 404
        assert "not in the sink" in page.text


@pytest.mark.parametrize("number", ["0", "-1", "9" * 30, "9" * 5_000, "%D9%A1", "mail", "1%00"])
def test_a_number_no_mail_can_have_is_explained(place: Installation, client: TestClient, number: str) -> None:
    place.keep_issue()

    assert client.get(f"/sink/mail/{number}").status_code == 404
    assert client.get(f"/sink/api/messages/{number}/").status_code == 404
    assert client.get(f"/sink/api/messages/{number}").status_code == 404


def test_scripts_read_the_same_as_json(place: Installation, client: TestClient) -> None:
    place.keep(b"Subject: Tides\r\n\r\nx\r\n")
    mail_id = place.keep_issue()

    listed = client.get("/sink/api/messages?q=members").json()
    one = client.get(f"/sink/api/messages/{mail_id}").json()

    assert (listed["total"], listed["stored"], listed["pages"]) == (1, 2, 1)
    assert listed["messages"][0]["rcpt_to"] == ["jane@example.org"]
    assert listed["messages"][0]["mail_from"] == "bounces+n1@example.org"
    assert one["one_click"] is True
    assert one["list_unsubscribe"][0] == "http://127.0.0.1:8025/u/n1"
    assert "Dear Jane" in one["text"]
    assert ["Subject", "Seven members, one list"] in one["headers"]


def test_a_foreign_host_name_reads_nothing(client: TestClient) -> None:
    assert client.get("/sink", headers={"host": "evil.example.org"}).status_code == 421
    assert client.get("/sink/api/messages", headers={"host": "evil.example.org:8025"}).status_code == 421
    assert client.get("/sink", headers={"host": "127.0.0.1:8025"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "", "127.0.0.1@evil.example.org", "evil.example.org@127.0.0.1", "127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:x",
        "[::1", "::1", "[::1]:8025:1", "127.0.0.1, evil.example.org", "127.0.0.1 evil", "127.0.0.1/", "localhost%00",
        "localhost.example.org", "127.0.0.1.example.org", "0.0.0.0", "2130706433", "127.1", "%6cocalhost",
        "\\localhost",
        "127.0.0.1:8025#", "localhost:8025?x", "l\xf6calhost", "*", "a" * 400,
    ],
)  # fmt: skip
def test_a_host_that_is_not_plainly_this_machine_reads_nothing(client: TestClient, host: str) -> None:
    raw = host.encode("latin-1")
    assert client.get("/sink", headers=[(b"host", raw)]).status_code == 421
    assert client.get("/sink", headers=[(b"host", b"127.0.0.1:8025"), (b"host", raw)]).status_code == 421


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:1", "LOCALHOST:8025", "localhost.", "[::1]:8025", "127.0.0.53", "demo.localhost"]
)
def test_every_name_of_this_machine_reads_the_inbox_whatever_a_proxy_claims(client: TestClient, host: str) -> None:
    claims = {"x-forwarded-host": "evil.example.org", "forwarded": "host=evil.example.org"}
    assert client.get("/sink", headers={"host": host, **claims}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8025"}, 403),
        ({"origin": "http://evil.example.org"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:8025"}, 409),
        (FROM_HERE, 409),
    ],
)
def test_the_buttons_work_only_from_the_inboxs_own_pages(
    place: Installation, client: TestClient, headers: dict[str, str], status: int
) -> None:
    mail_id = place.keep(b"Subject: x\r\n\r\nno way out\r\n")

    answer = client.post(f"/sink/mail/{mail_id}/client-test/unsubscribe", headers=headers)

    assert answer.status_code == status
    assert client.get(f"/sink/mail/{mail_id}/client-test/unsubscribe").status_code == 405


def test_the_mail_programs_button_leaves_with_one_click(place: Installation) -> None:
    with served(place):
        mail_id = place.keep_issue("n7")
        client = TestClient(place.app(), base_url=place.base_url, cookies={"session": "secret"})

        page = client.post(f"/sink/mail/{mail_id}/client-test/unsubscribe", headers=FROM_HERE).text

    ((method, path, headers, body),) = place.asked
    assert (method, path) == ("POST", "/u/n7")
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert not {"cookie", "authorization", "origin", "referer"} & set(headers)
    assert b'name="List-Unsubscribe"\r\n\r\nOne-Click\r\n' in body
    assert "✓ Done: 200 OK" in page
    assert "POST /u/n7 HTTP/1.1" in page
    assert "You are off the list.\ufffd[31m" in page
    assert page.count("<td>ended</td>") == 2
    assert page.count("<td>on</td>") == 1


@pytest.mark.parametrize(
    "fields",
    [
        "List-Unsubscribe: <http://elsewhere.example.org/u/n1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "List-Unsubscribe: <{base}/u/n1>",
        "List-Unsubscribe: <{base}/u/n1>\r\nList-Unsubscribe-Post: List-Unsubscribe=Yes",
        "List-Unsubscribe: <mailto:x@example.org>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "List-Unsubscribe: <{base}@evil.example.org/>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "List-Unsubscribe: <file:///u/n1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click",
    ],
)
def test_the_button_is_not_there_when_a_mail_program_or_we_must_not_press_it(place: Installation, fields: str) -> None:
    with served(place):
        mail_id = place.keep(f"{fields.format(base=place.base_url)}\r\n\r\nx\r\n".encode())
        client = TestClient(place.app(), base_url=place.base_url)

        page = client.get(f"/sink/mail/{mail_id}/client-test").text
        answer = client.post(f"/sink/mail/{mail_id}/client-test/unsubscribe", headers=FROM_HERE)

    assert "client-test/unsubscribe" not in page
    assert answer.status_code == 409
    assert place.asked == []


def test_a_redirect_is_no_unsubscribe(place: Installation) -> None:
    with served(place):
        fields = f"List-Unsubscribe: <{place.base_url}/moved>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click"
        mail_id = place.keep(f"{fields}\r\n\r\nx\r\n".encode())
        client = TestClient(place.app(), base_url=place.base_url)

        page = client.post(f"/sink/mail/{mail_id}/client-test/unsubscribe", headers=FROM_HERE).text

    assert "✗ Not done: 307" in page
    assert place.asked == []


def test_a_hostile_mail_cannot_press_the_inboxs_own_buttons(place: Installation) -> None:
    with served(place):
        victim = place.keep_issue("n7")
        target = f"{place.base_url}/sink/mail/{victim}/client-test/unsubscribe"
        fields = f"List-Unsubscribe: <{target}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click"
        mail_id = place.keep(f"{fields}\r\n\r\nx\r\n".encode())
        client = TestClient(place.app(), base_url=place.base_url)

        page = client.post(f"/sink/mail/{mail_id}/client-test/unsubscribe", headers=FROM_HERE).text

    assert "✗ Not done: 403" in page
    assert place.left == set()


def test_a_scanner_visits_our_links_only_and_nothing_changes(place: Installation) -> None:
    with served(place):
        mail_id = place.keep_issue("n7")
        client = TestClient(place.app(), base_url=place.base_url)

        page = client.post(f"/sink/mail/{mail_id}/client-test/scan", headers=FROM_HERE).text

    assert [(method, path) for method, path, *_ in place.asked] == [("HEAD", "/u/n7"), ("GET", "/u/n7")]
    assert all("Scanner" in headers["user-agent"] for _, _, headers, _ in place.asked)
    assert "✓ Nothing changed" in page
    assert "HEAD 200 OK · GET 200 OK" in page
    assert "Left alone: another host" in page


def test_a_silent_host_is_reported_and_not_waited_for(place: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place.base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    mail_id = place.keep_issue()
    client = TestClient(place.app(), base_url=place.base_url)

    page = client.post(f"/sink/mail/{mail_id}/client-test/unsubscribe", headers=FROM_HERE).text

    assert "✗ Not done: no answer: ConnectionRefusedError" in page


@contextmanager
def browser_page(width: int, scheme: str, *, script: bool = False) -> Iterator[BrowserPage]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_program("chromium|chromium-browser|google-chrome"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        yield context.new_page()
        browser.close()


@pytest.mark.needs("chromium")
def test_a_person_without_script_opens_a_mail_and_presses_unsubscribe(place: Installation) -> None:
    with served(place) as base, browser_page(1280, "light") as page:
        place.keep_issue("n7")

        page.goto(f"{base}/sink")
        page.get_by_role("link", name="Seven members").click()
        frame = page.frame_locator("iframe")
        with page.context.expect_page() as opened:
            frame.get_by_role("link", name="Unsubscribe").click()

        assert opened.value.url == f"{base}/u/n7"
        assert opened.value.title() == "Leave"
        page.get_by_role("link", name="Client test").click()
        page.get_by_role("button", name="Press the mail program’s Unsubscribe").click()
        assert place.left == {"n7"}


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_frame_shows_the_chosen_scheme_whatever_the_system_prefers(place: Installation, system: str) -> None:
    with served(place) as base, browser_page(320, system, script=True) as page:
        mail_id = place.keep_issue()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))

        colours = []
        for scheme in ("light", "dark"):
            page.goto(f"{base}/sink/mail/{mail_id}?scheme={scheme}&width=phone")
            dear = page.frame_locator("iframe").locator("#dear")
            colours.append(dear.evaluate("node => getComputedStyle(node).color"))

        assert colours == ["rgb(1, 1, 1)", "rgb(250, 250, 250)"]
        assert all(url.startswith((base, "data:")) for url in requests)


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_the_pages_pass_axe_and_never_scroll_sideways(place: Installation, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    long = "Statement" + "VeryLong" * 40
    with served(place) as base, browser_page(width, scheme, script=True) as page:
        mail_id = place.keep_issue("n7")
        other = place.keep_issue("system", subject=long)
        paths = ["", "?q=nothing-like-it", f"/mail/{other}", *(f"/mail/{mail_id}{path}" for path in PAGES), "/mail/99"]
        for path in paths:
            page.goto(f"{base}/sink{path}")
            if path.endswith("client-test"):
                page.get_by_role("button", name="Visit every link").click()
                page.wait_for_load_state()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            found = Axe().run(page, options={"iframes": False}).response["violations"]
            assert [(violation["id"], path) for violation in found] == []


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_a_mail_starts_as_wide_as_the_window_allows(place: Installation, width: int) -> None:
    mail_id = place.keep_issue()
    with served(place) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_program("chromium|chromium-browser|google-chrome"), args=["--no-sandbox"]
        )
        page = browser.new_context(viewport={"width": width, "height": 800}, is_mobile=width < 600).new_page()
        shown = {}
        for choice in ("", "?width=phone", "?width=desktop"):
            page.goto(f"{url}/sink/mail/{mail_id}{choice}")
            shown[choice] = page.evaluate("document.querySelector('iframe').clientWidth")
            assert page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
        browser.close()

    assert shown == {"": min(width, 640), "?width=phone": min(width, 360), "?width=desktop": 640}
