"""Asks our own opt-out host what a mail program would ask it: a one-click POST (RFC 8058 3.1) for a probe token.

The answer must be 200 at once: no redirect, no cookie, no page to press another button on. A token made for this
purpose names nobody, so the answer changes nothing.
"""

import http.client
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from worker.tokens import Keyring, Purpose, Token

TIMEOUT_S = 10.0
BODY = b"List-Unsubscribe=One-Click"


@dataclass(frozen=True)
class Answer:
    """What the host said. `trouble` is empty when a mail program would be content; else one sentence."""

    trouble: str = ""
    fix: str = ""


def ask(base_url: str, keyring: Keyring, timeout_s: float = TIMEOUT_S) -> Answer:
    """Press the button once. Never raises for what the host does."""
    parts = urlsplit(base_url)
    path = f"{parts.path.rstrip('/')}/u/{keyring.sign(Token(Purpose.PROBE))}"
    secure = parts.scheme == "https"
    made = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = made(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("POST", path, BODY, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        answer.read(64 * 1024)
        return _judge(base_url, answer)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or "the TLS handshake failed"
        return Answer(f"{base_url} has no certificate that mail programs accept: {reason}", "renew it at the proxy")
    except TimeoutError:
        return Answer(f"{base_url} did not answer within {timeout_s:.0f} s", "is corranto web running behind it?")
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return Answer(f"{base_url} does not answer: {reason}", "start it with: corranto web")


def _judge(base_url: str, answer: http.client.HTTPResponse) -> Answer:
    if answer.status == 200 and answer.getheader("Set-Cookie") is None:
        return Answer()
    if answer.status == 200:
        return Answer(f"{base_url} sets a cookie on one-click unsubscribe", "take the cookie away at the proxy")
    if 300 <= answer.status < 400:
        return Answer(
            f"{base_url} redirects one-click unsubscribe (status {answer.status}), which mail programs do not follow",
            "set CORRANTO_BASE_URL to the address it redirects to",
        )
    if answer.status in (401, 403, 405, 429):
        return Answer(
            f"{base_url} refuses one-click unsubscribe (status {answer.status})",
            "let POST to /u/ through at the proxy, without sign-in or a bot check",
        )
    if answer.status == 404:
        return Answer(
            f"{base_url} does not know our unsubscribe links (status 404)",
            "the web process there needs the same CORRANTO_SECRET_KEYS, or another site answers at this address",
        )
    return Answer(
        f"{base_url} answers one-click unsubscribe with status {answer.status}", "see the log of corranto web"
    )
