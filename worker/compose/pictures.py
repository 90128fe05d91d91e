"""An editor's picture → the one a mail needs: upright, in sRGB, 8 bits deep, no wider or heavier than it must be.

Decodes, so it is given `Facts` that were found bounded. Colours are those a photo program shows: a profile is
converted, 16 bits are scaled, ink becomes light. The work goes in bands, so that little stands beside what was decoded.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageCms
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from worker.compose.containers import Facts

WELL_ROUND = 200_000
"""Octets of a still picture that a phone loads in about a second; above it, quality is given up before time is."""
MOST_SHOWN = 4_000_000  # pixels of a hosted picture: very tall ones are narrowed, so that phones can hold them
QUALITIES = (85, 76, 68)
"""Of a JPEG: the first is hard to tell from the original, the last has seams that a careful look finds."""

_READERS: dict[str, type[ImageFile]] = {
    "png": PngImageFile,
    "jpeg": JpegImageFile,
    "gif": GifImageFile,
    "webp": WebPImageFile,
}
"""Called by name: a search among all decoders of the library would find ones that start other programs."""
_BAND_PIXELS = 1_000_000  # of the larger picture, worked on at a time
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SRGB_GAMMA = 0.45455

Convert = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Encoded:
    """A picture as it is hosted; `suffix` is png or jpg."""

    data: bytes
    suffix: str
    width: int
    height: int


def open_picture(kind: str, data: bytes) -> ImageFile:
    """The decoder of a kind on these octets; whatever it raises is the file's fault."""
    return _READERS[kind](io.BytesIO(data))


def rewrite(kind: str, data: bytes, facts: Facts, max_width: int, most_decoded: int) -> Encoded:
    """The picture anew, at most `max_width` wide. Raises what the decoder raises for a damaged file."""
    picture = open_picture(kind, facts.still or data)
    turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
    width, height = picture.size
    across = height if turn is not None and _swaps(turn) else width
    scale = min(1.0, max_width / across, math.sqrt(MOST_SHOWN / (width * height)))
    wanted = (max(1, round(width * scale)), max(1, round(height * scale)))
    if isinstance(picture, JpegImageFile):
        _draft(picture, wanted, most_decoded)
    picture.load()
    if facts.grey and facts.depth in (2, 4) and isinstance(picture.info.get("transparency"), int):
        # The library spreads the greys over 8 bits and leaves the see-through one as the file counts.
        picture.info["transparency"] *= 255 // (2**facts.depth - 1)
    wanted = (min(wanted[0], picture.width), min(wanted[1], picture.height))
    made = _as_it_is(picture) if wanted == picture.size and not _has_colours_of_its_own(picture, facts) else None
    made = made or _in_bands(picture, wanted, _converter(picture, facts))
    if turn is not None:
        made = made.transpose(turn)
    return _encode(made, photo=kind == "jpeg" or (kind == "webp" and not facts.lossless))


def small_copy(data: bytes, suffix: str, width: int) -> Encoded:
    """A hosted picture, or the first one of a hosted animation, at this width: for a look at it, not for sending."""
    kind = {"jpg": "jpeg"}.get(suffix, suffix)
    return rewrite(kind, data, Facts(0, 0), width, 2**30)


def _swaps(turn: Image.Transpose) -> bool:
    return turn in (
        Image.Transpose.TRANSPOSE,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.ROTATE_270,
    )


