"""CSV files as spreadsheets, and attackers, write them."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.publication import write_csv
from tests.support.words import refuses
from worker.consent.csv_file import rows, survey
from worker.errors import NotFoundError, UsageError
from worker.screen.sentences import word


def read(path: Path, encoding: str | None = None) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    file = survey(path, encoding)
    kept = list(rows(file))
    assert file.rows == len(kept)
    return file.header, kept


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends_are_found(tmp_path: Path, delimiter: str, end: str) -> None:
    # Given
    lines = [delimiter.join(cells) for cells in (["email", "name"], ["a@example.org", "A"], ["b@example.org", "B"])]

    # When
    header, kept = read(write_csv(tmp_path, end.join(lines)))

    # Then
    assert header == ("email", "name")
    assert kept == [(2, ["a@example.org", "A"]), (3, ["b@example.org", "B"])]


def test_byte_order_mark_is_no_part_of_the_first_heading(tmp_path: Path) -> None:
    assert read(write_csv(tmp_path, "email;name\r\n", "utf-8-sig"))[0] == ("email", "name")


def test_spreadsheet_separator_line_is_obeyed(tmp_path: Path) -> None:
    header, kept = read(write_csv(tmp_path, "sep=;\r\nemail;name,first\r\na@example.org;A\r\n"))
    assert header == ("email", "name,first")
    assert kept == [(3, ["a@example.org", "A"])]


def test_quoted_newlines_and_blank_lines_keep_the_line_numbers_true(tmp_path: Path) -> None:
    text = 'email,name\n\n"a@example.org","two\nlines"\n,\nb@example.org,"say ""hi"""\n'
    assert read(write_csv(tmp_path, text))[1] == [
        (3, ["a@example.org", "two\nlines"]),
        (6, ["b@example.org", 'say "hi"']),
    ]


def test_named_encoding_is_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "email,name\nz@example.org,Zoë\n", "cp1252")
    assert read(path, "cp1252")[1] == [(2, ["z@example.org", "Zoë"])]
    path = write_csv(tmp_path, "email,name\nz@example.org,Zoë\n", "utf-16")
    assert read(path, "utf-16")[1] == [(2, ["z@example.org", "Zoë"])]


def test_other_encoding_is_named_with_its_line_and_remedy(tmp_path: Path) -> None:
    lines = ["email,name"] + [f"r{n}@example.org,R" for n in range(2_000)] + ["z@example.org,Zoë"]
    with refuses(UsageError, match=r"readers\.csv line 2002 is not UTF-8.*--encoding cp1252"):
        survey(write_csv(tmp_path, "\n".join(lines), "cp1252"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_utf_16_is_refused_with_the_remedy(tmp_path: Path, encoding: str) -> None:
    with refuses(UsageError, match=f"UTF-16.*--encoding {encoding}"):
        survey(write_csv(tmp_path, "email,name\na@example.org,A\n", encoding))


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex", "base64"])
def test_encoding_that_is_none_is_refused(tmp_path: Path, encoding: str) -> None:
    with refuses(UsageError, match="no encoding"):
        survey(write_csv(tmp_path, "email\n"), encoding)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ('"email\na@example.org\n', "line 1: a quotation mark is opened and never closed"),
        ("x," * 150_000 + "\n", "line 1: a row is longer"),
        (",".join("c" for n in range(16_385)), "16385 columns"),
        ('id,name\n1,"a \\"b\\""\n', "line 2: a quotation mark is escaped by a backslash: add --escape backslash"),
    ],
)
def test_file_that_cannot_be_read_says_where_and_why(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        survey(write_csv(tmp_path, text))
    assert said in word(caught.value)
    assert "\n" not in word(caught.value)


def test_missing_file_and_folder_are_told(tmp_path: Path) -> None:
    with refuses(NotFoundError, match="no file"):
        survey(tmp_path / "nothing.csv")
    with refuses(UsageError, match="cannot be read"):
        survey(tmp_path)


_CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(_CELLS, min_size=2, max_size=2).filter(lambda cells: any(cells)), max_size=6))
def test_whatever_a_spreadsheet_can_write_is_read_back(tmp_path: Path, wanted: list[list[str]]) -> None:
    # Given
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerows([["email", "name"], *wanted])

    # When
    _, kept = read(write_csv(tmp_path, out.getvalue()))

    # Then
    assert [cells for _, cells in kept] == wanted
