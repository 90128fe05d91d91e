"""Signed capabilities in URLs and return paths. Pure: keys come in, nothing is read.

Layout, frozen by golden vectors (big-endian): format version 1 octet, key id 1, purpose 1, subscription 6,
generation 4, issue 4, HMAC-SHA256 cut to 16 octets over all before it. 33 octets are exactly 44 base64url characters:
no padding bits, so a token has one spelling. One key is derived per purpose, so a token of one purpose never passes
for another; the key id selects among rotated keys: old ones verify, the first signs.

A return path has 64 octets for its local part (RFC 5321 4.5.3.1.1) and is folded to lower case by some relays, so a
VERP token names the delivery (issue, n) instead and is written in base32: 42 characters. The left side of a Message-ID
names it too.
"""

import base64
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

FORMAT_VERSION = 1  # the first octet of every token: another layout gets another number
TAG_OCTETS = 16  # 128 bits, the half of SHA-256 that RFC 2104 5 asks for at least
TOKEN_CHARS = 44  # 33 octets in base64url
VERP_CHARS = 42  # 26 octets in base32, without padding
PEPPER_OCTETS = 32  # as the first migration made it
WRAPPED_OCTETS = 40  # a key of 32 octets, and 8 that prove it was opened with the right secret

_BODY = struct.Struct(">BBB6sII")
_VERP_BODY = struct.Struct(">BBII")
_MESSAGE_ID_BODY = struct.Struct(">BII")
_MESSAGE_ID_CHARS = 40  # 25 octets in base32, without padding and spare bits


class Purpose(IntEnum):
    """What a token may be used for; each has a derived key of its own."""

    UNSUBSCRIBE = 1
    """Ends one subscription, whatever its generation. Never expires."""
    VIEW = 2
    """Shows an issue's neutral page. Names no subscription."""
    PROOF = 3
    """Stands in a proof mail and names its copy: `issue` is the proof, `generation` the copy's number, both 0 in a
    preview. Every page it opens says so and changes nothing for a reader."""
    VERP = 4
    """Return path of one delivery."""
    PROBE = 5
    """Asks our own opt-out host whether it answers."""
    MAILTO = 6
    """Address to write to for leaving: names one delivery, in the form of a return path's token."""


class TokenError(ValueError):
    """Raised when a token was not signed by us for this purpose. Says nothing about why."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a signed token names; zeros where the purpose has nothing to name."""

    purpose: Purpose
    subscription: int = 0
    generation: int = 0
    issue: int = 0


