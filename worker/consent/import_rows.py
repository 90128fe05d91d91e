"""What one row of an import means: which values are kept, and what had to be folded. Pure.

Everything here was typed by someone else: addresses go through the one grammar, other values are capped and hold no
control characters, so that they are harmless in headers, templates, terminals and spreadsheets later. Only its address
can keep a reader out; any other value is folded or emptied, and counted.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

from worker.consent.cells import is_nothing, unguarded, unwrapped
from worker.consent.dates import DateOrder, read_time
from worker.consent.headings import Columns
from worker.domain.address import Address, AddressError, parse_address
from worker.domain.subscriber import ImportRow
from worker.errors import Trouble, UsageError
from worker.log import scrub
from worker.tokens import instance_hash

MAX_NAME_CHARS = 200  # the longest name every issue is tried with (compose.rules_mail)
MAX_VALUE_CHARS = 500  # a sentence or two: values go into mails, and 100 columns of them stay one row
MAX_CONSENT_CHARS = 1_000  # one line that says where and how these readers agreed

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}")
_LOCALE_END = re.compile(r"[.@].*")  # en_US.UTF-8, de_DE@euro
_ISO_DATE = re.compile(r"(?<![0-9-])[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9-])")
_BREAKS = re.compile("[ \t]*[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+[ \t]*")
_TABS = re.compile("[\t\x1f]+")
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Controls, line separators, the bidirectional overrides that make a terminal or a header lie; all an import drops."""
_DROPPED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""What goes without a trace: controls, direction marks, signs without width but the joiners that scripts need."""


class RowError(UsageError, ValueError):
    """Raised when a row cannot be imported; says why, without the value."""


def read_row(
    cells: Sequence[str],
    columns: Columns,
    pepper: bytes,
    consented: datetime | None,
    now: datetime,
    folds: Counter[str],
    dates: DateOrder | None = None,
) -> ImportRow:
    """One reader. `consented` is the date all of them share, if any; `folds` counts what had to be folded.

    Raises RowError with the reason.
    """
    if len(cells) > columns.count and any(cell.strip() for cell in cells[columns.count :]):
        raise RowError("row.more_cells")
    address = read_cell(cells[columns.email] if columns.email < len(cells) else "")
    name = _cell(cells, columns.name, MAX_NAME_CHARS, folds)
    if columns.name_parts and not name:
        parts = (_cell(cells, index, MAX_NAME_CHARS, folds) for index in columns.name_parts)
        name = " ".join(part for part in parts if part)[:MAX_NAME_CHARS].rstrip()
    attributes = {}
    for index, variable in columns.attributes:
        if index < len(cells) and cells[index] and (value := read_value(cells[index], MAX_VALUE_CHARS, folds)):
            attributes[variable] = value
    if columns.consent_at is not None and (typed := _cell(cells, columns.consent_at, MAX_VALUE_CHARS, folds)):
        at = read_time(typed, now, dates)
        if at is None and typed.strip("0-: "):
            folds["date"] += 1
        consented = at or consented
    for fold in address.folds:
        folds[fold] += 1
    return ImportRow(
        instance_hash(pepper, address.key),
        address.addr_spec,
        name,
        _language(_cell(cells, columns.language, MAX_VALUE_CHARS, folds), folds),
        json.dumps(attributes, ensure_ascii=False, separators=(",", ":")) if attributes else "{}",
        consented,
    )


def read_cell(typed: str) -> Address:
    """The address in a cell, without the guard of a spreadsheet and what was copied around it. Raises RowError."""
    text = unguarded(typed) if typed[:1] == "'" else typed
    try:
        return parse_address(text)
    except AddressError as error:
        trouble = error.trouble
    bare = unwrapped(text)
    if bare != text.strip():
        try:
            address = parse_address(bare)
        except AddressError as error:
            trouble = error.trouble
        else:
            return Address(address.addr_spec, address.key, (*address.folds, "wrapped"))
    if text.count("@") > 1 and len(re.findall(r"[^\s;,<>]+@[^\s;,<>]+", text)) > 1:
        trouble = Trouble("address.several")
    raise RowError("row.no_address", cause=trouble)


def typed_value(typed: str, name: str, limit: int) -> str:
    """A value that a person gives by hand, who can be asked again: nothing of it is dropped. Raises RowError."""
    value = _BREAKS.sub(" ", typed.strip()) if "\n" in typed or "\r" in typed else typed.strip()
    if _CONTROL.search(value):
        raise RowError("row.control", column=name)
    if len(value) > limit:
        raise RowError("row.too_long", column=name, limit=limit)
    return value


def typed_language(typed: str) -> str | None:
    """A BCP 47 tag given by hand, or None for nothing. Raises RowError."""
    if typed and not _LANGUAGE.fullmatch(typed):
        raise RowError("row.no_language", typed=typed[:80])
    return typed or None


def read_consent(text: str, now: datetime) -> tuple[str, datetime | None]:
    """The consent's evidence as kept, and its date when the text holds exactly one ISO date that is not in the future.

    Raises UsageError when there is no evidence.
    """
    text = text.strip()
    if not text:
        raise UsageError("consent.empty")
    if len(text) > MAX_CONSENT_CHARS or _CONTROL.search(text):
        raise UsageError("consent.not_one_line", limit=MAX_CONSENT_CHARS)
    text = scrub(text)  # it is kept for every reader it spoke of, also after one of them was erased
    dates = set()
    for match in _ISO_DATE.findall(text):
        try:
            dates.add(date.fromisoformat(match))
        except ValueError:
            continue
    if len(dates) != 1:
        return text, None
    day = datetime.combine(dates.pop(), datetime.min.time(), UTC)
    return text, day if day <= now else None


def read_value(typed: str, limit: int, folds: Counter[str]) -> str:
    """A value as kept: no blanks around it, on one line, without what nobody sees, as long as it may be."""
    value = typed.strip()
    if not value:
        return value
    if value[0] == "'" and (bare := unguarded(value)) != value:
        # Guarded: text as it stands, even where it would mean nothing.
        value = bare
    elif is_nothing(value):
        folds["nothing"] += 1
        return ""
    if value.isascii() and value.isprintable() and len(value) <= limit:
        return value
    for fold, pattern, by in (("line_breaks", _BREAKS, " "), ("tabs", _TABS, " "), ("unseen", _DROPPED, "")):
        kept = pattern.sub(by, value)
        if kept != value:
            folds[fold] += 1
            value = kept.strip()
    if len(value) > limit:
        folds["cut"] += 1
        value = value[:limit].rstrip()
    return value


def _cell(cells: Sequence[str], index: int | None, limit: int, folds: Counter[str]) -> str:
    if index is None or index >= len(cells):
        return ""
    return read_value(cells[index], limit, folds)


def _language(typed: str, folds: Counter[str]) -> str | None:
    """A BCP 47 tag: a computer's locale becomes one, another word none."""
    if not typed or _LANGUAGE.fullmatch(typed):
        return typed or None
    tag = _LOCALE_END.sub("", typed).replace("_", "-")
    if _LANGUAGE.fullmatch(tag):
        folds["locale"] += 1
        return tag
    folds["language"] += 1
    return None
