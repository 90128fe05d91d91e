"""The text part: what a reader without HTML gets, in the order and the shape of the rest."""

import pytest

from worker.compose.marks import Marks
from worker.compose.markup import MarkdownRenderer, SetPicture
from worker.compose.text_part import columns_of, shape_text, wrap


def text_of(markdown: str) -> str:
    marks = Marks("en")
    picture = SetPicture("https://h.test/media/a.png", "", 10, 20)
    html = MarkdownRenderer(marks, lambda src: picture).html(markdown, 1)
    return marks.put_back(shape_text(html, marks), html=False)


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("- a\n  - b\n    - c", "- a\n  - b\n    - c"),
        ("7. a\n8. b", "7. a\n8. b"),
        ("    two  blanks\n    below", "    two  blanks\n    below"),
        ("![A map](a.png)", "[A map]"),
        ("![](a.png)x", "x"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a | b\n\n1 | 2"),
        ("a\n\n---\n\nb", "a\n\n* * *\n\nb"),
        ("one  \ntwo", "one\ntwo"),
        ("> a\n>\n> > b", "> a\n\n> > b"),
        ("[a](mailto:x@example.org)", "a [1]\n\n[1] mailto:x@example.org"),
        ("<https://example.org/>", "https://example.org/"),
        ("[x@example.org](mailto:x@example.org)", "x@example.org"),
        ("[a](https://a.test/) [b](https://b.test/)", "a [1] b [2]\n\n[1] https://a.test/\n[2] https://b.test/"),
    ],
)
def test_a_reader_of_plain_text_misses_nothing_and_sees_its_shape(markdown: str, text: str) -> None:
    assert text_of(markdown) == text


def test_a_readers_name_stays_in_its_place_in_the_text_part() -> None:
    assert text_of('- {{ name | default("x") }} a\n- b {{ name | default("y") }}') == (
        '- {{ name | default("x") }} a\n- b {{ name | default("y") }}'
    )


def test_a_condition_that_does_not_hold_leaves_no_gap() -> None:
    assert text_of("a\n\n{% if name %}\n\n- b\n\n{% endif %}\n\nc") == "a\n\n{% if name %}- b\n\n{% endif %}c"


def test_chinese_lines_are_as_wide_as_they_look_and_never_begin_with_a_full_stop() -> None:
    assert columns_of("漢a") == 3
    assert wrap("漢" * 6, 10) == "漢" * 5 + "\n漢"
    assert wrap("漢漢漢漢漢。漢", 10) == "漢漢漢漢\n漢。漢"
    assert wrap("漢漢漢漢（漢漢）", 10) == "漢漢漢漢\n（漢漢）"
