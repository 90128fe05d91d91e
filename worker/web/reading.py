"""What readers read: an issue in the browser, its figures, the list of newsletters, the privacy page.

Nothing here names a reader, and nothing changes anything. Files are in `files`.
"""

import re
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from worker.editorial import approval, publications, views
from worker.storage.engine import Database
from worker.tokens import Keyring, Purpose, Token, TokenError
from worker.web.files import FOREVER
from worker.web.pages import Pages

_BODY = re.compile(r"<body[^>]*>")
_FIGURE_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)

_LANGUAGES = {
    "ar": "العربية", "de": "Deutsch", "en": "English", "es": "Español", "fr": "Français", "hi": "हिन्दी",
    "it": "Italiano", "ja": "日本語", "ko": "한국어", "nl": "Nederlands",
    "pt": "Português", "ru": "Русский", "zh": "中文",
}  # fmt: skip


def routes(base_url: str, database: Database, keyring: Keyring, pages: Pages) -> list[BaseRoute]:
    """Everything a reader may only look at."""
    reading = _Reading(base_url, database, keyring, pages)
    return [
        Route("/", reading.home),
        Route("/privacy", reading.privacy),
        Route("/v/{token}", reading.issue),
        Route("/figure/{id}", reading.figure),
        Route("/style.css", reading.style),
        Route("/favicon.svg", reading.icon),
        Route("/favicon.ico", reading.icon),
        Route("/robots.txt", reading.robots),
    ]


class _Reading:
    def __init__(self, base_url: str, database: Database, keyring: Keyring, pages: Pages) -> None:
        base = urlsplit(base_url)
        self._database = database
        self._keyring = keyring
        self._pages = pages
        # An issue's page brings its layout's inline styles; pictures come from us and, by its links, from our base.
        self._issue_policy = (
            f"default-src 'none'; style-src 'unsafe-inline'; img-src 'self' {base.scheme}://{base.netloc};"
            " form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        )

    def home(self, request: Request) -> Response:
        """Which newsletters there are, and how to leave them."""
        everything = publications.list_publications(self._database)
        named = [{**one.as_dict(), "language_name": _language_name(one.language)} for one in everything]
        return self._pages.html("home.html", publications=named)

    def privacy(self, request: Request) -> Response:
        """What each publication promises, what is kept, what is not done."""
        return self._pages.html("privacy.html", publications=publications.list_publications(self._database))

    def issue(self, request: Request) -> Response:
        """View in browser: the neutral variant, without a personal value."""
        try:
            token = self._keyring.read(request.path_params["token"], Purpose.VIEW, Purpose.PROOF)
            if token.purpose is Purpose.PROOF:
                return self._proof(token, request.path_params["token"])
        except TokenError:
            return self._pages.error(404)
        html = views.read_view(self._database, token.issue)
        if html is None:
            return self._pages.error(404)
        return HTMLResponse(html, headers={"Content-Security-Policy": self._issue_policy})

    def _proof(self, token: Token, text: str) -> Response:
        """The text of a proof, under a banner that leads to its approval."""
        proof = approval.read_proof(self._database, token)
        if proof is None:
            return self._pages.html("no_proof.html", proof=True)
        banner = self._pages.fragment("proof_banner.html", page=f"{self._pages.root}/proof/{text}")
        html = _BODY.sub(lambda body: body[0] + banner, proof.view_html(text), count=1)
        return HTMLResponse(html, headers={"Content-Security-Policy": self._issue_policy})

    def figure(self, request: Request) -> Response:
        """A figure at its full size, with caption, credit and the way back to its issue."""
        if not _FIGURE_ID.fullmatch(request.path_params["id"]):
            return self._pages.error(404)  # PostgreSQL takes no NUL in a text, and says so as an error
        figure = views.read_figure(self._database, request.path_params["id"])
        if figure is None:
            return self._pages.error(404)
        back = self._keyring.sign(Token(Purpose.VIEW, issue=figure.page.issue_id))
        return self._pages.figure(figure, f"{self._pages.root}/v/{back}")

    async def style(self, request: Request) -> Response:
        return Response(self._pages.stylesheet, media_type="text/css", headers={"Cache-Control": FOREVER})

    async def icon(self, request: Request) -> Response:
        return Response(
            self._pages.icon, media_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"}
        )

    async def robots(self, request: Request) -> Response:
        root = self._pages.root
        private = ("u/", "v/", "m/", "confirm/", "proof/", "sink")
        lines = ["User-agent: *", *(f"Disallow: {root}/{path}" for path in private)]
        return PlainTextResponse("\n".join(lines) + "\n", headers={"Cache-Control": "public, max-age=86400"})


def _language_name(tag: str) -> str:
    return _LANGUAGES.get(tag.partition("-")[0].lower(), tag)
