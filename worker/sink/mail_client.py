"""What mail programs and link scanners do with a mail, done from here against this installation only.

Blocking: called from the web process's threads. No cookie, no login, no redirect followed (RFC 8058 3.1), and never a
request to another host, whatever a mail says: an inbox must not become a way to reach into a network.
"""

import http.client
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from worker import clock
from worker.received.fields import visible

TIMEOUT_S = 10.0  # for connecting and each read: our own pages answer far sooner
SCAN_S = 60.0
"""Longest time one scan may take; what is left is listed as not visited."""
MOST_VISITS = 100  # of one mail's links in one scan; the rest is listed as not visited
LARGEST_ANSWER = 64 * 1024  # octets read: only the beginning is shown
SHOWN_ANSWER = 4_000  # characters: a few screens
PROGRAM_AGENT = "ExampleMail/1.0"
SCANNER_AGENT = "Mozilla/5.0 (compatible; ExampleLinkScanner/1.0)"

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; status is None when there was none, and `trouble` then says why."""

    status: int | None
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class OneClick:
    """The one-click request as sent, and its answer."""

    request: str
    answer: Answer

    @property
    def done(self) -> bool:
        """Whether a mail program would say "unsubscribed": a 2xx, and no redirect (RFC 8058 3.1)."""
        return self.answer.status is not None and 200 <= self.answer.status < 300


@dataclass(frozen=True, slots=True)
class Visit:
    """One link with what HEAD and GET answered; both None for a link that was left alone, with the reason."""

    url: str
    head: Answer | None = None
    get: Answer | None = None
    left_alone: str = ""


def belongs_to(url: str, base_url: str) -> bool:
    """Whether a URL lies under this installation's base URL: same scheme, host and port, path below its path."""
    if not url.isascii() or any(ord(char) < 33 or char in "\\\x7f" for char in url):
        return False
    try:
        wanted, base = urlsplit(url), urlsplit(base_url)
        same = _origin(wanted) == _origin(base)
    except ValueError:
        return False
    path = base.path.rstrip("/") + "/"
    return same and "@" not in wanted.netloc and (wanted.path or "/").startswith(path)


def post_one_click(url: str) -> OneClick:
    """POST one click as multipart/form-data, the form RFC 8058 3.1 prefers. `url` must have passed `belongs_to`."""
    boundary = f"one-click-{secrets.token_hex(8)}"
    disposition = 'Content-Disposition: form-data; name="List-Unsubscribe"'
    body = f"--{boundary}\r\n{disposition}\r\n\r\nOne-Click\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "User-Agent": PROGRAM_AGENT,
        "Content-Length": str(len(body)),
    }
    parts = urlsplit(url)
    lines = [f"POST {_target(parts)} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = "\n".join(lines) + "\n\n" + body.decode().replace("\r\n", "\n")
    return OneClick(request, _ask("POST", url, headers, body))


def visit_links(urls: Sequence[str], base_url: str) -> list[Visit]:
    """HEAD and GET each link of this installation once, as a security scanner does; others are left alone."""
    deadline = clock.monotonic() + SCAN_S
    visits: list[Visit] = []
    visited = 0
    for url in dict.fromkeys(urls):
        if not belongs_to(url, base_url):
            visits.append(Visit(url, left_alone="another host or no web page"))
        elif visited >= MOST_VISITS or clock.monotonic() > deadline:
            visits.append(Visit(url, left_alone="too many links for one scan"))
        else:
            visited += 1
            headers = {"User-Agent": SCANNER_AGENT, "Sec-Purpose": "prefetch", "Accept": "*/*"}
            visits.append(Visit(url, _ask("HEAD", url, headers), _ask("GET", url, headers)))
    return visits


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(scheme)
    return scheme, parts.hostname, parts.port or _DEFAULT_PORTS[scheme]


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _ask(method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
    parts = urlsplit(url)
    scheme, host, port = _origin(parts)
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    line = kind(host, port, timeout=TIMEOUT_S)
    try:
        line.request(method, _target(parts), body, {**headers, "Connection": "close"})
        answer = line.getresponse()
        octets = answer.read(LARGEST_ANSWER)
        return Answer(
            answer.status,
            visible(answer.reason),
            tuple((visible(name), visible(value)) for name, value in answer.getheaders()),
            visible(octets.decode("utf-8", "replace").replace("\r\n", "\n"))[:SHOWN_ANSWER],
        )
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, trouble=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    finally:
        line.close()
