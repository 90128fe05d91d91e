"""Markdown with marks: safe, complete, and with every tag where it stood."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.compose.marks import Marks, census, check_census
from worker.compose.markup import MarkdownRenderer, SetPicture, cut_html, find_links, split_body
from worker.compose.template import TemplateProblem
from worker.compose.text_part import columns_of, shape_text, wrap

D = '{{ name | default("x") }}'


def renderer(marks: Marks) -> MarkdownRenderer:
    hosted = SetPicture("https://h.test/media/a.png", "", 10, 20)
    return MarkdownRenderer(marks, lambda src: hosted if src == "a.png" else None)


def html_of(text: str) -> str:
    return renderer(Marks("en")).html(text, 1)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        "[a](javascript:alert(1))",
        "[a](data:text/html;base64,x)",
        "![a](javascript:alert(1))",
        '[a](https://example.org "onmouseover=alert(1)")',
        '<https://example.org/"onclick=alert(1)>',
        "`<svg onload=alert(1)>`",
        '<a href="https://example.org" style="position:fixed">x</a>',
    ],
)
def test_nothing_typed_becomes_active(text: str) -> None:
    elements = " ".join(re.findall(r"<[^>]*>", html_of(text).lower()))

    for bad in ("<script", "<svg", "onerror", '"onclick', "onmouseover", "javascript", "data:", "style", 'src="x"'):
        assert bad not in elements


@given(st.text(st.sampled_from("<>\"'&`[]()!*_#\n ab:/\\{}|~-"), max_size=60))
@settings(max_examples=150)
def test_any_markdown_stays_within_the_allowed_elements(text: str) -> None:
    if "{{" in text or "{%" in text or "{#" in text:
        return

    html = html_of(text)

    assert "<script" not in html
    assert "javascript:" not in html or "href" not in html


def test_headings_begin_below_the_layouts_own() -> None:
    assert "<h2>A</h2>" in html_of("# A")
    assert "<h4>B</h4>" in html_of("##### B")


def test_picture_gets_its_hosted_address_and_size() -> None:
    assert '<img src="https://h.test/media/a.png" alt="&lt;A&gt;" width="10" height="20">' in html_of("![<A>](a.png)")


def test_a_quote_in_alt_text_keeps_the_words_after_it() -> None:
    html = html_of('![Say "ah" <b> onload=x](a.png)')

    assert 'alt="Say &quot;ah&quot; &lt;b&gt; onload=x"' in html


def test_missing_picture_leaves_its_words() -> None:
    assert html_of("![A map](b.png)") == "<p>[A map]</p>"


def test_condition_on_lines_of_its_own_steers_paragraphs() -> None:
    marks = Marks("en")

    html = renderer(marks).html("{% if name %}\nOne\n{% else %}\nTwo\n{% endif %}\n\nThree", 1)

    assert marks.put_back(html, html=True).replace("\n", "") == (
        "{% if name %}<p>One</p>{% else %}<p>Two</p>{% endif %}<p>Three</p>"
    )
    check_census(marks, html)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- {% if name %}a\n- b{% endif %}", 6),
        ("**{% if name %}a** b{% endif %}", 5),
        ("| a |\n|---|\n| {% if name %}b |\n| c{% endif %} |", 8),
    ],
)
def test_condition_across_elements_is_refused_with_its_line(text: str, line: int) -> None:
    marks = Marks("en")
    html = renderer(marks).html(text, 5)

    with pytest.raises(TemplateProblem) as caught:
        check_census(marks, html)

    assert caught.value.line == line


@pytest.mark.parametrize("text", [f"[a](https://example.org/{D})", f"[a]: /x '{D}'\n\ntext [a]"])
def test_reader_value_in_an_address_is_refused(text: str) -> None:
    marks = Marks("en")

    with pytest.raises(TemplateProblem):
        check_census(marks, renderer(marks).html(text, 1))


@pytest.mark.parametrize("text", [f"a {D} *b {D}*", f"# {D}\n\n- {D}\n\n> {D}", f"`{D}`", f"**{D}:** x"])
def test_marks_come_out_in_order(text: str) -> None:
    marks = Marks("en")

    seen = [mark.number for mark in census(renderer(marks).html(text, 1))]

    assert seen == list(range(text.count("{{")))


def test_cut_ends_at_a_word_and_closes_elements() -> None:
    html = html_of("one **two three four** five")

    assert cut_html(html, 14, Marks("en")) == "<p>one <strong>two three…</strong></p>"
    assert cut_html(html, 240, Marks("en")) == html


def test_cut_never_parts_a_condition() -> None:
    marks = Marks("en")
    html = renderer(marks).html("one two {% if name %}three four five six{% endif %} seven", 1)

    cut = marks.put_back(cut_html(html, 15, marks), html=True)

    assert cut == "<p>one two…</p>"


def test_cut_leaves_text_without_blanks_whole_in_characters() -> None:
    cut = cut_html("<p>" + "海" * 300 + "</p>", 240, Marks("zh-Hans"))

    assert cut == "<p>" + "海" * 239 + "…</p>"


def test_body_is_split_at_its_blocks_but_not_inside_code() -> None:
    body = "a\n\n::: quote\nQ\n:::\n```\n::: figure\n```\n::: figure 2\n::: cards\nz"

    kinds = [(segment.kind, segment.line) for segment in split_body(body, 10)]

    assert kinds == [("text", 10), ("quote", 13), ("text", 15), ("figure", 18), ("cards", 19), ("text", 20)]


@pytest.mark.parametrize("body", ["::: box", "::: quote\nx", ":::", "::: figure one"])
def test_unknown_block_is_refused(body: str) -> None:
    with pytest.raises(TemplateProblem):
        split_body(body, 1)


def test_links_are_found_with_their_lines() -> None:
    links, pictures = find_links("a\n\n[b](x)\nand [c](javascript:y)\n\n- ![d](e.png)", 10)

    assert [(link.target, link.label, link.line) for link in links] == [("x", "b", 12), ("javascript:y", "c", 13)]
    assert [(picture.target, picture.label, picture.line) for picture in pictures] == [("e.png", "d", 15)]


def test_text_part_lists_links_below_and_keeps_shapes() -> None:
    marks = Marks("en")
    html = renderer(marks).html("See [the *map*](https://example.org/m).\n\n- one\n- two\n\n> said\n\n1. a\n2. b", 1)

    assert shape_text(html, marks) == (
        "See the map [1].\n\n- one\n- two\n\n> said\n\n1. a\n2. b\n\n[1] https://example.org/m"
    )


def test_text_part_keeps_the_links_of_a_condition_inside_it() -> None:
    marks = Marks("en")
    html = renderer(marks).html("{% if name %}\nSee [a](https://example.org/a)\n{% endif %}\n\nEnd", 1)

    assert marks.put_back(shape_text(html, marks), html=False) == (
        "{% if name %}See a [1]\n\n[1] https://example.org/a\n\n{% endif %}End"
    )


@given(st.text(st.sampled_from("ab 海。、（é\u0301 "), max_size=200))
@settings(max_examples=100)
def test_wrapped_lines_hold_all_words_within_the_columns(text: str) -> None:
    wrapped = wrap(text, 20)

    assert "".join(wrapped.split()) == "".join(text.split())
    for line in wrapped.split("\n"):
        assert columns_of(line) <= 20 or " " not in line.strip()


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("~~a~~ *b* **c** `d`", "<p><s>a</s> <em>b</em> <strong>c</strong> <code>d</code></p>"),
        ("a\n\n---\n\nb", "<p>a</p>\n<hr>\n<p>b</p>"),
        ("### a\n\n#### b", "<h3>a</h3>\n<h4>b</h4>"),
        ("3. a", '<ol start="3">\n<li>a</li>\n</ol>'),
        ("- a", "<ul>\n<li>a</li>\n</ul>"),
        ("> a", "<blockquote>\n<p>a</p>\n</blockquote>"),
        ("    a", "<pre><code>a\n</code></pre>"),
        ("a  \nb", "<p>a<br>\nb</p>"),
        ("[a](https://example.org)", '<p><a href="https://example.org">a</a></p>'),
        ("[a](mailto:a@example.org)", '<p><a href="mailto:a@example.org">a</a></p>'),
        ("[a](tel:+4930)", '<p><a href="tel:+4930">a</a></p>'),
        ("[a](http://127.0.0.1:8025/x)", '<p><a href="http://127.0.0.1:8025/x">a</a></p>'),
    ],
)
def test_what_an_editor_may_write_reaches_the_reader(text: str, html: str) -> None:
    assert html_of(text) == html


def test_a_table_keeps_its_columns() -> None:
    html = html_of("| a | b |\n|---|---|\n| c | d |")

    assert [html.count(f"<{tag}>") for tag in ("table", "thead", "tbody", "tr", "th", "td")] == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    "target", ["news.html", "/news", "#top", "//example.org", "https://a\\\\b", "ftp://example.org"]
)
def test_a_link_that_leads_nowhere_from_a_mail_is_no_link(target: str) -> None:
    assert "href" not in html_of(f"[a]({target})")


def test_a_cut_blurb_never_becomes_active() -> None:
    html = html_of("`<script>` & `<b>` one two three four five six seven eight")

    assert cut_html(html, 30, Marks("en")).startswith("<p><code>&lt;script&gt;</code> &amp; <code>&lt;b&gt;</code>")
    assert "&lt;" in cut_html("<p>aaaa &lt;bbbbbbbbbbbbbbbbbbbbb</p>", 12, Marks("en"))


def test_a_link_label_over_two_lines_keeps_its_blank() -> None:
    links, _ = find_links("x\n[one\ntwo](https://a.test) [b](https://b.test)", 1)

    assert [(link.label, link.line) for link in links] == [("one two", 3), ("b", 3)]


def test_a_directive_inside_code_is_text() -> None:
    segments = split_body("a\n\n```\n::: figure\n```\n\n::: quote\nSaid\n:::\n\nb", 10)

    assert [(one.kind, one.line) for one in segments] == [("text", 10), ("quote", 17), ("text", 19)]
