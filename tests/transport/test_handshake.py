"""What a relay can do before the first mail, and the one sentence it is reported with."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.scripted_smtp import (
    ALL,
    CLOSE,
    DRIP,
    FLOOD,
    HANG,
    LISTEN,
    RESET,
    USUAL,
    On,
    ScriptedRelay,
)
from tests.support.words import refuses
from tests.transport.handing import AUTHORITY, HASTY, hand, mails, relay_for, run, server_tls
from worker.errors import UsageError
from worker.screen.sentences import word
from worker.transport.handshake import Offer
from worker.transport.relay import Relay, RelayReport, probe, send_one
from worker.transport.replies import Permanence, Phase

SECRET = "s3cret-pass"


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


def probe_and_hand(server: ScriptedRelay, **more: Any) -> RelayReport:
    """Probe, and see that a pool meeting the same trouble gives its mails back unsent with the same cause."""

    async def story() -> RelayReport:
        async with server:
            relay = relay_for(server, HASTY, **more)
            report = await probe(relay)
            if report.cause is None:
                return report
            handed = await hand(relay, mails(3))
            assert {outcome.permanence for outcome in handed.outcomes.values()} == {Permanence.UNSENT}
            assert len(handed.outcomes) == 3
            assert handed.armed == []
            assert handed.fault is not None
            assert handed.fault.phase is report.phase
            assert SECRET not in repr(handed.fault) + repr(report) + repr(handed.outcomes) + repr(relay)
            assert server.taken == []
            return report

    return run(story())


@pytest.mark.parametrize(
    ("steps", "phase", "code"),
    [
        pytest.param((HANG,), Phase.GREETING, None, id="accepts and is silent"),
        pytest.param((RESET,), Phase.GREETING, None, id="resets at once"),
        pytest.param((CLOSE,), Phase.GREETING, None, id="closes at once"),
        pytest.param((b"421 4.3.2 shutting down\r\n", CLOSE), Phase.GREETING, 421, id="421"),
        pytest.param((b"450 busy\r\n",), Phase.GREETING, 450, id="450"),
        pytest.param((b"554 no service\r\n",), Phase.GREETING, 554, id="554"),
        pytest.param((DRIP,), Phase.GREETING, None, id="greets one octet at a time"),
        pytest.param((b"HTTP/1.1 400 Bad Request\r\n\r\n",), Phase.GREETING, None, id="is no mail server"),
    ],
)
def test_a_relay_that_does_not_greet_is_reported_at_its_greeting(steps: Any, phase: Phase, code: int | None):
    report = probe_and_hand(ScriptedRelay([On("connect", *steps)]))
    assert (report.phase, report.code) == (phase, code)
    assert not report.is_reachable
    assert "127.0.0.1:" in (report.cause or "")


def test_a_closed_port_is_reported_as_a_refused_connection():
    # Given a port nobody listens on any more
    async def story() -> RelayReport:
        async with ScriptedRelay() as server:
            relay = relay_for(server)
        return await probe(relay)

    # Then
    report = run(story())
    assert report.phase is Phase.CONNECT
    assert report.cause == f"nothing listens at {report.key}"


def test_a_name_that_does_not_exist_is_reported_as_such():
    report = run(probe(Relay("relay.invalid", 25, timeouts=HASTY, starttls="off")))
    assert report.phase is Phase.CONNECT
    assert report.cause == "the name relay.invalid does not resolve: it is misspelled, or has no address"


def test_the_client_says_nothing_before_the_greeting_is_complete():
    # Given a relay that listens before and between the lines of its greeting
    steps = (LISTEN, b"220-relay.example.org\r\n", LISTEN, b"220 ready\r\n")
    server = ScriptedRelay([On("connect", *steps)])

    # Then
    assert probe_and_hand(server).is_ready
    assert not server.early_talk


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((b"421 4.3.2 later\r\n", CLOSE), id="421"),
        pytest.param((b"451 4.3.0 later\r\n",), id="451"),
        pytest.param((CLOSE,), id="drop"),
        pytest.param((HANG,), id="hang"),
        pytest.param((FLOOD,), id="never-ending reply"),
        pytest.param((b"250-x\r\n" * 10_000 + b"250 y\r\n",), id="10,000 lines"),
        pytest.param((b"250 " + b"x" * 1_000_000 + b"\r\n",), id="a line of a megabyte"),
        pytest.param((b"250-relay\r\n550 no\r\n",), id="two codes in one reply"),
        pytest.param((b"250 relay\n",), id="bare LF"),
        pytest.param((b"250 relay\r\n250 again\r\n",), id="two replies"),
        pytest.param((b"2500 relay\r\n",), id="four digits"),
        pytest.param((b"354 go on\r\n",), id="a reply of another command"),
    ],
)
def test_a_relay_that_fails_at_ehlo_gets_no_mail(steps: Any):
    report = probe_and_hand(ScriptedRelay([On("ehlo", *steps)]))
    assert report.phase is Phase.EHLO
    assert report.is_reachable
    assert not report.is_ready


def test_an_old_server_without_ehlo_is_greeted_with_helo_when_nothing_secret_is_at_stake():
    # Given
    server = ScriptedRelay([On("ehlo", b"502 5.5.1 what?\r\n")])

    # When
    report = probe_and_hand(server)

    # Then
    assert report.is_ready
    assert report.extensions == ()
    assert "one command at a time" in report.form


def test_helo_is_not_tried_when_tls_is_required():
    server = ScriptedRelay([On("ehlo", b"502 5.5.1 what?\r\n")])
    assert probe_and_hand(server, starttls="required").phase is Phase.EHLO
    assert not any(line.startswith("HELO") for line in server.lines)


def test_odd_but_harmless_announcements_are_understood():
    # Given lower case, blanks, a duplicate and the old AUTH= form
    odd = b"250-relay\r\n250-pipelining \r\n250-SIZE  1000\r\n250-size 7\r\n250-AUTH=PLAIN\r\n250 chunking\r\n"

    # When
    report = probe_and_hand(ScriptedRelay([On("ehlo", odd)]))

    # Then
    assert report.size_limit == 1000
    assert report.extensions == ("PIPELINING", "SIZE 1000", "AUTH PLAIN", "CHUNKING")


@pytest.mark.parametrize("words", ["", "0", "-5", "many", "²", "9" * 30])
def test_a_size_that_is_no_number_is_no_limit(words: str):
    assert Offer({"SIZE": words}).size_limit is None


def test_smtputf8_counts_only_beside_8bitmime():
    assert not Offer({"SMTPUTF8": ""}).smtputf8
    assert Offer({"SMTPUTF8": "", "8BITMIME": ""}).smtputf8


def test_a_relay_without_starttls_gets_no_mail_when_tls_is_required():
    # Given a line from which STARTTLS was stripped
    server = ScriptedRelay()

    # Then
    report = probe_and_hand(server, starttls="required")
    assert report.phase is Phase.STARTTLS
    assert "does not offer STARTTLS" in (report.cause or "")


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((b"454 4.7.0 not now\r\n",), id="454"),
        pytest.param((b"220 go\r\n", b"not TLS at all\r\n" * 20), id="garbage instead of TLS"),
        pytest.param((b"220 go\r\n", HANG), id="hangs after 220"),
        pytest.param((b"220 go\r\n", CLOSE), id="closes after 220"),
        pytest.param((CLOSE,), id="closes"),
    ],
)
def test_a_failing_starttls_is_never_followed_by_plain_text(steps: Any, ca_file: str):
    # Given
    server = ScriptedRelay([On("starttls", *steps)], (*ALL, "STARTTLS"), tls=server_tls())

    # Then
    assert probe_and_hand(server, starttls="required", ca_file=ca_file).phase is Phase.STARTTLS
    assert not any(line.startswith(("MAIL", "AUTH")) for line in server.lines)


def test_a_reply_injected_behind_the_starttls_reply_is_not_believed(ca_file: str):
    # Given someone on the line who adds an EHLO reply in clear, in the same segment
    scenario = [On("starttls", b"220 go\r\n250-relay\r\n250 X-INJECTED\r\n", USUAL)]
    server = ScriptedRelay(scenario, (*ALL, "STARTTLS"), tls=server_tls())

    # Then whatever becomes of the connection, the injected words are not heard
    report = probe_and_hand(server, starttls="required", ca_file=ca_file)
    assert "X-INJECTED" not in " ".join(report.extensions)
    assert report.cause is not None or report.tls_version


def test_what_was_announced_before_tls_is_forgotten(ca_file: str):
    # Given extensions that shrink under TLS
    server = ScriptedRelay([], (*ALL, "STARTTLS"), extensions_after_tls=("8BITMIME",), tls=server_tls())

    # When
    report = probe_and_hand(server, starttls="required", ca_file=ca_file)

    # Then
    assert report.is_ready
    assert report.tls_version in ("TLSv1.2", "TLSv1.3")
    assert report.extensions == ("8BITMIME",)


@pytest.mark.parametrize("implicit", [True, False], ids=["smtps", "starttls"])
@pytest.mark.parametrize(
    ("context", "words"),
    [
        pytest.param(lambda: server_tls(expired=True), "expired", id="expired"),
        pytest.param(lambda: server_tls("relay.example.org"), "made for another name", id="another name"),
        pytest.param(lambda: server_tls(authority=trustme.CA()), "issuer|self-signed", id="unknown authority"),
    ],
)
def test_a_certificate_that_is_not_accepted_is_named(context: Any, words: str, implicit: bool, ca_file: str):
    # Given
    server = ScriptedRelay([], (*ALL, "STARTTLS"), tls=context(), implicit_tls=implicit)
    how = {"implicit_tls": True} if implicit else {"starttls": "required"}

    # When
    report = probe_and_hand(server, ca_file=ca_file, **how)

    # Then
    assert report.phase is Phase.STARTTLS
    assert report.cause is not None
    assert "certificate" in report.cause
    assert any(word in report.cause for word in words.split("|")), report.cause


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_relay_that_speaks_only_old_tls_gets_no_mail(ca_file: str):
    # Given
    old = server_tls()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1

    # Then
    report = probe_and_hand(ScriptedRelay([], (*ALL, "STARTTLS"), tls=old), starttls="required", ca_file=ca_file)
    assert report.phase is Phase.STARTTLS


def test_a_plain_server_on_the_tls_port_is_reported_and_told_nothing(ca_file: str):
    server = ScriptedRelay()
    report = probe_and_hand(server, implicit_tls=True, ca_file=ca_file)
    assert report.phase is Phase.STARTTLS
    assert not any("EHLO" in line for line in server.lines)


@pytest.mark.parametrize("way", ["AUTH PLAIN LOGIN", "AUTH LOGIN"])
def test_a_mail_goes_over_tls_with_a_sign_in(way: str, ca_file: str):
    # Given
    server = ScriptedRelay([], (*ALL, "STARTTLS", way), tls=server_tls(), login=("news", SECRET))

    async def story() -> None:
        async with server:
            relay = relay_for(server, starttls="required", username="news", password=SECRET, ca_file=ca_file)
            outcome = await send_one(relay, mails(1)[0])
            assert outcome.permanence is Permanence.ACCEPTED

    # When
    run(story())

    # Then
    assert len(server.taken) == 1


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        pytest.param((b"535 5.7.8 " + SECRET.encode() + b" is wrong\r\n",), 535, id="535 repeating the password"),
        pytest.param((b"454 4.7.0 try later\r\n",), 454, id="454"),
        pytest.param((b"334 VXNlcg==\r\n",), 334, id="asks again"),
        pytest.param((b"250 2.0.0 fine\r\n",), 250, id="success with the wrong code"),
        pytest.param((CLOSE,), None, id="drop"),
        pytest.param((HANG,), None, id="hang"),
    ],
)
def test_a_sign_in_that_does_not_succeed_is_reported_without_the_secret(steps: Any, code: int | None):
    server = ScriptedRelay([On("auth", *steps)], (*ALL, "AUTH PLAIN"), login=("news", SECRET))
    report = probe_and_hand(server, username="news", password=SECRET)
    assert (report.phase, report.code) == (Phase.AUTH, code)


def test_helo_is_not_tried_when_a_sign_in_was_needed():
    # Given a relay that knows EHLO until we are signed in
    scenario = [On("ehlo", b"502 5.5.1 what?\r\n", skip=1)]
    server = ScriptedRelay(scenario, (*ALL, "AUTH PLAIN"), login=("news", SECRET))

    # Then
    assert probe_and_hand(server, username="news", password=SECRET).phase is Phase.EHLO
    assert not any(line.startswith("HELO") for line in server.lines)


def test_words_behind_the_reply_to_a_sign_in_end_the_connection():
    # Given what would answer our next question, in the segment that ends the sign-in
    early = b"235 2.7.0 welcome\r\n250-relay\r\n250 X-INJECTED\r\n"
    server = ScriptedRelay([On("auth", early)], (*ALL, "AUTH PLAIN"), login=("news", SECRET))

    # Then
    report = probe_and_hand(server, username="news", password=SECRET)
    assert report.phase is Phase.EHLO
    assert "out of turn" in (report.cause or "")


@pytest.mark.parametrize("reply", [b"500 5.5.2 what?\r\n", b"451 4.3.0 later\r\n"])
def test_a_relay_that_refuses_the_fence_gets_no_mail(reply: bytes):
    report = probe_and_hand(ScriptedRelay([On("rset", reply)]))
    assert (report.phase, report.code) == (Phase.RSET, int(reply[:3]))


def test_a_relay_that_offers_no_sign_in_we_know_gets_no_mail():
    server = ScriptedRelay([], (*ALL, "AUTH KERBEROS_V4"))
    report = probe_and_hand(server, username="news", password=SECRET)
    assert report.phase is Phase.AUTH
    assert "PLAIN" in (report.cause or "")


def test_a_surplus_reply_to_the_fence_ends_the_connection():
    server = ScriptedRelay([On("rset", b"250 ok\r\n250 ok\r\n")])
    assert probe_and_hand(server).cause is not None


def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path):
    server = ScriptedRelay([], (*ALL, "STARTTLS"), tls=server_tls())
    report = probe_and_hand(server, starttls="required", ca_file=str(tmp_path / "none.pem"))
    assert "none.pem" in (report.cause or "")


def test_a_cancelled_handshake_leaves_no_connection():
    # Given a relay that never greets
    async def story() -> int:
        async with ScriptedRelay([On("connect", HANG)]) as server:
            handshake = asyncio.ensure_future(probe(relay_for(server)))
            while not server.open:
                await asyncio.sleep(0)

            # When
            handshake.cancel()
            await asyncio.gather(handshake, return_exceptions=True)
            while server.open:
                await asyncio.sleep(0)
            return server.open

    # Then
    assert run(story()) == 0


@pytest.mark.parametrize(
    ("url", "host", "port", "implicit", "starttls"),
    [
        ("smtp://relay.example.org", "relay.example.org", 25, False, True),
        ("smtp://u:p@relay.example.org", "relay.example.org", 587, False, True),
        ("smtps://u:p@relay.example.org", "relay.example.org", 465, True, False),
        ("smtp://127.0.0.1:1025", "127.0.0.1", 1025, False, False),
        ("smtp://localhost:1025?starttls=required", "localhost", 1025, False, True),
        ("smtp://relay.example.org:25?starttls=off", "relay.example.org", 25, False, False),
        ("smtp://[::1]:2525", "::1", 2525, False, False),
    ],
)
def test_a_relay_url_is_read(url: str, host: str, port: int, implicit: bool, starttls: bool):
    relay = Relay.from_url(url)
    assert (relay.host, relay.port, relay.implicit_tls, relay.needs_starttls) == (host, port, implicit, starttls)


@pytest.mark.parametrize(
    "url",
    [
        "http://relay.example.org",
        "relay.example.org:25",
        "smtp://",
        "smtp://relay.example.org:99999",
        "smtp://relay.example.org:0",
        "smtp://relay.example.org/path",
        "smtp://relay.example.org?tls=no",
        "smtp://relay.example.org?starttls=maybe",
        "smtps://relay.example.org?starttls=off",
        f"smtp://news:{SECRET}@relay.example.org?starttls=off",
        f"smtp://news:{SECRET}@relay.example.org:x",
    ],
)
def test_a_relay_url_that_cannot_be_used_is_refused_without_its_password(url: str):
    with refuses(UsageError, "relay|password|encrypted") as refused:
        Relay.from_url(url)
    assert SECRET not in str(refused.value) + word(refused.value)


def test_a_password_with_reserved_characters_is_decoded_and_hidden():
    relay = Relay.from_url("smtps://news%40example.org:p%2Fw%3A%40@relay.example.org", connections=3)
    assert (relay.username, relay.password, relay.connections) == ("news@example.org", "p/w:@", 3)
    assert "p/w" not in repr(relay)
    assert relay.key == "relay.example.org:465"
