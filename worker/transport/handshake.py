"""From a relay's name to a line ready for mails: connect, greeting, STARTTLS, AUTH, EHLO, fence.

aiosmtplib speaks until the last secret is exchanged; then its read buffer must be empty and our own strict `Wire` takes
the transport over, asks EHLO again (what was announced before TLS or AUTH is void, RFC 3207 4.2, 4954 6) and fences
with RSET. Nothing falls back: no plain text where TLS is required, no HELO where TLS or AUTH is.
"""

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass, replace

import aiosmtplib

from worker.transport.dial import Peer, dial, note_failed, note_worked
from worker.transport.door import OpeningError, Reason, refused
from worker.transport.first_words import await_words
from worker.transport.next_hop import Relay
from worker.transport.replies import Phase, Reply, clean
from worker.transport.sign_in import sign_in
from worker.transport.wire import Broken, Cause, Wire

_PLAIN_TEXT_CAME = frozenset({
    "WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "HTTP_REQUEST",
})  # fmt: skip
"""How OpenSSL's versions call an answer to the first words of TLS that is no TLS."""
_OLD = "it offers no TLS that is safe today; 1.2 or newer is needed"
_TLS_WORDS = {
    "UNSUPPORTED_PROTOCOL": _OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it agrees to no cipher that we accept",
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection",
}
_WRITABLE_NAME = re.compile(r"[!-~]{1,255}", re.ASCII)
"""What can stand behind EHLO without breaking the line; settings are stricter (RFC 5321 4.1.2)."""


@dataclass(frozen=True)
class Offer:
    """What the relay announced in its last EHLO."""

    extensions: dict[str, str]
    tls_version: str | None = None
    signed_in: bool = False

    def without(self, name: str) -> "Offer":
        """The same, as if that extension were not announced."""
        if name not in self.extensions:
            return self
        return replace(self, extensions={key: words for key, words in self.extensions.items() if key != name})

    @property
    def pipelining(self) -> bool:
        return "PIPELINING" in self.extensions

    @property
    def chunking(self) -> bool:
        return "CHUNKING" in self.extensions

    @property
    def smtputf8(self) -> bool:
        return "SMTPUTF8" in self.extensions and self.eight_bit  # RFC 6531 3.1: one requires the other

    @property
    def eight_bit(self) -> bool:
        return "8BITMIME" in self.extensions

    @property
    def takes_size(self) -> bool:
        return "SIZE" in self.extensions

    @property
    def size_limit(self) -> int | None:
        """Octets of the largest message, None when there is no fixed limit (RFC 1870 4)."""
        digits = self.extensions.get("SIZE", "").strip()  # RFC 1870 4: at most 20 of them
        return int(digits) or None if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None


def tls_context(relay: Relay) -> ssl.SSLContext:
    """Certificates and host names are verified, TLS 1.2 or newer. Raises OpeningError when ca_file cannot be read."""
    try:
        context = ssl.create_default_context(cafile=relay.ca_file)
    except OSError as error:
        why = error.strerror.lower() if error.strerror and error.errno else "no certificate stands in it"
        cause = f"the certificates in {relay.ca_file} cannot be read: {why}"
        raise OpeningError(Phase.STARTTLS, cause, reason=Reason.CERTIFICATE) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


MOST_ADDRESSES = 2
"""Addresses of a relay that one attempt talks to; what else its name has comes first the next time."""
_ANOTHER_MAY_HELP = (Phase.GREETING, Phase.STARTTLS, Phase.EHLO)
"""One machine of several may be full, broken or of an older key. A login that is refused is refused everywhere, and
tried twice it may be locked."""


async def open_wire(relay: Relay, context: ssl.SSLContext | None = None) -> tuple[Wire, Offer]:
    """A fenced line and what the relay offers on it. Raises OpeningError. Cancellation closes what was opened."""
    if context is None and relay.uses_tls:
        context = await asyncio.to_thread(tls_context, relay)
    if relay.hello_name and not _WRITABLE_NAME.fullmatch(relay.hello_name):
        raise OpeningError(Phase.EHLO, f"{relay.key} cannot be greeted as {clean(repr(relay.hello_name))}")
    told: OpeningError | None = None
    failed: set[Peer] = set()
    while True:
        try:
            sock, peer = await dial(relay, failed)
        except OpeningError as error:
            raise told or error from None  # what a relay said tells more than that there is no other one
        try:
            opened = await _open_on(relay, sock, context)
        except OpeningError as error:
            note_failed(relay, peer)
            failed.add(peer)
            told = told or error
            if error.phase not in _ANOTHER_MAY_HELP or len(failed) >= MOST_ADDRESSES:
                raise told from None
            continue
        note_worked(relay, peer)
        return opened


