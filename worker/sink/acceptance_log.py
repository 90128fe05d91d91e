"""A mail the sink has taken, and the log that proves when.

The acceptance log is an oracle for tests: one JSON line per mail, in the file before the reply is on the wire, so a
mail whose sender saw 2xx is always listed, and one listed without a reply is the sender's doubt made visible.
"""

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson

from worker import clock
from worker.received.fields import decode_words, find_field, head_of


@dataclass(frozen=True, slots=True)
class AcceptedMail:
    """One mail as it came off the wire: dot-stuffing undone, CRLF line ends, nothing added."""

    mail_from: str
    rcpts: tuple[str, ...]
    raw: bytes
    accepted_at: datetime


class AcceptanceLog:
    """Append-only file of JSON lines. Raises OSError when the file cannot be opened or written."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, mail: AcceptedMail) -> None:
        """One line: time, monotonic (s), message_id, mail_from, rcpt (list), size (octets), sha256 (hex)."""
        head = head_of(mail.raw)
        line = orjson.dumps(
            {
                "time": mail.accepted_at.isoformat(),
                "monotonic": clock.monotonic(),
                "message_id": decode_words(find_field(head, head.lower(), b"message-id")[:998]),
                "mail_from": mail.mail_from,
                "rcpt": mail.rcpts,
                "size": len(mail.raw),
                "sha256": hashlib.sha256(mail.raw).hexdigest(),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        write_all(self._fd, line)

    def close(self) -> None:
        os.close(self._fd)


def write_all(fd: int, octets: bytes) -> None:
    """Write everything or raise OSError (a full disk writes a part first)."""
    written = os.write(fd, octets)
    while written < len(octets):
        written += os.write(fd, octets[written:])
