"""What reaches a terminal."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from worker.quantities import spell_span
from worker.screen.terminal import clean, fit, table


@given(st.text())
@settings(max_examples=200)
def test_no_control_character_survives_cleaning(text):
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in clean(text))


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("one\r\ntwo", "one\\x0d\\x0atwo"),
        ("\u202e0001", "\\u202e0001"),
        ("a\u2028b", "a\\u2028b"),
        ("Ünïcode 名前 مرحبا", "Ünïcode 名前 مرحبا"),
    ],
)
def test_escape_sequences_are_shown_instead_of_obeyed(hostile, shown):
    assert clean(hostile) == shown


@given(st.lists(st.tuples(st.text(max_size=80), st.text(max_size=80), st.integers()), max_size=5))
@settings(max_examples=100)
def test_a_table_fits_the_terminal_whatever_it_holds(rows):
    lines = table(["one", "two", "number"], rows, width=60, right=[2])

    assert all(cell_len(line) <= 60 for line in lines)
    assert len(lines) == len(rows) + 1


def test_a_table_in_a_pipe_cuts_nothing():
    lines = table(["address"], [["x" * 300]], width=None)

    assert lines[1] == "x" * 300


def test_wide_characters_count_as_two_cells():
    assert fit("名前名前", 5) == "名前…"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (42, "42 s"), (65, "1 min 5 s"), (61_440, "17 h 4 min"), (266_400, "3 d 2 h")]
)
def test_a_span_is_spelled_in_at_most_two_units(seconds, text):
    assert spell_span(seconds) == text
