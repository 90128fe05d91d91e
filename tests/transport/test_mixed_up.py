"""Something else than expected listens there, or signs in in another way: the sentence names it."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_smtp import ALL, CLOSE, HANG, On, ScriptedRelay
from tests.transport.handing import AUTHORITY, HASTY, relay_for, server_tls
from worker.transport.door import OpeningError, Reason, refused, silence
from worker.transport.handshake import open_wire
from worker.transport.next_hop import Relay
from worker.transport.relay import RelayReport, probe
from worker.transport.replies import Phase
from worker.transport.wire import Cause

SECRET = "s3cret-pass"
LOGIN = {"username": "news", "password": SECRET}


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


def opened(server: ScriptedRelay, **more: Any) -> OpeningError | None:
    """Why no session could be opened; None when one was."""

    async def story() -> OpeningError | None:
        async with server:
            try:
                wire, _ = await open_wire(relay_for(server, replace(HASTY, greeting_s=0.3), **more))
            except OpeningError as error:
                return error
            wire.break_off(Cause.LET_GO, "seen enough")
            return None

    return asyncio.run(asyncio.wait_for(story(), 20))


Words = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def stranger(first: bytes, after: bytes = b"", tls: ssl.SSLContext | None = None, **more: Any) -> RelayReport:
    """What a probe says of a server that writes `first` at once, and `after` when anything came."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        if await reader.read(1000) and after:
            writer.write(after)
            await writer.drain()
        writer.close()

    async def story() -> RelayReport:
        server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=tls)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await probe(Relay("127.0.0.1", port, timeouts=replace(HASTY, greeting_s=0.3), **more))

    return asyncio.run(asyncio.wait_for(story(), 20))


@pytest.mark.parametrize(
    ("first", "after", "words"),
    [
        pytest.param(b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", "as a web server (HTTP)", id="web"),
        pytest.param(b"HTTP/1.0 200 OK\r\n", b"", "as a web server (HTTP)", id="eager web"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", b"", "as an SSH server", id="ssh"),
        pytest.param(b"* OK IMAP4rev1 ready\r\n", b"", "as an IMAP server", id="imap"),
        pytest.param(b"+OK POP3 ready\r\n", b"", "as a POP3 server", id="pop3"),
        pytest.param(b"N\x00\x00\x00\x0a5.7.1-mysql", b"", "greet as a mail server (SMTP) but with “N", id="database"),
    ],
)
def test_a_server_of_another_kind_is_named(first: bytes, after: bytes, words: str):
    report = stranger(first, after)
    assert words in (report.cause or "")
    assert (report.cause or "").isprintable()
    assert "check its host and port" in (report.cause or "")


def test_a_port_that_speaks_tls_from_the_start_is_found_behind_a_plain_url(ca_file: str):
    cause = opened(ScriptedRelay([], ALL, tls=server_tls(), implicit_tls=True), ca_file=ca_file)
    assert cause is not None
    assert cause.cause.endswith("expects TLS from the start: the URL must begin with smtps:// and not with smtp://")
    assert cause.reason is Reason.NOT_SMTP


def test_a_port_that_speaks_plain_text_first_is_found_behind_a_tls_url(ca_file: str):
    cause = opened(ScriptedRelay([], (*ALL, "STARTTLS")), implicit_tls=True, ca_file=ca_file)
    assert cause is not None
    assert "the URL must begin with smtp:// and not with smtps://" in cause.cause
    assert cause.reason is Reason.NOT_SMTP


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (70, "it offers no TLS that is safe today; 1.2 or newer is needed"),  # RFC 8446 6: protocol_version
        (40, "it agrees to no cipher that we accept"),  # handshake_failure
        (80, "tlsv1 alert internal error"),
    ],
)
def test_a_relay_that_answers_tls_with_an_alert_is_said_with_what_it_means(number: int, words: str):
    report = stranger(b"", b"\x15\x03\x01\x00\x02\x02" + bytes([number]), implicit_tls=True)
    assert report.phase is Phase.STARTTLS
    assert (report.cause or "").endswith(f"failed: {words}")