async def _open_on(relay: Relay, sock: socket.socket, context: ssl.SSLContext | None) -> tuple[Wire, Offer]:
    hello = _hello_name(relay, sock)
    smtp = aiosmtplib.SMTP(
        hostname=relay.host,
        port=None,
        sock=sock,
        local_hostname=hello,
        use_tls=relay.implicit_tls,
        start_tls=False,
        tls_context=context,
        timeout=relay.timeouts.greeting_s,
    )
    wire = Wire(asyncio.get_running_loop())
    try:
        if not relay.implicit_tls:
            await await_words(relay, sock)
        await _greet(relay, smtp)
        if relay.needs_starttls:
            await _start_tls(relay, smtp, context)
        if relay.username is not None:
            await _library_ehlo(relay, smtp)
            await sign_in(relay, smtp)
        tls = _tls_version(smtp)
        _take_over(relay, smtp, wire)
        extensions = await _fence(relay, wire, hello)
    except BaseException:
        wire.break_off(Cause.LET_GO, "opening the connection failed")
        if smtp.transport is not None:
            smtp.transport.abort()  # type: ignore[attr-defined]  # close() would wait for a hung TLS shutdown
        smtp.close()
        sock.close()
        raise
    return wire, Offer(extensions, tls, relay.username is not None)


def _hello_name(relay: Relay, sock: socket.socket) -> str:
    if relay.hello_name:
        return relay.hello_name
    name = socket.gethostname()
    if "." in name.strip(".") and _WRITABLE_NAME.fullmatch(name):
        return name
    host = str(sock.getsockname()[0])
    return f"[IPv6:{host.partition('%')[0]}]" if ":" in host else f"[{host}]"


async def _greet(relay: Relay, smtp: aiosmtplib.SMTP) -> None:
    phase = Phase.STARTTLS if relay.implicit_tls else Phase.GREETING
    try:
        async with asyncio.timeout(relay.timeouts.greeting_s + (relay.timeouts.tls_s if relay.implicit_tls else 0)):
            await smtp.connect()
    except (TimeoutError, aiosmtplib.SMTPTimeoutError) as error:
        cause = f"{relay.key} accepts connections but does not greet"
        if relay.implicit_tls and smtp.transport is None:
            phase, cause = Phase.STARTTLS, f"{relay.key} does not answer the TLS handshake"
        else:
            phase = Phase.GREETING
        raise OpeningError(phase, cause, reason=Reason.SILENT) from error
    except aiosmtplib.SMTPConnectResponseError as error:
        raise refused(relay, Phase.GREETING, "refused the connection", error.code, error.message) from error
    except (aiosmtplib.SMTPException, ssl.SSLError, OSError, ValueError) as error:
        raise _tls_or_line(relay, phase, error, "closed the connection before its greeting") from error


async def _start_tls(relay: Relay, smtp: aiosmtplib.SMTP, context: ssl.SSLContext | None) -> None:
    await _library_ehlo(relay, smtp)
    if not smtp.supports_extension("starttls"):
        raise OpeningError(
            Phase.STARTTLS,
            f"{relay.key} does not offer STARTTLS, and TLS is required; ?starttls=off would send in clear",
            reason=Reason.TLS,
        )
    try:
        async with asyncio.timeout(relay.timeouts.tls_s):
            await smtp.starttls(tls_context=context)
    except (TimeoutError, aiosmtplib.SMTPTimeoutError) as error:
        raise OpeningError(
            Phase.STARTTLS, f"{relay.key} did not finish the TLS handshake", reason=Reason.TLS
        ) from error
    except aiosmtplib.SMTPResponseException as error:
        raise refused(relay, Phase.STARTTLS, "refused STARTTLS", error.code, error.message) from error
    except (aiosmtplib.SMTPException, ssl.SSLError, OSError, ValueError) as error:
        raise _tls_or_line(relay, Phase.STARTTLS, error, "closed the connection during STARTTLS") from error


async def _library_ehlo(relay: Relay, smtp: aiosmtplib.SMTP) -> None:
    try:
        async with asyncio.timeout(relay.timeouts.hello_s):
            await smtp.ehlo()
    except (TimeoutError, aiosmtplib.SMTPTimeoutError) as error:
        raise OpeningError(Phase.EHLO, f"{relay.key} did not answer EHLO", reason=Reason.SILENT) from error
    except aiosmtplib.SMTPResponseException as error:
        raise refused(relay, Phase.EHLO, "refused EHLO", error.code, error.message) from error
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise OpeningError(Phase.EHLO, f"{relay.key} closed the connection at EHLO") from error


