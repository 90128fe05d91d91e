"""The first words of whatever listens at the relay's address, before our client hears them: is it SMTP at all?

Nothing is taken from the line, and nothing is said on it while a greeting may still come.
"""

import asyncio
import re
import socket
import ssl

from worker.transport.door import OpeningError, Reason
from worker.transport.next_hop import Relay
from worker.transport.replies import Phase, clean

TLS_ANSWER_S = 3.0
"""For an answer to our TLS hello, after a plain greeting did not come: it comes at once or never."""
SHOWN_CHARS = 40

_MAY_BE_SMTP = re.compile(rb"[2-5](\Z|[0-9](\Z|[0-9](\Z|[ \r\n-])))")
_OTHERS = (
    (b"HTTP/", "as a web server (HTTP)"),
    (b"<", "as a web server (HTTP)"),
    (b"SSH-", "as an SSH server"),
    (b"* ", "as an IMAP server, from which mail is read"),
    (b"+OK", "as a POP3 server, from which mail is read"),
)
_TLS_RECORDS = (b"\x16\x03", b"\x15\x03")  # RFC 8446 5.1: handshake and alert


async def await_words(relay: Relay, sock: socket.socket) -> None:
    """Wait for the greeting's first octets on a plain line. Raises OpeningError, naming what else is there."""
    begin = await _peek(relay, sock, relay.timeouts.greeting_s)
    if begin is None:
        begin = await _ask_tls(relay, sock)
        if begin.startswith(_TLS_RECORDS):
            what = "expects TLS from the start: the URL must begin with smtps:// and not with smtp://"
            raise OpeningError(Phase.GREETING, f"{relay.key} {what}", reason=Reason.NOT_SMTP)
        if not begin.startswith(b"HTTP/"):
            cause = f"{relay.key} accepts connections but does not greet"
            raise OpeningError(Phase.GREETING, cause, reason=Reason.SILENT)
    if not begin:
        raise OpeningError(Phase.GREETING, f"{relay.key} closed the connection before its greeting")
    if not _MAY_BE_SMTP.match(begin):
        raise OpeningError(Phase.GREETING, f"{relay.key} {_not_smtp(begin)}", reason=Reason.NOT_SMTP)


def _not_smtp(begin: bytes) -> str:
    for sign, what in _OTHERS:
        if begin.startswith(sign):
            return f"answers {what}, not as a mail server (SMTP): check its host and port"
    said = clean(begin)[:SHOWN_CHARS]
    return f"does not greet as a mail server (SMTP) but with “{said}”: check its host and port"


async def _peek(relay: Relay, sock: socket.socket, within_s: float) -> bytes | None:
    """What came, without taking it; b"" when the line was closed, None when nothing came in time."""
    loop = asyncio.get_running_loop()
    came = loop.create_future()
    number = sock.fileno()
    loop.add_reader(number, _come, came)
    try:
        async with asyncio.timeout(within_s):
            await came
        return sock.recv(256, socket.MSG_PEEK)
    except TimeoutError:
        return None
    except OSError:
        return b""
    finally:
        loop.remove_reader(number)


def _come(came: "asyncio.Future[None]") -> None:
    if not came.done():
        came.set_result(None)


async def _ask_tls(relay: Relay, sock: socket.socket) -> bytes:
    """What comes back when we begin TLS on this line, which has no other use any more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is entrusted to it
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    except ssl.SSLWantReadError:
        pass
    try:
        async with asyncio.timeout(TLS_ANSWER_S):
            await asyncio.get_running_loop().sock_sendall(sock, out.read())
    except (OSError, TimeoutError):
        return b""
    return await _peek(relay, sock, min(TLS_ANSWER_S, relay.timeouts.tls_s)) or b""
