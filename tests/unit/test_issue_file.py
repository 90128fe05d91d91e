"""Issue files on disk: what lies beside them is taken in, what lies elsewhere never."""

from pathlib import Path

import pytest
from PIL import Image

from tests.support.issues import load_issue_file
from tests.support.words import refuses
from worker.compose.issue_file import take_in_media
from worker.errors import IssueFileError, NotFoundError, UsageError

FRONT = "kind: statement\npublication: ring-news\nsubject: A plain subject\n"


def write(folder: Path, body: str = "Words.\n", front: str = "", name: str = "a.md") -> Path:
    path = folder / name
    path.write_text(f"---\n{FRONT}{front}---\n{body}", "utf-8")
    return path


def test_a_file_outside_the_issues_folder_is_never_published(tmp_path: Path) -> None:
    # Given a secret beside the folder, and three ways to name it
    folder = tmp_path / "issues"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    ways = ("../secret.png", "x/../../secret.png", "link.png")

    # When
    issue, media = load_issue_file(write(folder, "\n\n".join(f"![a]({way})" for way in ways)))

    # Then
    assert media == {}
    assert {trouble.code for trouble in take_in_media(issue)[1].values()} == {"media.outside_folder"}


def test_a_broken_picture_is_named_as_the_editor_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"x")

    issue, _ = load_issue_file(write(tmp_path, "![a](pictures/a.png)\n\n![b](none.png)"))
    problems = take_in_media(issue)[1]

    assert problems["pictures/a.png"].fields == {"path": "pictures/a.png"}
    assert problems["none.png"].code == "media.missing"


def test_the_larger_version_of_a_figure_is_larger(tmp_path: Path) -> None:
    Image.new("1", (3000, 30)).save(tmp_path / "a.png")

    _, media = load_issue_file(write(tmp_path, front="figures:\n- {src: a.png, alt: A}\n"))

    assert (media["a.png"].width, media["large:a.png"].width) == (1200, 2400)


def test_an_enclosed_file_is_taken_in(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")

    _, media = load_issue_file(write(tmp_path, front="enclosures:\n- {title: A, file: a.pdf}\n"))

    assert media["a.pdf"].data == b"%PDF-1.4"


def test_a_file_saved_by_notepad_is_read(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))

    assert load_issue_file(path)[0].body == "Words.\n"


def test_a_file_that_is_no_issue_says_where_and_why(tmp_path: Path) -> None:
    latin = write(tmp_path, name="latin.md")
    latin.write_bytes(latin.read_bytes() + b"\ncaf\xe9")
    (tmp_path / "large.md").write_bytes(b"x" * 4_000_001)

    with refuses(IssueFileError, r"latin\.md line 8: the text is not UTF-8"):
        load_issue_file(latin)
    with refuses(UsageError, "larger than 2 MB"):
        load_issue_file(tmp_path / "large.md")
    with refuses(UsageError, "cannot be read"):
        load_issue_file(tmp_path)
    with refuses(NotFoundError, r"none\.md does not exist"):
        load_issue_file(tmp_path / "none.md")


def test_an_issue_cannot_keep_a_machine_busy_with_thousands_of_pictures(tmp_path: Path) -> None:
    path = write(tmp_path, "\n".join(f"![a]({number}.png)" for number in range(201)))

    with pytest.raises(UsageError) as caught:
        load_issue_file(path)

    assert caught.value.trouble.fields["number"] == 201
