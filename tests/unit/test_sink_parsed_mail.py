"""Taking apart mails that nobody vouches for, and making their HTML safe to show."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.received.fields import decode_words, find_field, split_fields
from worker.sink.frame import frame_policy, framed_html, has_dark_scheme
from worker.sink.mail_client import belongs_to
from worker.sink.parsed_mail import LARGEST_OPENED, MOST_FIELDS, open_mail, opens_in_browser, pieces_of

TWO_PARTS = (
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n aus dem Watt\r\nList-Unsubscribe: <https://example.org/u/x>,\r\n"
    b" <mailto:leave@example.org>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"Content-Type: multipart/mixed; boundary=m\r\n\r\n"
    b"--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
    b"--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nSch\xf6n, see https://example.org/a.\r\n"
    b"--a\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b'<p>Sch=C3=B6n <a href=3D"https://example.org/a">Read <b>more</b></a>'
    b'<a href=3D"javascript:alert(1)"><img alt=3D"Bad"></a></p>\r\n--a--\r\n'
    b"--m\r\nContent-Type: application/pdf; name=x.pdf\r\n"
    b"Content-Disposition: attachment; filename=x.pdf\r\n\r\nPDF\r\n"
    b"--m--\r\n"
)


def test_a_mail_is_taken_apart() -> None:
    mail = open_mail(TWO_PARTS)

    assert mail.field("subject") == "Grüße aus dem Watt"
    assert mail.text == "Schön, see https://example.org/a."
    assert mail.html is not None
    assert "Schön" in mail.html
    assert [(part.media_type, part.name) for part in mail.others] == [("application/pdf", "x.pdf")]
    assert mail.unsubscribe_uris == ("https://example.org/u/x", "mailto:leave@example.org")
    assert mail.is_one_click
    assert [(link.part, link.text, link.target, link.opens) for link in mail.links()] == [
        ("header", "List-Unsubscribe", "https://example.org/u/x", True),
        ("header", "List-Unsubscribe", "mailto:leave@example.org", False),
        ("html", "Read more", "https://example.org/a", True),
        ("html", "Bad", "javascript:alert(1)", False),
        ("text", "https://example.org/a", "https://example.org/a", True),
    ]


HOSTILE = {
    "nothing": b"",
    "no header": b"\r\n\r\nhello",
    "no body": b"Subject: x",
    "only colons": b":::\r\n" * 100 + b"\r\n",
    "unknown charset": b"Content-Type: text/plain; charset=klingon\r\n\r\nhello \xff",
    "charset that is no text codec": b"Content-Type: text/plain; charset=zlib_codec\r\n\r\nhello",
    "charset with a surrogate": b"Content-Type: text/html; charset=\xff\xfe\r\n\r\n<p>hello",
    "idna charset": b"Content-Type: text/plain; charset=idna\r\n\r\n" + b"." * 300,
    "broken base64": b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!=\r\nx",
    "broken uuencode": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644\r\n\xff",
    "broken parameter": b"Content-Type: text/plain; charset*0*=x''%ff; charset*9=y; name*=a'b\r\n\r\nx",
    "broken file name": b"Content-Type: image/png; name*0*=utf-8''%; name*2*=x\r\nContent-Disposition: ;;;=\r\n\r\nx",
    "boundary without end": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n--a\r\n--a\r\n",
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\nhello",
    "part in itself": b"Content-Type: message/rfc822\r\n\r\n" * 50,
    "broken encoded word": b"Subject: =?utf-8?b?####?= =?utf-8?x?y?= =?nope?q?=ff?=\r\n\r\nx",
    "header bomb": b"X-A: b\r\n" * 40_000 + b"\r\nhello",
    "one long header": b"Subject: " + b"=?utf-8?q?a?= " * 60_000 + b"\r\n\r\nhello",
    "folded for ever": b"Subject: x" + b"\r\n y" * 60_000 + b"\r\n\r\nhello",
    "many parts": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\nx\r\n" * 20_000,
    "deep parts": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (depth, depth) for depth in range(3000)
    ),
    "large": b"Content-Type: text/html\r\n\r\n" + b"<p>hello</p>\r\n" * 800_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_mail_is_shown_as_far_as_it_goes(name: str) -> None:
    mail = open_mail(HOSTILE[name])

    assert len(mail.fields) <= MOST_FIELDS
    assert len(mail.links()) <= 500
    framed_html((mail.html or "")[:100_000], dark=True)
    if len(HOSTILE[name]) > LARGEST_OPENED:
        assert "taken apart" in mail.notes[0]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=2000))
def test_any_octets_can_be_opened(octets: bytes) -> None:
    mail = open_mail(b"Content-Type: multipart/mixed; boundary=a\r\n" + octets)

    assert all(isinstance(link.opens, bool) for link in mail.links())


@given(st.text(max_size=300))
def test_text_cut_at_its_urls_joins_to_the_same_text(text: str) -> None:
    assert "".join(piece for _, piece in pieces_of(f"{text} https://example.org/{text}")) == (
        f"{text} https://example.org/{text}"
    )


def test_fields_are_found_unfolded_and_controls_made_visible() -> None:
    head = b"X-Subject: no\r\nSUBJECT:  a\r\n\tb\r\nTo: x"

    assert find_field(head, head.lower(), b"subject") == b"a\tb"
    assert find_field(head, head.lower(), b"to") == b"x"
    assert find_field(head, head.lower(), b"from") == b""
    assert split_fields(b"A: 1\r\n 2\r\njunk\r\nB:\r\n", 10) == [("A", b"1 2"), ("", b"junk"), ("B", b"")]
    assert decode_words("a\x1b[31m\u202eb".encode()) == "a\ufffd[31m\ufffdb"


DARK_MAIL = (
    "<html><head><meta name=color-scheme content='light dark'><style>"
    "@media (prefers-color-scheme: dark) { p > b { color: red } } "
    "@media ( Prefers-Color-Scheme:light ) { p { top: 0 } }"
    "</style></head><body><picture><source media='(prefers-color-scheme: dark)' srcset=x></picture></body></html>"
)


def test_the_dark_frame_applies_the_mails_dark_rules_and_the_light_one_never() -> None:
    dark, light = framed_html(DARK_MAIL, dark=True), framed_html(DARK_MAIL, dark=False)

    assert "prefers-color-scheme" not in (dark + light).lower()
    assert "@media (min-width: 0px) { p > b { color: red } } @media (max-width: 0px)" in dark
    assert "@media (max-width: 0px) { p > b { color: red } } @media (min-width: 0px)" in light
    assert 'media="(min-width: 0px)"' in dark
    assert "color-scheme:dark !important" in dark
    assert "color-scheme:light !important" in light


def test_a_mail_without_dark_colours_stays_light_in_the_dark_frame() -> None:
    assert not has_dark_scheme("<p>dark</p>")
    assert "color-scheme:light" in framed_html("<p>dark</p>", dark=True)


def test_a_framed_mail_neither_runs_nor_calls_out_and_opens_links_in_new_tabs() -> None:
    framed = framed_html(
        "<base href='https://evil.example.org/'><meta http-equiv=refresh content='0;url=https://evil.example.org'>"
        "<link rel=dns-prefetch href=//evil.example.org><script>alert(1)</script><iframe src=x></iframe>"
        "<object data=x></object><a href='/x' target=_top ping=https://evil.example.org>y</a><a href='#end'>end</a>",
        dark=False,
    )

    for gone in ("<base", "<meta", "<link", "<script", "<iframe", "<object", "ping=", "_top"):
        assert gone not in framed
    assert '<a href="/x" target="_blank" rel="noopener noreferrer">y</a>' in framed
    assert '<a href="#end">end</a>' in framed
    policy = frame_policy("http://127.0.0.1:8025")
    assert policy.startswith("sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none';")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8025/u/x", True),
        ("HTTP://127.0.0.1:8025/u/x?y", True),
        ("http://127.0.0.1:8025", True),
        ("https://127.0.0.1:8025/u/x", False),
        ("http://127.0.0.1:80250/u/x", False),
        ("http://127.0.0.1/u/x", False),
        ("http://127.0.0.1:8025@evil.example.org/", False),
        ("http://x@127.0.0.1:8025/", False),
        ("http://127.0.0.1:8025\\@evil.example.org/", False),
        ("http://127.0.0.1:8025/\r\nX: y", False),
        ("http://evil.example.org/http://127.0.0.1:8025/", False),
        ("//127.0.0.1:8025/u/x", False),
        ("http://127.0.0.1:99999/", False),
        ("http://[::1", False),
        ("mailto:a@127.0.0.1:8025", False),
        ("", False),
    ],
)
def test_only_this_installations_urls_belong_to_it(url: str, expected: bool) -> None:
    assert belongs_to(url, "http://127.0.0.1:8025") is expected


def test_a_base_url_with_a_path_owns_only_what_lies_below_it() -> None:
    assert belongs_to("https://example.org/news/u/x", "https://example.org/news")
    assert not belongs_to("https://example.org/newsroom", "https://example.org/news")
    assert belongs_to("https://example.org:443/news/", "https://example.org/news/")


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "data:text/html,x", "java\nscript:x", "http:", "", "http://["]
)
def test_a_target_that_is_no_web_address_is_not_offered_as_a_link(target: str) -> None:
    assert not opens_in_browser(target)


def test_html_nested_without_end_is_left_to_the_source() -> None:
    mail = open_mail(b"Content-Type: text/html\r\n\r\n" + b"<div>" * 400_000)

    assert mail.html is None
    assert "tags" in mail.notes[-1]
    assert mail.links() == ()
