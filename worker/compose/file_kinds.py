"""What a file is, told by its first octets and never by its name. Pure."""

import re

PICTURES = frozenset({"png", "jpeg", "gif", "webp"})
"""The kinds that are decoded here. Any other decoder is left alone: some of them start programs or read other files."""

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"8BPS", "psd"),
    (b"%!PS", "eps"),
    (b"\xc5\xd0\xd3\xc6", "eps"),
    (b"\0\0\1\0", "ico"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xffO\xffQ", "jp2"),
    (b"PK\3\4", "zip"),
    (b"PK\5\6", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old_office"),
    (b"\x1f\x8b", "gzip"),
    (b"ID3", "mp3"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"version https://git-lfs", "pointer"),
)
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_ENCLOSED = {
    ".pdf": {"pdf"},
    ".zip": {"zip"},
    ".odt": {"zip"},
    ".ods": {"zip"},
    ".odp": {"zip"},
    ".docx": {"zip"},
    ".xlsx": {"zip"},
    ".pptx": {"zip"},
    ".mp3": {"mp3"},
    ".mp4": {"video"},
    ".txt": {"text", "xml"},
    ".csv": {"text"},
    ".ics": {"calendar"},
}


def kind_of(data: bytes) -> str:
    """The kind: one of PICTURES or another word; `empty`, `zeros`, `text` and `unknown` where nothing says more."""
    if not data:
        return "empty"
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        return "heic" if brand in _HEIF else "avif" if brand in (b"avif", b"avis") else "video"
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if data[:1] == b"\xff" and len(data) > 1 and data[1] & 0xE6 == 0xE2:
        return "mp3"
    if not data[:65_536].strip(b"\0"):
        return "zeros"
    return _text_kind(data[:65_536])


def fits_suffix(suffix: str, data: bytes) -> bool:
    """Whether an enclosed file is what its suffix (lower case, with the dot) tells those who download it."""
    kind = kind_of(data)
    if suffix in (".docx", ".xlsx", ".pptx"):
        return kind == "zip" and b"[Content_Types].xml" in data
    if suffix in (".odt", ".ods", ".odp"):
        return kind == "zip" and b"application/vnd.oasis.opendocument" in data[:200]
    return kind in _ENCLOSED.get(suffix, {kind})


def _text_kind(start: bytes) -> str:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text"  # UTF-16, as spreadsheet programs save "Unicode text"
    if b"\0" in start:
        return "unknown"
    lowered = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if re.search(rb"<svg[\s/>]", lowered[:8_192]):
        return "svg"
    if lowered.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "html"
    if lowered.startswith(b"<?xml"):
        return "html" if b"<html" in lowered[:1_024] else "xml"
    if lowered.startswith(b"begin:vcalendar"):
        return "calendar"
    controls = sum(octet < 9 or 14 <= octet < 27 for octet in start[:4_096])
    return "text" if controls == 0 else "unknown"
