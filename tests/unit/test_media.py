"""Pictures and files as they are hosted."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support.words import refuses
from worker.compose.media import take_in
from worker.errors import UsageError


def picture(path: Path, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: object) -> Path:
    Image.new(mode, size, 128 if mode in ("L", "P") else (9, 99, 99, 255)[: len(mode)]).save(path, **options)
    return path


def test_metadata_is_gone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    source = picture(tmp_path / "a.jpg", exif=exif, comment=b"secret comment")
    assert b"secret" in source.read_bytes()

    item = take_in(source)

    assert b"secret" not in item.data
    assert (item.content_type, item.width, item.height) == ("image/jpeg", 40, 30)


def test_name_is_the_content(tmp_path: Path) -> None:
    one, two = take_in(picture(tmp_path / "a.png")), take_in(picture(tmp_path / "b.png"))

    assert one.name == two.name
    assert len(one.name) == 64 + len(".png")


def test_wide_picture_is_made_smaller(tmp_path: Path) -> None:
    item = take_in(picture(tmp_path / "a.png", (2400, 100)))

    assert (item.width, item.height) == (1200, 50)


def test_transparency_stays(tmp_path: Path) -> None:
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(tmp_path / "a.webp")

    item = take_in(tmp_path / "a.webp")

    assert item.content_type == "image/png"
    assert Image.open(BytesIO(item.data)).convert("RGBA").getpixel((0, 0)) == (0, 0, 0, 0)


def test_animation_stays_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)

    item = take_in(tmp_path / "a.gif")

    assert item.content_type == "image/gif"
    assert Image.open(BytesIO(item.data)).n_frames == 2


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"GIF89a" + b"\xff" * 40])
def test_what_is_no_picture_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)

    with refuses(UsageError, match=r"a\.png"):
        take_in(path)


def test_picture_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")

    with refuses(UsageError, match=r"pixels|cannot be used|not a picture"):
        take_in(tmp_path / "bomb.png")


def test_file_is_hosted_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 x")

    item = take_in(tmp_path / "a.pdf")

    assert (item.data, item.content_type, item.kind) == (b"%PDF-1.4 x", "application/pdf", "PDF")


@pytest.mark.parametrize("name", ["a.html", "a.exe", "a"])
def test_active_or_unknown_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")

    with refuses(UsageError, match="not hosted"):
        take_in(tmp_path / name)


def test_a_picture_taken_upright_arrives_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    source = picture(tmp_path / "a.jpg", (40, 30), exif=exif)

    item = take_in(source)

    assert (item.width, item.height) == Image.open(BytesIO(item.data)).size == (30, 40)


def test_what_a_png_says_about_its_maker_is_gone(tmp_path: Path) -> None:
    exif, words = Image.Exif(), PngInfo()
    exif[0x010E] = "secret place"
    words.add_text("Author", "secret author")
    source = picture(tmp_path / "a.png", exif=exif, pnginfo=words, icc_profile=b"secret profile")
    assert b"secret" in source.read_bytes()

    item = take_in(source)

    assert b"secret" not in item.data
    assert Image.open(BytesIO(item.data)).info == {}


def test_an_animation_keeps_its_pace_and_goes_on_for_ever(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=500, loop=0)

    hosted = Image.open(BytesIO(take_in(tmp_path / "a.gif").data))

    assert (hosted.info["duration"], hosted.info["loop"]) == (500, 0)


def test_an_animation_of_endless_pictures_is_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (1, 1), number % 256) for number in range(601)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    wide = [Image.new("1", (5000, 5000), number % 2) for number in range(2)]
    wide[0].save(tmp_path / "b.gif", save_all=True, append_images=wide[1:])

    for name in ("a.gif", "b.gif"):
        with refuses(UsageError, "too much for a mail; make it shorter"):
            take_in(tmp_path / name)


def test_a_file_too_large_for_many_downloads_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.pdf").open("wb") as file:
        file.truncate(20_000_001)

    with refuses(UsageError, "larger than 20 MB"):
        take_in(tmp_path / "a.pdf")


@pytest.mark.parametrize(
    ("name", "octets", "sentence"),
    [
        ("a.pdf", b"<!doctype html><p>Sign in", "is no PDF but a web page"),
        ("a.pdf", b"", r"is no PDF but an empty file \(0 bytes\)"),
        ("a.pdf", b"hello", "is no PDF but a text; put the right file there"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(90), "is no DOCX but an older or password-protected"),
        ("a.docx", b"PK\3\4" + bytes(90), "is no DOCX but a ZIP archive"),
        ("a.odt", b"PK\3\4" + bytes(90), "is no ODT but a ZIP archive"),
        ("a.csv", b"PK\3\4" + bytes(90), "is no CSV but a ZIP archive or an Office document"),
        ("a.ics", b"hello", "is no ICS but a text"),
        ("a.zip", b"%PDF-1.7", "is no ZIP but a PDF"),
        ("a.mp4", b"\0" * 90, "is no MP4 but a file of nothing but zeros"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, octets: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(octets)

    with refuses(UsageError, sentence):
        take_in(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("a.pdf", b"\xef\xbb\xbf\n%PDF-1.7"),
        ("a.docx", b"PK\3\4" + bytes(26) + b"[Content_Types].xml"),
        ("a.odt", b"PK\3\4" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.text"),
        ("a.txt", "Größe".encode("cp1252")),
        ("a.txt", b"<?xml version='1.0'?>"),
        ("a.csv", "a,b".encode("utf-16")),
        ("a.ics", b"BEGIN:VCALENDAR\r\n"),
        ("a.mp3", b"ID3\4" + bytes(9)),
        ("a.mp3", b"\xff\xfb\x90\x44" + bytes(9)),
        ("a.mp4", b"\0\0\0\x20ftypisom" + bytes(9)),
        ("a.zip", b"PK\3\4" + bytes(26)),
    ],
)
def test_a_file_that_is_what_its_name_says_is_hosted(tmp_path: Path, name: str, octets: bytes) -> None:
    (tmp_path / name).write_bytes(octets)

    assert take_in(tmp_path / name).data == octets
