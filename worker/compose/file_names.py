"""Which file an editor means by what stands in the text. Reads folders, changes nothing.

A name is what an editor sees: `größe.png` is one name however its letters are stored, and Markdown writes a blank as
`%20`. Case is not folded: the same text must mean the same file on every machine; a hint names what differs by it.
"""

import difflib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from worker.errors import UsageError

MOST_LISTED = 10_000  # names of one folder that are compared: more is no folder of an issue


def find_file(folder: Path, src: str) -> Path:
    """The file of a relative `src`, which must lie below `folder` (resolved). Raises UsageError."""
    for written in dict.fromkeys(_readings(src)):
        try:
            found = _literal(folder, written) or _seen(folder, written)
        except (OSError, ValueError):  # a name too long, or with a NUL
            continue
        if found is not None:
            if not found.resolve().is_relative_to(folder):
                raise UsageError("media.outside_folder", path=src)
            return found
    raise UsageError("media.missing", path=unquote(src), near=_near(folder, unquote(src)))


def _readings(src: str) -> Iterator[str]:
    yield src
    yield unquote(src)
    yield unquote(src).replace("\\", "/")


def _literal(folder: Path, written: str) -> Path | None:
    path = (folder / written).resolve()
    if not path.is_relative_to(folder):
        raise UsageError("media.outside_folder", path=written)
    return path if path.is_file() else None


def _seen(folder: Path, written: str) -> Path | None:
    """The file whose name looks like the written one, folder by folder."""
    at = folder
    for part in Path(written).parts:
        below = at / part
        if part == ".." or below.exists():
            at = below
            continue
        same = [name for name in _names(at) if as_seen(name) == as_seen(part)]
        if not same:
            return None
        at = at / same[0]
    return at if at.is_file() else None


def as_seen(name: str) -> str:
    """What tells two names apart for somebody who looks: no stored form, no kind of blank, nothing unseen."""
    blanks = "".join(" " if char.isspace() else char for char in unicodedata.normalize("NFC", name))
    return "".join(char for char in blanks if unicodedata.category(char) != "Cf").strip()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for _, path in zip(range(MOST_LISTED), folder.iterdir(), strict=False))


def _near(folder: Path, written: str) -> str:
    """The name in the same folder that was probably meant, "" when none is near."""
    path = Path(written)
    try:
        parent = (folder / path.parent).resolve()
        names = _names(parent) if parent.is_relative_to(folder) else []
    except (OSError, ValueError):
        return ""
    folded = {as_seen(name).casefold(): name for name in names}
    wanted = as_seen(path.name).casefold()
    best = [wanted] if wanted in folded else difflib.get_close_matches(wanted, folded, 1, 0.8)
    return str(path.parent / folded[best[0]]) if best else ""
