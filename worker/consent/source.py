"""What a file of readers is before it is read as CSV: a file, a pipe, or something that is no text at all.

A pipe is copied to a private temporary file, because the whole of it is judged before the first reader is changed:
memory stays that of a block, whatever its size.
"""

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from worker.errors import NotFoundError, UsageError

STDIN = "-"

_BLOCK_OCTETS = 1 << 20
_HEAD_OCTETS = 4_096

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a", "rar"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "xls"),
    (b"%PDF-", "pdf"),
    (b"SQLite format 3\0", "sqlite"),
    (b"{\\rtf", "rtf"),
    (b"\x89PNG", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF8", "picture"),
    (b"%!PS", "postscript"),
)
_TEXTS = (
    (b"<!doctype html", "html"),
    (b"<html", "html"),
    (b"<table", "html"),
    (b"<?xml", "xml"),
    (b"<!--", "html"),
    (b"begin:vcard", "vcard"),
    (b"dn: ", "ldif"),
    (b"dn:: ", "ldif"),
    (b"version: 1", "ldif"),
    (b"[", "json"),
    (b"{", "json"),
)
"""What a file in another form begins with, blanks and capitals aside."""

_MAIL = re.compile(
    rb"(?:from [^\n]+\n)?(?:received|return-path|delivered-to|from|to|subject|date|message-id|mime-version|"
    rb"dkim-signature|arc-[a-z-]+|x-[a-z-]+): ?[^\n]*\n(?:[a-z-]+:|[ \t])"
)
"""How a mail begins: a header field, and another one or the rest of it on the next line."""


@dataclass(frozen=True)
class Source:
    """A regular file to read, and the name by which the person knows it."""

    path: Path
    name: str


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The file at `path`; "-", a pipe or a shell's `<(...)` as a temporary copy that only its owner can read.

    Raises NotFoundError, or UsageError for what cannot be read or is no text.
    """
    try:
        stream = _stream(path)
        if stream is None:
            source = Source(path, path.name)
            _refuse_other_forms(source)
            yield source
            return
        with stream, tempfile.NamedTemporaryFile(prefix="corranto-") as copy:
            shutil.copyfileobj(stream, copy, _BLOCK_OCTETS)
            copy.flush()
            source = Source(Path(copy.name), "standard input" if str(path) == STDIN else str(path))
            _refuse_other_forms(source)
            yield source
    except FileNotFoundError:
        raise NotFoundError("csv.no_file", path=str(path)) from None
    except OSError as error:
        raise UsageError("csv.unreadable", path=str(path), why=error.strerror or str(error)) from error


def _stream(path: Path) -> BinaryIO | None:
    """What to copy; None for a regular file, which can be read twice where it lies."""
    if str(path) in (STDIN, "/dev/stdin"):
        if str(path) != STDIN and path.is_file():
            return None
        return open(sys.stdin.fileno(), "rb", closefd=False)
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    if not stat.S_ISFIFO(mode) and not os.path.samefile(path, os.devnull):
        raise OSError(0, "it is neither a file nor a pipe")  # /dev/zero never ends
    return path.open("rb")


def _refuse_other_forms(source: Source) -> None:
    """A workbook or an archive is called what it is, not "another encoding"."""
    with source.path.open("rb") as file:
        head = file.read(_HEAD_OCTETS)
    form = next((form for magic, form in _MAGIC if head.startswith(magic)), None)
    if form is None and head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        form, inside = _in_zip(head, source.name)
        if form == "zip":
            raise UsageError("csv.zip", file=source.name, inside=inside)
    if form is None:
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        form = next((form for text, form in _TEXTS if start.startswith(text)), None)
        if form is None and _MAIL.match(start):
            form = "mail"
    if form is not None:
        raise UsageError("csv.other_form", file=source.name, form=form)


def _in_zip(head: bytes, name: str) -> tuple[str, str]:
    """(form, first name inside), from the first entry alone: a list of millions of names is never read."""
    length = int.from_bytes(head[26:28], "little")
    first = head[30 : 30 + length].decode("utf-8", "replace")
    if name.lower().endswith((".xlsx", ".xlsm")) or first.startswith(("[Content_Types]", "xl/", "_rels/", "docProps/")):
        return "xlsx", first
    if name.lower().endswith(".ods") or (first == "mimetype" and b"opendocument" in head):
        return "ods", first
    if name.lower().endswith(".numbers") or first.startswith(("Index/", "Data/", "Metadata/", "preview")):
        return "numbers", first
    return "zip", first
