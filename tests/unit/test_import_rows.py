"""What one row of an import means."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.words import refuses
from worker.consent.import_rows import MAX_VALUE_CHARS, RowError, read_consent, read_header, read_row
from worker.consent.imports import neutral_cell
from worker.domain.subscriber import ImportRow
from worker.errors import UsageError
from worker.screen.sentences import word

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HEADER = ["email", "name", "language", "consent_at", "City"]


def read(*cells: str, folds: Counter[str] | None = None) -> ImportRow:
    return read_row(cells, read_header(HEADER, {}), b"pepper", None, NOW, Counter() if folds is None else folds)


def test_row_becomes_a_reader() -> None:
    # When
    row = read("A@Example.org", " Zoë ", "pt-BR", "2024-05-04T10:00:00+02:00", "São Paulo")

    # Then
    assert (row.address, row.name, row.language) == ("A@example.org", "Zoë", "pt-BR")
    assert json.loads(row.attributes) == {"city": "São Paulo"}
    assert row.consent_at == datetime(2024, 5, 4, 8, 0, tzinfo=UTC)


def test_short_row_and_empty_cells_leave_values_out() -> None:
    row = read("a@example.org")
    assert (row.name, row.language, row.attributes, row.consent_at) == ("", None, "{}", None)


def test_spellings_of_one_mailbox_share_their_hash_and_count_their_folds() -> None:
    # Given
    folds: Counter[str] = Counter()

    # When
    hashes = {
        read(typed, folds=folds).address_hash
        for typed in (
            "jo@münchen.example",
            " JO@xn--mnchen-3ya.example",
            "jo@XN--MNCHEN-3YA.example",
            "Jo@MÜNCHEN.example",
        )
    }

    # Then
    assert len(hashes) == 1
    assert folds == {"blanks": 1, "local_case": 2, "domain_case": 1, "idna": 2}


def test_line_breaks_in_a_quoted_value_become_one_blank() -> None:
    folds: Counter[str] = Counter()
    row = read("a@example.org", "Ann\r\n\n  Lee", folds=folds)
    assert row.name == "Ann Lee"
    assert folds == {"line_breaks": 1}


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([""], "empty"),
        (["a@b"], "period|not valid"),
        (["a@example.org,b@example.org"], "@-sign|not valid|comma"),
        (["a@example.org", "nul\x00"], "name contains a control"),
        (["a@example.org", "next\x85line"], "name contains a control"),
        (["a@example.org", "sep\u2028arator"], "name contains a control"),
        (["a@example.org", "over\u202eride"], "name contains a control"),
        (["a@example.org", "n" * 201], "name is longer than 200"),
        (["a@example.org", "", "English"], "language is not a tag"),
        (["a@example.org", "", "", "04.05.2024"], "consent_at is not a date"),
        (["a@example.org", "", "", "2031-01-01"], "in the future"),
        (["a@example.org", "", "", "", "x" * (MAX_VALUE_CHARS + 1)], "city is longer"),
        (["a@example.org", "", "", "", "", "more"], "more cells"),
    ],
)
def test_row_that_cannot_be_kept_says_why(cells: list[str], reason: str) -> None:
    with refuses(RowError, match=reason):
        read(*cells)


@settings(max_examples=200)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_whatever_a_cell_holds_no_kept_value_breaks_a_line(cells: list[str]) -> None:
    try:
        row = read("reader@example.org", *cells)
    except RowError:
        return
    for value in (row.address, row.name, row.language or "", *json.loads(row.attributes).values()):
        assert not set(value) & set("\r\n\0\x0b\x0c\x1c\x85\u2028\u2029")


def test_mapped_heading_wins_over_its_own_name() -> None:
    # When
    columns = read_header(
        ["Name", "E-mail Address", "Town / City", ""], {"email": "e-mail address", "town": "Town / City"}
    )

    # Then
    assert (columns.email, columns.name, columns.attributes) == (1, 0, ((2, "town"),))


@pytest.mark.parametrize(
    ("header", "mapping", "said"),
    [
        (["mail", "name"], {}, "--map email='mail'"),
        (["a", "b"], {}, "there are “a”, “b”"),
        (["email", "Имя"], {}, "“Имя” gives no name"),
        (["email", "unsubscribe_url"], {}, "unsubscribe_url"),
        (["email", "if"], {}, "gives no name"),
        (["email", "City", "city "], {}, "two columns are called city"),
        (["email", "x"], {"name": "y"}, "no column “y”"),
        (["email", "x", "X"], {"name": "X "}, None),
        (["email", "x"], {"name": "x", "city": "x"}, "twice"),
        (["email\x1b[2J"], {}, "no column email"),
    ],
)
def test_header_that_cannot_be_understood_names_the_column(
    header: list[str], mapping: dict[str, str], said: str | None
) -> None:
    if said is None:
        assert read_header(header, mapping).name == 2
        return
    with pytest.raises(UsageError) as caught:
        read_header(header, mapping)
    assert said in word(caught.value)
    assert word(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("form at the fair", None),
        ("form, 2024-05-04", "2024-05-04"),
        ("2024-05-04: confirmed again 2024-05-04", "2024-05-04"),
        ("between 2024-01-01 and 2024-12-31", None),
        ("2031-01-01", None),
        ("2024-02-31", None),
        ("order 12024-05-041", None),
    ],
)
def test_consent_has_a_date_only_when_the_text_holds_exactly_one(text: str, day: str | None) -> None:
    kept, at = read_consent(f" {text} ", NOW)
    assert kept == text
    assert (at and at.date().isoformat()) == day


@pytest.mark.parametrize("text", ["", "  \t", "two\nlines", "x" * 1001])
def test_consent_without_evidence_is_wrong_usage(text: str) -> None:
    with refuses(UsageError, match="--consent"):
        read_consent(text, NOW)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", " =1", "＝1"])
def test_cell_that_a_spreadsheet_would_run_is_neutralised(cell: str) -> None:
    assert neutral_cell(cell) == "'" + cell


def test_ordinary_cell_stays_as_it_is() -> None:
    assert neutral_cell("anna@example.org") == "anna@example.org"
