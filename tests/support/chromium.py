"""A real browser, headless, kept to this machine: script is off unless a test says otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.programs import PROGRAMS, find_program

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = 320
DESKTOP = 1280


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module's tests."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_program(PROGRAMS["chromium"][0]), args=ARGUMENTS)
        yield opened
        opened.close()


@contextmanager
def reading(browser: Browser, *, width: int = DESKTOP, scheme: str = "light", script: bool = False) -> Iterator[Page]:
    """A page as one reader sees it: width in CSS pixels, light or dark."""
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=script,
    )
    context.set_default_timeout(15_000)
    try:
        yield context.new_page()
    finally:
        context.close()
