"""What one row of an import means: which column is what, and which values may be kept. Pure.

Everything here was typed by someone else: addresses go through the one grammar, other values are capped and hold no
control characters, so that they are harmless in headers, templates, terminals and spreadsheets later.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from worker.domain.address import AddressError, parse_address
from worker.domain.compiled import SYSTEM_VARIABLES
from worker.domain.subscriber import ImportRow
from worker.errors import UsageError
from worker.tokens import instance_hash

MAX_NAME_CHARS = 200  # the longest name every issue is tried with (compose.rules_mail)
MAX_VALUE_CHARS = 500  # a sentence or two: values go into mails, and 100 columns of them stay one row
MAX_CONSENT_CHARS = 1_000  # one line that says where and how these readers agreed

_OWN = ("email", "name", "language", "consent_at")
_WORDS = frozenset(
    {"and", "or", "not", "in", "is", "if", "else", "elif", "for", "loop", "true", "false", "none", "self"}
)
"""Words that mean something inside a template, so no value can be called by them."""

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}")
_ISO_DATE = re.compile(r"(?<![0-9-])[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9-])")
_LINE_BREAKS = re.compile(r"[ \t]*[\r\n]+[ \t]*")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Controls, line separators and the bidirectional overrides that make a terminal or a header lie."""


class RowError(UsageError, ValueError):
    """Raised when a row cannot be imported; says why, without the value."""


@dataclass(frozen=True)
class Columns:
    """Which cell is what, by index; `attributes` are (index, variable name)."""

    email: int
    name: int | None
    language: int | None
    consent_at: int | None
    attributes: tuple[tuple[int, str], ...]
    count: int


def read_header(header: Sequence[str], mapping: Mapping[str, str]) -> Columns:
    """Find the columns; `mapping` says variable → header text. Columns without a heading are left out.

    Raises UsageError with the columns there are, or the heading that is no usable name.
    """
    texts = [text.strip() for text in header]
    indexes: dict[str, int] = {}
    mapped: set[int] = set()
    for name, text in mapping.items():
        index = _find(texts, text)
        if index in mapped:
            raise UsageError("header.column_twice", column=text)
        mapped.add(index)
        _claim(indexes, name.strip().lower(), index, text)
    for index, text in enumerate(texts):
        if index not in mapped and text:
            _claim(indexes, _variable(text), index, text)
    if "email" not in indexes:
        likely = next((text for text in texts if "mail" in text.lower()), None)
        raise UsageError("header.no_email", columns=texts, likely=likely)
    others = tuple((index, name) for name, index in indexes.items() if name not in _OWN)
    own = {name: indexes.get(name) for name in _OWN if name != "email"}
    return Columns(indexes["email"], own["name"], own["language"], own["consent_at"], others, len(texts))


def read_row(
    cells: Sequence[str],
    columns: Columns,
    pepper: bytes,
    consented: datetime | None,
    now: datetime,
    folds: Counter[str],
) -> ImportRow:
    """One reader. `consented` is the date all of them share, if any; `folds` counts what had to be folded.

    Raises RowError with the reason.
    """
    if len(cells) > columns.count and any(cell.strip() for cell in cells[columns.count :]):
        raise RowError("row.more_cells")
    try:
        address = parse_address(cells[columns.email] if columns.email < len(cells) else "")
    except AddressError as error:
        raise RowError("row.no_address", cause=error.trouble) from None
    name = _cell(cells, columns.name, "name", MAX_NAME_CHARS, folds)
    language = read_language(_cell(cells, columns.language, "language", MAX_VALUE_CHARS, folds))
    attributes = {}
    for index, variable in columns.attributes:
        if value := _cell(cells, index, variable, MAX_VALUE_CHARS, folds):
            attributes[variable] = value
    if columns.consent_at is not None:
        typed = _cell(cells, columns.consent_at, "consent_at", MAX_VALUE_CHARS, folds)
        consented = _time(typed, now) if typed else consented
    for fold in address.folds:
        folds[fold] += 1
    return ImportRow(
        instance_hash(pepper, address.key),
        address.addr_spec,
        name,
        language,
        json.dumps(attributes, ensure_ascii=False, separators=(",", ":")) if attributes else "{}",
        consented,
    )


def read_language(typed: str) -> str | None:
    """A BCP 47 tag, or None for nothing. Raises RowError."""
    if typed and not _LANGUAGE.fullmatch(typed):
        raise RowError("row.no_language")
    return typed or None


def is_variable(name: str) -> bool:
    """Whether a value of this name can be kept and used in a text."""
    taken = name in _OWN or name in _WORDS or name in SYSTEM_VARIABLES
    return not taken and _IDENTIFIER.fullmatch(name) is not None


def read_consent(text: str, now: datetime) -> tuple[str, datetime | None]:
    """The consent's evidence as kept, and its date when the text holds exactly one ISO date that is not in the future.

    Raises UsageError when there is no evidence.
    """
    text = text.strip()
    if not text:
        raise UsageError("consent.empty")
    if len(text) > MAX_CONSENT_CHARS or _CONTROL.search(text):
        raise UsageError("consent.not_one_line", limit=MAX_CONSENT_CHARS)
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


def _cell(cells: Sequence[str], index: int | None, name: str, limit: int, folds: Counter[str]) -> str:
    if index is None or index >= len(cells):
        return ""
    return read_value(cells[index], name, limit, folds)


def read_value(typed: str, name: str, limit: int, folds: Counter[str]) -> str:
    """A value as kept: no blanks around it, line breaks folded to one blank. Raises RowError."""
    value = typed.strip()
    if not value or (value.isascii() and value.isprintable() and len(value) <= limit):
        return value
    if "\n" in value or "\r" in value:
        value = _LINE_BREAKS.sub(" ", value)
        folds["line_breaks"] += 1
    if _CONTROL.search(value):
        raise RowError("row.control", column=name)
    if len(value) > limit:
        raise RowError("row.too_long", column=name, limit=limit)
    return value


def _time(typed: str, now: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(typed)
    except ValueError:
        raise RowError("row.no_date") from None
    try:
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        raise RowError("row.outside_calendar") from None
    # A day's grace: a local date may lie ahead of UTC.
    if at > now + timedelta(days=1):
        raise RowError("row.future")
    return at


def _find(texts: list[str], wanted: str) -> int:
    wanted = wanted.strip()
    for indexes in (
        [index for index, text in enumerate(texts) if text == wanted],
        [index for index, text in enumerate(texts) if text.casefold() == wanted.casefold()],
    ):
        if len(indexes) == 1:
            return indexes[0]
        if indexes:
            raise UsageError("header.column_repeated", column=wanted, times=len(indexes))
    raise UsageError("header.no_column", column=wanted, columns=texts)


def _claim(indexes: dict[str, int], name: str, index: int, text: str) -> None:
    if name not in _OWN and not is_variable(name):
        raise UsageError("header.no_name", column=text, reserved=list(SYSTEM_VARIABLES))
    if name in indexes:
        raise UsageError("header.two_columns", name=name)
    indexes[name] = index


def _variable(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") if text.isascii() else text
