"""Writes the sink's mailbox (format: `sink.mailbox`). One process at a time, held by a lock on the folder.

Mails are in the kernel when `append` returns, so kill -9 loses none that was answered; nothing is synced to disk,
because a power cut may cost a test mail. Every start begins a new segment, so a torn end is never written after.
"""

import fcntl
import os
from pathlib import Path

import orjson

from worker.errors import RefusedError
from worker.received.fields import LONGEST_SUMMARY, find_field, head_of
from worker.sink.acceptance_log import AcceptedMail, write_all

SEGMENTS = 20
"""A full mailbox has about this many segments: rotation drops a twentieth at a time."""
LARGEST_SEGMENT = 64 * 1024 * 1024  # octets after which a new one begins: a sixteenth of LARGEST_MAILBOX
LARGEST_MAILBOX = 1024 * 1024 * 1024
"""Octets kept at most, whatever the number of mails."""
MOST_SHOWN_RECIPIENTS = 20  # of one mail in the index, which a web process holds in memory
USUAL_LINE = 800  # octets of a mail's line in the index, when its fields are long and in any script
LARGEST_INDEX = 24 * 1024 * 1024
"""Octets of all index files together for a usual limit; a limit that asks for more mails gets USUAL_LINE for each."""


class MailboxWriter:
    """Appends mails, keeps at most `limit` of them. Raises RefusedError when another sink writes here."""

    def __init__(self, folder: Path, limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit
        self._per_segment = max(1, limit // SEGMENTS)
        self._lock_fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_fd)
            raise RefusedError("sink.folder_taken", folder=str(folder)) from None
        self._most_indexed = max(LARGEST_INDEX, limit * USUAL_LINE)
        self._kept: dict[str, tuple[int, int, int]] = {}
        """Finished segments, oldest first: name → (mails, octets, octets of the index)."""
        self._next_id = 1
        self._adopt()
        self._mails_fd = self._index_fd = -1
        self._name = ""
        self._count = self._size = self._indexed = 0

    def append(self, mail: AcceptedMail) -> int:
        """Keep one mail and return its id. Raises OSError when it cannot be kept; it then is not listed."""
        index_is_full = self._indexed >= self._most_indexed // SEGMENTS
        if self._count >= self._per_segment or self._size >= LARGEST_SEGMENT or index_is_full:
            self._end_segment()
        if self._mails_fd < 0:
            self._begin_segment()
        head = head_of(mail.raw)
        lowered = head.lower()
        line = orjson.dumps(
            {
                "id": self._next_id,
                "offset": self._size,
                "size": len(mail.raw),
                "at": mail.accepted_at.isoformat(),
                "mail_from": mail.mail_from,
                "rcpts": mail.rcpts[:MOST_SHOWN_RECIPIENTS],
                # Latin-1 carries any octets through JSON; the reader decodes.
                "subject": find_field(head, lowered, b"subject")[:LONGEST_SUMMARY].decode("latin-1"),
                "from": find_field(head, lowered, b"from")[:LONGEST_SUMMARY].decode("latin-1"),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        try:
            write_all(self._mails_fd, mail.raw)
            write_all(self._index_fd, line)
        except OSError:
            # What a full disk left behind is never written after.
            self._end_segment()
            raise
        mail_id = self._next_id
        self._next_id += 1
        self._count += 1
        self._size += len(mail.raw)
        self._indexed += len(line)
        return mail_id

    def close(self) -> None:
        self._end_segment()
        os.close(self._lock_fd)

    def _adopt(self) -> None:
        """Take over what earlier sinks left; ids go on after the last."""
        for index in sorted(self._folder.glob("*.index")):
            if not index.stem.isdigit():
                continue
            mails = index.with_suffix(".mails")
            lines = index.read_bytes()
            count = lines.count(b"\n")
            self._kept[index.stem] = (count, mails.stat().st_size if mails.exists() else 0, len(lines))
            self._next_id = max(self._next_id, int(index.stem) + max(1, count))

    def _begin_segment(self) -> None:
        self._make_room()
        self._name = f"{self._next_id:012d}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._mails_fd = os.open(self._folder / f"{self._name}.mails", flags, 0o600)
        self._index_fd = os.open(self._folder / f"{self._name}.index", flags, 0o600)
        self._count = self._size = self._indexed = 0

    def _end_segment(self) -> None:
        if self._mails_fd < 0:
            return
        os.close(self._mails_fd)
        os.close(self._index_fd)
        self._mails_fd = self._index_fd = -1
        self._kept[self._name] = (self._count, self._size, self._indexed)
        # After a failed append the next segment must not take this one's name.
        self._next_id = max(self._next_id, int(self._name) + 1)
        self._count = self._size = self._indexed = 0

    def _make_room(self) -> None:
        """Drop the oldest segments until a full new one fits."""
        mails, octets, indexed = (sum(kept[at] for kept in self._kept.values()) for at in range(3))
        most_indexed = self._most_indexed - self._most_indexed // SEGMENTS
        while self._kept and (
            mails + self._per_segment > self._limit
            or octets + LARGEST_SEGMENT > LARGEST_MAILBOX
            or indexed > most_indexed
        ):
            name = next(iter(self._kept))
            count, size, lines = self._kept.pop(name)
            mails, octets, indexed = mails - count, octets - size, indexed - lines
            (self._folder / f"{name}.index").unlink(missing_ok=True)
            (self._folder / f"{name}.mails").unlink(missing_ok=True)
