"""One grammar for addresses: what it takes is safe in an envelope, what it refuses says why."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.address import MAX_ADDRESS_OCTETS, AddressError, mask, parse_address
from worker.screen.sentences import word

GOOD = {
    "jane@example.org": "jane@example.org",
    " jane@example.org\n": "jane@example.org",
    "\u202ejane@example.org": "jane@example.org",
    "Jane.Doe+river@Example.ORG": "Jane.Doe+river@example.org",
    "j@example.org": "j@example.org",
    "o'brien@example.org": "o'brien@example.org",
    "!#$%&'*+/=?^_`{|}~-@example.org": "!#$%&'*+/=?^_`{|}~-@example.org",
    "a.b.c.d@example.org": "a.b.c.d@example.org",
    "1@example.org": "1@example.org",
    "jane@a-b.example.org": "jane@a-b.example.org",
    "jane@river--notes.example.org": "jane@river--notes.example.org",
    "jane@XN--BCHER-KVA.example": "jane@xn--bcher-kva.example",
    "jane@bücher.example": "jane@xn--bcher-kva.example",
    "jane@xn--bcher-kva.example": "jane@xn--bcher-kva.example",
    "jane@BÜCHER.example": "jane@xn--bcher-kva.example",
    "jane@straße.example": "jane@xn--strae-oqa.example",
    "jürgen@example.org": "jürgen@example.org",
    "用户@例え.example": "用户@xn--r8jz45g.example",
    "a" * 64 + "@example.org": "a" * 64 + "@example.org",
}

ODD = [
    "", " ", "@", "jane", "jane@", "@example.org", "jane@@example.org", "jane@example.org@example.org",
    "jane@example..org", "jane@.example.org", "jane@example.org.", ".jane@example.org", "jane.@example.org",
    "ja..ne@example.org", "ja ne@example.org", "jane@exam ple.org", "jane@example", "jane@-example.org",
    "jane@example-.org", "jane@exa_mple.org", "jane@[192.0.2.1]", "jane@192.0.2.1", "jane@[IPv6:2001:db8::1]",
    "<jane@example.org>", "Jane <jane@example.org>", "jane@example.org (work)", "jane(work)@example.org",
    '"jane"@example.org', '"ja ne"@example.org', "a@x.example.org,b@example.org", "a@x.example.org;b@example.org",
    "list: a@example.org;", "<a@x.example.org>b@example.org", "@relay.example.org:jane@example.org",
    "jane%example.org", "jane@exam\tple.org", "jane@example.org\r\nBcc: x@example.org", "ja\nne@example.org",
    "ja\x00ne@example.org", "jane\x7f@example.org", "ja\u2028ne@example.org", "ja\u2029ne@example.org",
    "ja\x85ne@example.org", "ja\u200bne@example.org", "ja\ufeffne@example.org", "ja\u00a0ne@example.org",
    "jane@exam\u200bple.org", "jane@exam\u3000ple.org", "jane＠example.org", "jane@example\u3002",
    "a" * 65 + "@example.org", "ü" * 33 + "@example.org", "jane@" + "a" * 64 + ".example.org",
    "jane@" + ".".join(["a" * 60] * 4) + ".example.org", "a" * 64 + "@" + ".".join(["b" * 50] * 4) + ".example.org",
    "jane@xn--.example", "jane@xn--a.example", "jane@ab--c.example", "jane@ex\\ample.org", "ja\\ne@example.org",
    "mailto:jane@example.org", "jane@example.org?subject=x", "jane@exam%70le.org", "jane@example.org>",
    "\ud800@example.org", "jane@mail.xn--a.example", "jane@mail.ab--c.example",
    "ja\x1b[31mne@example.org", "ja\u2066ne@example.org", "ja\x9bne@example.org",
]  # fmt: skip


@pytest.mark.parametrize("typed", GOOD)
def test_an_address_people_have_is_taken_and_stored_in_one_form(typed: str) -> None:
    assert parse_address(typed).addr_spec == GOOD[typed]


@pytest.mark.parametrize("typed", ODD)
def test_an_odd_address_is_refused_in_one_harmless_sentence(typed: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(typed)

    assert word(caught.value)
    assert word(caught.value).isprintable()
    assert word(caught.value) != caught.value.code


@pytest.mark.parametrize(
    ("typed", "folds"),
    [
        ("jane@example.org", ()),
        (" jane@example.org", ("blanks",)),
        ("jane@Example.org", ("domain_case",)),
        ("Jane@example.org", ("local_case",)),
        ("jane@bücher.example", ("idna",)),
        (" Jane@Example.org ", ("blanks", "domain_case", "local_case")),
    ],
)
def test_every_folding_is_named(typed: str, folds: tuple[str, ...]) -> None:
    assert parse_address(typed).folds == folds


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Jane@Example.org", "jane@example.org", True),
        ("jane@bücher.example", "jane@xn--bcher-kva.example", True),
        ("JÜRGEN@example.org", "jürgen@example.org", True),
        ("ju\u0308rgen@example.org", "jürgen@example.org", True),
        ("jane+a@example.org", "jane@example.org", False),
        ("ja.ne@example.org", "jane@example.org", False),
        ("jurgen@example.org", "jürgen@example.org", False),
    ],
)
def test_identity_folds_case_blanks_and_idna_and_nothing_else(one: str, other: str, same: bool) -> None:
    assert (parse_address(one).key == parse_address(other).key) == same


@given(st.text(st.one_of(st.characters(), st.sampled_from('@.@.-_+ a\r\n\x00\u2028<>"')), max_size=60))
@settings(max_examples=200)
def test_whatever_is_taken_is_safe_in_a_header_and_a_command(typed: str) -> None:
    try:
        found = parse_address(typed)
    except AddressError:
        return

    local, _, domain = found.addr_spec.rpartition("@")
    assert domain.isascii()
    assert domain == domain.lower()
    assert local.isprintable()
    assert not set(found.addr_spec) & set(' <>()[],;:\\"\r\n\t\x00')
    assert len(found.addr_spec.encode()) <= MAX_ADDRESS_OCTETS
    assert parse_address(found.addr_spec).addr_spec == found.addr_spec
    assert parse_address(found.key).key == found.key


def test_a_masked_address_tells_a_passer_by_nothing() -> None:
    assert mask("jane@example.org") == "j•••@example.org"
    assert mask("j@example.org") == "j•••@example.org"
