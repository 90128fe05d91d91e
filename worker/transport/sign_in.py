"""Signing in: the first way that the relay announces, takes, and we know. RFC 4954, 4616.

A way that is announced and refused as such gives way to the next; a refused password is never tried twice, because
accounts are locked for that. What a relay says here is never shown: it may repeat what was sent.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable

import aiosmtplib

from worker.transport.door import OpeningError, Reason
from worker.transport.next_hop import Relay
from worker.transport.replies import Phase, clean

_NOT_THIS_WAY = frozenset({500, 501, 502, 503, 504})
"""The relay does not know the way, or not like this (RFC 4954 4)."""

_MEANINGS = {
    421: "closes the connection at the sign-in",
    432: "wants the password to be changed before it signs anybody in",
    454: "cannot check the sign-in at the moment",
    525: "says that this account is disabled",
    530: "signs nobody in on a line without TLS: use ?starttls=required or smtps://",
    534: "wants another way of signing in, such as an app password made for programs",
    535: "refuses the user name or password",
    538: "signs nobody in on a line without TLS: use ?starttls=required or smtps://",
}


async def sign_in(relay: Relay, smtp: aiosmtplib.SMTP) -> None:
    """After EHLO. Raises OpeningError."""
    ways: dict[str, Callable[[], Awaitable[int]]] = {
        "plain": lambda: _plain(relay, smtp),
        "login": lambda: _login(relay, smtp),
        "cram-md5": lambda: _cram(relay, smtp),
    }
    offered = list(dict.fromkeys(smtp.server_auth_methods))
    tried: dict[str, int] = {}
    for name in ways:
        if name in offered:
            code = await _try(relay, ways[name])
            if code == 235:
                return
            if code not in _NOT_THIS_WAY:
                raise _refusal(relay, code)
            tried[name] = code
    if tried:
        what = ", ".join(f"{name.upper()} ({code})" for name, code in tried.items())
        raise _closed(f"{relay.key} refuses each way of signing in that it announces: {what}", list(tried.values())[-1])
    raise _closed(f"{relay.key} {_nothing_offered(relay, smtp, offered)}")


def _nothing_offered(relay: Relay, smtp: aiosmtplib.SMTP, offered: list[str]) -> str:
    if offered:
        ways = clean(", ".join(name.upper() for name in offered))[:80]
        known = "PLAIN, LOGIN and CRAM-MD5"
        return f"offers only ways of signing in that Corranto does not know: {ways}; it knows {known}"
    if not relay.uses_tls and smtp.supports_extension("starttls"):
        return "offers a sign-in only over TLS: add ?starttls=required to its URL"
    return "offers no sign-in (AUTH), but its URL has a user name: leave that out, or use the port for submission"


async def _try(relay: Relay, way: Callable[[], Awaitable[int]]) -> int:
    try:
        async with asyncio.timeout(relay.timeouts.auth_s):
            return await way()
    except (TimeoutError, aiosmtplib.SMTPTimeoutError):
        raise _closed(f"{relay.key} does not answer the sign-in") from None
    except aiosmtplib.SMTPResponseException as error:
        return error.code
    except (aiosmtplib.SMTPException, OSError, ValueError):
        # The error's own text may hold what was sent.
        raise _closed(f"{relay.key} closed the connection during the sign-in") from None


async def _plain(relay: Relay, smtp: aiosmtplib.SMTP) -> int:
    secret = _encode(f"\0{relay.username}\0{relay.password or ''}")
    reply = await smtp.execute_command(b"AUTH", b"PLAIN", secret)
    if reply.code == 334 and not reply.message.strip():  # it takes no initial response
        reply = await smtp.execute_command(secret)
    return reply.code


async def _login(relay: Relay, smtp: aiosmtplib.SMTP) -> int:
    user, password = _encode(relay.username or ""), _encode(relay.password or "")
    reply = await smtp.execute_command(b"AUTH", b"LOGIN", user)
    if reply.code == 501:  # it takes no initial response
        reply = await smtp.execute_command(b"AUTH", b"LOGIN")
    if reply.code == 334 and _asks_for_user(reply.message):
        reply = await smtp.execute_command(user)
    if reply.code == 334:
        reply = await smtp.execute_command(password)
    return reply.code


async def _cram(relay: Relay, smtp: aiosmtplib.SMTP) -> int:
    return (await smtp.auth_crammd5(relay.username or "", relay.password or "")).code


def _asks_for_user(prompt: str) -> bool:
    try:
        return base64.b64decode(prompt.strip()).lower().startswith(b"user")
    except (binascii.Error, ValueError):
        return False


def _encode(text: str) -> bytes:
    return base64.b64encode(text.encode("utf-8"))


def _refusal(relay: Relay, code: int) -> OpeningError:
    if code in _MEANINGS:
        return _closed(f"{relay.key} {_MEANINGS[code]} (reply {code})", code)
    if 400 <= code < 500:
        return _closed(f"{relay.key} signs nobody in at the moment (reply {code})", code)
    if code >= 500:
        return _closed(f"{relay.key} refuses to sign us in (reply {code})", code)
    return _closed(f"{relay.key} answered the sign-in with {code} instead of 235", code)


def _closed(cause: str, code: int | None = None) -> OpeningError:
    return OpeningError(Phase.AUTH, cause, code, reason=Reason.SIGN_IN)
