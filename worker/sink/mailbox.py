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

from worker.sink.fields import decode_words, visible

PAGE_SIZE = 50
LONGEST_QUERY = 200


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
    haystack: str = field(repr=False)
    """Case-folded recipient, sender, subject and return path, for search."""


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
    inode: int
    offset: int = 0
    entries: list[Entry] = field(default_factory=list)


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
            stored = sum(len(followed.entries) for followed in self._segments.values())
            newest_first: Iterator[Entry] = self._newest_first()
            if words:
                found = [entry for entry in newest_first if all(word in entry.haystack for word in words)]
                total = len(found)
                newest_first = iter(found)
            else:
                total = stored
            pages = max(1, -(-total // PAGE_SIZE))
            number = min(max(1, number), pages)
            first = (number - 1) * PAGE_SIZE
            entries = tuple(islice(newest_first, first, first + PAGE_SIZE))
        return Page(entries, number, pages, total, stored)

    def find(self, mail_id: int) -> Entry | None:
        """The entry with this id, or None when it never was or has been rotated away."""
        with self._lock:
            self._refresh()
            for followed in reversed(self._segments.values()):
                entries = followed.entries
                if entries and entries[0].id <= mail_id <= entries[-1].id:
                    position = mail_id - entries[0].id
                    if position < len(entries) and entries[position].id == mail_id:
                        return entries[position]
                    return next((entry for entry in entries if entry.id == mail_id), None)
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

    def _newest_first(self) -> Iterator[Entry]:
        for followed in reversed(self._segments.values()):
            yield from reversed(followed.entries)

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
        for line in octets[:whole].splitlines():
            entry = _read_line(name, line)
            if entry is not None:
                known.entries.append(entry)
        known.offset += whole
        return known


def _read_line(segment: str, line: bytes) -> Entry | None:
    """One index line; None for a damaged one (a power cut may leave zeros)."""
    try:
        values = orjson.loads(line)
        subject = decode_words(values["subject"].encode("latin-1"))
        sender = decode_words(values["from"].encode("latin-1"))
        mail_from, rcpts = visible(values["mail_from"]), tuple(map(visible, values["rcpts"]))
        return Entry(
            id=values["id"],
            received_at=datetime.fromisoformat(values["at"]),
            mail_from=mail_from,
            rcpts=rcpts,
            sender=sender,
            subject=subject,
            size=values["size"],
            offset=values["offset"],
            segment=segment,
            haystack=_folded("\n".join((*rcpts, sender, subject, mail_from))),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
