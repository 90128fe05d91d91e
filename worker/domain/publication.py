"""What one subscribes to, and what an editor may type about it. Pure."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from typing import Any

from worker.domain.address import AddressError, parse_address
from worker.domain.link import judge_link
from worker.errors import Trouble, UsageError

MAX_LINE_CHARS = 200
MAX_TEXT_CHARS = 2_000

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}")
_MAILBOX = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>\s*")


class FieldError(UsageError, ValueError):
    """Raised when one field of a publication cannot be kept; every one carries the `value` as typed."""


@dataclass(frozen=True)
class Publication:
    """A publication as stored. Editors change all but `id` and `slug`; addresses are addr-specs (RFC 5321 4.1.2)."""

    id: int
    slug: str
    """Names it in commands, files and List-Id; never changes."""
    title: str
    """Its name in header fields and pages: one line."""
    from_name: str
    from_address: str
    """The From field of its issues: display name and mailbox (RFC 5322 3.6.2)."""
    postal_address: str
    """The publisher's, for the footer; may have several lines."""
    reply_to: str | None
    """Where answers go; None is the From address."""
    bounce_address: str | None
    """Where returned mail goes; None is right for a relay on this machine only."""
    contact: str
    """Whom readers may ask for help."""
    promise: str
    """What is done with an address, for footer and pages."""
    privacy_url: str | None
    language: str
    """BCP 47 tag."""
    zone: str
    """IANA name of its editors' time zone."""
    description: str
    """A sentence for the page that lists it; may be empty."""

    def as_dict(self) -> dict[str, Any]:
        """For --json, under the stable names."""
        return asdict(self)


DEFAULT_PROMISE = (
    "Your address is used only to send what you asked for. It is never passed on. "
    "This mail contains no tracking. One click ends it."
)

_NEW = Publication(0, "", "", "", "", "", None, None, "", DEFAULT_PROMISE, None, "en", "UTC", "")

_TYPED = (
    "slug", "title", "from", "postal_address", "reply_to", "bounce_address",
    "contact", "promise", "privacy_url", "language", "zone", "description",
)  # fmt: skip
"""What may be typed: the fields, with `from` as `Name <address>` for the two of the sender."""

_NULLABLE = ("reply_to", "bounce_address", "privacy_url")


def read_publication(
    typed: Mapping[str, str | None], zones: AbstractSet[str], base: Publication | None = None
) -> Publication:
    """Check what an editor typed and return the publication: `base` changed by it, or a new one with id 0.

    A missing or None field keeps its value; an empty one clears a field that may be empty. `zones` are the IANA names
    this machine knows. Raises UsageError that carries every wrong field with its value and what is allowed.
    """
    problems: dict[str, Trouble] = {}
    changes: dict[str, Any] = {}
    for field, value in typed.items():
        if field not in _TYPED:
            raise UsageError("publication.no_field", field=field, fields=list(_TYPED))
        if value is None:
            continue
        try:
            changes.update(_read_field(field, value.strip(), zones))
        except (FieldError, AddressError) as error:
            problems[field] = error.trouble
    publication = replace(base or _NEW, **changes)
    if not publication.contact and publication.from_address:
        publication = replace(publication, contact=publication.reply_to or publication.from_address)
    for field in ("slug", "title", "from", "postal_address"):
        kept = publication.from_address if field == "from" else getattr(publication, field)
        if not kept and field not in problems:
            problems[field] = Trouble("publication.required")
    if problems:
        wrong = [Trouble("publication.field", field=field, cause=cause) for field, cause in problems.items()]
        raise UsageError("publication.wrong", problems=wrong)
    return publication


def read_mailbox(typed: str) -> tuple[str, str]:
    """`Name <a@b>` as (name, addr-spec). One mailbox, no comments, groups or quotes.

    Raises FieldError, or AddressError for what stands between the brackets.
    """
    match = _MAILBOX.fullmatch(typed)
    if match is None:
        raise FieldError("publication.no_mailbox", value=typed)
    name = match["name"].strip('"').strip()
    if not name:
        raise FieldError("publication.no_name", value=typed)
    return _line(name), parse_address(match["address"]).addr_spec


def is_language_tag(value: str) -> bool:
    """True for the form of RFC 5646, which may stand in Content-Language and in a page's root."""
    return _LANGUAGE.fullmatch(value) is not None


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
                raise FieldError("publication.no_slug", value=value)
        case "language":
            if not is_language_tag(value):
                raise FieldError("publication.no_language", value=value)
        case "zone":
            if value not in zones:
                raise FieldError("publication.no_zone", value=value)
        case "privacy_url":
            _check_web_address(_line(value, MAX_TEXT_CHARS))
        case "title":
            return {field: _line(value)}
        case _:
            return {field: _text(value)}
    return {field: value}


def _check_web_address(value: str) -> None:
    fault = judge_link(value)
    if fault is not None and not fault.works:
        raise FieldError("publication.no_link", value=value, fault=fault.value, instead=fault.remedy)
    if not value.lower().startswith(("https:", "http:")):
        raise FieldError("publication.no_url", value=value)


def _address(value: str) -> str:
    try:
        return parse_address(value).addr_spec
    except AddressError as error:
        raise FieldError("publication.no_address", value=value, cause=error.trouble) from error


def _line(value: str, limit: int = MAX_LINE_CHARS) -> str:
    """One line for a header field: nothing in it may end the line (RFC 5322 2.2)."""
    if any(not char.isprintable() for char in value):
        raise FieldError("publication.not_one_line", value=value)
    return _capped(value, limit)


def _text(value: str) -> str:
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    if any(not char.isprintable() and char != "\n" for char in value):
        raise FieldError("publication.control", value=value)
    return _capped(value, MAX_TEXT_CHARS)


def _capped(value: str, limit: int) -> str:
    if len(value) > limit:
        raise FieldError("publication.too_long", value=value, limit=limit)
    return value
