"""What editors take for granted beside CommonMark reaches the reader; what would be lost or never end is refused."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.support.issues import newsletter, publication
from tests.unit.test_rules import FACTS
from worker.compose.markdown import MAX_OPEN_BRACKETS, MAX_PARAGRAPH_CHARS, find_references
from worker.compose.marks import Marks
from worker.compose.markup import MarkdownRenderer, find_links, split_all
from worker.compose.rules import lint
from worker.compose.spans import Kind, drop_remarks, find_spans, without_tags
from worker.compose.template import TemplateProblem
from worker.compose.text_part import shape_text


def html_of(text: str, references: dict[str, Any] | None = None) -> str:
    return MarkdownRenderer(Marks("en"), lambda src: None, references).html(text, 1)


def link(href: str, words: str) -> str:
    return f'<a href="{href}">{words}</a>'


@pytest.mark.parametrize(
    ("text", "href", "words"),
    [
        (
            "See https://example.com/a?b=1&c=2.",
            "https://example.com/a?b=1&amp;c=2",
            "https://example.com/a?b=1&amp;c=2",
        ),
        ("(https://example.com/x_(y))", "https://example.com/x_(y)", "https://example.com/x_(y)"),
        ("https://example.com/a_b*c*d, so", "https://example.com/a_b*c*d", "https://example.com/a_b*c*d"),
        ('"http://example.com"', "http://example.com", "http://example.com"),
        ("at www.example.com/a!", "https://www.example.com/a", "www.example.com/a"),
        ("mail me.a_b+c@example.co.uk.", "mailto:me.a_b+c@example.co.uk", "me.a_b+c@example.co.uk"),
        ("請訪https://example.com/報名。", "https://example.com/", "https://example.com/"),
        ("**https://example.com**", "https://example.com", "https://example.com"),
        (
            "https://example.com/?q=a&copy=b",
            "https://example.com/?q=a&amp;copy=b",
            "https://example.com/?q=a&amp;copy=b",
        ),
    ],
)
def test_a_bare_address_is_a_link_without_the_sentence_around_it(text: str, href: str, words: str) -> None:
    assert link(href, words) in html_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "`https://example.com`",
        "    https://example.com",
        "@user@social.example",
        "https://",
        "www.",
        "a@b",
        "x://y.example",
    ],
)
def test_what_only_looks_like_an_address_is_no_link(text: str) -> None:
    assert "<a" not in html_of(text)


def test_a_bare_address_inside_a_link_stays_its_words() -> None:
    assert html_of("[https://example.com/z](https://example.com/z)").count("<a") == 1


def test_the_text_part_says_a_bare_address_once() -> None:
    html = html_of("See www.example.com/a and https://example.com/b and me@example.com.")

    assert shape_text(html, Marks("en")).split() == [
        *("See", "https://www.example.com/a", "and", "https://example.com/b", "and", "me@example.com."),
    ]


@pytest.mark.parametrize(
    ("text", "href"),
    [
        (
            "[Write](mailto:me@example.com?subject=Hello there&body=Hi)",
            "mailto:me@example.com?subject=Hello%20there&amp;body=Hi",
        ),
        ("[a](https://example.com/a b.pdf)", "https://example.com/a%20b.pdf"),
        ('[a]( https://example.com/a b (c).pdf "T" )', "https://example.com/a%20b%20(c).pdf"),
        ("[a](<https://example.com/a b>)", "https://example.com/a%20b"),
        ("[a](mailto:?subject=For you&body=Look)", "mailto:?subject=For%20you&amp;body=Look"),
    ],
)
def test_blanks_may_stand_in_a_target(text: str, href: str) -> None:
    assert f'href="{href}"' in html_of(text)


def test_a_picture_with_a_blank_in_its_name_is_found() -> None:
    _, pictures = find_links("![A teal field](Picture 1.png)", 1)

    assert [(picture.target, picture.label) for picture in pictures] == [("Picture%201.png", "A teal field")]


def test_brackets_followed_by_a_remark_in_brackets_are_no_link() -> None:
    assert "<a" not in html_of("[sic] and [the board](see below now)")


@pytest.mark.parametrize("typed", ["<br>", "<br/>", "<BR />"])
def test_a_typed_line_break_breaks_the_line(typed: str) -> None:
    assert html_of(f"one{typed}two\n\n| a |\n|---|\n| b{typed}c |").count("<br>") == 2


def test_other_html_is_words() -> None:
    assert html_of("<div>\n*a*\n</div>") == "<p>&lt;div&gt;\n<em>a</em>\n&lt;/div&gt;</p>"


def test_boxes_to_tick_are_shown_as_such() -> None:
    html = html_of("- [ ] one\n- [x] two **b**\n\nText [ ] not")

    assert [line for line in html.split("\n") if "<li>" in line] == [
        "<li>☐ one</li>",
        "<li>☑ two <strong>b</strong></li>",
    ]
    assert "Text [ ] not" in html


def test_columns_keep_their_alignment() -> None:
    html = html_of("| a | b | c |\n|:--|--:|:-:|\n| d | e | f |")

    assert [html.count(f'align="{side}"') for side in ("left", "right", "center")] == [2, 2, 2]


def test_a_label_is_found_wherever_in_the_issue_it_is_defined_and_nearby_first() -> None:
    issue = newsletter(
        "See [one][1].\n\n::: cards\n\n[1]: https://example.com/1\n",
        "cards:\n- {title: T, blurb: 'Here [1] and [two].'}\n- {title: U, blurb: \"[1]\\n\\n[1]: https://example.com/own\"}\n",
    )
    references = find_references([issue.body])

    assert link("https://example.com/1", "one") in html_of("See [one][1].", references)
    assert link("https://example.com/own", "1") in html_of("[1]\n\n[1]: https://example.com/own", references)


def test_remarks_leave_the_text_with_all_that_is_in_them_and_lines_keep_their_numbers() -> None:
    text = "a <!-- b\n\n::: figure\n{{ c }}\n--> d\n`<!-- code -->` \\<!-- e\n```\n<!-- f -->\n```\n<!-- open"

    assert drop_remarks(text) == "a \n\n\n\n d\n`<!-- code -->` \\<!-- e\n```\n<!-- f -->\n```\n<!-- open"


def test_tags_stand_aside_and_their_lines_are_known() -> None:
    assert without_tags("a {{ b\n| c }} d\ne {% f %}") == ("a \ufffc d\ne \ufffc", [0, 2])


def test_an_open_fence_reaches_to_the_end_and_says_so() -> None:
    assert [(span.kind, span.closed) for span in find_spans("~~~\na\n~~~\n```\nb")] == [
        (Kind.CODE, True),
        (Kind.CODE, False),
    ]


def test_all_that_is_wrong_with_blocks_is_said_at_once() -> None:
    segments, problems = split_all("a\n::: box\n::: quote\nb\n::: cards\nc\n:::", 1)

    assert [(problem.trouble.code, problem.line) for problem in problems] == [
        ("block.unknown", 2),
        ("block.quote_never_closed", 5),
        ("block.unknown", 7),
    ]
    assert [segment.kind for segment in segments] == ["text", "quote", "cards", "text"]


def test_a_fence_is_closed_by_its_like_alone() -> None:
    segments, problems = split_all("```\na\n```js\n::: box\n```\n::: cards", 1)

    assert ([segment.kind for segment in segments], problems) == (["text", "cards"], [])


@pytest.mark.parametrize("entity", ["&#xE000;0&#xE001;", "&#57344;9&#57345;", "&#xE000;"])
def test_an_entity_makes_no_mark(entity: str) -> None:
    with pytest.raises(TemplateProblem) as caught:
        html_of(f'{{{{ name | default("x") }}}} {entity}')

    assert caught.value.trouble.code in ("tag.private_use", "tag.would_be_lost")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("one\n\n" + "x" * (MAX_PARAGRAPH_CHARS + 1), "block.paragraph_too_long"),
        ("one\n\n" + "[" * (MAX_OPEN_BRACKETS + 1), "block.brackets"),
        ("one\n\n" + "> " * 25 + "deep", "block.nested_too_deep"),
        ("one\n\n" + "- " * 25 + "deep", "block.nested_too_deep"),
    ],
)
def test_what_the_parser_would_drop_or_read_for_ever_is_refused_with_its_line(text: str, code: str) -> None:
    with pytest.raises(TemplateProblem) as caught:
        html_of(text)

    assert (caught.value.trouble.code, caught.value.line) == (code, 3)


def test_nothing_is_dropped_from_the_deepest_text_that_is_let_through() -> None:
    deep = [depth for depth in range(1, 25) if "deep" in _or_nothing("> " * depth + "deep")]

    assert deep == list(range(1, max(deep) + 1))
    assert len(deep) < 24


def _or_nothing(text: str) -> str:
    try:
        return html_of(text)
    except TemplateProblem:
        return ""


HOSTILE: dict[str, Callable[[int], str]] = {
    "a block and blanks": lambda n: "::: !" + " " * n,
    "links with blanks": lambda n: "[a](b c" * n,
    "dots": lambda n: "https://a.b/" + "(" * n + ")" * n,
    "definitions": lambda n: "[a]: b\n" * n,
    "marks alone": lambda n: "**\n" + "{% if name %}\na\n{% endif %}\n" * (n // 8),
    "links in paragraphs": lambda n: "[a](b c\n\n" * (n // 4),
    "nested quotes": lambda n: ("> " * 15 + "a\n") * (n // 20),
    "one word": lambda n: "x海" * n,
    "table": lambda n: "|a" * (n // 8) + "\n" + "|-" * (n // 8),
} | {
    sign: lambda n, sign=sign: sign * n  # type: ignore[misc]
    for sign in (
        *(
            "{{ ",
            "{% ",
            "{# ",
            "[name ",
            "[",
            "![",
            "<",
            "<a ",
            "<!-- ",
            "`",
            "&",
            "&a;",
            ">",
            "- ",
            "_",
            "*a",
            "_a",
            "~~a",
        ),
        *(
            "*a **b ",
            "[a](",
            "http://",
            "www.",
            "a@",
            "a.b-",
            "TBD ",
            ":",
            ":::\n",
            "{",
            "}",
            "```\n",
            "%a",
            "*|",
            "a<br>",
        ),
        *("\\", "#", "[^", "[*_`<&!", "\t", "---\n", "<https://a", "a\n", "{{ a }}", "&#", "=", "!"),
    )
}


@pytest.mark.parametrize("what", HOSTILE)
def test_work_grows_with_the_text_and_not_with_its_square(what: str) -> None:
    """Counted in calls of functions, which the same text always needs as many of."""
    once, twice = (_calls(HOSTILE[what](n)) for n in (150, 300))

    assert twice < 2.6 * once + 2_000


def _calls(body: str) -> int:
    issue = newsletter(body)
    facts = FACTS
    assert facts.publication == publication()
    count = 0

    def counted(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        lint(issue, facts)
    finally:
        sys.setprofile(None)
    return count
