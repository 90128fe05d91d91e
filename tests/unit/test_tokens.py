"""Tokens are frozen: a link in a mail sent years ago still opens, and nothing else ever does."""

import base64
import hmac
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from worker.tokens import (
    TOKEN_CHARS,
    VERP_CHARS,
    Keyring,
    Purpose,
    Token,
    TokenError,
    instance_hash,
    message_id_left,
    read_message_id,
)

OLD, NEW = "the old key, thirty-two characters at least", "the new key, thirty-two characters at least"
URLSAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

TOKENS = st.builds(
    Token,
    st.sampled_from([p for p in Purpose if p not in (Purpose.VERP, Purpose.MAILTO)]),
    st.integers(0, 2**48 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)

GOLDEN = [
    (Token(Purpose.UNSUBSCRIBE, 1, 1, 1), "AR0BAAAAAAABAAAAAQAAAAEWkP2a_Idkp4nzSBPoORY-"),
    (Token(Purpose.UNSUBSCRIBE, 2**48 - 1, 2**32 - 1, 2**32 - 1), "AR0B__________________8hHoEAdb8MiggalAr9UOae"),
    (Token(Purpose.VIEW, issue=7), "AR0CAAAAAAAAAAAAAAAAAAd0ok7X4Lsjj86xb51rsbKS"),
    (Token(Purpose.PROOF), "AR0DAAAAAAAAAAAAAAAAAADdR3vddaSQ6MSi0ydXqBjR"),
    (Token(Purpose.PROBE), "AR0FAAAAAAAAAAAAAAAAAAAHJ1DmuYLVpfqQl1mLzwST"),
]


@pytest.mark.parametrize(("token", "spelling"), GOLDEN)
def test_a_token_of_any_past_version_is_written_and_read_the_same(token: Token, spelling: str) -> None:
    keyring = Keyring([OLD])

    assert keyring.sign(token) == spelling
    assert keyring.read(spelling, token.purpose) == token


def test_return_paths_and_message_ids_are_frozen_too() -> None:
    keyring = Keyring([OLD])

    assert keyring.sign_verp(42, 7) == "aeoqaaaafiaaaaahcg4tu4ef3stpcoj36rdgxirgje"
    assert keyring.sign_verp(42, 7, Purpose.MAILTO) == "aeoqaaaafiaaaaahp5vmakibvk6jix2mdrksm4mg7y"
    assert message_id_left(bytes(16), 42, 7) == "aeaaaabkaaaaab7ayuef6ebrr5xgzdxtb6dofniy"
    assert instance_hash(bytes(32) + b"\1" * 32, "jane@example.org").hex() == "1bb778bb88ce5717d960f2c90b2e8cca"


@given(TOKENS)
@settings(max_examples=100)
def test_every_token_comes_back_and_fits_a_url(token: Token) -> None:
    keyring = Keyring([NEW, OLD])

    spelling = keyring.sign(token)

    assert len(spelling) == TOKEN_CHARS
    assert set(spelling) <= set(URLSAFE)
    assert keyring.read(spelling, token.purpose) == token


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_a_return_path_survives_relays_that_fold_case(issue: int, n: int) -> None:
    keyring = Keyring([NEW])

    spelling = keyring.sign_verp(issue, n)

    assert len(spelling) == VERP_CHARS
    assert spelling == spelling.lower()
    assert keyring.read_verp(spelling.upper()) == (issue, n)
    assert keyring.read_verp(spelling) == (issue, n)


def test_rotation_keeps_old_links_working_until_their_key_is_removed() -> None:
    token = Token(Purpose.UNSUBSCRIBE, 5, 1, 2)
    sent = Keyring([OLD]).sign(token)
    returned = Keyring([OLD]).sign_verp(2, 3)

    assert Keyring([NEW, OLD]).read(sent, Purpose.UNSUBSCRIBE) == token
    assert Keyring([NEW, OLD]).read_verp(returned) == (2, 3)
    assert Keyring([NEW, OLD]).sign(token) != sent
    with pytest.raises(TokenError):
        Keyring([NEW]).read(sent, Purpose.UNSUBSCRIBE)


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.UNSUBSCRIBE])
def test_a_token_of_one_purpose_never_passes_for_another(purpose: Purpose) -> None:
    keyring = Keyring([OLD])
    body = bytearray(base64.urlsafe_b64decode(keyring.sign(Token(Purpose.UNSUBSCRIBE, 5, 1, 2))))

    body[2] = purpose
    relabelled = base64.urlsafe_b64encode(bytes(body)).decode()

    with pytest.raises(TokenError):
        keyring.read(relabelled, purpose)
    with pytest.raises(TokenError):
        keyring.read(keyring.sign(Token(purpose, 5, 1, 2)), Purpose.UNSUBSCRIBE)


def test_the_new_key_signs_return_paths_too() -> None:
    assert Keyring([NEW, OLD]).sign_verp(2, 3) == Keyring([NEW]).sign_verp(2, 3)
    assert Keyring([NEW, OLD]).key_id == Keyring([NEW]).key_id != Keyring([OLD]).key_id


