"""An issue file on disk → its text, its hosted media, its findings, its compiled form.

Reads files only; nothing is stored. The same steps stand behind lint, preview, proof and queue, so that what was
checked is what is sent.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import jinja2

from worker.compose.file_names import find_file
from worker.compose.findings import Finding, LintFacts
from worker.compose.layouts import layout_environment
from worker.compose.links import is_remote_picture
from worker.compose.media import MAX_LARGE_WIDTH, MAX_WIDTH, MediaItem, take_in_widths
from worker.compose.rules import lint
from worker.compose.rules_targets import pictures_of
from worker.compose.source import read_whole
from worker.compose.typeset import large_key
from worker.domain.compiled import CompiledIssue
from worker.domain.issue import IssueText
from worker.domain.publication import Publication
from worker.errors import IssueFileError, NotFoundError, Trouble, UsageError
from worker.places import TEMPLATES

LAYOUT_DIR = TEMPLATES / "mail"
MAX_ISSUE_BYTES = 2_000_000  # frontmatter.MAX_FILE_CHARS of four octets each, and some
MAX_MEDIA = 200  # pictures and files: two for each of source.MAX_CARDS
MAX_MEDIA_BYTES = 40_000_000  # of all hosted items of an issue, which are held in memory until it is queued


@cache
def load_layouts(folder: Path = LAYOUT_DIR) -> jinja2.Environment:
    """The mail layouts, read once per process."""
    return layout_environment({path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())})


def take_in_media(issue: IssueText) -> tuple[dict[str, MediaItem], dict[str, Trouble]]:
    """(media by `src`, see `typeset.large_key`; what is wrong by `src` with a picture or file that is left out)."""
    folder = Path(issue.path).resolve().parent
    widths = {picture.src: MAX_WIDTH for picture in pictures_of(issue) if not picture.src.startswith("large:")}
    widths |= {enclosure.file: MAX_WIDTH for enclosure in issue.enclosures if enclosure.file}
    widths |= {large_key(figure): MAX_LARGE_WIDTH for figure in issue.figures}
    media: dict[str, MediaItem] = {}
    problems: dict[str, Trouble] = {}
    if len(widths) > MAX_MEDIA:
        raise UsageError("issue_file.too_many_media", path=issue.path, number=len(widths), limit=MAX_MEDIA)
    files: dict[Path, list[str]] = {}
    for key in widths:
        src = key.removeprefix("large:")
        if is_remote_picture(src):
            continue
        try:
            files.setdefault(find_file(folder, src), []).append(key)
        except UsageError as error:
            problems[key] = error.trouble
    octets = 0
    for path, keys in files.items():  # a file is read once, however often and by whatever name it is used
        try:
            items = take_in_widths(path, {widths[key] for key in keys}, name=str(path.relative_to(folder)))
        except UsageError as error:
            problems |= dict.fromkeys(keys, error.trouble)
            continue
        octets += sum({item.name: len(item.data) for item in items.values()}.values())
        if octets > MAX_MEDIA_BYTES:
            raise UsageError("issue_file.media_too_heavy", path=issue.path, limit_mb=MAX_MEDIA_BYTES // 1_000_000)
        media |= {key: items[widths[key]] for key in keys}
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
    taken_in: tuple[Mapping[str, MediaItem], Mapping[str, Trouble]] | None = None,
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
    """The issue's text alone, with its faults. Raises NotFoundError, UsageError, IssueFileError."""
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_ISSUE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError("issue_file.missing", path=str(path)) from error
    except OSError as error:
        raise UsageError("issue_file.unreadable", path=str(path), reason=error.strerror) from error
    if len(octets) > MAX_ISSUE_BYTES:
        raise UsageError("issue_file.too_large", path=str(path), limit_mb=MAX_ISSUE_BYTES // 1_000_000)
    try:
        return read_whole(str(path), octets.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        problem = Trouble("text.not_utf8")
        raise IssueFileError("issue_file.malformed", path=str(path), line=line, problem=problem) from error
