"""An issue file on disk → its text, its hosted media, its findings, its compiled form.

Reads files only; nothing is stored. The same steps stand behind lint, preview, proof and queue, so that what was
checked is what is sent.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import jinja2

from worker.compose.findings import Finding, LintFacts
from worker.compose.layouts import layout_environment
from worker.compose.links import is_remote_picture
from worker.compose.media import MAX_LARGE_WIDTH, MediaItem, take_in
from worker.compose.rules import lint
from worker.compose.rules_targets import pictures_of
from worker.compose.source import read_issue
from worker.compose.typeset import large_key
from worker.domain.compiled import CompiledIssue
from worker.domain.issue import IssueText
from worker.domain.publication import Publication
from worker.errors import IssueFileError, NotFoundError, UsageError

LAYOUT_DIR = Path(__file__).parents[2] / "templates" / "mail"
MAX_ISSUE_BYTES = 4_000_000
MAX_MEDIA = 200


@cache
def load_layouts(folder: Path = LAYOUT_DIR) -> jinja2.Environment:
    """The mail layouts, read once per process."""
    return layout_environment({path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())})


def load_issue_file(path: str | Path) -> tuple[IssueText, dict[str, MediaItem]]:
    """The issue and what could be taken in of its pictures and files, by `src` (see `compose.typeset.large_key`).

    A picture that is missing or unusable is left out here and named by the rules. Raises NotFoundError, UsageError.
    """
    issue = read_issue_file(Path(path))
    return issue, take_in_media(issue)[0]


def take_in_media(issue: IssueText) -> tuple[dict[str, MediaItem], dict[str, str]]:
    """(media by src, reason by src that could not be taken in)."""
    folder = Path(issue.path).resolve().parent
    widths = {picture.src: 0 for picture in pictures_of(issue) if not picture.src.startswith("large:")}
    widths |= {enclosure.file: 0 for enclosure in issue.enclosures if enclosure.file}
    widths |= {large_key(figure): MAX_LARGE_WIDTH for figure in issue.figures}
    media: dict[str, MediaItem] = {}
    problems: dict[str, str] = {}
    if len(widths) > MAX_MEDIA:
        raise UsageError(f"{issue.path} names {len(widths)} pictures and files, more than {MAX_MEDIA}; split the issue")
    for key, width in widths.items():
        src = key.removeprefix("large:")
        if is_remote_picture(src):
            continue
        try:
            found = _inside(folder, src)
            media[key] = take_in(found, max_width=width) if width else take_in(found)
        except UsageError as error:
            problems[key] = str(error).replace(f"{folder}/", "")
    return media, problems


def check_issue(
    issue: IssueText,
    publication: Publication,
    *,
    base_url: str,
    loopback_relay: bool,
    signs: bool,
    sent_slugs: frozenset[str] = frozenset(),
    attributes: frozenset[str] = frozenset(),
    last_subject: str = "",
    taken_in: tuple[Mapping[str, MediaItem], Mapping[str, str]] | None = None,
    compiled: CompiledIssue | None = None,
) -> list[Finding]:
    """All findings of an issue, errors first. `taken_in` spares reading the media again, `compiled` compiling."""
    media, problems = taken_in or take_in_media(issue)
    facts = LintFacts(
        publication=publication,
        base_url=base_url.rstrip("/"),
        loopback_relay=loopback_relay,
        signs=signs,
        sent_slugs=sent_slugs,
        attributes=attributes,
        media=media,
        media_problems=problems,
        layouts=load_layouts(),
        last_subject=last_subject,
        compiled=compiled,
    )
    return lint(issue, facts)


def read_issue_file(path: Path) -> IssueText:
    """The issue's text alone. Raises NotFoundError, UsageError, IssueFileError."""
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_ISSUE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist; check the name and the folder") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); check what it is and who may read it") from error
    if len(octets) > MAX_ISSUE_BYTES:
        raise UsageError(
            f"{path} is larger than {MAX_ISSUE_BYTES // 1_000_000} MB; an issue is text, pictures are files"
        )
    try:
        return read_issue(str(path), octets.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise IssueFileError(f"{path} line {line}: the text is not UTF-8; save the file as UTF-8") from error


def _inside(folder: Path, src: str) -> Path:
    """The file of a relative `src`. What an editor names must lie below the folder of the issue file."""
    found = (folder / src).resolve()
    if not found.is_relative_to(folder):
        raise UsageError(f"{src} lies outside the folder of the issue; move it there")
    if not found.is_file():
        raise UsageError("the file is missing")
    return found
