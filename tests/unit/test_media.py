"""Pictures and files as they are hosted."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

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


@pytest.mark.parametrize("name", ["a.svg", "a.html", "a.exe", "a"])
def test_active_or_unknown_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")

    with refuses(UsageError, match="not hosted"):
        take_in(tmp_path / name)
