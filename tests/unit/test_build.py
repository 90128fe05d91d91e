"""A whole mail: its fields, its parts, what changes its fingerprint, and that no reader harms another."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.mails import (
    BASE_URL,
    COMPILED,
    DATE,
    INSTANCE,
    JANE,
    KEYS,
    builder,
    by_hand,
    by_library,
    check_lines,
    decode_words,
    reader,
)
from worker.domain.compiled import CompiledIssue
from worker.message.build import BuildError, Built
from worker.message.dkim import Signer, create_key
from worker.message.mime import HeaderError, clean_text, one_line
from worker.tokens import Keyring, Purpose, Token, read_message_id

GOLDEN = Path(__file__).parent.parent / "golden"
KEYRING = Keyring(KEYS)

TORTURE = [
    "",
    " ",
    "Zoë",
    'O\'Brien "the" \\ <b>&amp;</b>',
    "Доктор Анна Каренина",
    "محمد بن عبد الله",
    "שלום בן דוד",
    "山田太郎",
    "कर्नाटक क्ष",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈",
    "Ａｌｉｃｅ\u3000Ｂ",
    "W" * 200,
    "漢" * 200,
    "word " * 40,
    ".",
    ".. leading",
    "From me",
    "=20=?utf-8?q?x?=",
    "{{ 7 * 7 }}{% raw %}",
    "a\r\nBcc: all@example.org\r\n\r\nbody",
    "nul\x00esc\x1b[31mred",
    "one\x85two\u2028three\u2029four",
    "--=_0123456789abcdef--",
    "\ufeff\u200b\u202ereversed",
    "lone \ud800 surrogate",
    "-" * 76 + " ",
]


def test_the_bytes_of_a_whole_mail_are_frozen() -> None:
    built = builder(hold_mailto="leave@letters.example.org").build(JANE, DATE)

    assert built.message == (GOLDEN / "message.eml").read_bytes()
    assert built.envelope.mail_from == f"bounces+{KEYRING.sign_verp(42, 7)}@letters.example.org"
    assert built.envelope.rcpt_to == "jane@example.org"


@pytest.mark.parametrize(
    "bounce", ["bounces@letters.example.org", "", "a.mailbox.with.a.very.long.name@letters.example.org"]
)
def test_a_fixed_return_path_is_the_same_for_all_and_its_message_id_tells_the_copy(bounce: str) -> None:
    fixed = builder(replace(COMPILED, bounce_address=bounce or None), fixed_return_path=True)

    built = [fixed.build(reader(n=n), DATE) for n in (1, 2)]

    assert {mail.envelope.mail_from for mail in built} == {bounce or COMPILED.from_address}
    assert [read_message_id(INSTANCE, mail.message_id) for mail in built] == [(42, 1), (42, 2)]


def test_the_same_row_built_again_is_the_same_mail() -> None:
    first, again = builder().build(JANE, DATE), builder().build(JANE, DATE)

    assert first == again


@pytest.mark.parametrize("name", TORTURE)
def test_two_decoders_read_a_torture_name_alike(name: str) -> None:
    built = builder().build(reader(name=name, attributes={"city": name}), DATE)

    _check_content(built, name)


@given(st.text(st.characters(), max_size=200))
@settings(max_examples=150)
@example("\r")
@example("x \r\n. \r\n.\r\n")
def test_two_decoders_read_any_name_alike(name: str) -> None:
    built = builder().build(reader(name=name, attributes={"city": name}), DATE)

    _check_content(built, name)


def _check_content(built: Built, name: str) -> None:
    fields, parts = by_hand(built.message)
    parsed, text, html = by_library(built.message)
    assert [field["content-type"] for field, _ in parts] == ["text/plain; charset=utf-8", "text/html; charset=utf-8"]
    assert [content for _, content in parts] == [text, html]
    shown = clean_text(name) or "reader"
    assert text.startswith(f"Dear {shown},\n\n. a line of its own\nFrom here on it rains")
    assert text.endswith("\n")
    assert _escaped(shown) in html
    subject = one_line((clean_text(name) or "Dear reader") + ", the river is rising")
    assert parsed["Subject"] == subject
    assert decode_words(fields["subject"]) == subject
    assert fields["list-unsubscribe"].startswith(f"<{BASE_URL}/u/")
    assert fields["to"] == "<jane@example.org>"
    assert set(fields) == FIELDS


FIELDS = {
    "from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post", "list-id", "list-help",
    "list-post", "feedback-id", "content-language", "reply-to", "mime-version", "content-type",
}  # fmt: skip


def _escaped(text: str) -> str:
    for char, entity in (("&", "&amp;"), (">", "&gt;"), ("<", "&lt;"), ("'", "&#39;"), ('"', "&#34;")):
        text = text.replace(char, entity)
    return text


def test_values_are_escaped_in_html_and_nowhere_else() -> None:
    built = builder().build(reader(name="<b>&\"'"), DATE)

    parsed, text, html = by_library(built.message)

    assert "Dear &lt;b&gt;&amp;&#34;&#39;," in html
    assert "Dear <b>&\"'," in text
    assert parsed["Subject"] == "<b>&\"', the river is rising"


def test_a_template_in_a_value_stays_text() -> None:
    built = builder().build(reader(name="{{ 7 * 7 }}{% if x %}"), DATE)

    _, text, _ = by_library(built.message)

    assert "{{ 7 * 7 }}{% if x %}" in text


def test_the_links_name_this_subscription_and_nobody_else() -> None:
    built = builder().build(JANE, DATE)
    fields, parts = by_hand(built.message)

    (token,) = re.findall(rf"<{BASE_URL}/u/([^>]+)>", fields["list-unsubscribe"])

    assert KEYRING.read(token, Purpose.UNSUBSCRIBE) == Token(Purpose.UNSUBSCRIBE, 700, 1, 42)
    assert fields["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert all(f"{BASE_URL}/u/{token}" in content for _, content in parts)
    assert f"{BASE_URL}/u/{token}\n" in parts[0][1]


def test_the_unsubscribe_uri_stands_whole_on_its_first_line_however_long_it_is() -> None:
    for length in range(20, 600, 37):
        base = "https://letters.example.org/" + "p" * length
        built = builder(base_url=base, hold_mailto="leave@letters.example.org").build(JANE, DATE)

        assert b"\r\nList-Unsubscribe: <" + base.encode() + b"/u/" in built.message
        check_lines(built.message.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")


def test_a_mailto_names_the_delivery_in_a_local_part_that_fits() -> None:
    built = builder(hold_mailto="unsubscribe@letters.example.org").build(JANE, DATE)
    fields, _ = by_hand(built.message)

    (local,) = re.findall(r">, <mailto:([^@]+)@letters\.example\.org>$", fields["list-unsubscribe"])

    assert len(local) <= 64
    assert KEYRING.read_verp(local.removeprefix("unsubscribe+"), Purpose.MAILTO) == (42, 7)


def test_the_return_path_names_the_delivery_even_without_a_bounce_address() -> None:
    built = builder(replace(COMPILED, bounce_address=None)).build(JANE, DATE)

    local, _, domain = built.envelope.mail_from.partition("@")

    assert domain == "letters.example.org"
    assert len(local) <= 64
    assert KEYRING.read_verp(local.removeprefix("bounces+")) == (42, 7)


def test_a_bounce_address_too_long_for_a_return_path_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="at most 21"):
        builder(replace(COMPILED, bounce_address="a-very-long-name-indeed@letters.example.org"))


def test_the_date_is_the_attempts_and_the_message_id_the_deliverys() -> None:
    late = DATE + timedelta(days=1)
    first, second = builder().build(JANE, DATE), builder().build(JANE, late)
    other = builder().build(reader(n=8), DATE)

    fields, _ = by_hand(second.message)

    assert fields["date"].endswith(" +0000")
    assert parsedate_to_datetime(fields["date"]) == late
    assert first.message_id == second.message_id == fields["message-id"]
    assert other.message_id != first.message_id
    assert first.fingerprint == second.fingerprint


def test_a_date_of_another_zone_is_written_in_utc_and_a_naive_one_refused() -> None:
    local = DATE.astimezone(timezone(timedelta(hours=9)))

    assert builder().build(JANE, local).message == builder().build(JANE, DATE).message
    with pytest.raises(ValueError, match="zone"):
        builder().build(JANE, datetime(2026, 5, 4))


def test_the_fingerprint_changes_with_whatever_the_mail_says() -> None:
    key = create_key()
    variants = [
        builder().build(JANE, DATE),
        builder().build(reader(name="Jane"), DATE),
        builder().build(reader(address="other@example.org"), DATE),
        builder().build(reader(attributes={"city": "Basel"}), DATE),
        builder().build(reader(generation=2), DATE),
        builder().build(reader(consent_date=""), DATE),
        builder(replace(COMPILED, text="other\n")).build(JANE, DATE),
        builder(keyring=Keyring(["another key, rotated in", *KEYS])).build(JANE, DATE),
        builder(issue_id=43).build(JANE, DATE),
        builder(signer=Signer("letters.example.org", "s1", key)).build(JANE, DATE),
        builder(signer=Signer("letters.example.org", "s2", key)).build(JANE, DATE),
    ]

    assert len({built.fingerprint for built in variants}) == len(variants)
    assert {len(built.fingerprint) for built in variants} == {8}


def test_a_copy_in_doubt_from_before_an_upgrade_is_still_known_as_the_same_mail() -> None:
    # Given a compiled issue as the first version stored it, with its empty key
    stored = COMPILED.to_json()
    assert '"extra":{}' in stored

    # When
    again = CompiledIssue.from_json(stored)
    without = CompiledIssue.from_json(stored.replace('"extra":{},', ""))

    # Then
    assert again == without == COMPILED
    assert again.fingerprint == "1224e8558d80400f6a5a1a188d0e9f64cb22e80e832ff649d38c147a59bd8856"
    # Then it is repeated with the Message-ID that mails had then
    repeated = builder(again).repeat(JANE, DATE, bytes.fromhex("cfc64320a205db7f"))
    assert isinstance(repeated, Built)
    assert repeated.fingerprint.hex() == "cfc64320a205db7f"
    assert len(repeated.message_id.partition("@")[0]) == 1 + 26
    assert builder(again).repeat(JANE, DATE, b"8 octets") == builder().build(JANE, DATE)


def test_an_issue_stored_in_another_format_is_refused_instead_of_sent_wrong() -> None:
    with pytest.raises(ValueError, match="format 2"):
        CompiledIssue.from_json(COMPILED.to_json().replace('"format_no":1', '"format_no":2'))


def test_an_attribute_the_issue_does_not_use_changes_nothing() -> None:
    extra = builder().build(reader(attributes={"city": "Zürich", "shoe": "44"}), DATE)

    assert extra == builder().build(JANE, DATE)


def test_a_readers_column_cannot_take_the_place_of_our_own_values() -> None:
    stolen = {"unsubscribe_url": "https://elsewhere.example.net/", "name": "Eve", "consent_date": "never"}

    built = builder().build(reader(attributes=stolen), DATE)

    assert b"elsewhere" not in built.message
    assert b"Eve" not in built.message
    assert "3 May 2026" in by_library(built.message)[2]


POISON = [
    ("address without domain", {"address": "nobody"}),
    ("address with a line end", {"address": "jane@example.org\r\nRCPT TO:<all@example.org>"}),
    ("address with brackets", {"address": "a>,<b@example.org"}),
    ("two addresses", {"address": "a@example.org,b@example.org"}),
    ("address with a separator", {"address": "ja\u2028ne@example.org"}),
    ("address of half a character", {"address": "ja\ud800ne@example.org"}),
    ("address too long", {"address": "a" * 60 + "@" + "b." * 120 + "example.org"}),
    ("a domain not in A-labels", {"address": "jane@bücher.example"}),
    ("an endless value", {"attributes": {"city": "x" * 1_000_000}}),
    ("a value that is no text", {"attributes": {"city": ["a"]}}),
    ("no name at all", {"name": None}),
    ("a subscription out of range", {"subscription_id": 2**60}),
    ("a generation that is no number", {"generation": "two"}),
]


@pytest.mark.parametrize("change", [change for _, change in POISON], ids=[name for name, _ in POISON])
def test_a_recipient_that_cannot_be_built_says_why_without_the_address(change: dict[str, object]) -> None:
    with pytest.raises(BuildError) as caught:
        builder().build(reader(**change), DATE)

    assert caught.value.n == 7
    assert caught.value.reason
    assert "jane" not in str(caught.value)


def test_one_bad_recipient_never_harms_its_neighbours() -> None:
    rows = [reader(n=n, **(POISON[n % len(POISON)][1] if n % 3 == 0 else {})) for n in range(1, 60)]
    signer = Signer("letters.example.org", "s1", create_key())

    with ThreadPoolExecutor(2) as executor:
        answers = builder(signer=signer).build_all(rows, DATE, executor)

    assert len(answers) == len(rows)
    for row, answer in zip(rows, answers, strict=True):
        if row.n % 3 == 0:
            assert isinstance(answer, BuildError)
            assert answer.n == row.n
        else:
            assert answer == builder(signer=signer).build(row, DATE)


def test_an_address_outside_ascii_needs_smtputf8_and_stands_as_it_is() -> None:
    built = builder().build(reader(address="jürgen@example.org"), DATE)

    assert built.envelope.needs_smtputf8
    assert "To: <jürgen@example.org>\r\n".encode() in built.message


PROOF = KEYRING.sign(Token(Purpose.PROOF, generation=1, issue=7))


def test_a_proof_is_marked_changes_nothing_and_hides_behind_no_other() -> None:
    first = builder().build_proof("editor@example.org", DATE, token=PROOF)
    second = builder().build_proof("editor@example.org", DATE + timedelta(seconds=1), token=PROOF)
    fields, parts = by_hand(first.message)

    (token,) = re.findall(rf"<{BASE_URL}/u/([^>]+)>", fields["list-unsubscribe"])

    assert fields["subject"] == "[PROOF] Dear reader, the river is rising"
    assert token == PROOF
    assert token in parts[0][1]
    assert fields["to"] == "<editor@example.org>"
    assert first.message_id != second.message_id
    assert first.message_id != builder().build(reader(n=0), DATE).message_id


@pytest.mark.parametrize(
    "change",
    [
        {"from_address": "news@example.org\r\nBcc: x@example.org"},
        {"list_id": "a b"},
        {"list_id": "x" * 300},
        {"language": "en\r\nX: y"},
        {"contact": "nobody"},
        {"boundary": 'x"y'},
        {"reply_to": "a b@example.org"},
        {"base_url": "unused"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_issue_whose_constants_cannot_stand_in_a_header_is_refused(change: dict[str, str]) -> None:
    if "base_url" in change:
        with pytest.raises(BuildError):
            builder(base_url="https://letters.example.org/ x").build(JANE, DATE)
        return
    with pytest.raises((HeaderError, ValueError)):
        builder(replace(COMPILED, **change))


def test_control_characters_in_the_publications_own_words_vanish() -> None:
    odd = replace(
        COMPILED, publication_title="River\r\nX-Evil: 1", from_name="A\u2028B\x00C", publication_slug="a b\r\n:c"
    )

    fields, _ = by_hand(builder(odd).build(JANE, DATE).message)

    assert set(fields) == FIELDS
    assert fields["feedback-id"].startswith("issue-42:a_b___c:newsletter:")
    assert fields["from"] == "A B C <notes@letters.example.org>"


def test_two_readers_of_an_issue_share_feedback_id_and_list_id() -> None:
    one, _ = by_hand(builder().build(JANE, DATE).message)
    two, _ = by_hand(builder().build(reader(n=8, subscription_id=701, address="b@example.org"), DATE).message)

    assert one["feedback-id"] == two["feedback-id"]
    assert re.fullmatch(r"(?:[^:]+:){3}[A-Za-z0-9._-]{5,15}", one["feedback-id"])
    assert one["list-id"] == two["list-id"]
    assert one["list-id"].endswith(" <river-notes.letters.example.org>")
    assert one["list-help"] == "<mailto:help@letters.example.org>"
    assert one["list-post"] == "NO"
    assert one["content-language"] == "en"
    assert DATE.tzinfo is UTC


def test_the_date_of_consent_is_spelled_in_the_language_of_the_issue_around_it() -> None:
    french = builder(replace(COMPILED, language="fr")).build(reader(language="ja"), DATE)

    assert "3 mai 2026" in by_library(french.message)[2]


def test_a_proof_holds_no_mail_address_that_would_unsubscribe_somebody() -> None:
    proof = builder(hold_mailto="leave@letters.example.org").build_proof("editor@example.org", DATE, token=PROOF)

    assert b"mailto:leave" not in proof.message


def test_another_installation_never_makes_the_same_message_id() -> None:
    ids = {builder(instance=bytes([number] * 16)).build(JANE, DATE).message_id for number in range(3)}
    ids |= {builder(issue_id=number).build(JANE, DATE).message_id for number in range(3)}
    ids |= {builder().build(reader(n=number), DATE).message_id for number in range(3)}

    assert len(ids) == 9


def test_a_readers_message_id_does_not_follow_a_changed_address_or_name() -> None:
    changed = reader(address="new@example.net", name="Other", subscription_id=9, generation=4, language="fr")

    assert builder().build(changed, DATE).message_id == builder().build(JANE, DATE).message_id
