"""Mails for tests of what is built, and two ways to read one that share no code with each other."""

import base64
import quopri
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from worker.domain.compiled import CompiledIssue
from worker.domain.subscriber import Recipient
from worker.message.build import MessageBuilder
from worker.tokens import Keyring

INSTANCE = bytes(range(16))
KEYS = ["first key of the tests, long enough to be one"]
DATE = datetime(2026, 5, 4, 6, 30, tzinfo=UTC)
BASE_URL = "https://letters.example.org"

COMPILED = CompiledIssue(
    slug="spring",
    publication_slug="river-notes",
    publication_title="Notizen vom Fluß",
    subject='{{ name | default("Dear reader") }}, the river is rising',
    html=(
        '<!DOCTYPE html>\n<html lang="en"><body><p>Dear {{ name | default("reader") }},</p>\n'
        '<p>Wasserstände: 3 = 3. {% if city %}In {{ city | default("") }} it rains.{% endif %}</p>\n'
        '<p><a href="{{ unsubscribe_url | default("") }}">Unsubscribe</a> {{ consent_date | default("") }}</p>\n'
        "</body></html>\n"
    ),
    text=(
        'Dear {{ name | default("reader") }},\n\n. a line of its own\nFrom here on it rains'
        '{% if city %} in {{ city | default("") }}{% endif %}.\n\nUnsubscribe:\n{{ unsubscribe_url | default("") }}\n'
    ),
    view_html="",
    from_name="Jörg, River Notes",
    from_address="notes@letters.example.org",
    reply_to="desk@letters.example.org",
    bounce_address="bounces@letters.example.org",
    contact="help@letters.example.org",
    list_id="river-notes.letters.example.org",
    language="en",
    boundary="=_0123456789abcdef",
    variables=("city", "name"),
    base_url=BASE_URL,
)

JANE = Recipient(7, 70, 700, 1, "jane@example.org", "Jane Müller", "en", "2026-05-03", {"city": "Zürich"})


def builder(compiled: CompiledIssue = COMPILED, **changes: Any) -> MessageBuilder:
    """A builder for issue 42 of the tests' own installation."""
    given: dict[str, Any] = {
        "keyring": Keyring(KEYS),
        "issue_id": 42,
        "instance": INSTANCE,
        "base_url": BASE_URL,
        "signer": None,
        "hold_mailto": None,
    }
    return MessageBuilder(compiled, **(given | changes))


def reader(**changes: Any) -> Recipient:
    """Jane, changed."""
    return replace(JANE, **changes)


def by_library(message: bytes) -> tuple[EmailMessage, str, str]:
    """The standard library's reading: the message, its text part, its HTML part, line ends as LF."""
    parsed = message_from_bytes(message, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects, parsed.defects
    text, html = list(parsed.iter_parts())
    return parsed, _content(text), _content(html)


def by_hand(message: bytes) -> tuple[dict[str, str], list[tuple[dict[str, str], str]]]:
    """A strict reading from the RFCs' grammar alone: header fields, and (fields, content) of each part.

    Asserts wherever the grammar would be broken, instead of being lenient.
    """
    check_lines(message)
    head, _, body = message.partition(b"\r\n\r\n")
    fields = _fields(head)
    boundary = re.fullmatch(r'multipart/alternative; boundary="([^"]{1,70})"', fields["content-type"])
    assert boundary
    mark = b"--" + boundary[1].encode()
    assert body.startswith(mark + b"\r\n")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    parts = []
    for piece in pieces[1:-1]:
        assert piece.startswith(b"\r\n")
        part_head, _, content = piece[2:].partition(b"\r\n\r\n")
        parts.append((_fields(part_head), unquote(content)))
    return fields, parts


def check_lines(message: bytes) -> None:
    """What no line of a mail may hold, RFC 5321 2.3.8, 5322 2.1.1, 2045 6.7 and the mbox habit."""
    assert message.endswith(b"\r\n")
    assert b"\x00" not in message
    lines = message[:-2].split(b"\r\n")
    assert all(b"\r" not in line and b"\n" not in line for line in lines)
    assert all(len(line) <= 998 for line in lines)
    assert not any(line.startswith((b".", b"From ")) for line in lines)
    body = lines[lines.index(b"") :]
    assert all(len(line) <= 76 for line in body), max(body, key=len)
    assert not any(line.endswith((b" ", b"\t")) for line in body)
    assert all(32 <= octet <= 126 or octet in b"\t\r\n" for octet in b"\r\n".join(body))


def unquote(content: bytes) -> str:
    """Quoted-printable decoded from the grammar of RFC 2045 6.7, line ends as LF."""
    joined = re.sub(rb"=\r\n", b"", content)
    assert not re.search(rb"=(?![0-9A-F]{2})", joined)
    decoded = re.sub(rb"=([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), joined)
    assert decoded.replace(b"\r\n", b"\n") == quopri.decodestring(content).replace(b"\r\n", b"\n")
    return decoded.decode().replace("\r\n", "\n")


def decode_words(value: str) -> str:
    """RFC 2047 from its grammar: strict, each encoded word whole in itself."""
    value = re.sub(r"(=\?[^ ?]+\?[bq]\?[^ ?]*\?=) +(?==\?)", r"\1", value)

    def decode(match: re.Match[str]) -> str:
        assert len(match[0]) <= 75
        if match[1] == "b":
            return base64.b64decode(match[2], validate=True).decode()
        raw = match[2].replace("_", " ").encode("ascii")
        return re.sub(rb"=([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), raw).decode()

    return re.sub(r"=\?utf-8\?([bq])\?([!->@-~]*)\?=", decode, value)


def _content(part: Any) -> str:
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


def _fields(head: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in re.split(rb"\r\n(?![ \t])", head):
        name, colon, value = line.partition(b": ")
        assert colon, line
        assert re.fullmatch(rb"[A-Za-z0-9-]+", name), line
        assert name.lower().decode() not in fields, name
        fields[name.lower().decode()] = value.replace(b"\r\n", b"").decode()
    return fields


def values_of(**changes: str) -> Mapping[str, str]:
    """What Jane's copy is filled with, changed."""
    return {"name": "Jane Müller", "city": "Zürich", "language": "en", **changes}