@pytest.mark.parametrize(
    ("steps", "reason", "words"),
    [
        pytest.param((b"454 4.7.0 not now\r\n",), Reason.REFUSED, "refused STARTTLS: 454 4.7.0 not now", id="454"),
        pytest.param((b"220 go\r\n", HANG), Reason.TLS, "did not finish the TLS handshake", id="silent"),
        pytest.param((CLOSE,), Reason.CLOSED, "closed the connection during STARTTLS", id="closed"),
    ],
)
def test_a_starttls_that_fails_is_named_by_its_cause(steps: Any, reason: Reason, words: str, ca_file: str):
    server = ScriptedRelay([On("starttls", *steps)], (*ALL, "STARTTLS"), tls=server_tls())
    cause = opened(server, starttls="required", ca_file=ca_file)
    assert cause is not None
    assert (cause.phase, cause.reason) == (Phase.STARTTLS, reason)
    assert cause.cause.endswith(words)


@pytest.mark.parametrize(
    ("steps", "reason", "words"),
    [
        pytest.param((HANG,), Reason.SILENT, "did not answer EHLO", id="silent"),
        pytest.param((CLOSE,), Reason.CLOSED, "closed the connection at EHLO", id="closed"),
        pytest.param((b"421 4.3.2 later\r\n", CLOSE), Reason.REFUSED, "refused EHLO: 421 4.3.2 later", id="421"),
    ],
)
def test_a_relay_that_fails_before_tls_is_named_by_its_cause(steps: Any, reason: Reason, words: str, ca_file: str):
    server = ScriptedRelay([On("ehlo", *steps)], (*ALL, "STARTTLS"), tls=server_tls())
    cause = opened(server, starttls="required", ca_file=ca_file)
    assert cause is not None
    assert (cause.phase, cause.reason) == (Phase.EHLO, reason)
    assert cause.cause.endswith(words)


@pytest.mark.parametrize(
    ("port", "implicit_tls", "words"),
    [
        (465, False, "; port 465 expects TLS from the start, the URL must begin with smtps://"),
        (587, False, "; if it expects TLS from the start, the URL must begin with smtps://"),
        (465, True, "a connection was begun and nothing came back yet"),
    ],
)
def test_a_silent_relay_is_said_with_what_its_port_expects(port: int, implicit_tls: bool, words: str):
    said = silence(Relay("relay.example.org", port, implicit_tls=implicit_tls))
    assert said.startswith(f"relay.example.org:{port} is silent: ")
    assert said.endswith(words)


@pytest.mark.parametrize(
    ("code", "known", "words"), [(550, 550, "550 no"), (1, 1, "1 no"), (0, None, "no"), (-1, None, "no")]
)
def test_a_refusal_without_a_code_names_none(code: int, known: int | None, words: str):
    error = refused(Relay("relay.example.org", 25), Phase.EHLO, "refused EHLO", code, "no")
    assert (error.code, error.reason) == (known, Reason.REFUSED)
    assert error.cause == f"relay.example.org:25 refused EHLO: {words}"


@pytest.mark.parametrize(
    ("context", "words"),
    [
        pytest.param(lambda: server_tls(expired=True), "has to get a new one", id="expired"),
        pytest.param(lambda: server_tls("relay.example.org"), "write the relay's URL with the name", id="name"),
    ],
)
def test_a_certificate_that_is_not_accepted_is_said_with_what_helps(context: Any, words: str, ca_file: str):
    cause = opened(ScriptedRelay([], (*ALL, "STARTTLS"), tls=context()), starttls="required", ca_file=ca_file)
    assert cause is not None
    assert words in cause.cause
    assert cause.reason is Reason.CERTIFICATE


def test_a_certificate_of_an_unknown_authority_names_the_setting():
    cause = opened(ScriptedRelay([], (*ALL, "STARTTLS"), tls=server_tls()), starttls="required")
    assert cause is not None
    assert "CORRANTO_SMTP_CA_FILE" in cause.cause


