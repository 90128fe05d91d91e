"""A new issue file to write over: commented, in the publication's language, and clean before a word is changed."""

import json
import string
import tomllib
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date

from worker.calling import as_called
from worker.compose.source import read_issue
from worker.compose.wording import wording_for
from worker.domain.issue import Issue, IssueKind, IssueState
from worker.domain.publication import Publication
from worker.errors import IssueFileError, NotFoundError, RefusedError, Remedy, UsageError
from worker.places import TEMPLATES
from worker.storage import publications
from worker.storage.engine import Database
from worker.storage.ledger import issues

FOLDER = TEMPLATES / "issue"
STANDARD_OUTPUT = Path("-")
_UNNAMED = "issue.md"
"""What the text for standard output is read as: only a file's name can be wrong about a new one."""


def start_issue(database: Database, kind: IssueKind, path: Path, slug: str | None, now: datetime) -> str:
    """The text of a new issue file at `path`, for the named publication or the only one.

    Raises NotFoundError and UsageError: no publication, or several; RefusedError: the file's name was used already.
    """
    _refuse_place(path)
    with database.read() as conn:
        publication = _choose(publications.list_publications(conn), slug)
        others = [one for one in issues.list_issues(conn) if one.publication_id == publication.id]
    sent = [issue for issue in others if issue.state is not IssueState.DRAFT]
    text = _write(kind, publication, now, sent[0].subject if sent else "")
    _refuse_name(path, text, sent)
    return text


def _refuse_place(path: Path) -> None:
    """What can be said before anything is read."""
    if path == STANDARD_OUTPUT:
        return
    if path.is_dir():
        raise UsageError("starter.is_folder", path=path)
    if path.suffix.lower() not in (".md", ".markdown"):
        raise UsageError("starter.not_markdown", path=path, better=path.with_suffix(".md"))
    if path.exists() or path.is_symlink():
        raise RefusedError("starter.exists", remedy=Remedy.CHANGE, path=path)
    if not path.parent.is_dir():
        raise UsageError("starter.no_folder", path=path, folder=path.parent)


def _choose(known: list[Publication], slug: str | None) -> Publication:
    if not known:
        raise NotFoundError("starter.no_publication", remedy=Remedy.CREATE)
    slugs = [publication.slug for publication in known]
    if slug is None and len(known) > 1:
        raise UsageError("starter.several_publications", slugs=slugs)
    found = next((publication for publication in known if slug in (None, publication.slug)), None)
    if found is None:
        raise NotFoundError("starter.publication_unknown", slug=slug, slugs=slugs)
    return found


def _refuse_name(path: Path, text: str, sent: list[Issue]) -> None:
    """An issue is called as its file is, unless the file says otherwise; a new one says nothing."""
    try:
        slug = read_issue(_UNNAMED if path == STANDARD_OUTPUT else str(path), text).slug
    except IssueFileError as error:
        raise UsageError("starter.name_unfit", name=path.name) from error
    if path != STANDARD_OUTPUT and slug in {issue.slug for issue in sent}:
        raise RefusedError("starter.name_taken", remedy=Remedy.CHANGE, slug=slug, path=path)


def _write(kind: IssueKind, publication: Publication, now: datetime, last_subject: str) -> str:
    catalogue = tomllib.loads((FOLDER / "words.toml").read_text(encoding="utf-8"))
    language = publication.language
    words = catalogue.get(language.split("-")[0].lower()) or catalogue[wording_for(language).language]
    date = _spell_date(now.astimezone(ZoneInfo(publication.zone)), language)
    subject = words[kind.value].format(date=date)
    if subject == last_subject:
        subject += " (2)"  # two on one day: readers would take it for a repeat
    one_line = ("preheader", "card_title", "card_blurb", "standfirst")
    values = {
        **words,
        **{name: _quote(words[name]) for name in one_line},
        "subject": _quote(subject),
        "date": _quote(date),
        "title": publication.title,
        "publication": publication.slug,
        "language": _quote(language),
        "signatory": _quote(_untagged(publication.from_name)),
    }
    return string.Template(as_called((FOLDER / f"{kind}.md").read_text(encoding="utf-8"))).substitute(values)


def _spell_date(day: datetime, language: str) -> str:
    try:
        locale = Locale.parse(language, sep="-")
    except (UnknownLocaleError, ValueError):
        locale = Locale("en")
    return format_date(day, format="long", locale=locale)


def _quote(text: str) -> str:
    """A YAML scalar in double quotes, whatever stands in it."""
    return json.dumps(text, ensure_ascii=False)


def _untagged(name: str) -> str:
    """A name that holds braces would be read as a tag."""
    return " ".join(name.replace("{", " ").replace("}", " ").split()) or "—"
