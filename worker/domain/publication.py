"""What one subscribes to, and what an editor may type about it. Pure."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from worker.domain.address import AddressError, parse_address
from worker.errors import UsageError

MAX_LINE_CHARS = 200
MAX_TEXT_CHARS = 2_000

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}")
_MAILBOX = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>\s*")


@dataclass(frozen=True)
class Publication:
    """A publication as stored. Addresses are addr-specs; `zone` is an IANA name; `language` a BCP 47 tag."""

    id: int
    slug: str
    title: str
    from_name: str
    from_address: str
    postal_address: str
    reply_to: str | None
    bounce_address: str | None
    contact: str
    promise: str
    privacy_url: str | None
    language: str
    zone: str
    description: str


DEFAULT_PROMISE = (
    "Your address is used only to send what you asked for. It is never passed on. "
    "This mail contains no tracking. One click ends it."
)

_NEW = Publication(0, "", "", "", "", "", None, None, "", DEFAULT_PROMISE, None, "en", "UTC", "")

_TYPED = (
    "slug",
    "title",
    "from",
    "postal_address",
    "reply_to",
    "bounce_address",
    "contact",
    "promise",
    "privacy_url",
    "language",
    "zone",
    "description",
)
"""What may be typed: the fields, with `from` as `Name <address>` for the two of the sender."""

_NULLABLE = ("reply_to", "bounce_address", "privacy_url")


def read_publication(
    typed: Mapping[str, str | None], zones: AbstractSet[str], base: Publication | None = None
) -> Publication:
    """Check what an editor typed and return the publication: `base` changed by it, or a new one with id 0.

    A missing or None field keeps its value; an empty one clears a field that may be empty. `zones` are the IANA names
    this machine knows. Raises UsageError that names every wrong field, its value and what is allowed, a line each.
    """
    problems: list[str] = []
    changes: dict[str, Any] = {}
    for field, value in typed.items():
        if field not in _TYPED:
            raise UsageError(f"a publication has no field {field}; there are {', '.join(_TYPED)}")
        if value is None:
            continue
        try:
            changes.update(_read_field(field, value.strip(), zones))
        except ValueError as error:
            problems.append(f"{_option(field)}: {error}")
    found = replace(base or _NEW, **changes)
    if not found.contact and found.from_address:
        found = replace(found, contact=found.reply_to or found.from_address)
    named = {problem.partition(":")[0] for problem in problems}
    for field, value in (
        ("slug", found.slug),
        ("title", found.title),
        ("from", found.from_address),
        ("postal_address", found.postal_address),
    ):
        if not value and _option(field) not in named:
            problems.append(f"{_option(field)}: is required")
    if problems:
        raise UsageError("\n".join(problems))
    return found


def read_mailbox(typed: str) -> tuple[str, str]:
    """`Name <a@b>` as (name, addr-spec). One mailbox, no comments, groups or quotes. Raises ValueError."""
    match = _MAILBOX.fullmatch(typed)
    if match is None:
        raise ValueError(f'{_shown(typed)} must look like "Name <news@example.org>"')
    name = match["name"].strip('"').strip()
    if not name:
        raise ValueError(f"{_shown(typed)} has no name before the address")
    return _line(name), parse_address(match["address"]).addr_spec


def _read_field(field: str, value: str, zones: AbstractSet[str]) -> dict[str, str | None]:
    if not value and field in _NULLABLE:
        return {field: None}
    match field:
        case "from":
            name, address = read_mailbox(value)
            return {"from_name": name, "from_address": address}
        case "reply_to" | "bounce_address" | "contact":
            return {field: _address(value)}
        case "slug":
            if not _SLUG.fullmatch(value) or len(value) > 64:
                raise ValueError(f"{_shown(value)} must be small letters, digits and single hyphens, at most 64")
        case "language":
            if not _LANGUAGE.fullmatch(value):
                raise ValueError(f"{_shown(value)} must be a language tag like en, de or pt-BR")
        case "zone":
            if value not in zones:
                raise ValueError(f"{_shown(value)} is no time zone this machine knows; write one like Europe/Paris")
        case "privacy_url":
            parts = urlsplit(_line(value, MAX_TEXT_CHARS))
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{_shown(value)} must be a web address that begins with https://")
        case "title":
            return {field: _line(value)}
        case _:
            return {field: _text(value)}
    return {field: value}


def _address(value: str) -> str:
    try:
        return parse_address(value).addr_spec
    except AddressError as error:
        raise ValueError(f"{_shown(value)}: {error}") from error


def _line(value: str, limit: int = MAX_LINE_CHARS) -> str:
    """One line for a header field: nothing in it may end the line (RFC 5322 2.2)."""
    if any(not char.isprintable() for char in value):
        raise ValueError(f"{_shown(value)} contains a line break or another control character")
    return _capped(value, limit)


def _text(value: str) -> str:
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    if any(not char.isprintable() and char != "\n" for char in value):
        raise ValueError(f"{_shown(value)} contains a control character")
    return _capped(value, MAX_TEXT_CHARS)


def _capped(value: str, limit: int) -> str:
    if len(value) > limit:
        raise ValueError(f"{_shown(value)} is longer than {limit} characters")
    return value


def _shown(value: str) -> str:
    cut = value if len(value) <= 60 else value[:60] + "…"
    return repr(cut) if not cut.isprintable() else f'"{cut}"'


def _option(field: str) -> str:
    return "--" + field.replace("_", "-") if field != "slug" else "SLUG"
