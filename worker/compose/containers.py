"""What the head of a picture says before it is decoded; animations without what they say of their maker. Pure.

A decoder's memory and time follow from a few numbers in the file; read here, they are bounded before a decoder sees it.
Each function raises ValueError for a file whose structure is broken. PNG 1.2 and APNG 1.0, JPEG (ITU T.81), GIF89a,
WebP (RFC 9649).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MOST_SCANS = 100
"""Of a JPEG: each is a walk over the whole picture; programs write about ten."""
MOST_PARTS = 50_000
"""Chunks, blocks or segments of one file that are looked at: an animation of half an hour has fewer."""

_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf"})
_APNG_KEPT = (_PNG_KEPT - {b"eXIf"}) | {b"acTL", b"fcTL", b"fdAT"}
_JPEG_HEADS = (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0")
"""How the segments begin that say how a picture is to be turned; the first of each counts."""
_LARGEST_PROFILE = 4_000_000  # unpacked octets of a colour profile: printers' tables reach two million


@dataclass(frozen=True)
class Facts:
    """Size in pixels, frames (1 for a still), octets its decoder holds, and octets each pixel of these takes."""

    width: int
    height: int
    frames: int = 1
    decoded: int = 0
    gamma: float = 0.0
    """What a PNG without profile says of its brightness (gAMA), 0 when nothing."""
    depth: int = 8
    """Bits of a channel of a PNG."""
    grey: bool = False
    """Whether a PNG holds light and dark only, with or without what is see-through."""
    lossless: bool = False
    animation: bytes = b""
    """The same animation without any text, place or program in it; b"" for a still."""
    still: bytes = b""
    """A PNG or JPEG without its texts and other cargo, which decoders hold many times over; b"" for other kinds."""


def read_facts(kind: str, data: bytes) -> Facts:
    """The facts of a PNG, JPEG, GIF or WebP. Raises ValueError."""
    try:
        return {"png": _png, "jpeg": _jpeg, "gif": _gif, "webp": _webp}[kind](data)
    except (IndexError, struct.error, zlib.error) as error:
        raise ValueError("the file ends too early") from error


def _png(data: bytes) -> Facts:
    chunks = list(_png_chunks(data))
    first, header = chunks[0][0], data[16:29]
    if first != b"IHDR" or len(header) < 13 or not any(name == b"IDAT" for name, _, _ in chunks):
        raise ValueError("no header")
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    depth, colours = header[8], header[9]
    names = {name for name, _, _ in chunks}
    frames, gamma = 1, 0.0
    for name, start, end in chunks:
        body = data[start + 8 : end - 4]
        if name == b"acTL":
            frames = int.from_bytes(body[:4])
        elif name == b"gAMA" and not names & {b"iCCP", b"sRGB"}:
            gamma = int.from_bytes(body[:4]) / 100_000
        elif name == b"iCCP":
            _check_profile(body)
    octets = (2 if depth == 16 else 1) if colours in (0, 3) else 4
    moves = frames > 1 and sum(name == b"fcTL" for name, _, _ in chunks) == frames
    return Facts(
        width,
        height,
        frames if moves else 1,
        width * height * octets,
        gamma,
        depth,
        colours in (0, 4),
        lossless=True,
        animation=_png_of(data, chunks, _APNG_KEPT) if moves else b"",
        still=_png_of(data, chunks, _PNG_KEPT),
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 8
    for _ in range(MOST_PARTS):
        if at >= len(data):
            break
        name, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        if end > len(data) or len(name) < 4:
            raise ValueError("the file ends too early")
        yield name, at, end
        if name == b"IEND":
            return
        at = end
    raise ValueError("the file ends too early")


def _png_of(data: bytes, chunks: list[tuple[bytes, int, int]], kept: frozenset[bytes]) -> bytes:
    view = memoryview(data)
    return b"".join([data[:8], *(view[start:end] for name, start, end in chunks if name in kept)])


def _check_profile(body: bytes) -> None:
    unpacker = zlib.decompressobj()
    unpacker.decompress(body[body.index(b"\0") + 2 :], _LARGEST_PROFILE)
    if unpacker.unconsumed_tail:
        raise ValueError("the colour profile is too large")


def _jpeg(data: bytes) -> Facts:
    """A picture in several scans is held whole as coefficients, two octets each, whatever size is wanted of it."""
    at, frame, kind = 2, b"", 0
    kept = [slice(0, 2)]
    heads = list(_JPEG_HEADS)
    for _ in range(MOST_PARTS):
        if data[at] != 0xFF:
            raise ValueError("no marker where one must stand")
        if data[at + 1] == 0xFF:  # filling
            at += 1
            continue
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            kind, frame = marker, data[at + 4 : end]
        if marker == 0xDA:
            break
        if _is_needed(marker, data[at + 4 : at + 40], heads):
            kept.append(slice(at, end))
        at = end
    else:
        raise ValueError("too many segments")
    height, width, parts = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5]), frame[5]
    factors = [(frame[7 + 3 * part] >> 4, frame[7 + 3 * part] & 15) for part in range(parts)]
    if not factors or not all(across and down for across, down in factors):
        raise ValueError("no components")
    share = sum(across * down for across, down in factors) / (max(a for a, _ in factors) * max(d for _, d in factors))
    in_scans = kind in (0xC2, 0xCA) or data[at + 4] < parts
    if in_scans and data.count(b"\xff\xda") > MOST_SCANS:
        raise ValueError("too many scans")
    view = memoryview(data)
    still = b"".join([*(view[part] for part in kept), view[at:]])
    return Facts(width, height, decoded=round(width * height * share * 2) if in_scans else 0, still=still)


def _is_needed(marker: int, body: bytes, heads: list[bytes]) -> bool:
    """Whether the picture would look different without this segment of a JPEG; takes from `heads` what was found."""
    if marker in (0xE0, 0xEE) or (marker != 0xFE and not 0xE0 <= marker <= 0xEF):
        return True  # the file's own form and Adobe's colours, and all that is no program's own
    if marker == 0xE2:
        return body.startswith(b"ICC_PROFILE\0")
    found = [head for head in heads if marker == 0xE1 and body.startswith(head)]
    heads[:] = [head for head in heads if head not in found]
    return bool(found)


def _gif(data: bytes) -> Facts:
    """Blocks as they follow one another. Comments, texts and what programs wrote for themselves are left out.

    A picture beyond the canvas makes a decoder enlarge it, so the size is that of all together.
    """
    at = 13 + _gif_colours(data[10])
    pieces, frames, loops = [data[:at]], 0, False
    control = b""
    width, height = struct.unpack("<HH", data[6:10])
    for _ in range(MOST_PARTS):
        start = at
        if at >= len(data) or data[at] == 0x3B:  # many programs forget the end
            break
        if data[at] == 0x2C:
            left, top, across, down = struct.unpack("<HHHH", data[at + 1 : at + 9])
            width, height = max(width, left + across), max(height, top + down)
            at = _gif_skip(data, at + 11 + _gif_colours(data[at + 9]))
            pieces += [control, data[start:at]]
            frames, control = frames + 1, b""
        elif data[at] == 0x21:
            at = _gif_skip(data, at + 2)
            block = data[start:at]
            if block[1] == 0xF9:
                control = block
            elif block[1] == 0xFF and block[3:14] in (b"NETSCAPE2.0", b"ANIMEXTS1.0") and not loops:
                pieces.append(block)
                loops = True
        else:
            raise ValueError("no block where one must stand")
    else:
        raise ValueError("too many blocks")
    if not frames:
        raise ValueError("no picture in it")
    animation = b"".join([*pieces, b"\x3b"]) if frames > 1 else b""
    return Facts(width, height, frames, width * height * (4 if frames == 1 else 12), lossless=True, animation=animation)


def _gif_colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_skip(data: bytes, at: int) -> int:
    """Behind the sub-blocks that begin at `at`."""
    while data[at]:
        at += 1 + data[at]
    return at + 1


def _webp(data: bytes) -> Facts:
    """The decoder holds a canvas twice, its octets and the picture: up to 17 octets a pixel were measured."""
    at, frames, size, lossless = 12, 0, (0, 0), False
    for _ in range(MOST_PARTS):
        if at + 8 > len(data):
            break
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + min(length, 32)]
        if name == b"VP8X":
            size = (int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
        elif name == b"ANMF":
            frames += 1
        elif name == b"VP8L":
            lossless = True
            bits = int.from_bytes(body[1:5], "little")
            size = max(size, ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        elif name == b"VP8 ":
            sides = (body[6:8], body[8:10])
            size = max(size, (int.from_bytes(sides[0], "little") & 0x3FFF, int.from_bytes(sides[1], "little") & 0x3FFF))
        at += 8 + length + (length & 1)
    width, height = size
    return Facts(width, height, max(1, frames), width * height * 17, lossless=lossless)