def _take_over(relay: Relay, smtp: aiosmtplib.SMTP, wire: Wire) -> None:
    protocol, transport = smtp.protocol, smtp.transport
    if protocol is None or not isinstance(transport, asyncio.Transport):
        raise OpeningError(Phase.EHLO, f"{relay.key} closed the connection")
    # Unread bytes would shift every later reply by one. The library has no public name for its buffer.
    if protocol._buffer:
        raise OpeningError(Phase.EHLO, f"{relay.key} spoke out of turn")
    wire.take_over(transport)
    smtp.protocol = smtp.transport = None


async def _fence(relay: Relay, wire: Wire, hello: str) -> dict[str, str]:
    times = relay.timeouts
    try:
        reply = await _ask(wire, f"EHLO {hello}\r\n", times.hello_s)
        if reply.code >= 500 and not relay.uses_tls and relay.username is None:
            reply = await _ask(wire, f"HELO {hello}\r\n", times.hello_s)
            reply = Reply(reply.code, b"")  # no extensions, whatever a HELO reply says
        if reply.code != 250:
            raise refused(relay, Phase.EHLO, "refused EHLO", reply.code, reply.text.decode("utf-8", "replace"))
        fence = await _ask(wire, "RSET\r\n", times.command_s)
        if not fence.is_positive:
            raise refused(relay, Phase.RSET, "refused RSET", fence.code, fence.text.decode("utf-8", "replace"))
        wire.require_quiet()
    except Broken as broken:
        raise OpeningError(Phase.EHLO, f"{relay.key} cannot be used: {broken.text}") from broken
    return _extensions(reply.text)


async def _ask(wire: Wire, command: str, within_s: float) -> Reply:
    wire.send(command.encode("ascii"), 1, within_s, within_s)
    return (await wire.replies())[0]


def _extensions(text: bytes) -> dict[str, str]:
    """Keyword → parameters, both upper-cased keywords and `AUTH=` of old servers understood (RFC 5321 4.1.1.1)."""
    extensions: dict[str, str] = {}
    for line in text.decode("ascii", "replace").split("\n")[1:]:
        keyword, _, parameters = line.strip().replace("=", " ", 1).partition(" ")
        if keyword:
            extensions.setdefault(keyword.upper(), parameters.strip())
    return extensions


def _tls_version(smtp: aiosmtplib.SMTP) -> str | None:
    secured = smtp.transport.get_extra_info("ssl_object") if smtp.transport else None
    return secured.version() if isinstance(secured, ssl.SSLObject) else None


def _tls_or_line(relay: Relay, phase: Phase, error: BaseException, otherwise: str) -> OpeningError:
    """Name a certificate's fault, which the library may have wrapped, and say the rest in plain words."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            cause = f"the certificate of {relay.key} is not accepted: {_certificate_words(seen.verify_message)}"
            return OpeningError(Phase.STARTTLS, cause, reason=Reason.CERTIFICATE)
        if isinstance(seen, ssl.SSLError):
            if relay.implicit_tls and seen.reason in _PLAIN_TEXT_CAME:
                what = "does not speak TLS from the start: the URL must begin with smtp:// and not with smtps://"
                return OpeningError(Phase.STARTTLS, f"{relay.key} {what}", reason=Reason.NOT_SMTP)
            words = _TLS_WORDS.get(seen.reason or "", clean((seen.reason or str(seen)).replace("_", " ").lower()))
            return OpeningError(Phase.STARTTLS, f"TLS with {relay.key} failed: {words}", reason=Reason.TLS)
        seen = seen.__cause__ or seen.__context__
    return OpeningError(phase, f"{relay.key} {otherwise}")


def _certificate_words(said: str) -> str:
    """The library's words with what helps."""
    words = clean(said)
    if "ostname mismatch" in words or "address mismatch" in words:
        return "it is made for another name; write the relay's URL with the name that stands in it"
    if "self-signed" in words or "self signed" in words or "issuer" in words:
        return f"{words}; if it is yours, name its authority's file in CORRANTO_SMTP_CA_FILE"
    if "expired" in words or "not yet valid" in words:
        return f"{words}; the relay has to get a new one, or this machine's clock is wrong"
    return words
