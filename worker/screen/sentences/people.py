"""Sentences about publications, readers, imports, suppressions, opt-outs. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime

MOST_COLUMNS = 12
"""Headings of a file that a sentence lists."""


def _quoted(value: str) -> str:
    """A value as typed, cut, in quotation marks; escaped where it would not print."""
    cut = value if len(value) <= 60 else value[:60] + "…"
    return repr(cut) if not cut.isprintable() else f'"{cut}"'


def _plain(text: str, most: int = 40) -> str:
    """A heading of a file, cut, without what a terminal would obey."""
    cut = text if len(text) <= most else text[:most] + "…"
    return cut if cut.isprintable() else ascii(cut)[1:-1]


def _columns(texts: Sequence[str]) -> str:
    shown = [f"“{_plain(text)}”" for text in texts if text]
    return ", ".join(shown[:MOST_COLUMNS]) + (" …" if len(shown) > MOST_COLUMNS else "") if shown else "none"


def _option(field: str) -> str:
    return "--" + field.replace("_", "-") if field != "slug" else "SLUG"


def _slug(slug: str) -> str:
    return slug if len(slug) <= 64 and slug.isprintable() else ascii(slug[:64])


def _not_an_address(typed: str, cause: str) -> str:
    return f'"{ascii(typed)[1:-1] if not typed.isprintable() else typed}" is not a mailbox address: {cause}'


def _unknown_publication(slug: str, near: Sequence[str], some: Sequence[str]) -> str:
    hint = f"did you mean {' or '.join(near)}?" if near else f"there is {', '.join(some)}"
    return f"there is no publication {_slug(slug)}; {hint}"


def _left(publication: str, since: datetime | None) -> str:
    when = f" on {since:%Y-%m-%d}" if since else ""
    return f"this reader left {publication}{when}, so only the reader can come back, by Undo on the unsubscribe page"


def _no_subscription(address: str, publication: str | None) -> str:
    where = "to any publication" if publication is None else f"to {publication}"
    return (
        f"{address} has no subscription {where}, so there is nothing to end; to keep the address from"
        f" ever getting mail: corranto suppression add {address}"
    )


def _other_encoding(file: str, line: int | None, encoding: str) -> str:
    place = file if line is None else f"{file} line {line}"
    return (
        f"{place} is not {encoding}: save the file as “CSV UTF-8”, or name its encoding, for example --encoding cp1252"
    )


def _no_email(columns: Sequence[str], likely: str | None) -> str:
    return (
        f"there is no column email; there are {_columns(columns)}. Name the one with the addresses: "
        f"--map email='{_plain(likely or 'E-mail Address')}'"
    )


def _no_name(column: str, reserved: Sequence[str]) -> str:
    return (
        f"the column “{_plain(column)}” gives no name that a text could use: rename it, or --map "
        f"city='{_plain(column)}' (small letters, digits, underscores; not {', '.join(reserved)})"
    )


_ADDRESSES: dict[str, str | Callable[..., str]] = {
    "address.empty": "the address is empty",
    "address.blank_or_control": "the address contains a blank or a control character",
    "address.local_part_too_long": "the part before the @ is longer than {limit} octets",
    "address.too_long": "the address is longer than {limit} octets",
    "address.malformed": "{why}",
    "address.not_one": _not_an_address,
}

_PUBLICATIONS: dict[str, str | Callable[..., str]] = {
    "publication.wrong": lambda fields, causes: "\n".join(
        f"{_option(field)}: {cause}" for field, cause in zip(fields, causes, strict=True)
    ),
    "publication.required": "is required",
    "publication.no_mailbox": lambda value: f'{_quoted(value)} must look like "Name <news@example.org>"',
    "publication.no_name": lambda value: f"{_quoted(value)} has no name before the address",
    "publication.no_slug": lambda value: (
        f"{_quoted(value)} must be small letters, digits and single hyphens, at most 64"
    ),
    "publication.no_language": lambda value: f"{_quoted(value)} must be a language tag like en, de or pt-BR",
    "publication.no_zone": lambda value: (
        f"{_quoted(value)} is no time zone this machine knows; write one like Europe/Paris"
    ),
    "publication.no_url": lambda value: f"{_quoted(value)} must be a web address that begins with https://",
    "publication.no_address": lambda value, cause: f"{_quoted(value)}: {cause}",
    "publication.not_one_line": lambda value: f"{_quoted(value)} contains a line break or another control character",
    "publication.control": lambda value: f"{_quoted(value)} contains a control character",
    "publication.too_long": lambda value, limit: f"{_quoted(value)} is longer than {limit} characters",
    "publication.no_field": lambda field, fields: f"a publication has no field {field}; there are {', '.join(fields)}",
    "publication.exists": "publication {slug} exists already: change it with `corranto publication edit {slug}`",
    "publication.slug_stays": "the slug {slug} cannot change: mail programs file issues by it",
    "publication.none_yet": lambda slug: (
        f"there is no publication {_slug(slug)}, and none at all yet: `corranto publication create`"
    ),
    "publication.unknown": _unknown_publication,
    "publication.unknown_number": "there is no publication with the number {id}",
}

_READERS: dict[str, str | Callable[..., str]] = {
    "subscriber.unknown_address": (
        "no subscriber has this address (blanks, case and the domain's spelling were folded)"
    ),
    "subscriber.unknown_number": "there is no subscriber with the number {id}",
    "subscriber.erased_already": "subscriber {id} does not exist, or was erased already",
    "subscription.left": _left,
    "subscription.changed": "{address} changed just now: look with `corranto subscriber show` and repeat",
    "subscription.suppressed": (
        "{address} is on the do-not-mail list since {since:%Y-%m-%d} ({reason}): "
        "`corranto suppression remove` lifts that, if the reader wants it"
    ),
    "subscription.none": _no_subscription,
    "attribute.no_name": "{name!r} is no name for an attribute (small letters, digits, underscores)",
    "suppression.not_there": "this address is not suppressed: `corranto suppression list` shows those that are",
    "suppression.no_address": "{path} holds no address that can be read; nothing was changed",
    "suppression.no_email_column": lambda file, columns: (
        f"{file} has no email column; its columns are {', '.join(columns)[:200]}"
    ),
    "unsubscribe.one_of_two": "say which one ends: -p PUBLICATION, or --all of them",
    "export.one_of_two": "say what to export: an ADDRESS, or -p PUBLICATION",
    "export.exists": "{path} exists already: name another file",
    "export.unwritable": "{path} cannot be written ({why}): name a file in a folder of yours",
    "option.no_pair": "{option} {typed!r} must look like {form}",
}

_IMPORTS: dict[str, str | Callable[..., str]] = {
    "import.unknown": "there is no import {id}: `corranto import list` shows those there are",
    "import.undone_already": "import {id} was undone already",
    "consent.empty": ('--consent is empty: say where and when these readers asked, like "sign-up form, 2024-05-04"'),
    "consent.not_one_line": "--consent must be one line of at most {limit} characters",
    "rejects.is_source": "--rejects {file} is the file to import: name another",
    "rejects.unwritable": "--rejects {path} cannot be written ({why}): name a file in a folder of yours",
    "header.column_twice": lambda column: f"--map names the column “{_plain(column)}” twice",
    "header.column_repeated": lambda column, times: f"the column “{_plain(column)}” of --map is there {times} times",
    "header.no_column": lambda column, columns: (
        f"there is no column “{_plain(column)}” to --map; there are {_columns(columns)}"
    ),
    "header.no_email": _no_email,
    "header.no_name": _no_name,
    "header.two_columns": "two columns are called {name}: rename one, or use --map",
    "row.no_address": "{cause}",
    "row.more_cells": "more cells than the first line has columns",
    "row.no_language": "language is not a tag like en or pt-BR",
    "row.control": "{column} contains a control character",
    "row.too_long": "{column} is longer than {limit} characters",
    "row.no_date": "consent_at is not a date like 2024-05-04 or 2024-05-04T10:30:00+02:00",
    "row.outside_calendar": "consent_at is outside the calendar",
    "row.future": "consent_at lies in the future",
    "row.other": "other reasons",
}

_FILES: dict[str, str | Callable[..., str]] = {
    "csv.no_file": "there is no file {path}",
    "csv.unreadable": "{path} cannot be read: {why}",
    "csv.empty": "{file} is empty: its first line must name the columns, one of them email",
    "csv.too_many_columns": "{file} line {line}: {columns} columns; at most {limit} can be read",
    "csv.too_many_rows": "{file} has more than {limit} rows: split it into several files",
    "csv.row_too_long": (
        "{file} line {line}: a row is longer than {limit} characters; is a quotation mark never closed?"
    ),
    "csv.changed": "{file} changed while it was read: import it again",
    "csv.other_encoding": _other_encoding,
    "csv.utf_16": "{file} is in UTF-16, not UTF-8: save it as “CSV UTF-8”, or name it: --encoding utf-16",
    "csv.no_such_encoding": lambda encoding: (
        f"there is no encoding {encoding if encoding.isprintable() else ascii(encoding)}: "
        "write one like utf-8, cp1252 or iso-8859-15"
    ),
    "csv.malformed": "{file} line {line}: {cause}",
    "csv.cell_too_long": "a cell is longer than {limit} characters; is a quotation mark never closed?",
    "csv.quote_never_closed": "a quotation mark is opened and never closed",
    "csv.quote_not_doubled": "a quotation mark inside a quoted cell must be doubled",
    "csv.no_csv": "this line is not CSV",
}

SENTENCES: dict[str, str | Callable[..., str]] = {**_ADDRESSES, **_PUBLICATIONS, **_READERS, **_IMPORTS, **_FILES}
