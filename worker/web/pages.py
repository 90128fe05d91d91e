"""HTML answers: the templates and their policy.

Whatever a template shows is escaped; nothing a page needs comes from another host, and nothing on it can run.
"""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import jinja2
from starlette.responses import HTMLResponse, Response

from worker.editorial.views import Figure
from worker.places import TEMPLATES
from worker.web.sentences import page_of

FOLDER = TEMPLATES / "web"

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

COMMON_HEADERS = {
    # Tokens stand in paths: no cache keeps such a page, no other host learns its address, no index lists it.
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": PAGE_POLICY,
}
"""On every answer that does not bring its own value."""


class Pages:
    """Renders the recipient pages. One per process; safe to share between threads."""

    def __init__(self, base_url: str, folder: Path = FOLDER) -> None:
        self.root = urlsplit(base_url).path.rstrip("/")
        """The path our pages live under: links are paths, so that a foreign Host header finds its way into none."""
        self.stylesheet = (folder / "style.css").read_bytes()
        self.icon = (folder / "favicon.svg").read_bytes()
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(
            root=self.root,
            style_version=hashlib.sha256(self.stylesheet).hexdigest()[:12],
            proof=False,
            proof_page="",
            may_stop_all=False,
            promise="",
            contact="",
        )

    def html(self, template: str, status: int = 200, **values: object) -> Response:
        """One page. `values` may hold anything typed by anybody."""
        text = self._environment.get_template(template).render(**values)
        # A lone surrogate cannot be stored, but a page must not fail on one.
        return HTMLResponse(text.encode("utf-8", "replace"), status)

    def figure(self, figure: Figure, back: str, **values: object) -> Response:
        """A figure at its full size; `back` is the path of the text it stands in."""
        return self.html(
            "figure.html",
            200,
            figure=figure.page,
            publication=figure.publication,
            source=f"{self.root}/media/{figure.page.media}",
            back=back,
            contact=figure.publication.contact,
            **values,
        )

    def fragment(self, template: str, **values: object) -> str:
        """A piece of a page, escaped like one."""
        return self._environment.get_template(template).render(**values)

    def error(self, status: int, request_id: str = "") -> Response:
        """The page for a status; an unknown one reads like 400 or 500."""
        said = page_of(status)
        return self.html("error.html", status, heading=said.heading, sentences=said.sentences, request_id=request_id)
