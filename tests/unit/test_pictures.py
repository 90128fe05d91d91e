"""Pictures as editors have them: the colours a photo program shows, in the weight a mail can carry."""

import io
import math
import random
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from tests.support.words import refuses
from worker.compose.media import MediaItem, take_in
from worker.errors import UsageError

SAMPLES = Path(__file__).parents[1] / "samples" / "pictures"
LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
JUST_SEEN = 3.0  # ΔE: what an eye tells apart in two fields beside each other


def lab(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    seen = ImageCms.applyTransform(Image.new("RGB", (1, 1), colour), LAB)
    assert seen is not None
    light, green, blue = seen.getpixel((0, 0))  # type: ignore[misc]
    return light / 2.55, green - 256 * (green > 127), blue - 256 * (blue > 127)


def shown(item: MediaItem) -> Image.Image:
    return Image.open(io.BytesIO(item.data)).convert("RGBA")


def fields(item: MediaItem, number: int) -> list[tuple[int, int, int]]:
    """The colours in the middle of so many fields side by side."""
    picture = shown(item)
    places = [((2 * at + 1) * picture.width // (2 * number), picture.height // 2) for at in range(number)]
    return [picture.getpixel(place)[:3] for place in places]  # type: ignore[index,misc]


def assert_seen_alike(colours: list[tuple[int, int, int]], expected: list[tuple[int, int, int]]) -> None:
    assert [
        (is_, wanted)
        for is_, wanted in zip(colours, expected, strict=True)
        if math.dist(lab(is_), lab(wanted)) > JUST_SEEN
    ] == []


def as_srgb(path: Path, number: int) -> list[tuple[int, int, int]]:
    """The fields of a picture with a profile, converted by the colour library alone."""
    with Image.open(path) as picture:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        seen = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert seen is not None
        places = [((2 * at + 1) * seen.width // (2 * number), seen.height // 2) for at in range(number)]
        return [seen.getpixel(place) for place in places]  # type: ignore[misc]


GREYS = [(grey, grey, grey) for grey in (32, 96, 160, 224)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grey16.png", GREYS),
        ("grey16-wide.png", GREYS),
        ("rgb16.png", [(32, 117, 223), (96, 117, 159), (160, 117, 95), (224, 117, 31)]),
        ("cmyk.jpg", [(0, 255, 255), (255, 0, 255), (0, 0, 0), (255, 255, 255)]),
    ],
)
def test_a_picture_keeps_its_colours_whatever_its_depth_or_ink(name: str, expected: list[tuple[int, int, int]]) -> None:
    assert_seen_alike(fields(take_in(SAMPLES / name), 4), expected)


@pytest.mark.parametrize("name", ["p3-phone.jpg", "adobergb.jpg"])
def test_a_profile_is_converted_to_what_mail_programs_expect(name: str) -> None:
    item = take_in(SAMPLES / name)

    assert_seen_alike(fields(item, 5), as_srgb(SAMPLES / name, 5))
    assert "icc_profile" not in Image.open(io.BytesIO(item.data)).info


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_profile_is_converted_in_a_png_of_any_form_and_width(tmp_path: Path, mode: str) -> None:
    with Image.open(SAMPLES / "p3-phone.jpg") as photo:
        profile = photo.info["icc_profile"]
    for width in (100, 3000):
        picture = Image.new("RGB", (width, 40), (230, 60, 40))
        picture = picture.quantize(2) if mode == "P" else picture.convert(mode)
        picture.save(tmp_path / "a.png", icc_profile=profile)

        [colour] = fields(take_in(tmp_path / "a.png"), 1)

        assert_seen_alike([colour], as_srgb(tmp_path / "a.png", 1) if mode == "RGB" else [(255, 17, 0)])


def test_a_profile_that_belongs_to_another_kind_of_picture_is_left_alone(tmp_path: Path) -> None:
    with Image.open(SAMPLES / "p3-phone.jpg") as photo:
        profile = photo.info["icc_profile"]
    for at, octets in enumerate((profile, profile[:200], b"x" * 500)):
        Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(tmp_path / f"{at}.jpg", icc_profile=octets)

        assert_seen_alike(fields(take_in(tmp_path / f"{at}.jpg"), 1), [(255, 0, 0)])


@pytest.mark.parametrize("width", [40, 2400])
@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255, 255)),
        ("L", 90, (90, 90, 90, 255)),
        ("LA", (90, 0), (90, 90, 90, 0)),
        ("P", 0, (10, 200, 30, 255)),
        ("RGBA", (10, 200, 30, 128), (10, 200, 30, 128)),
        ("I;16", 257 * 90, (90, 90, 90, 255)),
    ],
)
def test_every_form_of_png_arrives(
    tmp_path: Path, mode: str, colour: object, expected: tuple[int, int, int, int], width: int
) -> None:
    picture = Image.new(mode, (width, 20), colour)  # type: ignore[arg-type]
    if mode == "P":
        picture.putpalette([10, 200, 30])
    picture.save(tmp_path / "a.png")

    seen = shown(take_in(tmp_path / "a.png")).getpixel((5, 5))

    assert isinstance(seen, tuple)
    assert seen[3] == expected[3]
    assert seen[3] == 0 or max(abs(a - b) for a, b in zip(seen, expected, strict=True)) <= 1