@pytest.mark.parametrize(
    ("announced", "scenario"),
    [
        pytest.param(("AUTH PLAIN LOGIN",), [On("auth", b"504 5.5.4 no\r\n", line="PLAIN")], id="504 to PLAIN"),
        pytest.param(("AUTH PLAIN LOGIN",), [On("auth", b"502 5.5.1 no\r\n", line="PLAIN")], id="502 to PLAIN"),
        pytest.param(("AUTH PLAIN CRAM-MD5",), [On("auth", b"504 5.5.4 no\r\n", line="PLAIN")], id="then CRAM-MD5"),
        pytest.param(("AUTH=LOGIN",), [], id="the old form alone"),
        pytest.param(("AUTH=LOGIN PLAIN", "AUTH LOGIN PLAIN"), [], id="both forms"),
        pytest.param(("AUTH CRAM-MD5",), [], id="CRAM-MD5 alone"),
        pytest.param(("auth plain",), [], id="small letters"),
        pytest.param(("AUTH XOAUTH2 LOGIN",), [], id="beside one we do not know"),
    ],
)
def test_the_first_way_of_signing_in_that_works_is_used(announced: tuple[str, ...], scenario: list[On]):
    server = ScriptedRelay(scenario, (*ALL, *announced), login=("news", SECRET))
    assert opened(server, **LOGIN) is None


def test_a_relay_that_overlooks_the_user_name_beside_login_is_told_it_when_it_asks():
    # Given
    server = ScriptedRelay([], (*ALL, "AUTH LOGIN"), login=("news", SECRET), takes_initial_login=False)

    # Then the password is never given for a name
    assert opened(server, **LOGIN) is None


@pytest.mark.parametrize(
    ("announced", "scenario", "words"),
    [
        pytest.param(
            "AUTH PLAIN LOGIN",
            [On("auth", b"504 5.5.4 no\r\n")],
            "refuses each way of signing in that it announces: PLAIN (504), LOGIN (504)",
            id="504 to all",
        ),
        pytest.param(
            "AUTH XOAUTH2 OAUTHBEARER",
            [],
            "offers only ways of signing in that Corranto does not know: XOAUTH2, OAUTHBEARER",
            id="XOAUTH2 only",
        ),
        pytest.param("8BITMIME", [], "offers no sign-in (AUTH), but its URL has a user name", id="none"),
        pytest.param("STARTTLS", [], "only over TLS: add ?starttls=required", id="only after STARTTLS"),
        pytest.param(
            "AUTH PLAIN LOGIN", [On("auth", b"535 5.7.8 no\r\n")], "refuses the user name or password", id="535"
        ),
        pytest.param("AUTH PLAIN", [On("auth", b"534 5.7.9 no\r\n")], "an app password", id="534"),
        pytest.param("AUTH PLAIN", [On("auth", b"538 5.7.11 no\r\n")], "a line without TLS", id="538"),
        pytest.param("AUTH PLAIN", [On("auth", b"454 4.7.0 no\r\n")], "at the moment", id="454"),
        pytest.param("AUTH PLAIN", [On("auth", b"450 4.7.0 no\r\n")], "at the moment (reply 450)", id="450"),
        pytest.param("AUTH PLAIN", [On("auth", b"550 5.7.0 no\r\n")], "refuses to sign us in (reply 550)", id="550"),
        pytest.param("AUTH PLAIN", [On("auth", b"250 2.0.0 yes\r\n")], "with 250 instead of 235", id="250"),
        pytest.param("AUTH PLAIN", [On("auth", HANG)], "does not answer the sign-in", id="silent"),
        pytest.param("AUTH PLAIN", [On("auth", CLOSE)], "closed the connection during the sign-in", id="closed"),
        pytest.param("AUTH PLAIN", [On("auth", b"421 4.7.0 bye\r\n", CLOSE)], "closes the connection", id="421"),
    ],
)
def test_a_sign_in_that_fails_is_named_by_its_cause(announced: str, scenario: list[On], words: str):
    server = ScriptedRelay(scenario, (*ALL, announced), login=("news", "another"))
    cause = opened(server, **LOGIN)
    assert cause is not None
    assert words in cause.cause
    assert SECRET not in cause.cause
    assert cause.reason is Reason.SIGN_IN
    if "504" in words or "XOAUTH2" in words:
        assert "user name or password" not in cause.cause


def test_a_refused_password_is_never_tried_in_a_second_way():
    server = ScriptedRelay([], (*ALL, "AUTH PLAIN LOGIN CRAM-MD5"), login=("news", "another"))
    assert opened(server, **LOGIN) is not None
    assert sum(line.startswith("AUTH") for line in server.lines) == 1