class Keyring:
    """Signing keys, the first one signs. Build once and keep: it derives the keys per purpose."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ValueError("a keyring needs at least one key")
        self._derived = [
            (
                hmac.digest(secret.encode(), b"corranto key id", "sha256")[0],
                {p: hmac.digest(secret.encode(), b"corranto purpose %d" % p, "sha256") for p in Purpose},
            )
            for secret in secrets
        ]

    @property
    def key_id(self) -> int:
        """Id (0..255) of the key that signs now."""
        return self._derived[0][0]

    def sign(self, token: Token) -> str:
        """44 base64url characters. Raises struct.error or OverflowError for ids out of range."""
        key_id, keys = self._derived[0]
        subscription = token.subscription.to_bytes(6, "big")
        body = _BODY.pack(FORMAT_VERSION, key_id, token.purpose, subscription, token.generation, token.issue)
        tag = hmac.digest(keys[token.purpose], body, "sha256")[:TAG_OCTETS]
        return base64.urlsafe_b64encode(body + tag).decode()

    def read(self, text: str, *purposes: Purpose) -> Token:
        """The token, when it was signed by any of our keys for one of `purposes`. Raises TokenError."""
        # The decoder would also take the other alphabet's spelling of two characters.
        if len(text) != TOKEN_CHARS or not text.isascii() or "+" in text or "/" in text:
            raise TokenError
        try:
            octets = base64.b64decode(text, altchars=b"-_", validate=True)
        except ValueError as error:
            raise TokenError from error
        if len(octets) != _BODY.size + TAG_OCTETS:
            raise TokenError
        body, tag = octets[: _BODY.size], octets[_BODY.size :]
        version, key_id, purpose, subscription, generation, issue = _BODY.unpack(body)
        if version != FORMAT_VERSION or purpose not in purposes:
            raise TokenError
        if not self._verifies(key_id, Purpose(purpose), body, tag):
            raise TokenError
        return Token(Purpose(purpose), int.from_bytes(subscription, "big"), generation, issue)

    def opens_leaving(self, text: str) -> bool:
        """Whether it is a whole token of ours for the pages about leaving; changes nothing, says nothing more."""
        try:
            self.read(text, Purpose.UNSUBSCRIBE, Purpose.PROOF, Purpose.PROBE)
        except TokenError:
            return False
        return True

    def sign_verp(self, issue: int, n: int, purpose: Purpose = Purpose.VERP) -> str:
        """42 lower-case base32 characters naming one delivery, for VERP or MAILTO."""
        key_id, keys = self._derived[0]
        body = _VERP_BODY.pack(FORMAT_VERSION, key_id, issue, n)
        tag = hmac.digest(keys[purpose], body, "sha256")[:TAG_OCTETS]
        return base32(body + tag)

    def read_verp(self, text: str, purpose: Purpose = Purpose.VERP) -> tuple[int, int]:
        """(issue, n) of a token from a local part, in whatever case it came back. Raises TokenError."""
        if len(text) != VERP_CHARS or not text.isascii():
            raise TokenError
        try:
            octets = base64.b32decode(text.upper() + "======")
        except ValueError as error:
            raise TokenError from error
        body, tag = octets[: _VERP_BODY.size], octets[_VERP_BODY.size :]
        version, key_id, issue, n = _VERP_BODY.unpack(body)
        # The last character has two spare bits: only one spelling is ours.
        if base32(octets) != text.lower() or version != FORMAT_VERSION or len(tag) != TAG_OCTETS:
            raise TokenError
        if not self._verifies(key_id, purpose, body, tag):
            raise TokenError
        return issue, n

    def _verifies(self, key_id: int, purpose: Purpose, body: bytes, tag: bytes) -> bool:
        good = False
        for known_id, keys in self._derived:
            expected = hmac.digest(keys[purpose], body, "sha256")[:TAG_OCTETS]
            good |= hmac.compare_digest(expected, tag) and known_id == key_id
        return good


def message_id_left(instance: bytes, issue: int, n: int) -> str:
    """The left side of a Message-ID: a function of (issue, n), so a repeated mail is recognisably the same.

    It names the delivery, because a relay that refuses return paths of our own leaves nothing else to know returned
    mail by. Keyed by the instance, not by a rotating key: rotation between two tries must not change it.
    """
    body = _MESSAGE_ID_BODY.pack(FORMAT_VERSION, issue, n)
    return base32(body + hmac.digest(instance, b"message-id " + body, "sha256")[:TAG_OCTETS])


def first_message_id_left(instance: bytes, issue: int, n: int) -> str:
    """As the first version made it; only for repeating a copy that went in doubt with it."""
    return base32(hmac.digest(instance, b"message-id %d %d" % (issue, n), "sha256")[:TAG_OCTETS])


def read_message_id(instance: bytes, text: str) -> tuple[int, int]:
    """(issue, n) of a Message-ID of this installation, in whatever case, with or without brackets and domain.

    Raises TokenError for every other one.
    """
    left = text.strip().removeprefix("<").removesuffix(">").partition("@")[0]
    if len(left) != _MESSAGE_ID_CHARS or not left.isascii():
        raise TokenError
    try:
        octets = base64.b32decode(left.upper())
    except ValueError as error:
        raise TokenError from error
    version, issue, n = _MESSAGE_ID_BODY.unpack(octets[: _MESSAGE_ID_BODY.size])
    is_ours = hmac.compare_digest(message_id_left(instance, issue, n), left.lower())
    if version != FORMAT_VERSION or not is_ours:
        raise TokenError
    return issue, n


def base32(octets: bytes) -> str:
    """In lower case, without padding: what survives a local part."""
    return base64.b32encode(octets).decode().rstrip("=").lower()


def instance_hash(keys: bytes, address_key: str) -> bytes:
    """16 octets that stand for an address in indexes and on the suppression list, also after erasure.

    `keys` is the pepper, which lies in the database, and behind it the address key, which nobody reads there.
    """
    pepper, key = keys[:PEPPER_OCTETS], keys[PEPPER_OCTETS:]
    return hash_again(key, hmac.digest(pepper, b"address " + address_key.encode(), "sha256")[:16])


def hash_again(key: bytes, peppered: bytes) -> bytes:
    """The second half of `instance_hash`, for hashes that were once made with the pepper alone."""
    return hmac.digest(key, peppered, "sha256")[:16]


def wrap_key(secret: str, key: bytes) -> bytes:
    """An address key of 32 octets as the database may hold it: 40 octets that only `secret` opens (RFC 3394)."""
    return aes_key_wrap(_wrapping_key(secret), key)


def unwrap_key(secret: str, wrapped: bytes) -> bytes | None:
    """Inverse of wrap_key; None when another secret closed it, or when it was changed."""
    try:
        return aes_key_unwrap(_wrapping_key(secret), wrapped)
    except InvalidUnwrap:
        return None


def _wrapping_key(secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"corranto address key", "sha256")
