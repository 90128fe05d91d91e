"""The largest pictures that are taken in, and those that would cost a machine its memory."""

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.support.words import refuses
from worker.compose import animations, media
from worker.compose.containers import MOST_PARTS, MOST_SCANS, read_facts
from worker.compose.media import take_in
from worker.errors import UsageError

ROOT = Path(__file__).parents[2]
MOST_MB = 200  # of any process, whatever is done to it

_CHILD = """
import json, re, sys
from pathlib import Path
import worker.cli.drafts
from worker.compose.media import take_in_widths
from worker.errors import UsageError
said = []
for name in sys.argv[1:]:
    try:
        said.append(sorted((item.width, item.height) for item in take_in_widths(Path(name), [1200, 2400]).values()))
    except UsageError as error:
        said.append(error.code)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]  # getrusage counts the parent's too
print(json.dumps([said, int(peak) // 1024]))
"""


def taken_in_by_a_process(*paths: Path) -> tuple[list[object], int]:
    """(sizes or the error's code for each, peak of memory in MB) of the command line's process."""
    command = [sys.executable, "-c", _CHILD, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert done.stderr == b""  # a library's warning is nobody's sentence
    said, peak = json.loads(done.stdout)
    return said, peak


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, colours: int, *, depth: int = 8, extra: bytes = b"", rows: int | None = None) -> bytes:
    """A PNG of one colour, without ever holding it unpacked."""
    octets = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours] * depth // 8 * width + 1
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(b"\0" + b"\x55" * (octets - 1)) for _ in range(height if rows is None else rows))
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    palette = chunk(b"PLTE", b"\x10\x80\x80" * 256) if colours == 3 else b""
    body = chunk(b"IHDR", header) + extra + palette + chunk(b"IDAT", packed + packer.flush()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def saved(kind: str, size: tuple[int, int], **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 80, 20)).save(out, kind, **options)
    return out.getvalue()


WORST = {
    "RGBA": lambda: png(3000, 6000, 6),
    "grey of 16 bits": lambda: png(12_000, 3000, 0, depth=16),
    "palette": lambda: png(12_000, 6000, 3),
    "progressive JPEG": lambda: saved("JPEG", (6000, 4000), progressive=True),
    "WebP": lambda: saved("WEBP", (2800, 1500)),
    "GIF": lambda: saved("GIF", (4500, 4000)),
}


@pytest.mark.parametrize("name", WORST)
def test_the_largest_picture_of_each_kind_fits_a_process(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(WORST[name]())

    [sizes], peak = taken_in_by_a_process(path)

    assert isinstance(sizes, list)
    assert peak <= MOST_MB


def test_a_camera_picture_of_a_hundred_million_pixels_fits_a_process(tmp_path: Path) -> None:
    # Given the JPEG of 12,000 × 8,333 made of few octets: its coefficients repeat
    out = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys;from PIL import Image;Image.new('L',(12000,8333),9).save(sys.stdout.buffer,'JPEG')",
        ],
        capture_output=True,
        check=True,
    )
    (tmp_path / "a.jpg").write_bytes(out.stdout)

    [sizes], peak = taken_in_by_a_process(tmp_path / "a.jpg")

    assert sizes == [[1200, 833], [2400, 1667]]
    assert peak <= MOST_MB


