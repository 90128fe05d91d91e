"""Signatures: verified by two verifiers that share no code with the signer, and broken by whatever is added."""

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.support.mails import DATE, JANE, builder, check_lines, reader
from tests.support.receivers import dkimpy_verifies, mail_dkim_results
from worker.message.dkim import DkimError, Signer, create_key, dns_record, public_key, zone_line

DOMAIN, SELECTOR = "letters.example.org", "c1"

# Written out, because a list that the signer keeps proves nothing about itself.
NEVER_TWICE = (
    *("from", "to", "cc", "reply-to", "subject", "date", "message-id"),  # RFC 6376 5.4.1, 8.15
    *("mime-version", "content-type"),  # RFC 6376 8.15: another Content-Type shows another body
    *("list-id", "list-unsubscribe", "list-unsubscribe-post"),  # RFC 8058 4: both must be covered
)
SIGNED_WHEN_PRESENT = (
    *NEVER_TWICE,
    *("sender", "list-help", "list-post", "list-subscribe", "list-owner", "list-archive"),  # RFC 6376 5.4.1
    *("content-transfer-encoding", "content-language", "feedback-id", "auto-submitted", "bimi-selector"),
    *("cfbl-address", "cfbl-feedback-id"),  # RFC 9477 3.1.1: unsigned, the feedback address is not believed
)


@pytest.fixture(scope="module")
def key() -> bytes:
    return create_key()


@pytest.fixture(scope="module")
def signed(key: bytes) -> bytes:
    return builder(signer=Signer(DOMAIN, SELECTOR, key)).build(JANE, DATE).message


def verifies(message: bytes, key: bytes) -> bool:
    """dkimpy's verdict, with a zone of one record."""
    return dkimpy_verifies(message, SELECTOR, DOMAIN, dns_record(public_key(key)))


def test_dkimpy_verifies_the_signature(signed: bytes, key: bytes) -> None:
    assert verifies(signed, key)
    check_lines(signed)


@pytest.mark.needs("mail-dkim")
def test_mail_dkim_verifies_the_signature(signed: bytes, key: bytes, tmp_path: Path) -> None:
    assert mail_dkim_results([signed], dns_record(public_key(key)), tmp_path) == ["pass"]


def test_what_a_provider_demands_is_in_the_signed_names(signed: bytes) -> None:
    names = _signed_names(signed)

    assert {"list-unsubscribe", "list-unsubscribe-post", "feedback-id", "list-id", "list-help"} <= set(names)
    assert {"date", "message-id", "reply-to", "content-type", "mime-version", "content-language"} <= set(names)
    present = {line.partition(b":")[0].decode().lower() for line in signed.split(b"\r\n\r\n")[0].split(b"\r\n")}
    for name in NEVER_TWICE:
        assert names.count(name) == (2 if name in present else 1)


@pytest.mark.parametrize("name", SIGNED_WHEN_PRESENT)
def test_a_field_that_speaks_for_the_sender_cannot_be_changed_on_the_way(key: bytes, name: str) -> None:
    header = f"From: <a@letters.example.org>\r\n{name.title()}: <one@example.org>\r\n".replace("From: <one", "X: <one")
    signature = Signer(DOMAIN, SELECTOR, key).sign(header.encode(), b"x\r\n", DATE)

    changed = header.replace("one@", "two@")

    assert verifies(signature + header.encode() + b"\r\nx\r\n", key)
    assert name == "from" or not verifies(signature + changed.encode() + b"\r\nx\r\n", key)


def test_a_field_that_stands_twice_is_signed_from_the_last_one_up(key: bytes) -> None:
    header = b"From: <a@letters.example.org>\r\nReply-To: <one@example.org>\r\nReply-To: <two@example.org>\r\n"

    signature = Signer(DOMAIN, SELECTOR, key).sign(header, b"x\r\n", DATE)

    assert verifies(signature + header + b"\r\nx\r\n", key)


def test_two_keys_are_never_taken_for_one(key: bytes) -> None:
    other = create_key()

    ids = {
        Signer(domain, selector, pem).key_id
        for domain in (DOMAIN, "example.org")
        for selector in (SELECTOR, "c2")
        for pem in (key, other)
    }

    assert len(ids) == 8


@pytest.mark.parametrize("name", NEVER_TWICE)
@pytest.mark.parametrize("last", [False, True])
def test_adding_another_field_of_an_oversigned_name_breaks_the_signature(
    signed: bytes, key: bytes, name: str, last: bool
) -> None:
    added = f"{name}: someone@example.net\r\n".encode()
    head, _, body = signed.partition(b"\r\n\r\n")

    forged = head + b"\r\n" + added + b"\r\n" + body if last else added + signed

    assert not verifies(forged, key)