def test_a_token_of_a_layout_that_does_not_exist_yet_is_refused_though_our_key_signed_it() -> None:
    # Given what a later version might write, whose fields may mean something else
    keyring = Keyring([OLD])
    link = base64.urlsafe_b64decode(keyring.sign(Token(Purpose.UNSUBSCRIBE, 5, 1, 2)))[:-16]
    path = base64.b32decode(keyring.sign_verp(42, 7).upper() + "======")[:-16]

    def signed(body: bytes, purpose: Purpose) -> bytes:
        key = hmac.digest(OLD.encode(), b"corranto purpose %d" % purpose, "sha256")
        return body + hmac.digest(key, body, "sha256")[:16]

    def spell_path(body: bytes) -> str:
        return base64.b32encode(signed(body, Purpose.VERP)).decode().rstrip("=").lower()

    # Then
    assert keyring.read(base64.urlsafe_b64encode(signed(link, Purpose.UNSUBSCRIBE)).decode(), Purpose.UNSUBSCRIBE)
    later = base64.urlsafe_b64encode(signed(b"\x02" + link[1:], Purpose.UNSUBSCRIBE)).decode()
    with pytest.raises(TokenError):
        keyring.read(later, Purpose.UNSUBSCRIBE)
    assert keyring.read_verp(spell_path(path)) == (42, 7)
    with pytest.raises(TokenError):
        keyring.read_verp(spell_path(b"\x02" + path[1:]))


def test_a_return_path_is_no_address_to_leave_by() -> None:
    keyring = Keyring([OLD])

    with pytest.raises(TokenError):
        keyring.read_verp(keyring.sign_verp(42, 7), Purpose.MAILTO)
    with pytest.raises(TokenError):
        keyring.read_verp(keyring.sign_verp(42, 7, Purpose.MAILTO))


def test_a_hundred_thousand_mutated_tokens_are_all_refused() -> None:
    keyring = Keyring([NEW, OLD])
    rng = random.Random(8058)
    genuine = keyring.sign(Token(Purpose.UNSUBSCRIBE, 123_456, 3, 42))
    refused = 0

    for _ in range(100_000):
        chars = list(genuine)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(TOKEN_CHARS)
            chars[at] = rng.choice([c for c in URLSAFE if c != genuine[at]])
        try:
            keyring.read("".join(chars), Purpose.UNSUBSCRIBE)
        except TokenError:
            refused += 1

    assert refused == 100_000


def test_a_token_has_one_spelling() -> None:
    keyring = Keyring([OLD])
    # This one holds characters whose other alphabet spells them "+" and "/".
    genuine = next(
        spelling
        for n in range(1, 200)
        if {"-", "_"} <= set(spelling := keyring.sign(Token(Purpose.UNSUBSCRIBE, n, 1, 1)))
    )
    others = [
        genuine.replace("-", "+"),
        genuine.replace("_", "/"),
        genuine + "=",
        genuine + "\n",
        " " + genuine[1:],
        genuine[:-1],
        genuine + "A",
        genuine.swapcase(),
        genuine[:20] + "\u0430" + genuine[21:],
        genuine[:20] + "\n" + genuine[20:43],
        genuine[:43] + "=",
        "",
        "%41" + genuine[3:],
    ]

    for other in others:
        with pytest.raises(TokenError):
            keyring.read(other, Purpose.UNSUBSCRIBE)


def test_a_return_path_has_one_spelling_but_for_case() -> None:
    keyring = Keyring([OLD])
    genuine = keyring.sign_verp(42, 7)
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"

    good = [char for char in alphabet if _reads(keyring, genuine[:-1] + char)]

    assert good == [genuine[-1]]
    assert not any(
        _reads(keyring, other) for other in (genuine + "=", genuine[:-1], "0" + genuine[1:], "ſ" + genuine[1:])
    )


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_any_other_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    keyring = Keyring([OLD])

    for read in (lambda: keyring.read(text, *Purpose), lambda: keyring.read_verp(text)):
        with pytest.raises(TokenError):
            read()


@given(st.text(st.sampled_from(URLSAFE + "+/="), min_size=TOKEN_CHARS, max_size=TOKEN_CHARS))
@settings(max_examples=100)
def test_any_text_of_the_right_shape_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        Keyring([OLD]).read(text, *Purpose)


def test_a_message_id_does_not_change_with_the_key_but_with_the_mail() -> None:
    instance = bytes(16)

    ids = {message_id_left(instance, issue, n) for issue in range(1, 40) for n in range(1, 40)}

    assert len(ids) == 39 * 39
    assert message_id_left(instance, 1, 23) != message_id_left(instance, 12, 3)
    assert all(char.isalnum() and char == char.lower() for left in ids for char in left)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(min_size=16, max_size=16))
@settings(max_examples=100)
def test_a_message_id_tells_its_delivery_however_it_comes_back(issue: int, n: int, instance: bytes) -> None:
    left = message_id_left(instance, issue, n)

    for text in (left, f"<{left}@rivers.example.org>", f" <{left.upper()}@RIVERS.EXAMPLE.ORG>\r\n"):
        assert read_message_id(instance, text) == (issue, n)


@given(st.text(max_size=50), st.integers(0, 39), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
@settings(max_examples=200)
def test_a_message_id_of_others_or_a_changed_one_is_refused(text: str, at: int, char: str) -> None:
    left = message_id_left(bytes(16), 42, 7)
    assume(char != left[at])
    changed = left[:at] + char + left[at + 1 :]

    for other in (text, changed, f"<{changed}@x.example>", left[:-1], left + "a", message_id_left(b"1" * 16, 42, 7)):
        with pytest.raises(TokenError):
            read_message_id(bytes(16), other)


def _reads(keyring: Keyring, text: str) -> bool:
    try:
        keyring.read_verp(text)
    except TokenError:
        return False
    return True
