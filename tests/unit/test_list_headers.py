"""The fields that let a reader leave with one click, to the letter."""

from dataclasses import replace

import pytest

from tests.support.mails import COMPILED
from worker.message.list_headers import constant_list_headers, feedback_id, mailto, unsubscribe_headers
from worker.message.mime import HeaderError


def test_the_one_click_pair_is_written_as_rfc_8058_shows_it() -> None:
    assert unsubscribe_headers("https://letters.example.org/u/abc") == (
        b"List-Unsubscribe: <https://letters.example.org/u/abc>\r\n"
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    )


def test_a_mailto_comes_second_and_on_a_line_of_its_own() -> None:
    written = unsubscribe_headers("https://letters.example.org/u/abc", "leave+x@letters.example.org")

    assert written.startswith(
        b"List-Unsubscribe: <https://letters.example.org/u/abc>,\r\n <mailto:leave+x@letters.example.org>\r\n"
    )


@pytest.mark.parametrize(
    "url",
    ["https://a/ b", "https://a/>x", "https://a/\r\nX: y", "https://a/é", "", "a/b", "https://a/\u2028", 'https://a/"'],
)
def test_what_is_not_a_plain_uri_is_refused(url: str) -> None:
    with pytest.raises(HeaderError):
        unsubscribe_headers(url)


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("help@example.org", "mailto:help@example.org"),
        ("a+b@example.org", "mailto:a+b@example.org"),
        ("a%b?c=d&e@example.org", "mailto:a%25b%3Fc%3Dd%26e@example.org"),
        ("jürgen@example.org", "mailto:j%C3%BCrgen@example.org"),
        ("mailto:help@example.org", "mailto:help@example.org"),
    ],
)
def test_an_address_becomes_a_link_that_cannot_grow_parameters(address: str, uri: str) -> None:
    assert mailto(address) == uri


@pytest.mark.parametrize("address", ["", "nobody", "@example.org", "a@b c", "a@exam>ple"])
def test_half_an_address_is_no_link(address: str) -> None:
    with pytest.raises(HeaderError):
        mailto(address)


def test_feedback_id_has_four_fields_of_harmless_characters() -> None:
    assert feedback_id(7, "river notes:x", "abcdefghijklm") == "issue-7:river_notes_x:newsletter:abcdefghijklm"
    for sender in ("abcd", "a" * 16, "a:b:c"):
        with pytest.raises(HeaderError):
            feedback_id(7, "river", sender)


def test_a_list_id_stays_bare_when_the_title_needs_encoding() -> None:
    written = constant_list_headers(COMPILED, 42, "abcdefghijklm")

    assert b"List-Id: Notizen vom =?utf-8?b?Rmx1w58=?= <river-notes.letters.example.org>\r\n" in written


@pytest.mark.parametrize("url", [" https://a/b", "https://a/b ", "\nhttps://a/b"])
def test_an_unsubscribe_link_never_begins_or_ends_in_a_blank(url: str) -> None:
    with pytest.raises(HeaderError):
        unsubscribe_headers(url)


def test_a_french_issue_says_that_it_is_french() -> None:
    written = constant_list_headers(replace(COMPILED, language="fr-CA"), 42, "abcdefghijklm")

    assert b"Content-Language: fr-CA\r\n" in written
