"""HTML answers: the templates, their policy, and the pages for what went wrong.

Whatever a template shows is escaped; nothing a page needs comes from another host, and nothing on it can run.
"""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import jinja2
from starlette.responses import HTMLResponse, Response

from worker.settings import HOME

FOLDER = HOME / "templates" / "web"

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

_NOT_CHANGED = "Nothing was changed."
_ERRORS = {
    400: ("We did not understand that", ["The form arrived incomplete. " + _NOT_CHANGED, "Go back and try again."]),
    404: ("There is no such page", ["The address may be cut off or mistyped."]),
    405: ("That does not work here", ["This page cannot be used in that way. " + _NOT_CHANGED]),
    408: ("That took too long", ["The form did not arrive in time. " + _NOT_CHANGED, "Please try again."]),
    413: ("That is too much", ["The form was too large. " + _NOT_CHANGED]),
    500: ("Something went wrong here", ["That is our fault, not yours.", "Please try again in a few minutes."]),
    503: (
        "Please try again soon",
        ["We cannot reach our records just now, so we cannot do what you asked. Try again in a few minutes."],
    ),
}


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
            promise="",
            contact="",
        )

    def html(self, template: str, status: int = 200, **values: object) -> Response:
        """One page. `values` may hold anything typed by anybody."""
        text = self._environment.get_template(template).render(**values)
        # A lone surrogate cannot be stored, but a page must not fail on one.
        return HTMLResponse(text.encode("utf-8", "replace"), status)

    def error(self, status: int, request_id: str = "") -> Response:
        """The page for a status; an unknown one reads like 400 or 500."""
        heading, sentences = _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 400]
        return self.html("error.html", status, heading=heading, sentences=sentences, request_id=request_id)
