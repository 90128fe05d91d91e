"""One slot of a journal: 64 octets about one copy on its way. Pure.

A slot is believed only with its checksum, which covers its place in the file and the file's owner too: a zeroed,
torn, copied or moved one counts as damaged, never as a result.
"""

import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

OCTETS = 64

_BODY = struct.Struct("<cBHqIH11s3s8sdII4x")
"""60 octets: mark, format, port, claim, n, code, enhanced, verdict, fingerprint, at, issue, to_n."""
_SUM = struct.Struct("<I")
_FORMAT = 1


class Mark(Enum):
    """What the owner last wrote in a slot; it alone moves one on."""

    EMPTY = b"E"
    """Never used."""
    CLAIMED = b"C"
    """A claim, not a copy: its id, issue and numbers, so that it is known later even when nothing of it ever left."""
    ARMED = b"A"
    """The very next thing was the write that holds the body."""
    ANSWERED = b"R"
    """A reply was judged."""
    FREED = b"F"
    """Armed once, and then certainly not taken: it goes to another connection or back to the ledger."""


Where = tuple[int, int, int, float, bytes | None]
"""claim, n, port, at and fingerprint of a copy, as `Slot` has them."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What is known of one copy, or of one claim."""

    mark: Mark
    claim: int = 0
    """The claim it left under: the epoch that any later write must name."""
    n: int = 0
    """The row's number in the issue; of a claim the first one."""
    port: int = 0
    """Our end of the connection, as the relay's log names it."""
    at: float = 0.0
    """When it was armed, seconds since 1970 by the process's clock; shown to people, decides nothing."""
    fingerprint: bytes | None = None
    """8 octets over what the message was built from."""
    verdict: str = ""
    """Three letters for permanence, scope and phase; "" before a reply. Their meaning is the dispatcher's."""
    code: int | None = None
    enhanced: str | None = None
    issue: int = 0
    """Of a claim."""
    to_n: int = 0
    """Of a claim: its last number."""


def pack(slot: Slot, seed: int) -> bytes:
    """64 octets. `seed` names file and place, see `seed_of`."""
    where = slot.claim, slot.n, slot.port, slot.at, slot.fingerprint
    return pack_copy(slot.mark.value, where, slot.verdict, slot.code, slot.enhanced, slot.issue, slot.to_n, seed=seed)


def pack_copy(
    mark: bytes,
    where: Where,
    verdict: str = "",
    code: int | None = None,
    enhanced: str | None = None,
    issue: int = 0,
    to_n: int = 0,
    *,
    seed: int,
) -> bytes:
    """`pack` without the value: two of these are written for each mail."""
    claim, n, port, at, fingerprint = where
    body = _BODY.pack(
        mark,
        _FORMAT,
        port,
        claim,
        n,
        code or 0,
        enhanced.encode() if enhanced else b"",
        verdict.encode(),
        fingerprint or b"",
        at,
        issue,
        to_n,
    )
    return body + _SUM.pack(zlib.crc32(body, seed))


def unpack(octets: bytes, seed: int) -> Slot | None:
    """The slot, None when it is damaged."""
    body, told = octets[: _BODY.size], octets[_BODY.size :]
    if len(octets) != OCTETS or told != _SUM.pack(zlib.crc32(body, seed)):
        return None
    mark, form, port, claim, n, code, enhanced, verdict, fingerprint, at, issue, to_n = _BODY.unpack(body)
    if form != _FORMAT:
        return None  # written by another version: its checksum holds, its meaning is unknown
    try:
        return Slot(
            mark=Mark(mark),
            claim=claim,
            n=n,
            port=port,
            at=at,
            fingerprint=fingerprint if fingerprint.strip(b"\0") else None,
            verdict=verdict.rstrip(b"\0").decode("ascii"),
            code=code or None,
            enhanced=enhanced.rstrip(b"\0").decode("ascii") or None,
            issue=issue,
            to_n=to_n,
        )
    except ValueError:
        return None


def seed_of(worker_id: str, place: int) -> int:
    """What a slot's checksum begins with: a slot of another file, or from another place in it, does not match."""
    return zlib.crc32(b"%d %s" % (place, worker_id.encode()))


def whereabouts(port: int, at: float) -> str:
    """Over which connection a copy left, and when, in words for whoever searches the relay's log."""
    return f"it left from our port {port} at {datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"
