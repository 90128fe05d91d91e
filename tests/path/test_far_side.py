"""What readers receive: both samples through a real Postfix, read, verified, crawled and left again at its far side."""

import random
import re
import shutil
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from markupsafe import escape
from playwright.sync_api import Browser, Route
from selectolax.lexbor import LexborHTMLParser
from sqlalchemy import update

from tests.support.chromium import browser, reading
from tests.support.far_side import BASE_URL, BOUNCES, DOMAIN, SELECTOR, FarSide, Received, far_side
from tests.support.issues import MEMBERS, STATEMENT
from tests.support.mails import by_hand, by_library, check_lines, decode_words
from tests.support.postfix import StartPostfix, postfix_servers
from tests.support.readers import Readers
from tests.support.receivers import dkimpy_verifies, mail_dkim_results, parse_as_filter
from tests.support.spam import spam_points, spam_score
from tests.support.web_server import running_web
from worker.domain.address import parse_address
from worker.domain.issue import IssueState
from worker.storage import schema
from worker.storage.people import subscribers, timelines
from worker.tokens import TokenError

__all__ = ["browser"]

pytestmark = pytest.mark.needs("postfix")

SAMPLES = (MEMBERS, STATEMENT)
PLAIN = [(f"reader{n}@example.org", f"Reader {n}") for n in range(1, 9)]
TORTURE = [
    ("arabic@example.org", "محمّد عبد الله"),
    ("hebrew@example.org", "שָׁלוֹם בן־דוד"),
    ("thai@example.org", "นางสาว ณัฐกานต์ ศิริวัฒนกุล"),
    ("hindi@example.org", "श्री क्षितिज त्रिपाठी"),
    ("cjk@example.org", "山田 太郎・김철수・歐陽"),
    ("emoji@example.org", "👩‍👩‍👧‍👦 Ada 👩🏽‍🚀 🏳️‍🌈 ☃️"),
    ("combining@example.org", "Z̴̡̗a̷͍͛l̸̢̛ǵ̶̣o Ångström ệ̂"),
    ("quotes@example.org", "\"Jo\" O'Neil, 'the' «last», Jr."),
    ("markup@example.org", "<b>&\"'</b><script>alert(1)</script>&amp;"),
    ("long@example.org", "Wolfeschlegelsteinhausenbergerdorff" * 5 + "x" * 25),
    ("longer@example.org", "漢" * 200),
    ("nobody@example.org", ""),
    ("sums@example.org", "{{7*7}}"),
    ("tags@example.org", "{% raw %}{{ unsubscribe_url }}{% endraw %}{# none #}"),
    ("words@example.org", "=?utf-8?q?not_a_word?= =41=\\r\\n."),
    ("dots@example.org", ".From %s $HOME `id` ../.. \\0"),
    ("plus+tag=a.b@example.org", "Plus"),
    ("!#$%&'*/=?^_`{|}~-@example.org", "Odd"),
    ("reader@bücher.example", "IDN"),
    ("読者@例え.test", "EAI"),
    ("JÖRG@example.org", "Case"),
]
READERS = PLAIN + TORTURE
NAMED = """---
kind: statement
publication: ring-statements
subject: '{{ name | default("Dear reader") }}, the ring is closed'
preheader: A word to each of our readers by name
place: Lisbon
date: 25 November 2026
---
Dear {{ name | default("reader") }},

the ring is closed. **{{ name | default("You") }}** may listen.

{% if name %}
So may all who know {{ name | default("you") }}.
{% endif %}

.hidden is a file, and this line began with a dot.
"""
HARMLESS = {"ALL_TRUSTED", "HTML_MESSAGE", "HTML_IMAGE_RATIO_08", "MAILING_LIST_MULTI"}
"""What SpamAssassin may notice: that nothing strange relayed it, HTML, many pictures in a newsletter, a list."""


@pytest.fixture(scope="module")
def far(run_folder: Path, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarSide]:
    """Both samples and an issue that names its reader everywhere, sent and arrived."""
    folder = tmp_path_factory.mktemp("far")
    url = f"sqlite:///{shutil.copy(sqlite_template, folder / 'corranto.sqlite3')}"
    named = folder / "named.md"
    named.write_text(NAMED)
    with postfix_servers(run_folder) as start, far_side(folder, url, start) as made:
        made.publish("ring-news", PLAIN)
        made.publish("ring-statements", READERS)
        made.send(*SAMPLES, named)
        yield made


