"""What Markdown leaves standing, or swallows, is named with its line; what an author meant is left alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.issues import newsletter, publication, statement
from tests.unit.test_rules import FACTS, found, said
from worker.compose.findings import Finding
from worker.compose.rules import MOST_FINDINGS, lint
from worker.compose.source import read_whole
from worker.domain.issue import IssueText

CASES = Path(__file__).parents[1] / "samples" / "issues"
SUBJECT = "A subject that is long enough"


def codes(body: str, front: str = "") -> set[tuple[str, int | None]]:
    return set(found(newsletter(body, front, SUBJECT)))


def case(name: str) -> tuple[IssueText, list[Finding]]:
    path = CASES / f"{name}.md"
    issue = read_whole(str(path), path.read_bytes().decode("utf-8-sig"))
    return issue, lint(issue, replace(FACTS, publication=publication("letters")))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("at-start", [("E501", 4)]),
        ("bare-url", []),
        ("brace", [("E501", 7), ("E501", 7), *[("E801", 7)] * 4]),
        ("colon", [("E501", 4)]),
        ("comment-span", [("E501", 7)]),
        ("crlf-bom", []),
        ("dashes", [("W805", 8)]),
        ("hash-subject", []),
        ("hash-subject2", []),
        ("long-url", []),
        ("mailto-subject", []),
        ("quote-start", [("E501", 4)]),
        ("raw-html", [("E805", 7)] * 2 + [("E805", 9)] * 6 + [("E805", 13)]),
        ("refs", []),
        ("smart", [("W401", 4)]),
        ("table", [("E806", 10), ("E805", 10), ("W805", 10)]),
        ("yes", [("W401", 4)]),
    ],
)
def test_issues_as_editors_write_them(name: str, expected: list[tuple[str, int]]) -> None:
    _, findings = case(name)

    assert sorted((str(f), f.line) for f in findings) == sorted(expected)


def test_a_subject_with_a_number_sign_is_whole() -> None:
    assert case("hash-subject")[0].subject == "The river letter #42: floods"
    assert case("hash-subject2")[0].subject == "Spring at the river – our letter #42"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "<b>a</b>",
            "<u>a</u>",
            "<span style='x'>a</span>",
            "</p>",
            "<?php a ?>",
            "<!DOCTYPE html>",
            "<img src=x>",
        ),
        *(
            "[text][1]",
            "[x][]",
            "[a](https://example.com\n/b)",
            "[a] (https://example.com)",
            "![a][2]",
            "![a](",
            "[[a]]",
        ),
        *("a[^1]", "[^1]: A note of words", "** a **", "**open", "a **", "~~ a ~~", "~~open", "==a==", "a{.b}"),
        *("<!-- open", "open -->", "&foo;", "&nbsp", "&amp;nbsp;", "&copy 2026", "<https://example.com/a b>", "a `b"),
        *("  ::: figure", "| a | b |\n| c | d |", "| a | b |\n|---|\n| c | d |", "> [!NOTE]\n> a", "!!! note", "[TOC]"),
        *("*[HTML]: a language", ":tada:", "##Heading", "#Heading", "```\ncode", "~~~\ncode", "x\n\n+++"),
        *(
            "H~2~O",
            "x^2^",
            "++new++",
            "||secret||",
            "%% a remark %%",
            "%%\na remark\n%%",
            "$E = mc^2$",
            "Term\n: it means",
        ),
        *("Three:\n• one\n• two", "\u25cf\tone\n\u25cf\ttwo"),
        *("A paragraph\n---", "Two\nlines\n===", "<www.example.com>", "![**a**](a.png)"),
    ],
)
def test_what_would_be_shown_as_it_was_typed_is_found_at_its_line(text: str) -> None:
    findings = [one for one in codes(f"First.\n\n{text}\n") if one[0] in ("E805", "W805")]

    assert {9, 10, 11} & {line for _, line in findings}, findings


@pytest.mark.parametrize(
    "text",
    [
        *(
            "`<b>` and ``a ` b``",
            "\\<b> and \\*\\*a\\*\\* and \\[a](b)",
            "&lt;b&gt; &amp; &copy;",
            "3 < 4 and 5 > 2, I <3 you",
        ),
        *(
            "AT&T, R&D",
            "Fill in: ______",
            "snake_case and __init__",
            "5 * 3 * 2",
            "[sic] and [1]",
            "at 10:30:15",
            "C# and F#",
        ),
        *(
            "#42 came",
            "~5 and ~6",
            "a ==> b",
            "{ a } and {b}",
            "[a][b]\n\n[b]: https://example.com/b",
            "| a |\n|---|\n| b |",
        ),
        *(
            "https://example.com/?a=1&copy=2#b_c",
            "Title\n===\n\ntext",
            "***\n\ntext",
            "a -> b",
            "::: quote\na\n:::",
            "a\\\nb",
        ),
        *(
            "- [ ] a\n- [x] b",
            "<https://example.com>",
            "<me@example.com>",
            "one<br>two",
            "a <!-- b --> c",
            "50 % of 20%",
        ),
        *("C++ and g++ and C++/g++", "5 $ and 6$, $5 or 10$", "a || b || c", "~5 to ~6", "2^10 and 3^4", "• alone"),
        *("• one\n\n• two", "50 %% of it", "10:30\n11:00: start", "a:\nb: c"),
        *("https://example.com/%C3%BC%20a", "1. a\n\n   ```\n   b\n   ```", "| a \\| b | c |\n|---|---|\n| d | `e` |"),
    ],
)
def test_what_an_author_meant_is_left_alone(text: str) -> None:
    assert codes(f"First.\n\n{text}\n") == set()


@pytest.mark.parametrize(
    ("text", "line", "level"),
    [
        ("| a | b |\n|---|---|\n| c | d | e |", 11, "E806"),
        ("> | a |\n> |---|\n> | c | d |", 11, "E806"),
        ("[Note]: important", 9, "E806"),
        ("[unused]: https://example.com/", 9, "W806"),
        ("[a]\n\n[a]: https://example.com/1\n[a]: https://example.com/2", 12, "E806"),
        ("[^1] b\n\n[^1]: word", 11, "E806"),
    ],
)
def test_what_the_source_language_would_swallow_is_found_at_its_line(text: str, line: int, level: str) -> None:
    assert (level, line) in codes(f"First.\n\n{text}\n")


@pytest.mark.parametrize(
    "front",
    [
        *("place: '**Bonn**'\n", "place: A `b` c\n", "place: '[a](https://example.com)'\n", "place: a<br>b\n"),
        *("place: 'a &nbsp; b'\n", "place: a **b\n", "place: '![a](b)'\n", "place: '[a][1]'\n", "place: 'a {# b #}'\n"),
    ],
)
def test_a_line_that_is_no_markdown_holds_no_signs_of_it(front: str) -> None:
    findings = lint(statement(front=front), FACTS)

    assert {finding.line for finding in findings if finding.code in (805, 501)} == {6}


@pytest.mark.parametrize("front", ["place: AT&T, Bonn\n", "place: www.example.com and 3 < 4\n", "place: 'C* and D_'\n"])
def test_a_line_that_is_no_markdown_may_hold_what_only_looks_like_it(front: str) -> None:
    assert lint(statement(front=front), FACTS) == []


def test_everything_of_every_level_is_found_in_one_run() -> None:
    raw = (
        "---\nkind: newsletter\npublication: ring-news\nsubject: @home\nlanguage: 'en\" onload=\"x'\nnonsense: x\n"
        'preheader: "a\\0b"\ncards:\n- {title: "", link: "javascript:x"}\n---\n'
        "{{ name }} and {{ nme | default('x') }} {% set a = 1 %}\n\n::: box\n\n- {% if name %}a\n- b{% endif %}\n\n"
        "<b>x</b> [^1] TBD ![x](a.png) https://a@example.com/ [here](http://example.com/)\n"
    )

    findings = lint(read_whole("small.md", raw), FACTS)

    seen = {(str(finding), finding.line) for finding in findings}
    assert seen >= {
        *(("E501", 4), ("E104", 5), ("E501", 6), ("E501", 7), ("E501", 9), ("E301", 9), ("E501", 11), ("E501", 13)),
        *(("E501", 16), ("E805", 18), ("E801", 18), ("E202", 18), ("E301", 18), ("W303", 18), ("W304", 18)),
    }
    assert len([one for one in findings if one.line == 11]) == 3
    assert all(said(one.why) and said(one.fix) for one in findings)


def test_a_file_full_of_the_same_slip_is_not_answered_without_end() -> None:
    assert len(lint(newsletter("TBD **\n\n" * 2000), FACTS)) <= 3 * MOST_FINDINGS


@pytest.mark.parametrize("language", ["klingon", "e", "en_US", "'en\" onload=\"x'", "en us", "日本語", "de-"])
def test_a_language_that_is_no_tag_is_refused_and_cannot_be_waived(language: str) -> None:
    issue = newsletter(front=f"language: {language}\nlint: {{allow: [104, 501], why: I like it}}\n", subject=SUBJECT)

    assert ("E104", 6) in found(issue)
    assert issue.language is None


@pytest.mark.parametrize(
    "alt", ["x", "image", "Photo.", "IMG_0001.JPG", "a.png", "DSC 1234", "…", "Bild", "照片", "screenshot 3"]
)
def test_an_alt_text_that_says_nothing_is_found(alt: str) -> None:
    assert ("E202", 7) in codes(f"![{alt}](a.png)")


@pytest.mark.parametrize("alt", ["A teal field", "Ring", "海", "Photo of the quay", "Map of Bonn"])
def test_an_alt_text_that_says_something_is_left_alone(alt: str) -> None:
    assert codes(f"![{alt}](a.png)") == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[https://bank.example/login](https://evil.example/)", True),
        ("[www.bank.example](https://other.example)", True),
        ("[bank.example](https://www.bank.example/login)", False),
        ("[bank.example: the report](https://other.example/)", False),
        ("[müller.example](https://xn--mller-kva.example/)", False),
    ],
)
def test_words_that_name_another_site_than_the_link_are_found(text: str, expected: bool) -> None:
    assert (("E306", 7) in codes(text)) == expected


@pytest.mark.parametrize(
    "text", ["*|FNAME|*", "%name%", "%%first%%", "[First Name]", "{ name }", "{first_name}", "${name}"]
)
def test_placeholders_of_other_programs_are_found(text: str) -> None:
    assert ("E801", 7) in codes(f"Dear {text}, hello")


def test_a_privacy_page_that_cannot_be_opened_is_found_before_it_is_mailed() -> None:
    facts = replace(FACTS, publication=replace(publication(), privacy_url="https://good@evil.example/"))

    assert ("E301", None) in found(newsletter(), facts)
