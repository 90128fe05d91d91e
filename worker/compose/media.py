"""Pictures and files beside an issue → hosted items with a name made of their content.

Reads files, so it is not pure. A picture is decoded and written anew: whatever else its file carried (place, camera,
thumbnail, script) is gone, and what is no picture fails here. Names are content hashes: a URL never changes meaning
and never says who asks. A crash here leaves nothing behind.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from worker.errors import UsageError

MAX_PICTURE_BYTES = 25_000_000  # more than a camera's JPEG; it is read whole
MAX_FILE_BYTES = 20_000_000  # a hosted file is downloaded once by many readers at the same minute
MAX_PIXELS = 40_000_000  # decoded before anything else is known: 160 MB, the bound against picture bombs
MAX_WIDTH = 1200  # two device pixels for each of the layout's 600
MAX_LARGE_WIDTH = 2400  # of a figure opened alone on its page: twice MAX_WIDTH
MAX_FRAMES = 200  # of an animation; all of them together stay below MAX_PIXELS

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif"})
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


@dataclass(frozen=True)
class MediaItem:
    """A hosted picture or file. `name` is `{sha256}.{ext}`; `width` and `height` are pixels, 0 for files."""

    name: str
    content_type: str
    width: int
    height: int
    data: bytes

    @property
    def kind(self) -> str:
        """`PDF`, `PNG`: what a reader sees beside the size."""
        return self.name.rpartition(".")[2].upper()


def take_in(path: Path, *, max_width: int = MAX_WIDTH, name: str = "") -> MediaItem:
    """The hosted form of a picture (PNG, JPEG, GIF; WebP and AVIF are rewritten) or of a file.

    Pictures wider than `max_width` pixels are made smaller. `name` is what an editor calls the file, its path when
    not given. Raises UsageError.
    """
    name = name or str(path)
    suffix = path.suffix.lower()
    limit = MAX_PICTURE_BYTES if suffix in PICTURE_SUFFIXES else MAX_FILE_BYTES
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError("media.unreadable", path=name, reason=error.strerror) from error
    if len(data) > limit:
        raise UsageError("media.too_large", path=name, limit_mb=limit // 1_000_000)
    if suffix in PICTURE_SUFFIXES:
        return _picture(name, data, max_width)
    if suffix in FILE_TYPES:
        return _item(data, suffix[1:], FILE_TYPES[suffix], 0, 0)
    raise UsageError("media.kind_not_hosted", path=name, known=sorted(PICTURE_SUFFIXES | FILE_TYPES.keys()))


def _picture(name: str, data: bytes, max_width: int) -> MediaItem:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise UsageError("media.too_many_pixels", path=name, width=width, height=height, limit=MAX_PIXELS)
                return _rewrite(picture, max_width)
    except UsageError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError("media.not_a_picture", path=name) from error
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, OverflowError, MemoryError) as error:
        raise UsageError("media.damaged", path=name) from error


def _rewrite(picture: Image.Image, max_width: int) -> MediaItem:
    if picture.format == "GIF" and getattr(picture, "n_frames", 1) > 1:
        return _animation(picture)
    upright = ImageOps.exif_transpose(picture)
    upright.load()
    if upright.width > max_width:
        height = max(1, round(upright.height * max_width / upright.width))
        upright = upright.convert("RGBA" if _has_alpha(upright) else "RGB")
        upright = upright.resize((max_width, height), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    if picture.format in ("PNG", "GIF") or _has_alpha(upright):
        kept = upright if upright.mode in ("1", "L", "P", "RGB", "RGBA", "LA") else upright.convert("RGBA")
        clean = kept.copy()
        clean.info = {key: value for key, value in clean.info.items() if key == "transparency"}
        clean.save(out, "PNG", optimize=True)
        return _item(out.getvalue(), "png", "image/png", clean.width, clean.height)
    clean = upright.convert("RGB")
    clean.info = {}
    clean.save(out, "JPEG", quality=82, optimize=True, progressive=True)
    return _item(out.getvalue(), "jpg", "image/jpeg", clean.width, clean.height)


def _animation(picture: Image.Image) -> MediaItem:
    count = int(getattr(picture, "n_frames", 1))
    if count > MAX_FRAMES or count * picture.width * picture.height > MAX_PIXELS:
        raise UsageError("media.animation_too_large", frames=count)
    frames, durations = [], []
    for at in range(count):
        picture.seek(at)
        frames.append(picture.convert("RGBA"))
        durations.append(int(picture.info.get("duration", 100)))
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=2)
    return _item(out.getvalue(), "gif", "image/gif", picture.width, picture.height)


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _item(data: bytes, suffix: str, content_type: str, width: int, height: int) -> MediaItem:
    return MediaItem(f"{hashlib.sha256(data).hexdigest()}.{suffix}", content_type, width, height, data)
