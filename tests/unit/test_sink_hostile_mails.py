"""Mails made to be dear to look at: each octet is looked at a fixed number of times, and memory has a bound."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from email.header import Header
from pathlib import Path
from types import FrameType

import pytest

from tests.unit.test_sink_abuse import MOST_MB
from worker.received.fields import decode_octets, decode_words
from worker.received.parts import MOST_PARTS, leaves_of
from worker.sink.parsed_mail import open_mail, raw_head

PNG = b"Content-Type: image/png\r\nContent-Disposition: attachment;"


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python the work takes: what grows faster than its input shows here, whatever the machine."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(before)
    return count


DEAR = {
    "parameters": b"Content-Type: text/plain" + b";a" * 100_000 + b"\r\n\r\nx",
    "parameters with values": b"Content-Type: text/plain" + b"; a=b" * 40_000 + b"\r\n\r\nx",
    "open quotes": b"Content-Type: text/plain" + b'; a="' * 40_000 + b"\r\n\r\nx",
    "continuations": PNG + b"".join(b" filename*%d*=x;" % at for at in range(100_000)) + b"\r\n\r\nx",
    "punycode": b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a-" * 500_000,
    "encoded words": b"Subject: " + b"=?utf-8?q?a?=" * 100_000 + b"\r\n\r\nx",
    "encoded words never closed": b"Subject: " + b"=?utf-8?q?a " * 20_000 + b"\r\n\r\nx",
    "punycode in a field": b"Subject: =?punycode?q?" + b"a-" * 500 + b"?=\r\n\r\nx",
    "fields": b"X-A: b\r\n" * 100_000 + b"\r\nx",
    "a field of 10 MB": b"Subject: " + b"x" * 10_000_000 + b"\r\n\r\nx",
    "folds": b"Subject: x" + b"\r\n y" * 100_000 + b"\r\n\r\nx",
    "deep": b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (at, at) for at in range(9_000)),
    "one boundary, deep": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 9_000,
    "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 100_000,
    "boundaries without parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 200_000,
    "garbage in base64": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=A*\xff" * 300_000,
    "garbage in quoted-printable": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"==\r\n=G" * 200_000,
    "mails in mails": b"Content-Type: message/rfc822\r\n\r\n" * 20_000,
    "NUL": b"Subject: a\0b\r\n\r\n" + bytes(100_000),
    "angles": b"List-Unsubscribe: " + b"<" * 20_000 + b"\r\n\r\nx",
    "blanks": b"List-Unsubscribe: <" + b" " * 20_000 + b"\r\nContent-Type: text/plain;" + b" " * 90_000 + b"\r\n\r\nx",
    "links": b"\r\n" + b"http://a. " * 100_000,
}


@pytest.mark.parametrize("name", DEAR)
def test_looking_at_a_mail_takes_steps_that_its_bounds_allow(name: str) -> None:
    assert lines_run(lambda: (open_mail(DEAR[name]), raw_head(DEAR[name]))) < 40_000


@pytest.mark.parametrize("name", DEAR)
def test_what_is_left_of_a_dear_mail_can_be_shown(name: str) -> None:
    mail = open_mail(DEAR[name])

    assert len(mail.others) <= MOST_PARTS
    assert "\0" not in (mail.text or "") + "".join(value for _, value in mail.fields)
    "".join(value for _, value in mail.fields).encode()


@pytest.mark.parametrize(
    "charset",
    ["klingon", "punycode", "idna", "unicode_escape", "undefined", "zlib_codec", "rot13", "", "x" * 99],
)
def test_a_charset_of_no_mail_is_read_as_utf_8(charset: str) -> None:
    before = len(sys.modules)

    assert decode_octets("Grüße \\u0041".encode(), charset) == "Grüße \\u0041"
    assert len(sys.modules) == before


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("utf-8", "Grüße 👩‍🔬"),
        ("iso-8859-1", "Grüße"),
        ("ISO_8859-15", "10 €"),
        ("windows-1251", "Привет"),
        ("koi8-r", "Привет"),
        ("Shift_JIS", "日本語"),
        ("iso-2022-jp", "日本語"),
        ("gb18030", "你好"),
        ("big5", "你好"),
        ("euc-kr", "안녕"),
        ("ks_c_5601-1987", "안녕"),
        ("utf-16le", "Grüße"),
    ],
)
def test_a_charset_of_mails_is_read(charset: str, words: str) -> None:
    assert decode_octets(words.encode(charset if charset != "ks_c_5601-1987" else "cp949"), charset) == words


@pytest.mark.parametrize(
    "words", ["Grüße aus dem Watt", "日本語の件名はとても長いので折り返されます" * 3, "a b", "x = ?y?"]
)
@pytest.mark.parametrize("charset", ["utf-8", "iso-2022-jp"])
def test_encoded_words_are_put_together_again(words: str, charset: str) -> None:
    if charset != "utf-8" and "ü" in words:
        charset = "iso-8859-1"
    field = Header(words, charset).encode()

    assert decode_words(re.sub(r"\n[ \t]", " ", field).encode()) == words


def test_a_broken_encoded_word_stays_as_it_is() -> None:
    assert decode_words(b"=?utf-8?b?x?= and =?utf-8?q?fine?=") == "=?utf-8?b?x?= and fine"


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b' filename="a; b \\"c\\".pdf"', 'a; b "c".pdf'),
        (b" filename=a.pdf", "a.pdf"),
        (b" filename*=utf-8''Gr%C3%B6%C3%9Fe.pdf", "Größe.pdf"),
        (b" filename*=iso-8859-1'de'Gr%F6%DFe.pdf", "Größe.pdf"),
        (b" filename*0*=utf-8''Gr%C3; filename*1*=%B6; filename*2=x.pdf", "Gröx.pdf"),
        (b" filename*1=b.pdf; filename*0=a", "ab.pdf"),
        (b' filename="=?utf-8?q?Gr=C3=B6=C3=9Fe.pdf?="', "Größe.pdf"),
        (b' filename="a\x1b[31m\xe2\x80\xaefdp.exe"', "a\ufffd[31m\ufffdfdp.exe"),
        (b";;;=", ""),
    ],
)
def test_the_name_of_a_part_is_read_in_every_form(parameters: bytes, name: str) -> None:
    [part], whole = leaves_of(PNG + parameters + b"\r\n\r\nx")

    assert (part.name, part.is_attached, part.octets(), whole) == (name, True, b"x", True)


def test_parts_beyond_the_bounds_are_left_out_and_a_sentence_says_so() -> None:
    mail = open_mail(DEAR["parts"])

    assert len(mail.others) == MOST_PARTS - 1
    assert "Only the first 100 parts are shown" in mail.notes[0]
    assert "nested too deeply" in open_mail(DEAR["deep"]).notes[0]


def test_a_process_that_looks_at_all_of_them_stays_small(tmp_path: Path) -> None:
    for at, raw in enumerate(DEAR.values()):
        (tmp_path / f"{at}.eml").write_bytes(raw)
    script = (
        "import re, sys\nfrom pathlib import Path\nfrom worker.sink.parsed_mail import open_mail\n"
        "for name in sys.argv[1:]:\n    open_mail(Path(name).read_bytes()).links()\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, tmp_path.iterdir())],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
    )

    assert json.loads(done.stdout) // 1024 <= MOST_MB