def jpeg_of(width: int, height: int) -> bytes:
    """A small JPEG whose head says another size."""
    octets = bytearray(saved("JPEG", (16, 16)))
    at = octets.index(b"\xff\xc0") + 5
    octets[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(octets)


TOO_MUCH = {
    "108 million": (lambda: jpeg_of(12_000, 9000), r"has 12,000 × 9,000 pixels, 108 million; make it at most 100 "),
    "a line": (lambda: png(1, 40_000_000, 0, rows=1), r"has 1 × 40,000,000 pixels; make each side at most 12,000"),
    "a large PNG": (lambda: png(8000, 5000, 2, rows=1), r"has 8,000 × 5,000 pixels, 40 million; make it at most 18 "),
    "a large grey": (lambda: png(12_000, 12_000, 0, rows=1), r"pixels, 144 million; make it at most 72 million"),
    "a large WebP": (lambda: saved("WEBP", (2500, 2000)), r"has 2,500 × 2,000 pixels, 5 million; make it at most 4 "),
    "a profile bomb": (
        lambda: png(9, 9, 2, extra=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(40_000_000)))),
        "is damaged",
    ),
    "a picture beyond its canvas": (lambda: gif(1, 1, 1, of=(8000, 8000)), r"has 8,000 × 8,000 pixels, 64 million"),
    "pictures beyond their canvas": (lambda: gif(1, 1, 3, of=(8000, 8000)), "3 pictures of 8,000 × 8,000 pixels, too"),
    "a film": (lambda: gif(100, 100, 10_000), "moves through 10,000 pictures of 100 × 100 pixels"),
    "a JPEG of filling": (lambda: jpeg_with(b"\xff" * 20_000_000), "is damaged"),
    "a JPEG of segments": (lambda: jpeg_with(segment(0xFE, b"c") * MOST_PARTS), "is damaged"),
    "nothing": (lambda: png(0, 9, 2), "is damaged"),
    "chunks": (lambda: png(9, 9, 2, extra=chunk(b"teXt", b"") * MOST_PARTS), "is damaged"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_picture_beyond_the_bounds_is_refused_with_its_size(tmp_path: Path, name: str) -> None:
    make, sentence = TOO_MUCH[name]
    (tmp_path / "a.png").write_bytes(make())

    with refuses(UsageError, sentence):
        take_in(tmp_path / "a.png")


def test_texts_that_unpack_to_a_thousand_times_their_size_are_never_unpacked(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(1_000_000))
    texts = {b"zTXt": b"k\0\0" + packed, b"iTXt": b"k\0\1\0\0\0" + packed, b"tEXt": b"k\0" + bytes(1_000_000)}
    paths = [tmp_path / f"{name.decode()}.png" for name in texts]
    for path, (name, body) in zip(paths, texts.items(), strict=True):
        path.write_bytes(png(9, 9, 2, extra=chunk(name, body) * (20 if name == b"tEXt" else 3_000)))

    sizes, peak = taken_in_by_a_process(*paths)

    assert peak <= MOST_MB
    assert sizes == [[[9, 9], [9, 9]]] * 3
    assert max(len(take_in(path).data) for path in paths) < 1_000


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    octets = saved("JPEG", (64, 64), progressive=True)
    scan = octets[octets.rindex(b"\xff\xda") : -2]

    with pytest.raises(ValueError, match="scans"):
        read_facts("jpeg", octets[:-2] + scan * MOST_SCANS + octets[-2:])


def test_a_jpeg_is_decoded_without_its_cargo_and_upright(tmp_path: Path) -> None:
    # Given a picture that is to be turned, with as much about its making as a file may have, and a lie in it
    turned = Image.Exif()
    turned[0x0112] = 6
    cargo = b"Exif\0\0II*\0\x08\0\0\0" + b"\x88\x13" + b"\xff" * 65_000
    segments = segment(0xE1, turned.tobytes()) + segment(0xE1, cargo) * 250 + segment(0xED, cargo) * 100
    (tmp_path / "a.jpg").write_bytes(jpeg_with(segments, (32, 16)))
    lie = chunk(b"eXIf", struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x112, 12, 0x1FFFFFFF, 8, 0))
    (tmp_path / "a.png").write_bytes(png(9, 9, 2, extra=lie))

    (tmp_path / "b.jpg").write_bytes(jpeg_with(segment(0xE1, cargo)))

    sizes, peak = taken_in_by_a_process(*(tmp_path / name for name in ("a.jpg", "a.png", "b.jpg")))

    assert sizes == [[[16, 32], [16, 32]], [[9, 9], [9, 9]], [[16, 16], [16, 16]]]
    assert peak <= 160


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_with(segments: bytes, size: tuple[int, int] = (16, 16)) -> bytes:
    """A small JPEG that has these segments before its own."""
    octets = saved("JPEG", size)
    return octets[:2] + segments + octets[2:]


def gif(width: int, height: int, frames: int, of: tuple[int, int] = (1, 1)) -> bytes:
    """An animation of one small picture again and again on a canvas of any size; its pictures may say any too."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + (b"\x2c" + struct.pack("<HHHHB", 0, 0, *of, 0) + b"\x02\x02\x44\x01\x00") * frames + b"\x3b"


@pytest.mark.parametrize(
    ("size", "frames"),
    [((12_000, 12_000), 2), ((1, 1), animations.MAX_FRAMES + 1), ((1, 1), 1_000_000), ((1500, 1500), 100)],
)
def test_an_animation_beyond_the_bounds_is_refused_before_it_is_decoded(
    tmp_path: Path, size: tuple[int, int], frames: int
) -> None:
    (tmp_path / "a.gif").write_bytes(gif(*size, frames))

    with refuses(UsageError, "too much for a mail; make it shorter or smaller|is damaged"):
        take_in(tmp_path / "a.gif")


def test_the_largest_animation_fits_a_process(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(gif(2000, 1500, 33))
    pictures = [Image.new("RGB", (1000, 600), (at, 9, 9)) for at in range(20)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], lossless=True, method=0)
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], compress_level=1)

    said, peak = taken_in_by_a_process(*(tmp_path / name for name in ("a.gif", "a.webp", "a.png")))

    assert [type(sizes) for sizes in said] == [list] * 3
    assert peak <= MOST_MB


def test_no_other_decoder_of_the_library_is_ever_asked(tmp_path: Path) -> None:
    # Given a drawing that a decoder would hand to another program, under every name of a picture
    for suffix in ("png", "jpg", "gif", "webp", "eps"):
        (tmp_path / f"a.{suffix}").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")

    script = (
        "import sys\nfrom pathlib import Path\nfrom worker.compose.media import take_in\nfrom worker.errors import *\n"
        "for name in sys.argv[1:]:\n    try: take_in(Path(name))\n    except UsageError as e: print(e.code)\n"
        "print(*[name for name in sys.modules if name.startswith('PIL.Eps')])\n"
    )
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run([sys.executable, "-c", script, *names], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["media.not_a_picture"] * 5


def test_the_bounds_name_what_they_are_for() -> None:
    assert media.MAX_DECODED < (MOST_MB - 90) * 1_000_000
