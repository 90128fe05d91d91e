"""What one row of an import means."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.words import refuses
from worker.consent.cells import neutral_cell, unguarded
from worker.consent.dates import DateOrder
from worker.consent.headings import read_header
from worker.consent.import_rows import RowError, read_consent, read_row
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
        (["a@b"], "no dot"),
        (["nobody"], "no @"),
        (["@example.org"], "before the @"),
        (["a@"], "after the @"),
        (["a..b@example.org"], "a dot of the address"),
        (["a@b@example.org"], "more than one @"),
        (["a(b@example.org"], r"contains \("),
        (["a\u200bb@example.org"], r"U\+200B"),
        (["a\ud800@example.org"], r"U\+D800"),
        (["a@example.org,b@example.org"], "more than one @"),
        (["a@example.org; b@example.org"], "more than one @"),
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
        (["mailing to", "name"], {}, "--map email='mailing to'"),
        (["a", "b"], {}, "there are “a”, “b”"),
        (["a", "a"], {"email": "a"}, "by its place, #1 or #2"),
        (["email", "x"], {"if": "x", "y": "z"}, "cannot call a column if"),
        (["email", "x"], {"if": "x", "y": "z"}, "no column “z”"),
        (["a@example.org", "Jane"], {}, "put one like email,name above it"),
        (["email", "x"], {"name": "y"}, "no column “y”"),
        (["email", "x", "X"], {"name": "X "}, None),
        (["email", "x"], {"name": "x", "city": "x"}, "twice"),
        (["email\x1b[2J"], {}, "no column"),
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
    assert word(caught.value).replace("\n", "").isprintable()


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


@pytest.mark.parametrize(
    ("cells", "kept", "fold"),
    [
        (["", "nul\x00l"], "null", "unseen"),
        (["", "next\x85line"], "next line", "line_breaks"),
        (["", "sep\u2028arator"], "sep arator", "line_breaks"),
        (["", "over\u202eride"], "override", "unseen"),
        (["", "tab\there"], "tab here", "tabs"),
        (["", "lone\ud800"], "lone", "unseen"),
        (["", "n" * 201], "n" * 200, "cut"),
        *((["", nothing], "", "nothing") for nothing in ("NULL", "\\N", "#N/A", "undefined", "nan", "None", "-", "NA")),
        (["", "Na"], "Na", None),
        (["", "'-"], "-", None),
        (["", "'+49 170"], "+49 170", None),
    ],
)
def test_side_value_is_folded_and_never_throws_a_reader_away(cells: list[str], kept: str, fold: str | None) -> None:
    folds: Counter[str] = Counter()
    assert read("a@example.org", *cells[1:], folds=folds).name == kept
    assert folds == ({fold: 1} if fold else {})


@pytest.mark.parametrize(
    ("typed", "tag", "fold"),
    [
        ("en_US", "en-US", "locale"),
        ("de_DE.UTF-8", "de-DE", "locale"),
        ("DE", "DE", None),
        ("English", None, "language"),
    ],
)
def test_locale_becomes_a_tag_and_another_word_none(typed: str, tag: str | None, fold: str | None) -> None:
    folds: Counter[str] = Counter()
    assert read("a@example.org", "", typed, folds=folds).language == tag
    assert folds == ({fold: 1} if fold else {})


@pytest.mark.parametrize(
    ("typed", "at"),
    [
        ("2021-02-04 07:55:20 +0000", "2021-02-04T07:55:20+00:00"),
        ("2023-03-24 10:23:10 UTC", "2023-03-24T10:23:10+00:00"),
        ("2024-01-15T10:00:00.000Z", "2024-01-15T10:00:00+00:00"),
        ("2026/05/03 9:12:00 am GMT+2", "2026-05-03T07:12:00+00:00"),
        ("2026/05/03 12:05:00 PM GMT-3:30", "2026-05-03T15:35:00+00:00"),
        ("04.05.2024", "2024-05-04T00:00:00+00:00"),
        ("4.5.2024 17:03", "2024-05-04T17:03:00+00:00"),
        ("25/12/2023", "2023-12-25T00:00:00+00:00"),
        ("12/25/2023 1:00 PM", "2023-12-25T13:00:00+00:00"),
        ("5/5/2023", "2023-05-05T00:00:00+00:00"),
        ("Feb 12, 2018", "2018-02-12T00:00:00+00:00"),
        ("Mon, 12 Feb 2018 10:00:00 +0100", "2018-02-12T09:00:00+00:00"),
        ("12. März 2018", "2018-03-12T00:00:00+00:00"),
        ("45416", "2024-05-04T00:00:00+00:00"),
        ("45416,4375", "2024-05-04T10:30:00+00:00"),
        ("1714816800", "2024-05-04T10:00:00+00:00"),
        ("1714816800000", "2024-05-04T10:00:00+00:00"),
        ("03/04/2021 10:11", None),
        ("3/4/21", None),
        ("2031-01-01", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("soon", None),
        ("2024-13-45", None),
        ("2024-05-04 13:00 pm", None),
    ],
)
def test_date_is_read_as_exports_write_it_or_left_empty(typed: str, at: str | None) -> None:
    folds: Counter[str] = Counter()
    kept = read("a@example.org", "", "", typed, folds=folds).consent_at
    assert (kept and kept.isoformat()) == at
    assert folds == ({} if at else {"date": 1})


@pytest.mark.parametrize(("order", "month"), [(DateOrder.DAY_FIRST, 4), (DateOrder.MONTH_FIRST, 3)])
def test_order_settles_a_date_with_slashes(order: DateOrder, month: int) -> None:
    row = read_row(["a@example.org", "", "", "03/04/21"], read_header(HEADER, {}), b"", None, NOW, Counter(), order)
    assert row.consent_at is not None
    assert (row.consent_at.year, row.consent_at.month) == (2021, month)


@pytest.mark.parametrize(
    "typed",
    [
        "Jane <jd@example.org>", "<jd@example.org>", "mailto:jd@example.org?subject=x", "jd@example.org.",
        "jd@example.org;", "jd@example.org ,", '"Doe, Jane" <jd@example.org>', "'jd@example.org'",
    ],
)  # fmt: skip
def test_address_is_taken_out_of_what_was_copied_with_it(typed: str) -> None:
    folds: Counter[str] = Counter()
    assert read(typed, folds=folds).address == "jd@example.org"
    assert folds["wrapped"] == 1


@pytest.mark.parametrize("around", ["\u200b", "\ufeff", "\u202a", "\xa0", " \u200b ", "\u2060"])
def test_signs_nobody_sees_fold_away_around_an_address(around: str) -> None:
    folds: Counter[str] = Counter()
    assert read(f"{around}a@example.org{around}", folds=folds).address == "a@example.org"
    assert folds == {"blanks": 1}


@given(st.text(st.sampled_from("'=+-@ \tNULnoe\uff1d/Aa"), max_size=8))
def test_guard_of_a_cell_is_undone_by_reading_it(text: str) -> None:
    assert unguarded(neutral_cell(text)) == text


def test_the_evidence_of_consent_keeps_nobodys_address() -> None:
    kept, consented = read_consent("form, confirmed by jane@example.org on 2024-05-04", NOW)

    assert "jane" not in kept
    assert consented is not None
