"""Pictures and files beside an issue → hosted items with a name made of their content.

Reads files, so it is not pure. A still picture is decoded and written anew, an animation keeps nothing but its pictures
and their pace: whatever else a file carried (place, camera, thumbnail, script) is gone. What a file is, its octets say
and not its name. Names are content hashes: a URL never changes meaning and never says who asks. A crash here leaves
nothing behind.
"""

import hashlib
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.compose.animations import is_too_large, rewrite_animation
from worker.compose.containers import Facts, read_facts
from worker.compose.file_kinds import PICTURES, fits_suffix, kind_of
from worker.compose.pictures import rewrite, small_copy
from worker.errors import UsageError

MAX_PICTURE_BYTES = 25_000_000  # more than a camera's JPEG; it is read whole
MAX_FILE_BYTES = 20_000_000  # a hosted file is downloaded once by many readers at the same minute
MAX_SIDE = 12_000  # pixels: what cameras make; a picture one pixel wide and millions high is none
MAX_PIXELS = 100_000_000  # of a JPEG that can be decoded at a fraction of its size
MAX_DECODED = 72_000_000
"""Octets a decoder may hold: with a process's own 90 MB it stays below 200 MB."""
MAX_WIDTH = 1200  # two device pixels for each of the layout's 600
MAX_LARGE_WIDTH = 2400  # of a figure opened alone on its page: twice MAX_WIDTH

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".gif", ".webp"})
FOREIGN_SUFFIXES = frozenset(
    {
        *(".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".psd", ".eps", ".ps", ".ai", ".ico", ".jxl", ".jp2"),
        *(".svg", ".svgz", ".apng", ".mpo", ".dng", ".raw", ".cr2", ".nef"),
    }
)
"""Of pictures too, so that they are judged as such, by what is in them."""
FILE_TYPES = {
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".csv": "text/csv",
    ".ics": "text/calendar",
    ".zip": "application/zip",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
}
_IMAGE_TYPES = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif"}
_DECODER_TROUBLE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    struct.error,
    RuntimeError,
)
"""All that decoders were seen to raise for broken files."""


@dataclass(frozen=True)
class MediaItem:
    """A hosted picture or file. `name` is `{sha256}.{ext}`; `width` and `height` are pixels, 0 for files."""

    name: str
    content_type: str
    width: int
    height: int
    data: bytes
    moves: bool = False
    origin: str = ""
    """What the editor's file was (`file_kinds`), "" for a file that is no picture."""

    @property
    def kind(self) -> str:
        """`PDF`, `PNG`: what a reader sees beside the size."""
        return self.name.rpartition(".")[2].upper()

    def small(self, width: int) -> "MediaItem":
        """A still of this width at most, for a page that shows many pictures at once; itself when that is not less."""
        made = small_copy(self.data, self.name.rpartition(".")[2], width)
        return _hosted(made.data, made.suffix, made.width, made.height) if len(made.data) < len(self.data) else self


def take_in(path: Path, *, max_width: int = MAX_WIDTH, name: str = "") -> MediaItem:
    """The hosted form of a picture (PNG, JPEG, GIF; WebP is rewritten) or of a file.

    Pictures wider than `max_width` pixels are made smaller. `name` is what an editor calls the file, its path when
    not given. Raises UsageError.
    """
    return take_in_widths(path, [max_width], name=name)[max_width]


def take_in_widths(path: Path, max_widths: Iterable[int], *, name: str = "") -> dict[int, MediaItem]:
    """The hosted form of one file for each of these widths; it is read once. Raises UsageError."""
    name = name or str(path)
    suffix = path.suffix.lower()
    is_file = suffix in FILE_TYPES
    if not is_file and suffix not in PICTURE_SUFFIXES | FOREIGN_SUFFIXES:
        raise UsageError("media.kind_not_hosted", path=name, known=sorted(PICTURE_SUFFIXES | FILE_TYPES.keys()))
    if not is_file:
        return _picture(name, _read(path, name, MAX_PICTURE_BYTES), max_widths)
    data = _read(path, name, MAX_FILE_BYTES)
    if not fits_suffix(suffix, data):
        raise UsageError("media.not_what_it_says", path=name, suffix=suffix[1:].upper(), kind=kind_of(data))
    item = _hosted(data, suffix[1:], 0, 0, FILE_TYPES[suffix])
    return dict.fromkeys(max_widths, item)


def _read(path: Path, name: str, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError("media.unreadable", path=name, reason=error.strerror) from error
    if len(data) > limit:
        raise UsageError("media.too_large", path=name, limit_mb=limit // 1_000_000)
    return data


def _picture(name: str, data: bytes, max_widths: Iterable[int]) -> dict[int, MediaItem]:
    kind = kind_of(data)
    if kind == "empty":
        raise UsageError("media.empty", path=name)
    if kind not in PICTURES:
        raise UsageError("media.not_a_picture", path=name, kind=kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a library's words about EXIF that it cannot read, which nobody asked for
            facts = read_facts(kind, data)
            _require_bounded(name, kind, facts, len(data))
            if facts.frames > 1:
                moved, suffix = rewrite_animation(kind, data, facts)
                item = _hosted(moved, suffix, facts.width, facts.height, moves=True, origin=kind)
                return dict.fromkeys(max_widths, item)
            if facts.still:
                data = b""  # the decoder reads the still; a large file is not held twice
            items = {}
            for max_width in max_widths:
                made = rewrite(kind, data, facts, max_width, MAX_DECODED)
                items[max_width] = _hosted(made.data, made.suffix, made.width, made.height, origin=kind)
            return items
    except _DECODER_TROUBLE as error:
        raise UsageError("media.damaged", path=name) from error


def _require_bounded(name: str, kind: str, facts: Facts, octets: int) -> None:
    """Raises UsageError for what is not decoded at all."""
    width, height, pixels = facts.width, facts.height, facts.width * facts.height
    if not pixels:
        raise ValueError("a picture without pixels")
    if max(width, height) > MAX_SIDE:
        raise UsageError("media.side_too_long", path=name, width=width, height=height, limit=MAX_SIDE)
    if facts.frames > 1:
        if is_too_large(kind, facts, octets):
            raise UsageError("media.animation_too_large", path=name, frames=facts.frames, width=width, height=height)
    elif pixels > MAX_PIXELS or facts.decoded > MAX_DECODED:
        most = min(MAX_PIXELS, MAX_DECODED * pixels // max(1, facts.decoded))
        raise UsageError(
            "media.too_many_pixels",
            path=name,
            width=width,
            height=height,
            megapixels=round(pixels / 1e6),
            limit=most // 1_000_000,
        )


def _hosted(
    data: bytes,
    suffix: str,
    width: int,
    height: int,
    content_type: str = "",
    *,
    moves: bool = False,
    origin: str = "",
) -> MediaItem:
    name = f"{hashlib.sha256(data).hexdigest()}.{suffix}"
    return MediaItem(name, content_type or _IMAGE_TYPES[suffix], width, height, data, moves, origin)
