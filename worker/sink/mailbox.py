"""The sink's mails on disk, as another process reads them while they are written.

A folder of segments, each two append-only files named by the id of its first mail: `<id>.mails` holds raw mails one
after another, `<id>.index` one JSON line per mail, written after the mail. A line without its end, or one that cannot
be read, is a mail that was not accepted: kill -9 of the writer costs nothing that had a reply. Oldest segments vanish
whole. `MailboxWriter` (`sink.mailbox_writer`) is the only writer; any number of readers follow.
"""

import os
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

import orjson

from worker.received.fields import decode_words, visible

PAGE_SIZE = 50  # mails on a page of the inbox: some screens
PIECE = 64 * 1024  # octets of a mail read at a time
LONGEST_QUERY = 200  # characters: each word is looked for in every mail's line


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the inbox: what is known of a mail without opening it. Texts are decoded and cut."""

    id: int
    received_at: datetime
    mail_from: str
    rcpts: tuple[str, ...]
    sender: str
    subject: str
    size: int
    offset: int
    segment: str


@dataclass(frozen=True, slots=True)
class Page:
    """Entries newest first; `number` counts from 1 and lies within `pages`; `total` counts what the query finds."""

    entries: tuple[Entry, ...]
    number: int
    pages: int
    total: int
    stored: int


@dataclass(slots=True)
class _Followed:
    """A segment's index as read so far. Lines are looked at once when they come, and decoded when they are shown."""

    inode: int
    offset: int = 0
    lines: list[bytes] = field(default_factory=list)
    haystacks: list[str] = field(default_factory=list)
    """For search, made at the first one: case-folded recipients, sender, subject and return path of each line."""


class Mailbox:
    """Reads a mailbox that may be empty, growing, rotating or gone. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._segments: dict[str, _Followed] = {}

    def page(self, number: int = 1, query: str = "") -> Page:
        """Page `number` of what matches every word of `query` in recipient, sender, subject or return path."""
        words = _folded(query[:LONGEST_QUERY]).split()
        with self._lock:
            self._refresh()
            stored = sum(len(followed.lines) for followed in self._segments.values())
            matching = list(self._matching(words)) if words else None
            total = stored if matching is None else len(matching)
            pages = max(1, -(-total // PAGE_SIZE))
            number = min(max(1, number), pages)
            first = (number - 1) * PAGE_SIZE
            shown = list(islice(matching or self._newest_first(), first, first + PAGE_SIZE)) if total else []
        return Page(tuple(_read_line(segment, line) for segment, line in shown), number, pages, total, stored)

    def find(self, mail_id: int) -> Entry | None:
        """The entry with this id, or None when it never was or has been rotated away."""
        prefix = b'{"id":%d,' % mail_id
        with self._lock:
            self._refresh()
            for segment, followed in reversed(self._segments.items()):
                if segment.isdigit() and int(segment) <= mail_id:
                    line = next((line for line in followed.lines if line.startswith(prefix)), None)
                    return None if line is None else _read_line(segment, line)
        return None

    def raw(self, entry: Entry, limit: int | None = None) -> bytes | None:
        """The mail's octets, at most `limit`; None when its segment is gone or shorter than its index says."""
        size = entry.size if limit is None else min(limit, entry.size)
        try:
            with open(self._folder / f"{entry.segment}.mails", "rb") as mails:
                mails.seek(entry.offset)
                octets = mails.read(size)
        except FileNotFoundError:
            return None
        return octets if len(octets) == size else None

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """The mail's octets piece by piece; ends early when its segment goes meanwhile."""
        try:
            mails = open(self._folder / f"{entry.segment}.mails", "rb")  # noqa: SIM115 - closed by the generator's end
        except FileNotFoundError:
            return
        with mails:
            mails.seek(entry.offset)
            left = entry.size
            while left and (piece := mails.read(min(left, PIECE))):
                left -= len(piece)
                yield piece

    def _newest_first(self) -> Iterator[tuple[str, bytes]]:
        for segment, followed in reversed(self._segments.items()):
            for line in reversed(followed.lines):
                yield segment, line

    def _matching(self, words: list[str]) -> Iterator[tuple[str, bytes]]:
        for segment, followed in reversed(self._segments.items()):
            new = followed.lines[len(followed.haystacks) :]
            followed.haystacks.extend(map(_haystack, new))
            for line, haystack in zip(reversed(followed.lines), reversed(followed.haystacks), strict=True):
                if all(word in haystack for word in words):
                    yield segment, line

    def _refresh(self) -> None:
        try:
            names = sorted(name[: -len(".index")] for name in os.listdir(self._folder) if name.endswith(".index"))
        except FileNotFoundError:
            names = []
        known, self._segments = self._segments, {}
        for name in names:
            followed = self._follow(name, known.get(name))
            if followed is not None:
                self._segments[name] = followed

    def _follow(self, name: str, known: _Followed | None) -> _Followed | None:
        path = self._folder / f"{name}.index"
        try:
            status = path.stat()
            # The inode changes when the folder was emptied and began anew under the same names.
            if known is None or known.inode != status.st_ino or status.st_size < known.offset:
                known = _Followed(status.st_ino)
            if status.st_size == known.offset:
                return known
            with open(path, "rb") as index:
                index.seek(known.offset)
                octets = index.read()
        except FileNotFoundError:
            return None
        whole = octets.rfind(b"\n") + 1
        known.lines += [line for line in octets[:whole].split(b"\n") if line.startswith(b'{"id":') and _is_entry(line)]
        known.offset += whole
        return known


def _read_line(segment: str, line: bytes) -> Entry:
    values = orjson.loads(line)
    return Entry(
        id=values["id"],
        received_at=datetime.fromisoformat(values["at"]),
        mail_from=visible(values["mail_from"]),
        rcpts=tuple(map(visible, values["rcpts"])),
        sender=decode_words(values["from"].encode("latin-1")),
        subject=decode_words(values["subject"].encode("latin-1")),
        size=values["size"],
        offset=values["offset"],
        segment=segment,
    )


def _is_entry(line: bytes) -> bool:
    """Whether a line can be shown: what is counted and found must be what is listed."""
    try:
        values = orjson.loads(line)
        datetime.fromisoformat(values["at"])
        numbers = [values["id"], values["size"], values["offset"]]
        texts = [values["mail_from"], *values["rcpts"]]
        values["from"].encode("latin-1"), values["subject"].encode("latin-1")
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return all(type(one) is int and one >= 0 for one in numbers) and all(type(one) is str for one in texts)


def _haystack(line: bytes) -> str:
    values = orjson.loads(line)
    decoded = [decode_words(values[name].encode("latin-1")) for name in ("subject", "from")]
    return _folded("\n".join((*values["rcpts"], *decoded, values["mail_from"])))


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()