@pytest.mark.parametrize("width", [40, 2400])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "I;16"])
def test_a_see_through_colour_stays_see_through(tmp_path: Path, mode: str, width: int) -> None:
    solid, gone = {"L": (9, 200), "RGB": ((9, 9, 9), (200, 0, 0)), "P": (0, 1), "I;16": (9, 51_200)}[mode]
    picture = Image.new(mode, (width, 20), solid)  # type: ignore[arg-type]
    if mode == "P":
        picture.putpalette([9, 9, 9, 200, 0, 0])
    right = picture.crop((width // 2, 0, width, 20))
    right = Image.new(mode, right.size, gone) if mode != "P" else right.point([1] * 256)  # type: ignore[arg-type]
    picture.paste(right, (width // 2, 0))
    picture.save(tmp_path / "a.png", transparency=gone)

    seen = shown(take_in(tmp_path / "a.png"))

    assert [seen.getpixel((x, 5))[3] for x in (2, seen.width - 3)] == [255, 0]  # type: ignore[index]


def png(depth: int, colours: int, row: bytes, width: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of three equal rows, of forms that the library reads and does not write."""
    header = struct.pack(">IIBBBBB", width, 3, depth, colours, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * 3)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    packed = [struct.pack(">I", len(body)) + name + body for name, body in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(part + struct.pack(">I", zlib.crc32(part[4:])) for part in packed)


@pytest.mark.parametrize(("depth", "row"), [(1, b"\x40"), (2, b"\x1b"), (4, bytes.fromhex("0123"))])
def test_a_see_through_grey_of_few_bits_stays_see_through_and_no_other_does(
    tmp_path: Path, depth: int, row: bytes
) -> None:
    # Given greys 0, 1 and so on, of which the second is see-through
    greys = min(4, 2**depth)
    (tmp_path / "a.png").write_bytes(png(depth, 0, row, greys, (b"tRNS", b"\0\1")))

    seen = shown(take_in(tmp_path / "a.png"))

    assert [seen.getpixel((x, 1))[3] for x in range(greys)] == [255, 0, 255, 255][:greys]  # type: ignore[index]
    assert seen.getpixel((0, 1)) == (0, 0, 0, 255)


@pytest.mark.parametrize(("depth", "row"), [(8, bytes([100, 255])), (16, bytes([100, 100, 255, 255]))])
def test_a_grey_profile_is_converted_whether_or_not_parts_are_see_through(
    tmp_path: Path, depth: int, row: bytes
) -> None:
    # Given a grey profile whose values are light itself
    curve = b"curv" + bytes(4) + struct.pack(">I", 0)
    white = b"XYZ " + bytes(4) + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 12)
    head = struct.pack(">I4sI4s4s4s12s4s", 188, b"none", 0x02400000, b"mntr", b"GRAY", b"XYZ ", bytes(12), b"acsp")
    head += bytes(28) + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D) + bytes(48)
    profile = head + tags + white + curve
    (tmp_path / "a.png").write_bytes(png(depth, 4, row, 1, (b"iCCP", b"g\0\0" + zlib.compress(profile))))

    [colour] = fields(take_in(tmp_path / "a.png"), 1)

    assert_seen_alike([colour], [(168, 168, 168)])


def test_the_bands_of_a_picture_made_smaller_leave_no_seam(tmp_path: Path) -> None:
    # Given a slope of grey with a profile, which goes through in bands
    slope = Image.linear_gradient("L").resize((2000, 1800)).convert("RGB")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    slope.save(tmp_path / "a.png")

    seen = shown(take_in(tmp_path / "a.png")).convert("L")

    whole = slope.resize(seen.size, Image.Resampling.LANCZOS).convert("L")
    assert profile
    assert max(abs(seen.getpixel((9, y)) - whole.getpixel((9, y))) for y in range(seen.height)) <= 1  # type: ignore[operator]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_a_picture_stands_upright_however_the_camera_was_held(tmp_path: Path, turn: int, kind: str) -> None:
    # Given white in the upper left corner of what is seen
    upright = Image.new("RGB", (1600, 800), "black")
    upright.paste("white", (0, 0, 800, 400))
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(turn)
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / f"a.{kind}", exif=exif)

    seen = shown(take_in(tmp_path / f"a.{kind}"))

    assert seen.size == (1200, 600)
    assert [seen.getpixel(at)[0] > 200 for at in ((300, 150), (900, 150), (300, 450), (900, 450))] == [  # type: ignore[index]
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("camera.jfif", "jpg", (80, 60)),
        ("IMG_0001.JPG", "jpg", (80, 60)),
        ("phone-mpo.jpg", "jpg", (300, 200)),
        ("really-webp.jpg", "jpg", (80, 60)),
        ("bw.png", "png", (300, 100)),
    ],
)
def test_a_file_is_what_its_octets_say(name: str, kind: str, size: tuple[int, int]) -> None:
    item = take_in(SAMPLES / name)

    assert (item.kind, item.width, item.height, item.moves) == (kind.upper(), *size, False)


def frames_of(data: bytes) -> list[tuple[object, ...]]:
    """Per picture: how long it stands, and its colours."""
    with Image.open(io.BytesIO(data)) as picture:
        seen: list[tuple[object, ...]] = []
        for at in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(at)
            rgba = picture.convert("RGBA")
            duration = picture.info["duration"]
            seen.append((duration, rgba.getpixel((1, 1)), rgba.getpixel((rgba.width // 2, rgba.height // 2))))
    return seen


@pytest.mark.parametrize(("name", "kind", "loop"), [("anim.png", "PNG", 2), ("wide.gif", "GIF", 0)])
def test_an_animation_moves_as_it_did(name: str, kind: str, loop: int) -> None:
    item = take_in(SAMPLES / name)

    assert (item.kind, item.moves) == (kind, True)
    assert Image.open(io.BytesIO(item.data)).info["loop"] == loop
    assert frames_of(item.data) == frames_of((SAMPLES / name).read_bytes())


@pytest.mark.parametrize("loop", [None, 0, 1, 5])
def test_an_animated_gif_keeps_pace_loops_and_ways_of_clearing_and_says_nothing_of_its_maker(
    tmp_path: Path, loop: int | None
) -> None:
    pictures = [Image.new("P", (30, 20), at) for at in range(3)]
    for at, picture in enumerate(pictures):
        picture.putpalette([250, 0, 0, 0, 250, 0, 0, 0, 250])
        picture.paste((at + 1) % 3, (5, 5, 9, 9))
    extra = {} if loop is None else {"loop": loop}
    pictures[0].save(
        tmp_path / "a.gif",
        save_all=True,
        append_images=pictures[1:],
        duration=[40, 250, 1000],
        disposal=[1, 2, 0],
        comment=b"secret",
        **extra,  # type: ignore[arg-type]
    )
    original = (tmp_path / "a.gif").read_bytes()
    assert b"secret" in original

    item = take_in(tmp_path / "a.gif")

    assert b"secret" not in item.data
    assert frames_of(item.data) == frames_of(original)
    assert Image.open(io.BytesIO(item.data)).info.get("loop") == loop


def test_an_animated_webp_moves_on_as_a_png_with_its_pace_and_loops(tmp_path: Path) -> None:
    pictures = [Image.new("RGBA", (30, 20), colour) for colour in ((250, 0, 0, 255), (0, 250, 0, 90), (0, 0, 250, 255))]
    options = {"append_images": pictures[1:], "duration": [40, 250, 1000], "loop": 3, "lossless": True}
    pictures[0].save(tmp_path / "a.webp", save_all=True, **options)  # type: ignore[arg-type]

    item = take_in(tmp_path / "a.webp")

    assert (item.kind, item.moves, item.origin) == ("PNG", True, "webp")
    assert Image.open(io.BytesIO(item.data)).info["loop"] == 3
    assert [frame[:2] for frame in frames_of(item.data)] == [
        (40, (250, 0, 0, 255)),
        (250, (0, 250, 0, 90)),
        (1000, (0, 0, 250, 255)),
    ]


NOT_READ = {
    "heic": (b"\0\0\0\x18ftypheic" + b"\0" * 40, "an HEIC picture.*; open it and export it as JPEG"),
    "avif": (b"\0\0\0\x18ftypavif" + b"\0" * 40, "an AVIF picture.*; open it and export it as JPEG or PNG"),
    "tiff": (b"II*\0" + b"\0" * 40, "a TIFF .*; open it and save it as PNG, JPEG or GIF"),
    "bmp": (b"BM" + b"\0" * 60, "a BMP .*; open it and save it"),
    "svg": (b"<?xml version='1.0'?><!-- x --><svg xmlns='x'/>", "an SVG.*; export it as PNG"),
    "svg with a mark": (b"\xef\xbb\xbf<?xml version='1.0'?><!DOCTYPE svg><svg/>", "an SVG.*; export it as PNG"),
    "pdf": (b"%PDF-1.7 ...", "a PDF document; export the page as PNG"),
    "psd": (b"8BPS\0\1" + b"\0" * 40, "a Photoshop document; open it in Photoshop"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript .*; open it where it was drawn"),
    "mp4": (b"\0\0\0\x18ftypisom" + b"\0" * 40, "a video; put a picture of it there"),
    "html": (b"<!DOCTYPE html><title>404</title>", "a web page.*; get the picture itself"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:x\n", "Git LFS.*; get the file itself"),
    "zip": (b"PK\3\4" + b"\0" * 40, "a ZIP archive.*; unpack it"),
    "zeros": (b"\0" * 400, "nothing but zeros.*; copy it here again"),
    "text": (b"hello", "a text; open it and save it"),
}


@pytest.mark.parametrize("kind", NOT_READ)
@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.heic"])
def test_what_is_not_read_is_called_what_it_is_with_a_way_out(tmp_path: Path, kind: str, name: str) -> None:
    octets, sentence = NOT_READ[kind]
    (tmp_path / name).write_bytes(octets)

    with refuses(UsageError, rf"{name} is .*{sentence}"):
        take_in(tmp_path / name)


def test_an_empty_file_is_called_empty() -> None:
    with refuses(UsageError, r"empty\.png is empty \(0 bytes\); copy it here again"):
        take_in(SAMPLES / "empty.png")
    with refuses(UsageError, r"an HEIC picture"):
        take_in(SAMPLES / "photo.heic")


@pytest.mark.parametrize("name", ["IMG_0001.JPG", "grey16-wide.png", "wide.gif", "anim.png", "really-webp.jpg"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_picture_that_was_cut_off_is_refused_as_damaged(tmp_path: Path, name: str, kept: float) -> None:
    octets = (SAMPLES / name).read_bytes()
    (tmp_path / name).write_bytes(octets[: int(len(octets) * kept)])

    with refuses(UsageError, "is damaged or cut off; copy it here again"):
        take_in(tmp_path / name)


def test_no_octets_make_a_decoder_fail_in_a_way_of_its_own(tmp_path: Path) -> None:
    seed = random.Random(5)
    codes = set()
    for name in ("IMG_0001.JPG", "rgb16.png", "anim.png", "wide.gif", "really-webp.jpg", "p3-phone.jpg"):
        for _ in range(60):
            octets = bytearray((SAMPLES / name).read_bytes())
            for _ in range(seed.randint(1, 12)):
                octets[seed.randrange(len(octets))] = seed.randrange(256)
            (tmp_path / "a.png").write_bytes(octets)
            try:
                take_in(tmp_path / "a.png")
            except UsageError as error:
                codes.add(error.code)
    assert {code.partition(".")[0] for code in codes} == {"media"}


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.frombytes(mode, (width, height), random.Random(1).randbytes(width * height * len(mode)))


def test_a_photograph_is_made_light_whatever_it_came_as(tmp_path: Path) -> None:
    # Given a photograph saved as PNG: soft, and grainy enough that nothing repeats
    soft = noise(60, 40).resize((1200, 800), Image.Resampling.BICUBIC)
    photo = Image.blend(soft, noise(1200, 800), 0.04)
    photo.save(tmp_path / "photo.png")
    assert (tmp_path / "photo.png").stat().st_size > 1_000_000

    item = take_in(tmp_path / "photo.png")

    assert item.kind == "JPG"
    assert len(item.data) < 200_000


def test_a_drawing_stays_a_drawing(tmp_path: Path) -> None:
    drawing = Image.new("RGB", (1200, 800), "white")
    for at in range(0, 1200, 7):
        drawing.paste((at % 200, 40, 90), (at, 0, at + 3, 800))
    drawing.save(tmp_path / "a.png")

    assert take_in(tmp_path / "a.png").kind == "PNG"
