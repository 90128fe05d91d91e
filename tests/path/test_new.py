"""`corranto new`: a file that an editor writes over, and that would go out as it stands."""

import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.path.test_cli import Said, corranto  # noqa: F401 - the fixture
from worker.domain.issue import IssueKind
from worker.editorial.drafts import check_draft
from worker.editorial.publications import create_publication
from worker.editorial.starters import FOLDER, start_issue
from worker.errors import CorrantoError
from worker.operations.schema import upgrade_schema
from worker.screen.sentences import word
from worker.settings import load
from worker.storage.engine import Database, open_database

LANGUAGES = [*tomllib.loads((FOLDER / "words.toml").read_text(encoding="utf-8")), "pt-BR", "zh-Hant", "de-AT"]
NOW = datetime(2026, 11, 27, 23, 30, tzinfo=UTC)


@pytest.fixture
def letters(corranto: Callable[..., Said]) -> Callable[..., Said]:  # noqa: F811
    """The command line of an installation with one publication and a reader."""
    assert corranto("publication", "create", "letters", *_options("Letters")).code == 0
    assert corranto("subscriber", "add", "reader@example.org", "-p", "letters", "--consent", "on paper").code == 0
    return corranto


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.sqlite3'}"
    upgrade_schema(url)
    return open_database(url)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", list(IssueKind))
def test_a_new_file_has_no_finding_in_the_language_of_its_publication(
    database: Database, tmp_path: Path, language: str, kind: IssueKind
) -> None:
    # Given
    slug = f"{language.lower()}-{kind}"
    # Characters that mean something to YAML, to templates and to the text of a new file.
    named = {"title": 'Q&A: "yes" # {no} $5', "from": "A: b # $c & co <me@example.org>"}
    typed = {"slug": slug, "postal_address": "1 Road, Town", "language": language, "zone": "Asia/Tokyo", **named}
    create_publication(database, typed, actor="test")
    path = tmp_path / f"a letter {kind}.md"

    # When
    path.write_text(start_issue(database, kind, path, slug, NOW), encoding="utf-8")
    draft = check_draft(database, load({}), path)

    # Then
    assert [(str(finding), finding.line, finding.why) for finding in draft.findings] == []
    assert draft.text.language == language
    assert "28" in draft.text.date  # the editors' day, not the server's


def test_a_new_file_can_be_queued_at_once_and_the_next_of_the_day_too(letters, tmp_path):
    for name in ("first.md", "second.md"):
        made = letters("new", "newsletter", name)
        looked = letters("lint", name)
        queued = letters("queue", name)

        assert made.code == 0, made.err
        assert "corranto lint " + name in made.err
        assert "0 errors, 0 warnings, 0 notes" in looked.out
        assert queued.code == 0, queued.err


def test_a_new_file_is_printed_for_a_dash_and_nothing_is_written(letters, tmp_path):
    before = sorted(tmp_path.iterdir())

    said = letters("new", "statement", "-")

    assert said.code == 0
    assert said.out.startswith("---\n")
    assert "kind: statement" in said.out
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("there.md", 4, "there.md exists already and stays as it is"),
        ("dangling.md", 4, "dangling.md exists already"),
        ("note.txt", 2, "note.txt does not end in .md; name it note.md"),
        ("note", 2, "name it note.md"),
        ("no where/note.md", 2, "make it with: mkdir -p 'no where'"),
        ("folder", 2, "folder is a folder; name a file in it"),
        ("latest.md", 2, '"latest.md" cannot name one'),
        ("2026.md", 2, '"2026.md" cannot name one'),
        ("письмо.md", 2, "cannot name one"),
        ("queued.md", 4, "an issue queued was queued already"),
    ],
)
def test_a_file_that_cannot_be_made_is_refused_in_a_sentence(letters, tmp_path, name, code, sentence):
    # Given
    (tmp_path / "there.md").write_text("mine")
    (tmp_path / "dangling.md").symlink_to("elsewhere.md")
    (tmp_path / "folder").mkdir()
    letters("new", "statement", "queued.md")
    letters("queue", "queued.md")
    (tmp_path / "queued.md").unlink()

    # When
    said = letters("new", "newsletter", name)

    # Then
    assert said.code == code
    assert sentence in said.err
    assert (tmp_path / "there.md").read_text() == "mine"


def test_the_publication_is_the_only_one_or_has_to_be_named(corranto, tmp_path):  # noqa: F811
    # When
    none = corranto("new", "newsletter", "a.md")
    corranto("publication", "create", "letters", *_options("Letters"))
    one = corranto("new", "newsletter", "b.md")
    corranto("publication", "create", "news", *_options("News"))
    two = corranto("new", "newsletter", "c.md")
    named = corranto("new", "newsletter", "c.md", "-p", "news")
    wrong = corranto("new", "newsletter", "d.md", "-p", "newz")

    # Then
    assert (none.code, one.code, two.code, named.code, wrong.code) == (2, 0, 2, 0, 2)
    assert "corranto publication create letters" in none.err
    assert "say whose issue it is with -p: letters or news" in two.err
    assert "publication: news" in (tmp_path / "c.md").read_text()
    assert "-p takes letters or news" in wrong.err


def test_a_name_without_letters_is_said_before_anything_is_asked(database: Database, tmp_path: Path) -> None:
    with pytest.raises(CorrantoError) as caught:
        start_issue(database, IssueKind.NEWSLETTER, tmp_path / "x.doc", None, NOW)

    assert word(caught.value).endswith(f"name it {tmp_path / 'x.md'}")


def _options(title: str) -> tuple[str, ...]:
    return ("--title", title, "--from", f"{title} <me@example.org>", "--postal-address", "1 Road, Town")
