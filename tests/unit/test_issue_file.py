"""Issue files on disk: what lies beside them is taken in, what lies elsewhere never."""

from pathlib import Path

import pytest
from PIL import Image

from tests.support.issues import load_issue_file
from tests.support.words import refuses
from worker.compose.issue_file import take_in_media
from worker.errors import IssueFileError, NotFoundError, UsageError
from worker.screen.sentences import word

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

    assert problems["pictures/a.png"].fields == {"path": "pictures/a.png", "kind": "text"}
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


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("größe.png", "größe.png"),
        ("gro\u0308ße.png", "größe.png"),
        ("größe.png", "gro\u0308ße.png"),
        ("Bild 1.png", "<Bild 1.png>"),
        ("Bild 1.png", "Bild%201.png"),
        ("Bild%201.png", "Bild%201.png"),
        ("100%.png", "100%.png"),
        ("a%zz.png", "a%zz.png"),
        ("a#b.png", "a#b.png"),
        ("a?b.png", "a?b.png"),
        ("a&b+c.png", "a&b+c.png"),
        ("10:30.png", "10:30.png"),
        ("Screenshot at 10:30.png", "<Screenshot at 10:30.png>"),
        ("Screenshot at 9.41\u202fAM.png", "<Screenshot at 9.41 AM.png>"),
        ("Übersicht Gro\u0308ße.png", "<Übersicht Größe.png>"),
        ("Bilder/größe.png", "Bilder/gro\u0308ße.png"),
        ("Bilder/gro\u0308ße.png", "./Bilder/größe.png"),
        ("画像.png", "画像.png"),
        ("café (1).png", "<café (1).png>"),
    ],
)
def test_a_file_that_is_there_is_found_by_the_name_an_editor_sees(tmp_path: Path, stored: str, written: str) -> None:
    (tmp_path / stored).parent.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4)).save(tmp_path / stored)

    issue, media = load_issue_file(write(tmp_path, f"![a]({written})"))

    assert [item.width for item in media.values()] == [4], take_in_media(issue)[1]


def test_two_names_that_look_alike_are_two_files(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "größe.png")
    Image.new("RGB", (5, 5)).save(tmp_path / "gro\u0308ße.png")

    _, media = load_issue_file(write(tmp_path, "![a](größe.png) ![b](gro\u0308ße.png)"))

    assert sorted(item.width for item in media.values()) == [4, 5]


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("img_0001.jpg", "IMG_0001.JPG"),
        ("IMG_001.JPG", "IMG_0001.JPG"),
        ("Bilder/TEAL.png", "Bilder/teal.png"),
        ("x.png", ""),
    ],
)
def test_a_file_that_is_not_there_is_told_with_the_one_that_was_meant(tmp_path: Path, written: str, near: str) -> None:
    (tmp_path / "Bilder").mkdir()
    for name in ("IMG_0001.JPG", "Bilder/teal.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)

    [trouble] = take_in_media(load_issue_file(write(tmp_path, f"![a]({written})"))[0])[1].values()

    assert (trouble.code, trouble.fields["path"], trouble.fields["near"]) == ("media.missing", written, near)
    assert (f"is called {near}: write that name" in word(trouble)) == bool(near)


def test_a_picture_used_many_times_is_read_once(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a b.png")
    written = "![a](<a b.png>) ![a](a%20b.png) ![a](./a%20b.png)"

    _, media = load_issue_file(write(tmp_path, written, front="figures:\n- {src: a b.png, alt: A}\n"))

    assert len(media) == 4
    assert len({id(item) for key, item in media.items() if not key.startswith("large:")}) == 1


def test_all_that_an_issue_brings_has_a_bound(tmp_path: Path) -> None:
    for at in range(3):
        (tmp_path / f"{at}.pdf").write_bytes(b"%PDF-1.4" + bytes([at]) * 15_000_000)
    enclosed = "".join(f"- {{title: A, file: {at}.pdf}}\n" for at in range(3))

    with refuses(UsageError, "more than 40 MB of pictures and files"):
        load_issue_file(write(tmp_path, front=f"enclosures:\n{enclosed}"))
