"""A CSV file as spreadsheets write it, read twice: a survey that proves the whole file readable, then its rows.

The survey comes first so that a file in another encoding changes nothing at all. A row with a broken quote is one
row: the lines it would swallow are read again. Memory is bounded by a row, not by the file: rows, columns and cells
are capped.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from worker.consent.headings import is_email
from worker.errors import NotFoundError, Remedy, Trouble, UsageError

MAX_ROWS = 3_000_000  # all are read before the first change; more come in several files
MAX_COLUMNS = 16_384  # as many as a sheet of Excel has; few of them are kept
MAX_ROW_CHARS = 200_000
"""A reader has a few hundred; csv itself refuses a cell over 131,072."""

MAX_TEXT_CHARS = 4_000  # what is kept of a row that is not CSV

DELIMITERS = ",;\t|"
ESCAPES = {"backslash": "\\"}
"""How a program marks a quotation mark inside a cell, when not by doubling it."""

_SAMPLE_OCTETS = 65_536  # enough for a first row of all columns, to guess the delimiter by
_SAMPLE_ROWS = 50  # enough to find the column with the addresses

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What a file in this encoding begins with; UTF-32's first, because UTF-16's is its beginning."""


@dataclass(frozen=True)
class CsvFile:
    """A file the survey found readable. `rows` counts those below the header; `skip` lines stand above it."""

    path: Path
    name: str
    encoding: str
    delimiter: str
    escape: str | None
    skip: int
    header: tuple[str, ...]
    rows: int
    sample: tuple[tuple[str, ...], ...] = ()
    """The first rows, to tell by what stands in a column what it is."""


@dataclass(frozen=True)
class Broken:
    """A row that is not CSV: its first line as it stands, and what is wrong with it."""

    text: str
    reason: Trouble


Cells = list[str] | Broken


def survey(path: Path, encoding: str | None = None, *, escape: str | None = None, name: str | None = None) -> CsvFile:
    """Read the whole file once and return its shape. Without `encoding` it must be UTF-8, or begin with a mark.

    `name` is what errors call the file. Raises NotFoundError, or UsageError with the file and the line.
    """
    name = name or path.name
    if escape is not None and escape not in ESCAPES:
        raise UsageError("csv.no_such_escape", escape=escape, known=list(ESCAPES))
    try:
        codec = _codec(path, name, encoding)
        shape = CsvFile(path, name, codec, *_sniff(path, codec), header=(), rows=0)
        shape = replace(shape, escape=None if escape is None else ESCAPES[escape])
        return _surveyed(shape)
    except FileNotFoundError:
        raise NotFoundError("csv.no_file", path=str(path)) from None
    except OSError as error:
        raise UsageError("csv.unreadable", path=str(path), why=error.strerror) from error
    except UnicodeError:
        spelled = codec.removesuffix("-sig").upper()
        place = _undecodable_line(path, codec)
        raise UsageError("csv.other_encoding", file=name, line=place, encoding=spelled) from None


def _surveyed(shape: CsvFile) -> CsvFile:
    numbered_rows = _all_rows(shape)
    line, header = next(numbered_rows, (0, []))
    if isinstance(header, Broken):
        raise UsageError("csv.malformed", file=shape.name, line=line, cause=header.reason)
    if not header:
        raise UsageError("csv.empty", file=shape.name)
    if (columns := len(header)) > MAX_COLUMNS:
        raise UsageError("csv.too_many_columns", file=shape.name, line=line, columns=columns, limit=MAX_COLUMNS)
    header[0] = header[0].removeprefix("\ufeff")
    count, sample = 0, []
    for count, (line, cells) in enumerate(numbered_rows, start=1):
        if count > MAX_ROWS:
            raise UsageError("csv.too_many_rows", file=shape.name, limit=MAX_ROWS)
        if isinstance(cells, Broken):
            # Its other rows would be read wrong without anybody noticing: what stands for nothing, doubled signs.
            if shape.escape is None and '\\"' in cells.text:
                raise UsageError("csv.backslash", file=shape.name, line=line)
        elif count <= _SAMPLE_ROWS:
            sample.append(tuple(cell[:320] for cell in cells[:1_000]))
    return replace(shape, header=tuple(header), rows=count, sample=tuple(sample))


def rows(file: CsvFile) -> Iterator[tuple[int, Cells]]:
    """(line the row begins on, cells) of each row below the header, blank lines left out.

    Raises UsageError when the file is not the one surveyed any more.
    """
    try:
        for number, row in enumerate(_all_rows(file)):
            if number:
                yield row
    except (OSError, UnicodeError) as error:
        raise UsageError("csv.changed", file=file.name, remedy=Remedy.REPEAT) from error


def _all_rows(file: CsvFile) -> Iterator[tuple[int, Cells]]:
    with file.path.open(encoding=file.encoding, newline="") as text:
        for _ in range(file.skip):
            text.readline(MAX_ROW_CHARS)
        lines = _Lines(text, file)
        reader = csv.reader(
            lines, delimiter=file.delimiter, escapechar=file.escape, strict=True, skipinitialspace=True
        )  # fmt: skip
        while True:
            lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                broken = lines.break_off(_csv_reason(str(error)))
                yield lines.number, _without_padding(broken, file) or broken
            except _TooLongError:
                yield lines.number, lines.break_off(Trouble("csv.row_too_long", limit=MAX_ROW_CHARS))
            else:
                if any(cells):
                    yield lines.number, cells


