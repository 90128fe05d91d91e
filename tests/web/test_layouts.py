"""Both layouts in a real browser: phone and desktop, light and dark, without pictures, without styles."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.support.chromium import browser, reading
from tests.support.issues import BASE_URL, MEMBERS, STATEMENT, compiled, load_issue_file
from worker.compose.template import recipient_environment
from worker.domain.compiled import CompiledIssue
from worker.editorial.preview import preview_html

__all__ = ["browser"]

pytestmark = pytest.mark.needs("chromium")

SIZES = [320, 600]
SCHEMES = ["light", "dark"]
BOXES = """() => [...document.querySelectorAll('h1,h2,h3,p,li,a,b,strong,span')].filter(e => e.innerText.trim())
  .map(e => ({size: parseFloat(getComputedStyle(e).fontSize), text: e.innerText.slice(0, 40),
  hidden: !!e.closest('[aria-hidden]')})).filter(b => !b.hidden)"""
LIGHTNESS = """() => [...document.querySelectorAll('body *')].map(e => getComputedStyle(e).backgroundColor)
  .map(c => c.match(/[0-9.]+/g).map(Number)).filter(c => c.length < 4 || c[3] > 0)
  .map(c => (c[0] + c[1] + c[2]) / 3)"""


@pytest.fixture(scope="module", params=[MEMBERS, STATEMENT], ids=["members", "statement"])
def sample(request: pytest.FixtureRequest) -> tuple[CompiledIssue, str, str]:
    """(compiled, mail as filled, mail with its pictures inside)."""
    issue, media = load_issue_file(request.param)
    made = compiled(issue, media)
    values = {"name": "Jo", "consent_date": "3 May 2026", "unsubscribe_url": f"{BASE_URL}/u/token"}
    html = recipient_environment(autoescape=True).from_string(made.html).render(values)
    return made, html, preview_html(made, media.values(), values)


def show(page: Page, html: str) -> None:
    """The mail with its pictures blocked: no request leaves the browser."""
    page.route("**/*", lambda route: route.abort())
    page.set_content(html, wait_until="domcontentloaded")


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_mail_is_accessible_and_readable(
    browser: Browser, sample: tuple[CompiledIssue, str, str], width: int, scheme: str
) -> None:
    with reading(browser, width=width, scheme=scheme, script=True) as page:
        show(page, sample[1])

        results = Axe().run(page)
        boxes = page.evaluate(BOXES)
        lightness = page.evaluate(LIGHTNESS)
        overflow = page.evaluate("document.documentElement.scrollWidth")

    assert results.violations_count == 0, results.generate_report()
    assert overflow <= width
    assert [box for box in boxes if box["size"] < 16] == []
    assert scheme == "light" or max(lightness) < 60


def test_left_edges_of_text_are_few(browser: Browser, sample: tuple[CompiledIssue, str, str]) -> None:
    with reading(browser, width=600, script=True) as page:
        show(page, sample[1])
        edges = page.evaluate(
            "() => [...new Set([...document.querySelectorAll('h1,h2,h3,p')].filter(e => e.offsetParent)"
            ".map(e => Math.round(e.getBoundingClientRect().left)))]"
        )

    assert set(edges) <= {24, 24 + 188, 24 + 28}


def test_card_pictures_have_one_ratio(browser: Browser, sample: tuple[CompiledIssue, str, str]) -> None:
    ratios = {
        round(int(width[1]) / int(height[1]), 2)
        for picture in re.findall(r"<img [^>]*>", sample[1])
        if (width := re.search(r' width="(\d+)"', picture)) and (height := re.search(r' height="(\d+)"', picture))
        if width[1] == "164"
    }

    assert len(ratios) == 1


def test_mail_is_complete_and_in_order_without_its_styles(
    browser: Browser, sample: tuple[CompiledIssue, str, str]
) -> None:
    bare = re.sub(r"<style>.*?</style>", "", sample[1], flags=re.DOTALL)
    words = []
    for html in (sample[1], bare):
        with reading(browser, width=320, script=True) as page:
            show(page, html)
            words.append(page.inner_text("body").split())
            assert page.evaluate("document.documentElement.scrollWidth") <= 320

    assert words[0] == words[1]


def test_every_meaningful_picture_is_told_in_words(sample: tuple[CompiledIssue, str, str]) -> None:
    pictures = re.findall(r"<img [^>]*>", sample[1])

    assert pictures
    assert all(re.search(r' alt="[^"]{10,}"', picture) for picture in pictures)


def test_preview_shows_all_views_without_network_or_script(
    browser: Browser, sample: tuple[CompiledIssue, str, str]
) -> None:
    requests: list[str] = []
    with reading(browser, width=1280) as page:
        page.on("request", lambda request: requests.append(request.url))
        page.set_content(sample[2])
        titles = [heading.inner_text() for heading in page.query_selector_all("h2")]
        backgrounds = [
            frame.locator("td").first.evaluate("e => getComputedStyle(e).backgroundColor") for frame in page.frames[1:]
        ]

    assert titles == ["Phone", "Desktop", "Phone, dark", "Desktop, dark", "Text part"]
    assert backgrounds == ["rgb(255, 255, 255)"] * 2 + ["rgb(24, 33, 32)"] * 2
    assert [url for url in requests if not url.startswith(("data:", "about:"))] == []
