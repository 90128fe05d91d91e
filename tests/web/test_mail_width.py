"""Nothing an editor writes makes a mail wider than a phone: words and addresses break, tables scroll in a box."""

import pytest
from playwright.sync_api import Browser

from tests.support.chromium import PHONE, browser, reading
from tests.support.issues import compiled, newsletter, statement
from worker.compose.template import recipient_environment
from worker.domain.issue import IssueText

__all__ = ["browser"]

pytestmark = pytest.mark.needs("chromium")

WORD = "x" * 600
URL = "https://www.example.com/2026/the-annual-report-of-the-river-commission-and-all-its-annexes.pdf?source=a&b=c"
WIDE = "| Country | Budget | Partner | Contact | Start | End |\n|---|--:|:-:|---|---|---|\n" + (
    f"| Germany | 1 000 000 € | University of X | someone.with.a.long@institute.example.org | {WORD[:40]} | end |\n"
)
BODIES = {
    "a long word": WORD,
    "a word in bold and in a list": f"- **{WORD}**\n\n> {WORD}\n\n## {WORD}",
    "an address": f"{URL} and <{URL}>",
    "code": f"`{WORD}`\n\n```\n{WORD}\n```",
    "a wide table": WIDE,
    "a table of addresses": f"| a | b |\n|---|---|\n| {URL} | {URL} |",
    "a table in a quote": "\n".join(f"> {line}" for line in WIDE.splitlines()),
    "many columns": "|" + " a |" * 40 + "\n|" + "---|" * 40 + "\n|" + " bbbb |" * 40,
    "deep lists": "\n".join("  " * depth + f"- level {depth} with words" for depth in range(9)),
    "deep quotes": "> " * 15 + "words that are quoted many times",
    "a quote of its own": f"::: quote\n{WORD}\n\n— {WORD}\n:::",
}
CARDS = f"cards:\n- title: {WORD}\n  tag: {WORD}\n  blurb: '{URL}'\n  link: {URL}\n"
TABLE = """() => { const cell = document.querySelectorAll('th')[1], box = cell.closest('table').parentElement;
  return [getComputedStyle(box).overflowX, box.scrollWidth > box.clientWidth, cell.align]; }"""
WIDTHS = "() => [document.documentElement.scrollWidth, innerWidth]"


def filled(issue: IssueText, language: str = "en") -> str:
    html = compiled(issue, language=language).html
    values = {"unsubscribe_url": "https://news.example.org/u/" + "A" * 44, "name": WORD}
    return recipient_environment(autoescape=True).from_string(html).render(values)


@pytest.mark.parametrize("language", ["en", "ar"])
def test_no_text_makes_a_mail_wider_than_a_phone(browser: Browser, language: str) -> None:
    mails = {what: newsletter(body) for what, body in BODIES.items()}
    mails["long titles"] = newsletter("Words.", CARDS, subject=WORD)
    mails["a long name"] = newsletter('Dear {{ name | default("x") }}')
    mails["a statement"] = statement(WIDE + "\n\n" + WORD, f"place: {WORD}\nstandfirst: {WORD}\n")
    with reading(browser, width=PHONE, script=True) as page:
        too_wide = {}
        for what, issue in mails.items():
            page.set_content(filled(issue, language), wait_until="domcontentloaded")
            width, screen = page.evaluate(WIDTHS)
            if width > screen:
                too_wide[what] = width

    assert too_wide == {}


def test_a_wide_table_scrolls_inside_its_own_box(browser: Browser) -> None:
    with reading(browser, width=PHONE, script=True) as page:
        page.set_content(filled(newsletter(WIDE)), wait_until="domcontentloaded")

        assert page.evaluate(TABLE) == ["auto", True, "right"]
