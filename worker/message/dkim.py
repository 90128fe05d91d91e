"""DKIM signatures: rsa-sha256, relaxed header and simple body canonicalisation (RFC 6376, 8301). Pure.

The finished header block and body come in, one DKIM-Signature field goes out. The body is hashed as it stands: it is
7-bit quoted-printable of our own making, so no relay has a reason to touch it, and the relaxed form costs more than
a millisecond of regular expressions. Signing releases the interpreter lock, so batches are signed in threads.
"""

import base64
import hashlib
import re
from datetime import datetime

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEY_BITS = 2048  # RFC 8301 3.2 SHOULD; longer keys do not fit what some DNS tools accept
MIN_KEY_BITS = 1024  # RFC 8301 3.2: verifiers ignore signatures by smaller keys

# Signed whenever present, in this order; what is not listed may be added or changed on the way (RFC 6376 5.4.1).
SIGNED = (
    *("from", "to", "cc", "sender", "reply-to", "subject", "date", "message-id"),
    *("mime-version", "content-type", "content-transfer-encoding", "content-language"),
    *("list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post"),
    *("list-post", "list-owner", "list-archive", "list-subscribe"),
    *("feedback-id", "cfbl-address", "cfbl-feedback-id", "bimi-selector", "auto-submitted"),
)
# Named once more than present, so that adding another one breaks the signature (RFC 6376 8.15).
OVERSIGNED = frozenset(
    {
        *("from", "to", "cc", "reply-to", "subject", "date", "message-id", "mime-version", "content-type"),
        *("list-id", "list-unsubscribe", "list-unsubscribe-post"),
    }
)

_FIELD = re.compile(rb"([!-9;-~]+):((?:[^\r\n]|\r\n[ \t])*)\r\n")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


class DkimError(ValueError):
    """Raised when a key, domain or selector cannot sign, or a header block is not one."""


def create_key() -> bytes:
    """A new RSA key, unencrypted PEM (PKCS 8). Keep it readable by its owner only."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_key(private_key_pem: bytes) -> str:
    """The base64 public half, as the p= of the DNS record (RFC 6376 3.6.1). Raises DkimError."""
    key = _load(private_key_pem).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def dns_record(public: str) -> str:
    """The value of the TXT record at `{selector}._domainkey.{domain}`."""
    return f"v=DKIM1; k=rsa; p={public}"


def zone_line(domain: str, selector: str, public: str) -> str:
    """The record as a zone file line: a TXT string holds 255 octets, so the value is cut (RFC 6376 3.6.2.2)."""
    value = dns_record(public)
    parts = " ".join(f'"{value[at : at + 250]}"' for at in range(0, len(value), 250))
    return f"{selector}._domainkey.{domain}. IN TXT ( {parts} )"


class Signer:
    """Signs for one domain with one key. Thread-safe; loading a key costs far more than signing, so keep it."""

    def __init__(self, domain: str, selector: str, private_key_pem: bytes) -> None:
        if not _DOMAIN.fullmatch(domain):
            raise DkimError(f'"{domain[:80]}" is no domain in lower-case letters, such as example.org')
        if not _SELECTOR.fullmatch(selector):
            raise DkimError(
                f'the selector "{selector[:80]}" is not made of lower-case letters, digits, dots and hyphens'
            )
        self.domain, self.selector = domain, selector
        self._key = _load(private_key_pem)
        self.key_id = hashlib.sha256(f"{selector}._domainkey.{domain} {public_key(private_key_pem)}".encode()).digest()
        """32 octets naming domain, selector and key: part of a message's fingerprint."""

    def sign(self, header: bytes, body: bytes, at: datetime) -> bytes:
        """The DKIM-Signature field with its CRLF, to be put before `header`.

        `header`: complete fields with CRLF, without the empty line. `body`: all after the empty line, ends in CRLF.
        `at` is the attempt's time, so that a repeated mail is the same mail. Raises DkimError.
        """
        fields = _fields(header)
        names: list[str] = []
        hashed = []
        for name in SIGNED:
            # RFC 6376 5.4.2: several fields of a name are signed from the last one upward.
            for value in reversed(fields.get(name, [])):
                names.append(name)
                hashed.append(b"%s:%s\r\n" % (name.encode(), _relaxed(value)))
            if name in OVERSIGNED:
                names.append(name)
        unsigned = self._unsigned(names, body, at)
        hashed.append(b"dkim-signature:" + _relaxed(unsigned.encode()))
        signature = self._key.sign(b"".join(hashed), padding.PKCS1v15(), hashes.SHA256())
        encoded = base64.b64encode(signature).decode()
        folded = "\r\n ".join(encoded[at : at + 72] for at in range(0, len(encoded), 72))
        return f"DKIM-Signature:{unsigned}{folded}\r\n".encode()

    def _unsigned(self, names: list[str], body: bytes, at: datetime) -> str:
        """The field's value up to an empty b=, folded between tags and names."""
        body_hash = base64.b64encode(hashlib.sha256(_simple(body)).digest()).decode()
        lines, line = [], " h="
        for number, name in enumerate(names):
            item = name + (":" if number + 1 < len(names) else ";")
            if len(line) + len(item) > 76:
                lines.append(line)
                line = " "
            line += item
        lines.append(line)
        stamp = int(at.timestamp())
        return (
            f" v=1; a=rsa-sha256; c=relaxed/simple;\r\n d={self.domain}; s={self.selector}; t={stamp};\r\n"
            + "\r\n".join(lines)
            + f"\r\n bh={body_hash};\r\n b="
        )


def _load(private_key_pem: bytes) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(private_key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise DkimError("the DKIM key is not an unencrypted PEM private key") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_KEY_BITS:
        raise DkimError(f"the DKIM key is not an RSA key of at least {MIN_KEY_BITS} bits")
    return key


def _fields(header: bytes) -> dict[str, list[bytes]]:
    """Values by lower-case name, in order of appearance."""
    fields: dict[str, list[bytes]] = {}
    end = 0
    for match in _FIELD.finditer(header):
        if match.start() != end:
            break
        end = match.end()
        fields.setdefault(match[1].decode("ascii").lower(), []).append(match[2])
    if end != len(header):
        raise DkimError("the header block holds something that is not a field")
    return fields


def _relaxed(value: bytes) -> bytes:
    """RFC 6376 3.4.2: unfolded, runs of blanks are one, none at the ends."""
    return b" ".join(value.split())


def _simple(body: bytes) -> bytes:
    """RFC 6376 3.4.3: exactly one line end at the end."""
    return body.rstrip(b"\r\n") + b"\r\n" if not body.endswith(b"\r\n") or body.endswith(b"\r\n\r\n") else body
