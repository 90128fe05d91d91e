"""An animation of an editor's → one a mail can carry, with its pace, its loops and every picture of it.

A GIF and a PNG keep their very pictures: only what they say of their maker is left out (`compose.containers`). A WebP,
which many mail programs do not show, becomes a PNG. Every picture is decoded once, so that a damaged file is found.
"""

import io
from collections.abc import Iterator

from PIL import Image
from PIL.ImageFile import ImageFile

from worker.compose.containers import Facts
from worker.compose.pictures import open_picture

MAX_FRAMES = 600  # a minute at ten pictures a second
MAX_PIXELS = 100_000_000  # of all pictures together: about a second of decoding
MAX_DECODED = 12_000_000  # pixels of all pictures together where they have to be held at once
MAX_CANVAS = 3_000_000  # pixels of one: a decoder holds several at a time
MAX_BYTES = 10_000_000  # no phone should load more for a picture that moves


def is_too_large(kind: str, facts: Facts, octets: int) -> bool:
    """Whether an animation is beyond what is decoded here, or what readers should have to load."""
    canvas = facts.width * facts.height
    return (
        facts.frames > MAX_FRAMES
        or canvas > MAX_CANVAS
        or canvas * facts.frames > (MAX_DECODED if kind == "webp" else MAX_PIXELS)
        or octets > MAX_BYTES
    )


def rewrite_animation(kind: str, data: bytes, facts: Facts) -> tuple[bytes, str]:
    """(octets, suffix) of the hosted form. Raises what the decoder raises for a damaged file."""
    kept = facts.animation or data
    picture = open_picture(kind, kept)
    if kind == "webp":
        return _as_png(picture), "png"
    for at in range(facts.frames):
        picture.seek(at)
        picture.load()
    return kept, kind


def _as_png(picture: ImageFile) -> bytes:
    durations = []
    for at in range(picture.n_frames):  # type: ignore[attr-defined]
        picture.seek(at)
        picture.load()
        durations.append(picture.info["duration"])
    picture.seek(0)
    picture.load()
    out = io.BytesIO()
    picture.convert("RGBA").save(
        out,
        "PNG",
        save_all=True,
        append_images=_Later(picture),
        duration=durations,
        loop=picture.info.get("loop", 0),
        icc_profile=picture.info.get("icc_profile"),
    )
    return out.getvalue()


class _Later:
    """All pictures but the first, one at a time; the writer walks them twice."""

    def __init__(self, picture: ImageFile) -> None:
        self._picture = picture

    def __iter__(self) -> Iterator[Image.Image]:
        for at in range(1, self._picture.n_frames):  # type: ignore[attr-defined]
            self._picture.seek(at)
            yield self._picture.convert("RGBA")
