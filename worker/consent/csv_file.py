"""A CSV file as spreadsheets write it, read twice: a survey that proves the whole file readable, then its rows.

The survey comes first so that a file in another encoding, or broken in its last line, changes nothing at all. Memory
is bounded by a row, not by the file: rows, columns and cells are capped (a quote never closed would swallow the rest).
"""

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from worker.errors import NotFoundError, Remedy, Trouble, UsageError

MAX_ROWS = 3_000_000  # all are read before the first change; more come in several files
MAX_COLUMNS = 100  # an address and what texts use of a person need a few; hundreds are another kind of file
MAX_ROW_CHARS = 200_000
"""A reader has a few hundred; csv itself refuses a cell over 131,072."""

DELIMITERS = ",;\t|"
_SAMPLE_OCTETS = 65_536  # enough for a first row of all columns, to guess the delimiter by

_UTF_16_OR_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class CsvFile:
    """A file the survey found readable. `rows` counts those below the header; `skip` lines stand above it."""

    path: Path
    encoding: str
    delimiter: str
    skip: int
    header: tuple[str, ...]
    rows: int


def survey(path: Path, encoding: str | None = None) -> CsvFile:
    """Read the whole file once and return its shape. Without `encoding` it must be UTF-8, with or without BOM.

    Raises NotFoundError, or UsageError with the file and the line.
    """
    try:
        codec = _codec(path, encoding)
        shape = CsvFile(path, codec, *_sniff(path, codec), header=(), rows=0)
        numbered_rows = _all_rows(shape)
        line, header = next(numbered_rows, (0, []))
        if not header:
            raise UsageError("csv.empty", file=path.name)
        if (columns := len(header)) > MAX_COLUMNS:
            raise UsageError("csv.too_many_columns", file=path.name, line=line, columns=columns, limit=MAX_COLUMNS)
        count = 0
        for count, _ in enumerate(numbered_rows, start=1):
            if count > MAX_ROWS:
                raise UsageError("csv.too_many_rows", file=path.name, limit=MAX_ROWS)
    except FileNotFoundError:
        raise NotFoundError("csv.no_file", path=str(path)) from None
    except OSError as error:
        raise UsageError("csv.unreadable", path=str(path), why=error.strerror) from error
    except UnicodeError:
        name = codec.removesuffix("-sig").upper()
        place = _undecodable_line(path, codec)
        raise UsageError("csv.other_encoding", file=path.name, line=place, encoding=name) from None
    return replace(shape, header=tuple(header), rows=count)


def rows(file: CsvFile) -> Iterator[tuple[int, list[str]]]:
    """(line the row begins on, cells) of each row below the header, blank lines left out.

    Raises UsageError when the file is not the one surveyed any more.
    """
    try:
        for number, row in enumerate(_all_rows(file)):
            if number:
                yield row
    except (OSError, UnicodeError) as error:
        raise UsageError("csv.changed", file=file.path.name, remedy=Remedy.REPEAT) from error


def _all_rows(file: CsvFile) -> Iterator[tuple[int, list[str]]]:
    with file.path.open(encoding=file.encoding, newline="") as text:
        for _ in range(file.skip):
            text.readline(MAX_ROW_CHARS)
        lines = _Lines(text, file.path.name, file.skip)
        reader = csv.reader(lines, delimiter=file.delimiter, strict=True)
        line = 1 + file.skip
        try:
            for cells in reader:
                if any(cells):
                    yield line, cells
                line = 1 + file.skip + reader.line_num
                lines.row_chars = 0
        except csv.Error as error:
            raise UsageError("csv.malformed", file=file.path.name, line=line, cause=_csv_reason(str(error))) from None


class _Lines:
    """The lines csv pulls, with a cap on what one row may pull before it ends."""

    def __init__(self, text: io.TextIOWrapper, name: str, skip: int) -> None:
        self._text = text
        self._name = name
        self._line = skip
        self.row_chars = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(MAX_ROW_CHARS + 1):
            self._line += 1
            self.row_chars += len(line)
            if self.row_chars > MAX_ROW_CHARS:
                raise UsageError("csv.row_too_long", file=self._name, line=self._line, limit=MAX_ROW_CHARS)
            yield line


def _codec(path: Path, encoding: str | None) -> str:
    if encoding is not None:
        try:
            codec = codecs.lookup(encoding)
            if not getattr(codec, "_is_text_encoding", True):
                raise LookupError
        except LookupError:
            raise UsageError("csv.no_such_encoding", encoding=encoding) from None
        return "utf-8-sig" if codec.name == "utf-8" else codec.name
    with path.open("rb") as file:
        sample = file.read(4_096)
    # Without a mark, every other octet of Latin text in UTF-16 is NUL.
    if sample.startswith(_UTF_16_OR_32) or sample.count(0) > len(sample) // 4:
        raise UsageError("csv.utf_16", file=path.name)
    return "utf-8-sig"


def _sniff(path: Path, codec: str) -> tuple[str, int]:
    """(delimiter, lines above the header): the delimiter that gives the first line most columns."""
    with path.open(encoding=codec, newline="") as text:
        sample = text.read(_SAMPLE_OCTETS)
    first = sample.splitlines()[0] if sample else ""
    if first.lower().startswith("sep=") and len(first) == 5:  # Excel's own mark
        return first[4], 1
    best, most = ",", 1
    for delimiter in DELIMITERS:
        try:
            cells = next(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter), [])
        except csv.Error:
            continue
        if len(cells) > most:
            best, most = delimiter, len(cells)
    return best, 0


def _undecodable_line(path: Path, codec: str) -> int | None:
    """The first line that is not in this encoding; None when no single line shows it."""
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