def _without_padding(broken: Broken, file: CsvFile) -> list[str] | None:
    """The cells of a line whose only fault are blanks between a closing quotation mark and the next cell."""
    ends = re.escape(file.delimiter)
    mended = re.sub(rf'" +(?=[{ends}]|\Z)', '"', broken.text)
    if mended == broken.text or len(mended) >= MAX_TEXT_CHARS:
        return None
    try:
        (cells,) = csv.reader(
            [mended], delimiter=file.delimiter, escapechar=file.escape, strict=True, skipinitialspace=True
        )  # fmt: skip
    except csv.Error:
        return None
    return cells


class _TooLongError(Exception):
    """Raised when one row pulls more text than a row may have."""


class _Lines:
    """The lines csv pulls, with a cap on what one row may pull; those of the row at hand are kept, to go back to."""

    def __init__(self, text: io.TextIOWrapper, file: CsvFile) -> None:
        self._text = text
        self.number = 1 + file.skip
        self._pulled: list[str] = []
        self._again: list[str] = []
        self._chars = 0
        # MySQL writes \N for nothing; to csv it would be an escaped N.
        between = re.escape(file.delimiter)
        self._nothing = re.compile(rf"(?:^|(?<={between}))\\N(?=[{between}\r\n]|\Z)") if file.escape else None

    def begin_row(self) -> None:
        self.number += len(self._pulled)
        self._pulled = []
        self._chars = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._text.readline(MAX_ROW_CHARS + 1)
        if not line:
            raise StopIteration
        self._pulled.append(line)
        self._chars += len(line)
        if self._chars > MAX_ROW_CHARS:
            raise _TooLongError
        return line if self._nothing is None else self._nothing.sub("", line)

    def break_off(self, reason: Trouble) -> Broken:
        """Give the row up but for its first line: those after it are read again, as rows of their own."""
        first, *rest = self._pulled
        self._pulled = [first]
        self._again += reversed(rest)
        if len(first) > MAX_ROW_CHARS and not first.endswith(("\n", "\r")):
            while (more := self._text.readline(MAX_ROW_CHARS)) and not more.endswith(("\n", "\r")):
                pass
        return Broken(first.rstrip("\r\n")[:MAX_TEXT_CHARS], reason)


def _codec(path: Path, name: str, encoding: str | None) -> str:
    codec = None
    if encoding is not None:
        try:
            codec = codecs.lookup(encoding)
            if not getattr(codec, "_is_text_encoding", True):
                raise LookupError
        except (LookupError, ValueError):
            raise UsageError("csv.no_such_encoding", encoding=encoding) from None
    with path.open("rb") as file:
        sample = file.read(4_096)
    # A mark is a proof, whatever was named.
    marked = next((marked for mark, marked in _MARKS if sample.startswith(mark)), None)
    if marked is not None:
        return marked
    if codec is not None:
        return "utf-8-sig" if codec.name == "utf-8" else codec.name
    # Without a mark, every other octet of Latin text in UTF-16 is NUL.
    if sample.count(0) > len(sample) // 4:
        for wide in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            text = sample.decode(wide, "ignore")
            if "\0" not in text and any(sign in text for sign in ",;\t\n@"):
                raise UsageError("csv.utf_16", file=name, encoding=wide)
        raise UsageError("csv.nul", file=name)
    return "utf-8-sig"


def _sniff(path: Path, codec: str) -> tuple[str, None, int]:
    """(delimiter, no escape, lines above the header): the delimiter that gives the first line an address, or most
    columns. Lines without any text are no header."""
    with path.open(encoding=codec, newline="") as text:
        sample = text.read(_SAMPLE_OCTETS)
    lines = io.StringIO(sample, newline="").readlines()
    skip = 0
    while skip < len(lines) and not lines[skip].strip("\ufeff\r\n\t ,;|\"'"):
        skip += 1
    first = lines[skip].strip("\ufeff\r\n").strip('"') if skip < len(lines) else ""
    if first.lower().startswith("sep=") and len(first) == 5:  # Excel's own mark
        skip += 1
        if first[4] in DELIMITERS + ":^~":
            return first[4], None, skip
    rest = "".join(lines[skip:])
    best, most = ",", (False, False, 1)
    for delimiter in DELIMITERS:
        try:
            rows = csv.reader(io.StringIO(rest, newline=""), delimiter=delimiter, skipinitialspace=True)
            cells = next(rows, [])
        except csv.Error:
            continue
        worth = (any(map(is_email, cells)), not any('"' in cell for cell in cells), len(cells))
        if len(cells) > 1 and worth > most:
            best, most = delimiter, worth
    return best, None, skip


def _undecodable_line(path: Path, codec: str) -> int | None:
    """The first line that is not in this encoding; None when no single line shows it."""
    if codec.startswith(("utf-16", "utf-32")):
        return None
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_ROW_CHARS), b""), start=1):
            try:
                line.decode(codec)
            except UnicodeError:
                return number
    return None


def _csv_reason(said: str) -> Trouble:
    if "field larger" in said:
        return Trouble("csv.cell_too_long", limit=csv.field_size_limit())
    if "unexpected end of data" in said:
        return Trouble("csv.quote_never_closed")
    if "expected after" in said:
        return Trouble("csv.quote_not_doubled")
    return Trouble("csv.no_csv")
