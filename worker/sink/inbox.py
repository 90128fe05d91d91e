"""The sink's web inbox: routes under /sink, mounted only beside the embedded sink.

Everything a mail holds is untrusted: pages escape it under a policy that runs nothing, its HTML is served alone under
a sandbox policy. No script, no cookie; the only state-changing requests are two same-origin forms whose effect is
that of a mail program or a link scanner, so repeating them is harmless.
"""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from worker.received.fields import visible
from worker.sink.frame import NO_HTML, frame_policy, framed_html, has_dark_scheme
from worker.sink.mail_client import belongs_to, post_one_click, visit_links
from worker.sink.mailbox import LONGEST_QUERY, Entry, Mailbox
from worker.sink.pages import FOLDER, environment
from worker.sink.parsed_mail import LARGEST_OPENED, OpenedMail, message_id, open_mail, pieces_of, raw_head

PREFIX = "/sink"
LARGEST_SOURCE = 256 * 1024
"""Octets of a mail's source on its page; the file itself is a link away."""

MOST_AT_ONCE = 2
"""Requests answered at the same time: a hostile mail takes some 10 MB while it is taken apart and shown."""

LONGEST_ID = 18
"""Digits of a mail's number in a path."""

Ledger = Callable[[str], Mapping[str, str] | None]
"""From a return path to the reader's ledger row as words to show, or None when it names no delivery of ours."""

_COMMON_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
TABS = (
    ("mail", "Mail", ""),
    ("text", "Text", "/text"),
    ("headers", "Headers", "/headers"),
    ("source", "Source", "/source"),
    ("links", "Links", "/links"),
    ("test", "Client test", "/client-test"),
)


def routes(
    mailbox: Mailbox,
    *,
    ledger: Ledger,
    base_url: str,
    queue_command: str,
    names_us: Callable[[Request], bool],
) -> list[BaseRoute]:
    """The routes of /sink. `base_url` is this installation's; `queue_command` is shown while there is no mail;
    `names_us` says whether a request named this machine and no other."""
    inbox = _Inbox(mailbox, ledger, base_url.rstrip("/"), queue_command, names_us)
    mail = PREFIX + "/mail/{id}"
    gets: list[tuple[str, _Endpoint]] = [
        (PREFIX, inbox.list_page),
        (PREFIX + "/sink.css", inbox.css),
        (PREFIX + "/api/messages", inbox.api_list),
        (PREFIX + "/api/messages/{id}", inbox.api_mail),
        (mail, inbox.mail_page),
        (mail + "/frame", inbox.frame),
        (mail + "/text", inbox.text_page),
        (mail + "/headers", inbox.headers_page),
        (mail + "/source", inbox.source_page),
        (mail + "/mail.eml", inbox.file),
        (mail + "/links", inbox.links_page),
        (mail + "/client-test", inbox.test_page),
    ]
    posts: list[tuple[str, _Endpoint]] = [
        (mail + "/client-test/unsubscribe", inbox.unsubscribe),
        (mail + "/client-test/scan", inbox.scan),
    ]
    table: list[BaseRoute] = [Route(path, inbox.guarded(endpoint)) for path, endpoint in gets]
    table += [Route(path, inbox.guarded(endpoint, changes=True), methods=["POST"]) for path, endpoint in posts]
    return table


_Endpoint = Callable[[Request], Response]


@dataclass(frozen=True)
class _Mail:
    """One mail with its octets, taken apart."""

    entry: Entry
    raw: bytes
    opened: OpenedMail