def _draft(picture: JpegImageFile, wanted: tuple[int, int], most_decoded: int) -> None:
    """Let the decoder leave out what is not needed: half, a quarter, an eighth of each side."""
    width, height = picture.size
    parts = next(n for n in (8, 4, 2, 1) if n == 1 or (width >= 2 * n * wanted[0] and height >= 2 * n * wanted[1]))
    while parts < 8 and width * height * 4 // parts**2 > most_decoded:
        parts *= 2
    picture.draft(picture.mode, (max(1, width // parts), max(1, height // parts)))


def _as_it_is(picture: Image.Image) -> Image.Image | None:
    """The picture itself when a PNG or JPEG can hold it and shows it right."""
    if picture.mode not in ("1", "L", "P", "RGB", "RGBA", "LA"):
        return None
    if picture.mode == "RGB" and "transparency" in picture.info:
        return None
    kept = picture.copy()
    kept.info = {key: value for key, value in picture.info.items() if key == "transparency"}
    return kept


def _has_colours_of_its_own(picture: Image.Image, facts: Facts) -> bool:
    return _profile_of(picture, facts) is not None or _is_odd_gamma(facts.gamma)


def _is_odd_gamma(gamma: float) -> bool:
    return 0.1 < gamma < 2.5 and abs(gamma / _SRGB_GAMMA - 1) > 0.05


def _in_bands(picture: Image.Image, wanted: tuple[int, int], convert: Convert) -> Image.Image:
    """The whole picture converted and made smaller, a few rows at a time; each band sees the rows around it."""
    width, height = picture.size
    made: Image.Image | None = None
    step = height / wanted[1]
    rows = max(4, int(_BAND_PIXELS / (width * step)))
    for top in range(0, wanted[1], rows):
        bottom = min(top + rows, wanted[1])
        # A Lanczos filter looks three of the larger rows around.
        above = max(0, math.floor(top * step - 3 * step) - 1)
        below = min(height, math.ceil(bottom * step + 3 * step) + 1)
        band = convert(picture.crop((0, above, width, below)))
        if wanted != picture.size:
            box = (0, top * step - above, width, min(bottom * step, height) - above)
            band = band.resize((wanted[0], bottom - top), Image.Resampling.LANCZOS, box)
        else:
            band = band.crop((0, top - above, width, bottom - above))
        if made is None:
            made = Image.new(band.mode, wanted)
        made.paste(band, (0, top))
    assert made is not None
    return made


def _converter(picture: Image.Image, facts: Facts) -> Convert:
    """From the picture's own colours to L, RGB or RGBA in sRGB."""
    transparency = picture.info.get("transparency")
    profile = _profile_of(picture, facts)
    gamma = facts.gamma if profile is None and _is_odd_gamma(facts.gamma) else 0.0
    plain = _plain_mode(picture.mode, transparency is not None)
    to_srgb = None if profile is None else _transform(profile)

    def convert(band: Image.Image) -> Image.Image:
        alpha = None
        if band.mode.startswith("I"):
            band, alpha = _eight_bits(band, transparency if isinstance(transparency, int) else None)
        else:
            if transparency is not None and band.mode == "RGB":
                band.info["transparency"] = _in_eight_bits(transparency)
            if band.mode != "CMYK" or to_srgb is None:
                band = band.convert(plain)
            if band.mode == "RGBA":
                alpha = band.getchannel("A")
        if to_srgb is not None:
            if band.mode == "RGBA":
                band = band.convert("RGB")
            band = band.convert("L") if to_srgb.input_mode == "L" and band.mode != "L" else band
            band = band.convert("RGB") if to_srgb.input_mode == "RGB" and band.mode == "L" else band
            band = to_srgb.apply(band)
        elif gamma:
            table = [round(255 * (value / 255) ** (_SRGB_GAMMA / gamma)) for value in range(256)]
            opaque = band.convert("RGB")
            band = opaque.point(table * 3)
        if alpha is not None and band.mode != "RGBA":
            band = band.convert("RGB")
            band.putalpha(alpha)
        return band

    return convert


def _transform(profile: ImageCms.ImageCmsProfile) -> ImageCms.ImageCmsTransform | None:
    inner = {"GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space.strip(), "RGB")
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    try:
        return ImageCms.buildTransform(profile, _srgb(), inner, "RGB", intent, flags)
    except ImageCms.PyCMSError:
        return None  # a profile that only looks like one


def _plain_mode(mode: str, transparent: bool) -> str:
    if transparent or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return "RGBA"
    return "L" if mode in ("1", "L") else "RGB"


def _eight_bits(band: Image.Image, see_through: int | None) -> tuple[Image.Image, Image.Image | None]:
    """A band of 16 bits in 8, and its alpha when one of its values is see-through."""
    wide = band.convert("I")
    grey = wide.point([value >> 8 for value in range(65_536)], "L")
    if see_through is None:
        return grey, None
    return grey, wide.point([0 if value == see_through else 255 for value in range(65_536)], "L")


def _in_eight_bits(colour: object) -> object:
    """The see-through colour of a PNG, which the library gives in the depth of the file."""
    if isinstance(colour, tuple) and max(colour) > 255:
        return tuple(part >> 8 for part in colour)
    return colour


def _profile_of(picture: Image.Image, facts: Facts) -> ImageCms.ImageCmsProfile | None:
    """The picture's colour profile; None for none, for sRGB, and for one that does not belong to it."""
    octets = picture.info.get("icc_profile")
    if not octets:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(octets))
        space = profile.profile.xcolor_space.strip()
        name = (profile.profile.profile_description or "").strip()
    except (OSError, ValueError, TypeError, SyntaxError, ImageCms.PyCMSError):
        return None
    # A grey PNG with 16 bits and see-through parts is decoded as RGBA.
    is_grey = facts.grey or picture.mode in ("1", "L", "LA", "I;16", "I")
    expected = "CMYK" if picture.mode == "CMYK" else "GRAY" if is_grey else "RGB"
    if space != expected:
        return None
    return None if name.startswith("sRGB") and expected == "RGB" else profile


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _encode(picture: Image.Image, *, photo: bool) -> Encoded:
    """A PNG where edges or see-through parts count, a JPEG for photographs, also for one that came as a PNG."""
    sees_through = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if sees_through and picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        picture, sees_through = picture.convert("RGB"), False
    width, height = picture.size
    if photo and not sees_through:
        return Encoded(_jpeg(picture), "jpg", width, height)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    drawn = out.getvalue()
    if len(drawn) > WELL_ROUND and not sees_through:
        painted = _jpeg(picture)
        if len(painted) * 3 < len(drawn):
            return Encoded(painted, "jpg", width, height)
    return Encoded(drawn, "png", width, height)


def _jpeg(picture: Image.Image) -> bytes:
    opaque = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    opaque.info = {}
    # Small pictures are often drawn, with edges between strong colours that halved colour samples would smear.
    sampling = "4:4:4" if opaque.width * opaque.height <= 250_000 else "4:2:0"
    for quality in QUALITIES:
        out = io.BytesIO()
        opaque.save(out, "JPEG", quality=quality, optimize=True, progressive=True, subsampling=sampling)
        if out.tell() <= WELL_ROUND:
            break
    return out.getvalue()