@pytest.mark.parametrize("change", [(b"rising", b"fallen"), (b"here", b"hare"), (b"One-Click", b"One-Clock")])
def test_any_change_breaks_the_signature(signed: bytes, key: bytes, change: tuple[bytes, bytes]) -> None:
    changed = signed.replace(*change)

    assert (changed == signed) == verifies(changed, key)


def test_what_relays_may_do_leaves_the_signature_whole(signed: bytes, key: bytes) -> None:
    received = b"Received: from a.example.net by b.example.net; Mon, 04 May 2026 06:30:01 +0000\r\n" + signed
    refolded = received.replace(b"Subject: ", b"SUBJECT:  \r\n\t")

    assert verifies(received, key)
    assert verifies(refolded, key)


def test_every_mail_of_a_batch_verifies(key: bytes) -> None:
    rows = [reader(n=n, name="漢" * n, address=f"r{n}@example.org") for n in range(1, 6)]

    built = builder(signer=Signer(DOMAIN, SELECTOR, key)).build_all(rows, DATE)

    assert all(verifies(mail.message, key) for mail in built)


@pytest.mark.parametrize("body", [b"\r\n", b"x\r\n", b"x\r\n\r\n\r\n", b"x"])
def test_bodies_of_every_ending_verify(key: bytes, body: bytes) -> None:
    header = b"From: <a@letters.example.org>\r\nSubject: x\r\n"

    field = Signer(DOMAIN, SELECTOR, key).sign(header, body, DATE)

    assert verifies(field + header + b"\r\n" + body, key)


def test_the_time_of_signing_is_the_attempts(signed: bytes, key: bytes) -> None:
    later = builder(signer=Signer(DOMAIN, SELECTOR, key)).build(JANE, DATE + timedelta(hours=2)).message

    assert f"t={int(DATE.timestamp())};".encode() in signed
    assert f"t={int(DATE.timestamp()) + 7200};".encode() in later


def test_signing_again_gives_the_same_bytes(signed: bytes, key: bytes) -> None:
    assert builder(signer=Signer(DOMAIN, SELECTOR, key)).build(JANE, DATE).message == signed


def test_the_record_is_what_dns_can_hold(key: bytes) -> None:
    record = dns_record(public_key(key))
    line = zone_line(DOMAIN, SELECTOR, public_key(key))

    strings = re.findall(r'"([^"]*)"', line)

    assert line.startswith("c1._domainkey.letters.example.org. IN TXT ( ")
    assert "".join(strings) == record
    assert all(len(string) <= 255 for string in strings)
    loaded = serialization.load_der_public_key(base64.b64decode(record.partition("p=")[2]))
    assert isinstance(loaded, rsa.RSAPublicKey)
    assert loaded.key_size == 2048


def test_keys_and_names_that_no_verifier_accepts_are_refused(key: bytes) -> None:
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(*pem)
    for bad in (b"", b"no key", other):
        with pytest.raises(DkimError):
            Signer(DOMAIN, SELECTOR, bad)
    for domain, selector in (("Letters.Example.org", "c1"), (DOMAIN, "c1; d=x"), ("a\r\nb", "c1"), (DOMAIN, "")):
        with pytest.raises(DkimError):
            Signer(domain, selector, key)


@pytest.mark.parametrize(
    ("domain", "selector", "said"),
    [("Ex ample.org", "c1", '"Ex ample.org" is no domain'), (DOMAIN, "o'x", 'the selector "o\'x" is')],
)
def test_the_name_that_does_not_fit_is_shown_as_typed(key: bytes, domain: str, selector: str, said: str) -> None:
    with pytest.raises(DkimError, match=f"^{said}"):
        Signer(domain, selector, key)


@pytest.mark.parametrize("header", [b"no field\r\n", b"From: x", b"From: x\r\n\r\nBody: y\r\n", b"From: a\nb\r\n"])
def test_something_else_than_a_header_block_is_refused(key: bytes, header: bytes) -> None:
    with pytest.raises(DkimError):
        Signer(DOMAIN, SELECTOR, key).sign(header, b"x\r\n", datetime.now(UTC))


def _signed_names(message: bytes) -> list[str]:
    field = re.match(rb"DKIM-Signature:((?:[^\r\n]|\r\n[ \t])*)\r\n", message)
    assert field
    tags = dict(part.strip().split("=", 1) for part in field[1].decode().replace("\r\n", "").split(";"))
    assert tags["a"] == "rsa-sha256"
    assert tags["c"] == "relaxed/simple"
    assert "l" not in tags
    return [name.strip() for name in tags["h"].split(":")]
