"""Bodies and header fields as bytes: exact, foldable, and without a way out of their place."""

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.mails import check_lines, decode_words, unquote
from worker.message.mime import (
    Alternative,
    HeaderError,
    clean_text,
    end_body,
    one_line,
    phrase_field,
    plain_field,
    quote,
    text_field,
)

PIECES = st.lists(
    st.text(
        st.one_of(st.sampled_from(" .=\n\r\tFrom é€😀--_"), st.characters(exclude_categories=["Cs"])), max_size=120
    ),
    max_size=8,
)
LINES = st.text(
    st.one_of(st.sampled_from(' "\\=?_<>@,.é漢😀ש'), st.characters(exclude_categories=["Cs"])), max_size=250
)


def read_lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(PIECES)
@settings(max_examples=200)
@example(["From ", "me", ". ", "", "\n", " "])
@example(["x" * 75, "y" * 76, "." * 200])
@example(["é" * 200, "= =" * 60])
def test_pieces_encoded_apart_decode_to_the_text_they_make(pieces: list[str]) -> None:
    body = b"".join(end_body([quote(piece) for piece in pieces]))

    assert unquote(body) == "".join(read_lf(piece) for piece in pieces)


@given(PIECES, PIECES)
@settings(max_examples=100)
def test_a_framed_body_keeps_every_line_rule_and_its_boundary_to_itself(text: list[str], html: list[str]) -> None:
    frame = Alternative("=_frame")

    body = b"".join(frame.body(end_body([quote(p) for p in text]), end_body([quote(p) for p in html])))

    check_lines(b"X: y\r\n\r\n" + body)
    assert body.count(b"--=_frame") == 3


def test_a_boundary_is_given_what_quoted_printable_can_never_hold() -> None:
    assert Alternative("plain").boundary == "=_plain"
    with pytest.raises(HeaderError):
        Alternative('a"\r\nX: y')


@given(LINES)
@settings(max_examples=200)
@example("=?utf-8?q?not_ours?= yes")
@example("a" * 300)
@example("漢" * 200)
@example("one é two 漢 three")
@example("مرحبا بالعالم, שלום")
def test_a_subject_reads_the_same_in_two_decoders(value: str) -> None:
    expected = one_line(value)

    field = text_field("Subject", value)

    parsed = message_from_bytes(field + b"\r\n", policy=policy.default)
    assert parsed["Subject"] == expected
    unfolded = field.decode("ascii").replace("\r\n ", " ").removesuffix("\r\n")
    assert decode_words(unfolded.removeprefix("Subject:").removeprefix(" ")) == expected
    assert all(len(line) <= 76 for line in field.split(b"\r\n"))
    assert field.count(b"\r\n") == field.count(b"\r\n ") + 1


@given(LINES)
@settings(max_examples=200)
@example('Doe, "J" \\ Jane')
@example("Jörg <joerg@example.org>")
@example("x" * 200)
def test_a_display_name_reads_the_same_and_never_touches_the_address(name: str) -> None:
    expected = one_line(name)

    field = phrase_field("From", name, "news@letters.example.org")

    parsed = message_from_bytes(field + b"\r\n", policy=policy.default)
    (mailbox,) = parsed["From"].addresses
    assert mailbox.addr_spec == "news@letters.example.org"
    # The newer parser of some Pythons puts blanks between encoded words of a phrase; the older one is right.
    name_alone, _ = parseaddr(message_from_bytes(field + b"\r\n")["From"])
    assert str(make_header(decode_header(name_alone))) == expected
    unfolded = field.decode("ascii").replace("\r\n ", " ").removeprefix("From: ")
    if "=?" in unfolded:
        assert decode_words(unfolded.rpartition(" <")[0]) == expected
    assert all(len(line) <= 76 for line in field.split(b"\r\n"))
    assert field.endswith(b"<news@letters.example.org>\r\n")


@given(
    st.text(max_size=60), st.sampled_from("\r\n\x00\x0b\x0c\x1b\x7f\x85\u2028\u2029\x9b\ud800"), st.text(max_size=20)
)
@settings(max_examples=200)
def test_no_control_character_reaches_a_structured_field(before: str, bad: str, after: str) -> None:
    with pytest.raises(HeaderError):
        plain_field("To", before + bad + after)


@given(st.text(st.characters(), max_size=100))
@settings(max_examples=200)
def test_cleaned_text_has_no_line_end_but_lf_and_no_control_but_tab(value: str) -> None:
    cleaned = clean_text(value)

    assert cleaned.encode() is not None
    assert cleaned == clean_text(cleaned)
    assert not [c for c in cleaned if (ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 or c in "\u2028\u2029"]
    assert "\n" not in one_line(value)


def test_a_field_name_is_never_taken_from_outside() -> None:
    with pytest.raises(HeaderError):
        plain_field("Subject\r\nBcc", "x")
    with pytest.raises(HeaderError):
        text_field("X: y", "x")


def test_a_line_longer_than_a_relay_takes_is_refused() -> None:
    with pytest.raises(HeaderError, match="998"):
        plain_field("To", "x" * 1000)


@pytest.mark.parametrize("text", ["." * 300, "From " * 60, "é." * 60, "x" * 75 + ".y", "x" * 75 + "From y", "a\n.\n.b"])
def test_no_relay_can_mistake_a_line_for_the_end_or_an_mbox_mark_wherever_it_is_broken(text: str) -> None:
    frame = Alternative("=_frame")

    body = b"".join(frame.body(end_body([quote(text)]), end_body([quote(part) for part in text])))

    check_lines(b"X: y\r\n\r\n" + body)


def test_the_limit_of_a_line_counts_octets_and_the_name() -> None:
    assert len(plain_field("To", "x" * 994)) == 1000
    with pytest.raises(HeaderError, match="998"):
        plain_field("To", "x" * 995)
    with pytest.raises(HeaderError, match="998"):
        plain_field("To", "é" * 500)


def test_a_comma_in_a_name_never_makes_two_senders() -> None:
    assert phrase_field("From", "Doe, Jane", "a@example.org") == b'From: "Doe, Jane" <a@example.org>\r\n'
    assert phrase_field("From", "Jane (Ms.)", "a@example.org") == b'From: "Jane (Ms.)" <a@example.org>\r\n'


@pytest.mark.parametrize(
    "char", [chr(n) for n in (*range(32), *range(127, 160), 0x2028, 0x2029) if chr(n) not in "\t\n"]
)
def test_no_control_character_of_a_readers_value_reaches_a_terminal_or_breaks_a_line(char: str) -> None:
    ends_a_line = char in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"

    assert clean_text(f"a{char}b") == ("a\nb" if ends_a_line else "a b")
    assert one_line(f"a{char}b") == "a b"


def test_a_part_that_ends_without_a_line_end_leaves_nothing_open_before_the_boundary() -> None:
    body = b"".join(Alternative("=_frame").body(end_body([quote("text"), b""]), end_body([quote("html")])))

    assert b"\r\n\r\ntext\r\n--=_frame\r\n" in body
    assert body.endswith(b"\r\n\r\nhtml\r\n--=_frame--\r\n")
