"""A reader with a real browser, script off; and what assistive software finds on every page, in axe-core's eyes."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.support.chromium import DESKTOP, PHONE, reading
from tests.support.readers import PIXEL
from tests.web.conftest import Desk
from worker.tokens import Purpose, Token

pytestmark = [pytest.mark.needs("chromium")]

RULES = {"resultTypes": ["violations"]}


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def heading(page: Page) -> str:
    return page.get_by_role("heading", level=1).inner_text().replace("\n", " ")


def test_a_reader_leaves_and_comes_back_without_script(browser: Browser, desk: Desk) -> None:
    # Given the link of a mail
    with reading(browser, width=PHONE) as page:
        page.goto(f"{desk.base}/u/{desk.link}")
        assert heading(page) == "Stop getting Newsline?"
        assert desk.readers.state(desk.here)[0] == "confirmed"

        # When the one button is pressed
        press(page, "Unsubscribe from Newsline")

        # Then the reader is out, and reloading asks nothing
        assert heading(page) == "You no longer get Newsline."
        assert desk.readers.state(desk.here)[0] == "ended"
        page.reload()
        assert page.get_by_text("You still get:").count() == 0

        # When it was a mistake
        press(page, "Undo: get Newsline again")

        # Then the reader is back
        assert heading(page) == "Welcome back"
        assert desk.readers.state(desk.here) == ("confirmed", 2)
        assert page.context.cookies() == []


def test_a_reader_stops_everything_and_takes_back_one(browser: Browser, desk: Desk) -> None:
    # Given a reader who pressed the mail program's own button, and opens the mail's link
    desk.client.post(f"/u/{desk.link}", data={"List-Unsubscribe": "One-Click"})
    with reading(browser) as page:
        page.goto(f"{desk.base}/u/{desk.link}")

        # When all is stopped
        press(page, "Stop all publications")

        # Then nothing goes on
        assert heading(page) == "You no longer get any of our publications."
        assert [desk.readers.state(one)[0] for one in (desk.here, desk.other)] == ["ended", "ended"]

        # When only the other one is taken back
        press(page, "Undo for Magazine")

        # Then just that one goes on
        assert heading(page) == "Welcome back"
        assert [desk.readers.state(one)[0] for one in (desk.here, desk.other)] == ["ended", "confirmed"]


def test_a_reader_leaves_the_other_publication_from_the_done_page(browser: Browser, desk: Desk) -> None:
    # Given a reader who just left one by the mail program's own button
    desk.client.post(f"/u/{desk.link}", data={"List-Unsubscribe": "One-Click"})
    with reading(browser) as page:
        page.goto(f"{desk.base}/u/{desk.link}")

        # When the other's own button is pressed
        press(page, "Unsubscribe from Magazine")

        # Then that one ended too
        assert heading(page) == "You no longer get Magazine."
        assert desk.readers.state(desk.other)[0] == "ended"


def test_the_page_works_from_the_keyboard_alone(browser: Browser, desk: Desk) -> None:
    # Given a reader without a mouse
    with reading(browser) as page:
        page.goto(f"{desk.base}/u/{desk.link}")

        # When they tab on from the skip link to the first button
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Skip to the text"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Unsubscribe from Newsline"
        with page.expect_navigation():
            page.keyboard.press("Enter")

        # Then they are out
        assert desk.readers.state(desk.here)[0] == "ended"


def every_page(desk: Desk) -> dict[str, str]:
    picture = desk.readers.media(PIXEL, "png", "image/png")
    desk.readers.figure("sector-9", desk.issue, picture)
    html = "<!doctype html><html lang=en><title>T</title><body><main><h1>A small sign</h1></main></body></html>"
    proof, approved = desk.readers.proof(desk.newsline, "editor@example.org", "chief@example.org", html=html)
    desk.client.post(f"/proof/{approved}/approve")
    unqueued = desk.readers.keyring.sign(Token(Purpose.PROOF))
    one, gone = desk.readers.reader("ann@example.org", desk.newsline, desk.magazine)
    both = desk.readers.reader("joe@example.org", desk.newsline, desk.magazine)
    late = desk.readers.reader("ada@example.org", desk.newsline, desk.magazine)
    desk.readers.claim(desk.readers.issue(desk.newsline, [late[0]], subject="A copy in flight"), 1, 1)
    desk.client.post(f"/u/{desk.readers.link(one)}", data={"scope": "one"})
    desk.client.post(f"/u/{desk.readers.link(both[0])}", data={"List-Unsubscribe": "One-Click"})
    desk.client.post(f"/u/{desk.readers.link(both[0])}", data={"scope": "all"})
    desk.client.post(f"/u/{desk.readers.link(late[0])}", data={"scope": "one"})
    return {
        "home": "/",
        "privacy": "/privacy",
        "leave": f"/u/{desk.link}",
        "back": f"/u/{desk.link}/back",
        "done": f"/u/{desk.readers.link(one)}/done",
        "all done": f"/u/{desk.readers.link(both[0])}/done",
        "on its way": f"/u/{desk.readers.link(late[0])}/done",
        "gone": f"/u/{desk.readers.link(gone + 10_000)}",
        "damaged": "/u/broken",
        "proof": f"/u/{proof}",
        "proof done": f"/u/{proof}/done",
        "proof view": f"/v/{proof}",
        "proof page": f"/proof/{proof}",
        "proof approved": f"/proof/{approved}",
        "preview view": f"/v/{unqueued}",
        "figure": "/figure/sector-9",
        "missing": "/no/such/page",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_every_page_is_accessible_and_fits(browser: Browser, desk: Desk, width: int, scheme: str) -> None:
    # Given every page, on this screen and in this scheme (axe needs script to look; the pages have none)
    axe = Axe()
    desk.readers.publication("plasma", "A publication with a rather long title for a telephone", language="ja")
    pages = every_page(desk)
    with reading(browser, width=width, scheme=scheme, script=True) as page:
        for name, path in pages.items():
            # When it is looked at
            page.goto(desk.base + path)
            found = axe.run(page, options=RULES)

            # Then nothing is wrong, nothing runs over the edge, and every target can be hit
            assert found.violations_count == 0, (name, found.generate_report())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            for box in (target.bounding_box() for target in page.get_by_role("button").all()):
                assert box is not None
                assert box["height"] >= 44, name