@pytest.fixture(params=SAMPLES, ids=["members", "statement"])
def sample(request: pytest.FixtureRequest, far: FarSide) -> dict[str, Received]:
    """{address: mail} of one of the samples."""
    return far.received(request.param.stem)


def test_every_copy_is_accepted_and_arrives_once(far: FarSide) -> None:
    for slug, readers in ((MEMBERS.stem, PLAIN), (STATEMENT.stem, READERS), ("named", READERS)):
        totals = far.desk.totals(slug)
        assert totals.adds_up
        assert (totals.audience, totals.accepted) == (len(readers), len(readers)), far.desk.states(slug)
        assert set(far.received(slug)) == {parse_address(address).addr_spec for address, _ in readers}
    assert len(far.everything()) == len(PLAIN) + 2 * len(READERS)
    far.desk.assert_books_add_up()


def test_the_return_path_names_the_delivery(far: FarSide) -> None:
    for path, mailbox in zip(SAMPLES, ("bounces@" + DOMAIN, BOUNCES), strict=True):
        issue = far.desk.issue(path.stem)
        rows = far.desk.rows(path.stem)
        for address, mail in far.received(path.stem).items():
            assert far.delivery_of(mail) == (issue.id, rows[address].n)
            local, _, domain = mail.mail_from.partition("@")
            assert f"{local.partition('+')[0]}@{domain}" == mailbox
            assert len(local) <= 64


@pytest.mark.needs("mail-dkim")
def test_two_verifiers_accept_every_signature(far: FarSide, sample: dict[str, Received], tmp_path: Path) -> None:
    mails = [mail.raw for mail in sample.values()]

    assert [dkimpy_verifies(raw, SELECTOR, DOMAIN, far.dkim_record) for raw in mails] == [True] * len(mails)
    assert mail_dkim_results(mails, far.dkim_record, tmp_path) == ["pass"] * len(mails)