class _Inbox:
    def __init__(
        self,
        mailbox: Mailbox,
        ledger: Ledger,
        base_url: str,
        queue_command: str,
        names_us: Callable[[Request], bool],
    ) -> None:
        self._mailbox = mailbox
        self._ledger = ledger
        self._base_url = base_url
        self._queue_command = queue_command
        self._templates = environment()
        self._css = (FOLDER / "sink.css").read_bytes()
        self._css_version = hashlib.sha256(self._css).hexdigest()[:12]
        # Threads of its own: each of the many that wait would keep what it once took from the system.
        self._readers = ThreadPoolExecutor(MOST_AT_ONCE, "sink-inbox")
        base = urlsplit(base_url)
        self._frame_policy = frame_policy(f"{base.scheme}://{base.netloc}")
        self._names_us = names_us

    def guarded(self, endpoint: _Endpoint, *, changes: bool = False) -> _Endpoint:
        """`endpoint` behind the checks every request passes."""

        def answer(request: Request) -> Response:
            # A foreign name that resolves to loopback (DNS rebinding) would let a web site read the inbox. The raw
            # header decides: of one it cannot read, the framework's own URL says the server's address, loopback.
            if not self._names_us(request):
                return Response("This inbox answers only under its own address.\n", 421, media_type="text/plain")
            if changes and not _is_same_origin(request):
                return self._page("problem.html", status=403, title="Not from here", problem="foreign_form")
            try:
                # A client test asks this very installation, which must not wait for its turn behind it.
                return endpoint(request) if changes else self._readers.submit(endpoint, request).result()
            except HTTPException as error:
                return self._page("problem.html", status=error.status_code, title="Not here", problem="gone")

        return answer

    # Lists

    def list_page(self, request: Request) -> Response:
        query = request.query_params.get("q", "").strip()[:LONGEST_QUERY]
        page = self._mailbox.page(_number(request.query_params.get("page")), query)
        return self._page("list.html", title="Inbox", page=page, query=query, queue_command=self._queue_command)

    def api_list(self, request: Request) -> Response:
        query = request.query_params.get("q", "").strip()
        page = self._mailbox.page(_number(request.query_params.get("page")), query)
        return _json(
            {
                "total": page.total,
                "stored": page.stored,
                "page": page.number,
                "pages": page.pages,
                "messages": [_summary(entry) for entry in page.entries],
            }
        )

    # One mail

    def mail_page(self, request: Request) -> Response:
        mail = self._find(request)
        html = mail.opened.html
        return self._tab(
            mail,
            "mail",
            width=_chosen(request.query_params.get("width"), ("fit", "phone", "desktop")),
            scheme=_chosen(request.query_params.get("scheme"), ("light", "dark")),
            brings_dark=has_dark_scheme(html or ""),
        )

    def frame(self, request: Request) -> Response:
        html = self._find(request).opened.html
        dark = request.query_params.get("scheme") == "dark"
        content = NO_HTML if html is None else framed_html(html, dark=dark)
        return HTMLResponse(
            content.encode("utf-8", "replace"),
            headers=_COMMON_HEADERS | {"Content-Security-Policy": self._frame_policy},
        )

    def text_page(self, request: Request) -> Response:
        mail = self._find(request)
        return self._tab(mail, "text", pieces=None if mail.opened.text is None else pieces_of(mail.opened.text))

    def headers_page(self, request: Request) -> Response:
        mail = self._find(request)
        return self._tab(mail, "headers", raw_head=raw_head(mail.raw))

    def source_page(self, request: Request) -> Response:
        mail = self._find(request)
        source = visible(mail.raw[:LARGEST_SOURCE].decode("utf-8", "replace").replace("\r\n", "\n"))
        return self._tab(mail, "source", source=source, cut=mail.entry.size > LARGEST_SOURCE)

    def file(self, request: Request) -> Response:
        entry, _ = self._kept(request, 0)
        headers = {"Content-Disposition": f'attachment; filename="mail-{entry.id}.eml"'}
        headers |= {"Content-Security-Policy": "sandbox; default-src 'none'", "Content-Length": str(entry.size)}
        # In pieces: the largest mails, asked for many times at once, would fill the memory.
        pieces = self._mailbox.pieces(entry)
        return StreamingResponse(pieces, media_type="message/rfc822", headers=_COMMON_HEADERS | headers)

    def links_page(self, request: Request) -> Response:
        mail = self._find(request)
        return self._tab(mail, "links", links=mail.opened.links())

    def test_page(self, request: Request) -> Response:
        return self._tab(self._find(request), "test")

    def api_mail(self, request: Request) -> Response:
        mail = self._find(request)
        opened = mail.opened
        return _json(
            _summary(mail.entry)
            | {
                "message_id": message_id(mail.raw),
                "headers": opened.fields,
                "text": opened.text,
                "html": opened.html,
                "parts": [{"type": part.media_type, "name": part.name, "size": part.size} for part in opened.others],
                "links": [{"part": link.part, "text": link.text, "target": link.target} for link in opened.links()],
                "list_unsubscribe": opened.unsubscribe_uris,
                "one_click": opened.is_one_click,
                "notes": opened.notes,
            }
        )

    # The client test

    def unsubscribe(self, request: Request) -> Response:
        mail = self._find(request)
        url = self._one_click_url(mail.opened)
        if url is None:
            return self._tab(mail, "test", status=409)
        before = self._ledger(mail.entry.mail_from)
        one_click = post_one_click(url)
        after = self._ledger(mail.entry.mail_from)
        return self._tab(mail, "test", one_click=one_click, before=before, after=after)

    def scan(self, request: Request) -> Response:
        mail = self._find(request)
        before = self._ledger(mail.entry.mail_from)
        visits = visit_links([link.target for link in mail.opened.links()], self._base_url)
        after = self._ledger(mail.entry.mail_from)
        return self._tab(mail, "test", visits=visits, before=before, after=after)

    def _one_click_url(self, opened: OpenedMail) -> str | None:
        """The URL the button may press: the mail allows one click, and the URL is this installation's."""
        web = next((uri for uri in opened.unsubscribe_uris if uri.lower().startswith(("https:", "http:"))), None)
        return web if web is not None and opened.is_one_click and belongs_to(web, self._base_url) else None

    # Answers

    def css(self, request: Request) -> Response:
        return Response(
            self._css, media_type="text/css", headers=_COMMON_HEADERS | {"Cache-Control": "max-age=31536000, immutable"}
        )

    def _kept(self, request: Request, limit: int | None = None) -> tuple[Entry, bytes]:
        """The mail a path names, with its octets, at most `limit`. Raises HTTPException."""
        number = request.path_params["id"]
        # Checked here: a route's own {id:int} fails on more digits than Python turns into a number.
        is_number = number.isascii() and number.isdigit() and len(number) <= LONGEST_ID
        entry = self._mailbox.find(int(number)) if is_number else None
        raw = self._mailbox.raw(entry, limit) if entry is not None else None
        if entry is None or raw is None:
            raise HTTPException(404)
        return entry, raw

    def _find(self, request: Request) -> _Mail:
        entry, raw = self._kept(request, LARGEST_OPENED + 1)
        return _Mail(entry, raw, open_mail(raw))

    def _tab(self, mail: _Mail, tab: str, *, status: int = 200, **values: object) -> Response:
        return self._page(
            f"{tab}.html",
            status=status,
            title=mail.entry.subject or "(no subject)",
            entry=mail.entry,
            opened=mail.opened,
            tab=tab,
            tabs=TABS,
            ledger_row=self._ledger(mail.entry.mail_from),
            one_click_url=self._one_click_url(mail.opened),
            base_url=self._base_url,
            **values,
        )

    def _page(self, template: str, *, status: int = 200, **values: object) -> Response:
        content = self._templates.get_template(template).render(prefix=PREFIX, css_version=self._css_version, **values)
        # Lone surrogates cannot come from our decoding, but a page must never fail on one.
        return HTMLResponse(
            content.encode("utf-8", "replace"), status, _COMMON_HEADERS | {"Content-Security-Policy": _PAGE_POLICY}
        )


def _is_same_origin(request: Request) -> bool:
    """Whether a form was sent by one of our own pages: Fetch Metadata, or for older browsers Origin = Host.

    A request with neither is refused, because one could be made by our own client test on behalf of a hostile mail.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    # The guard has seen that there is exactly one Host header.
    return origin is not None and origin.lower() == f"{request.url.scheme}://{request.headers['host']}".lower()


def _chosen(asked: str | None, choices: tuple[str, ...]) -> str:
    """What was asked for, the first choice when it is none of them."""
    return asked if asked in choices else choices[0]


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 8 else 1


def _summary(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "received_at": entry.received_at.isoformat(),
        "mail_from": entry.mail_from,
        "rcpt_to": entry.rcpts,
        "from": entry.sender,
        "subject": entry.subject,
        "size": entry.size,
    }


def _json(value: object) -> Response:
    return Response(
        orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        media_type="application/json",
        headers=_COMMON_HEADERS | {"Content-Security-Policy": "default-src 'none'"},
    )