def test_the_one_click_pair_arrives_whole(sample: dict[str, Received]) -> None:
    for mail in sample.values():
        assert (
            len(re.findall(rb"^List-Unsubscribe: <https://[^>\s]+/u/[A-Za-z0-9_-]{44}>\r\n(?![ \t])", mail.head, re.M))
            == 1
        )
        assert mail.head.count(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n") == 1
        signed = re.search(rb"^DKIM-Signature:.*?\bh=([^;]+);", mail.head, re.M | re.S)
        assert signed
        names = re.sub(rb"\s", b"", signed[1]).lower().split(b":")
        assert {b"list-unsubscribe", b"list-unsubscribe-post"} <= set(names)


def test_lines_stay_within_every_bound(sample: dict[str, Received]) -> None:
    for mail in sample.values():
        check_lines(mail.raw)


@pytest.mark.needs("spamassassin")
def test_a_content_filter_finds_nothing_to_complain_of(sample: dict[str, Received]) -> None:
    raw = sample["reader1@example.org"].raw

    score, rules = spam_score(raw)
    points = spam_points(rules)

    # Its bonus for a trusted path is ours only because all of this happens on one machine.
    assert score < 1.0, rules
    assert sum(point for point in points.values() if point > 0) < 1.0, rules
    assert set(points) <= HARMLESS, rules


@pytest.mark.needs("spamassassin")
def test_two_parsers_read_the_same_whatever_the_name(far: FarSide, tmp_path: Path) -> None:
    # Given
    mails = far.received("named")
    filtered = dict(zip(mails, parse_as_filter([mail.raw for mail in mails.values()], tmp_path), strict=True))
    for typed, name in READERS:
        address = parse_address(typed).addr_spec

        # When
        message, text, html = by_library(mails[address].raw)
        fields, (plain, rich) = by_hand(mails[address].raw)
        other = filtered[address]

        # Then
        subject = f"{name or 'Dear reader'}, the ring is closed"
        assert message["Subject"] == other.subject == decode_words(fields["subject"]) == subject
        assert other.types == ("text/plain", "text/html")
        assert text == other.contents[0] == plain[1]
        assert html == other.contents[1] == rich[1]
        assert f"Dear {name or 'reader'},\n" in text
        assert f"Dear {escape(name or 'reader')}," in html
        assert f"<strong>{escape(name or 'You')}</strong>" in re.sub(r"<strong [^>]*>", "<strong>", html)
        assert ("So may all who know" in text) == bool(name)
        assert fields["to"] == f"<{address}>"
        assert "<script" not in html
        check_lines(mails[address].raw)


@pytest.mark.needs("mail-dkim")
def test_the_strangest_names_and_addresses_verify_too(far: FarSide, tmp_path: Path) -> None:
    mails = [mail.raw for mail in far.received("named").values()]

    assert all(dkimpy_verifies(raw, SELECTOR, DOMAIN, far.dkim_record) for raw in mails)
    assert mail_dkim_results(mails, far.dkim_record, tmp_path) == ["pass"] * len(mails)


def test_a_relay_without_smtputf8_costs_only_those_who_need_it(
    start_postfix: StartPostfix, sqlite_url: str, tmp_path: Path
) -> None:
    # Given
    readers = [("reader@bücher.example", "IDN"), ("読者@例え.test", "EAI"), ("jane@example.org", "漢字")]
    with far_side(tmp_path, sqlite_url, start_postfix, more="smtputf8_enable = no") as far:
        far.publish("ring-statements", readers)

        # When
        far.send(STATEMENT)

        # Then
        row = far.desk.rows(STATEMENT.stem)["読者@xn--r8jz45g.test"]
        assert row.state == "failed"
        assert row.enhanced == "5.6.7"
        assert set(far.received(STATEMENT.stem)) == {"reader@xn--bcher-kva.example", "jane@example.org"}
        with far.desk.database.read() as conn:
            assert conn.execute(schema.suppression.select()).all() == []
        far.desk.assert_books_add_up()


@dataclass(frozen=True)
class Web:
    """The web process whose address the mails carry."""

    client: httpx.Client

    def ask(self, method: str, link: str) -> httpx.Response:
        assert link.startswith(f"{BASE_URL}/")
        return self.client.request(method, urldefrag(link).url.removeprefix(BASE_URL))


@pytest.fixture(scope="module")
def web(far: FarSide) -> Iterator[Web]:
    """It listens elsewhere, as behind a proxy; no redirect is followed."""
    with (
        running_web(far.desk.settings, far.desk.database) as place,
        httpx.Client(base_url=f"http://{place[0]}:{place[1]}", follow_redirects=False, timeout=30) as client,
    ):
        yield Web(client)


def rows_of(far: FarSide) -> Readers:
    return Readers(far.desk.database, far.keyring)


def test_every_link_leads_somewhere(web: Web, sample: dict[str, Received]) -> None:
    mail = sample["reader1@example.org"]
    for link in mail.own_links:
        answer = web.ask("GET", link)
        assert answer.status_code == 200, link
        if fragment := urldefrag(link).fragment:
            assert LexborHTMLParser(answer.text).css_first(f"#{fragment}"), link
    elsewhere = [urlsplit(link) for link in mail.links if link not in mail.own_links]
    assert {(url.scheme, url.hostname) for url in elsewhere} == {("https", "www.example.org")}


def test_a_scanner_that_opens_everything_changes_nothing(far: FarSide, web: Web, sample: dict[str, Received]) -> None:
    # Given
    before = rows_of(far).checksum()
    links = {link for mail in sample.values() for link in mail.own_links}

    # When
    codes = {web.ask(method, link).status_code for link in links for method in ("HEAD", "GET", "OPTIONS", "GET")}

    # Then: refusing OPTIONS is a right answer
    assert codes <= {200, 204, 405}
    assert rows_of(far).checksum() == before


ENCODINGS = {
    "form": {"data": {"List-Unsubscribe": "One-Click"}},
    "multipart": {"files": {"List-Unsubscribe": (None, "One-Click")}},
}


@pytest.mark.parametrize(("encoding", "reader"), [("form", 2), ("multipart", 3)])
def test_one_click_after_a_crawl_ends_it_at_once(far: FarSide, web: Web, encoding: str, reader: int) -> None:
    # Given a mail that a scanner opened, and an issue in its hold
    address = f"reader{reader}@example.org"
    mail = far.received(STATEMENT.stem)[address]
    for link in mail.own_links:
        web.ask("GET", link)
    held, later = f"held-{encoding}", f"later-{encoding}"
    far.desk.queue(held, publication="ring-statements", hold_s=3_600)

    # When
    path = mail.unsubscribe_url.removeprefix(BASE_URL)
    answer = web.client.post(path, **ENCODINGS[encoding])  # type: ignore[arg-type]

    # Then
    assert answer.status_code == 200
    assert answer.text == "You are unsubscribed.\n"
    assert "set-cookie" not in answer.headers

    # When
    far.desk.queue(later, publication="ring-statements")
    end_hold(far, held)
    far.work(held, later)

    # Then
    row = far.desk.rows(held)[address]
    assert (row.state, row.reason) == ("skipped", "opted_out")
    assert address not in far.received(held)
    assert address not in far.desk.rows(later)
    assert address not in far.received(later)
    assert (STATEMENT.stem, "opted out") in [(issue, what) for issue, what, _ in story(far, address)]
    assert (held, "skipped", "skipped: opted out") in story(far, address)
    far.desk.assert_books_add_up()


def end_hold(far: FarSide, slug: str) -> None:
    """As if the hold's time had come."""
    with far.desk.database.write() as conn:
        conn.execute(
            update(schema.issue)
            .where(schema.issue.c.slug == slug, schema.issue.c.state == IssueState.HOLDING)
            .values(hold_until=datetime(2026, 1, 2, tzinfo=UTC))
        )


def story(far: FarSide, address: str) -> list[tuple[str | None, str, str]]:
    """(issue, what, detail) of all that is kept about a reader."""
    with far.desk.database.read() as conn:
        found = subscribers.find_by_address(conn, far.desk.database.instance(), address)
        return [(line.issue, line.what, line.detail) for line in timelines.timeline(conn, found.id)]


ALPHABET = string.ascii_letters + string.digits + "-_"


def mutated(token: str, others: Sequence[str], chance: random.Random) -> str:
    """The token, damaged as links are damaged, or as somebody who guesses would."""
    at, letter = chance.randrange(len(token)), chance.choice(ALPHABET)
    other = chance.choice(others)
    ways = (
        token[:at] + letter + token[at + 1 :],
        token[:at] + token[at + 1 :],
        token[:at] + letter + token[at:],
        token[:at] + token[at : at + 2][::-1] + token[at + 2 :],
        token[:at] + token[at].swapcase() + token[at + 1 :],
        token[: at or 1],
        token + letter,
        token[:at] + other[at:],
        other[:22] + token[22:],
        token[::-1],
    )
    return chance.choice([way for way in ways if way not in (token, *others)] or [token + letter])


def test_no_mutation_of_a_token_is_taken(far: FarSide, web: Web) -> None:
    # Given all tokens of a mail of each sample, and their return paths
    chance = random.Random(7)
    mails = [far.received(path.stem)["reader4@example.org"] for path in SAMPLES]
    tokens = [token for mail in mails for token in mail.tokens]
    before = rows_of(far).checksum()
    for token in tokens:
        for _ in range(10):
            wrong = mutated(token, tokens, chance)

            # Then
            for path in (f"/u/{wrong}", f"/v/{wrong}"):
                assert web.client.get(path).status_code == 404, path
            for encoding in ENCODINGS.values():
                assert web.client.post(f"/u/{wrong}", **encoding).status_code == 404  # type: ignore[arg-type]
    for mail in mails:
        token = mail.mail_from.partition("@")[0].rpartition("+")[2]
        for _ in range(10):
            at = chance.randrange(len(token))
            letter = chance.choice([each for each in "abcdefghijklmnopqrstuvwxyz234567" if each != token[at]])
            with pytest.raises(TokenError):
                far.keyring.read_verp(token[:at] + letter + token[at + 1 :])
    assert rows_of(far).checksum() == before


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 600])
# The mails first: an open browser keeps an event loop running in this thread, where what sends them wants its own.
def test_a_received_mail_is_accessible_with_its_pictures(
    web: Web, sample: dict[str, Received], browser: Browser, width: int, scheme: str
) -> None:
    with reading(browser, width=width, scheme=scheme, script=True) as page:
        # Given
        def answer(route: Route) -> None:
            found = web.ask("GET", route.request.url)
            route.fulfill(status=found.status_code, body=found.content, content_type=found.headers["content-type"])

        page.route("**/*", answer)

        # When
        page.set_content(sample["reader1@example.org"].parts[1], wait_until="load")
        found = Axe().run(page)

        # Then
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
