"""The recipient-template subset: what it takes, what it refuses, and what it prints."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.compose.marks import MARK, Marks
from worker.compose.template import (
    MAX_PASSES,
    MAX_WORK,
    TemplateProblem,
    TooManyPassesError,
    check_template,
    cut_at_word,
    recipient_environment,
    spell_date,
)
from worker.screen.sentences import word


def render(source: str, **values: str) -> str:
    return recipient_environment(autoescape=False).from_string(source).render(values)


@pytest.mark.parametrize(
    "source",
    [
        "{{ name }}",
        "{{ name | upper }}",
        "{{ name.__class__ | default('x') }}",
        "{{ name['a'] | default('x') }}",
        "{{ name() | default('x') }}",
        "{{ cycler.__init__ }}",
        "{{ 1 + 1 }}",
        "{{ 'a' * 100000000 }}",
        "{{ 'a' ~ 'b' }}",
        "{{ name | default(other) }}",
        "{{ name | default('x', true) }}",
        "{{ name | attr('x') | default('x') }}",
        "{{ name | default('x') | truncate(100000) }}",
        "{{ name | replace('a', 'b') | default('x') }}",
        "{% set a = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'x' %}",
        "{{ " + "9" * 5_000 + " }}",
        "{{ 0x" + "f" * 5_000 + " }}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{% raw %}{{ name }}{% endraw %}{{ name }}",
        "{% filter upper %}a{% endfilter %}",
        "{% for a in topics %}{% for b in topics %}x{% endfor %}{% endfor %}",
        "{% for a in range(10) %}x{% endfor %}",
        "{% for a, b in topics %}x{% endfor %}",
        "{% for a in topics recursive %}x{% endfor %}",
        "{% if name is defined %}x{% endif %}",
        "{% if name > 'a' %}x{% endif %}",
        "{% if name in 'abc' %}x{% endif %}",
        "{{ name if name else 'x' }}",
        "{{ [1] }}",
        "{{ 1.5 }}",
        "{% if name %}",
        "{{ name",
        "{% endif %}",
        "{% autoescape false %}x{% endautoescape %}",
        "{% with a = 1 %}{% endwith %}",
        "{% call name() %}{% endcall %}",
        "{% if name %}" * 25 + "{% endif %}" * 25,
    ],
)
def test_template_is_refused_when_it_steps_outside_the_subset(source: str) -> None:
    with pytest.raises(TemplateProblem):
        check_template(source)


def test_template_is_refused_when_it_names_what_nobody_has() -> None:
    with pytest.raises(TemplateProblem) as caught:
        check_template("line one\n{{ shoe | default('x') }}", frozenset({"name"}))

    assert word(caught.value.trouble) == "shoe is not known: use one of name"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{% if name %}a{% els %}b{% endif %}", "the tag {% els %} is not known; allowed: if, elif, else, for"),
        ("{% frob %}", "the tag {% frob %} is not known; allowed: if, elif, else, for"),
        ("a{% endif %}", "{% endif %} stands without its {% if … %}"),
        ("{% if name %}a", "{% if … %} is never closed; add {% endif %}"),
        ("{% for t in topics %}a", "{% for … %} is never closed; add {% endfor %}"),
        (
            "{{ name name }}",
            "a tag cannot be read at 'name'; a tag is {{ name }} or {% word … %}, with: if, elif, else, for",
        ),
    ],
)
def test_broken_tag_is_named_in_plain_words(source: str, sentence: str) -> None:
    with pytest.raises(TemplateProblem) as caught:
        check_template(source)

    assert word(caught.value.trouble) == sentence


def test_problem_carries_the_line_inside_the_text() -> None:
    with pytest.raises(TemplateProblem) as caught:
        check_template("a\nb\n{{ name }}")

    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("source", "values", "expected"),
    [
        ('{{ name | default("reader") }}', {}, "reader"),
        ('{{ name | default("reader") }}', {"name": ""}, "reader"),
        ('{{ name | default("reader") | upper }}', {"name": "Zoë"}, "ZOË"),
        ('{{ name | title | default("x") }}', {"name": "ada l"}, "Ada L"),
        ('{{ since | default("") | date }}', {"since": "2026-05-03"}, "3 May 2026"),
        ('{{ since | default("") | date }}', {"since": "soon"}, "soon"),
        ('{{ name | default("") | truncate(9) }}', {"name": "one two three"}, "one two…"),
        ("{% if country == 'FR' and not name %}a{% elif name %}b{% else %}c{% endif %}", {"name": "x"}, "b"),
        ('{{ range | default("x") }}{{ dict | default("y") }}', {}, "xy"),
        ("{% for t in topics %}<{{ t }}>{% endfor %}", {"topics": "ab"}, "<a><b>"),
    ],
)
def test_subset_prints_what_it_says(source: str, values: dict[str, str], expected: str) -> None:
    check_template(source)

    assert render(source, **values) == expected


def test_reader_value_is_never_read_as_a_template() -> None:
    source = '{{ name | default("reader") }}'

    assert render(source, name="{{ 7*7 }}{% raw %}") == "{{ 7*7 }}{% raw %}"


def test_reader_value_is_escaped_in_html() -> None:
    filled = recipient_environment(autoescape=True).from_string('{{ name | default("x") }}').render(name='<b>&"')

    assert filled == "&lt;b&gt;&amp;&#34;"


@given(st.text(st.characters(blacklist_characters="{}\ue000\ue001\r", blacklist_categories=("Cs",))))
@settings(max_examples=60)
def test_marks_put_back_what_they_took_out(words: str) -> None:
    marks = Marks("en")
    source = words + '{{ name | default("x") }}' + words + "{% if name %}a{% endif %}"

    marked = marks.take_out(source)

    assert len(MARK.findall(marked)) == 3
    assert marks.put_back(marked, html=False) == source


@given(st.lists(st.sampled_from(["{", "}", "%", "#", "a", "\ue000", "0", "\ue001"]), max_size=12).map("".join))
@settings(max_examples=150)
def test_braces_that_are_no_tag_print_as_they_are(text: str) -> None:
    marks = Marks("en")
    bare = text.replace("\ue000", "").replace("\ue001", "")
    hole = marks.system("{{ name }}")

    for html in (False, True):
        source = marks.put_back(bare + hole + bare, html=html)
        printed = recipient_environment(autoescape=html).from_string(source).render(name="N")
        assert printed.replace("&#123;", "{") == bare + "N" + bare


@given(st.text(), st.integers(2, 80))
@settings(max_examples=100)
def test_cut_text_fits(text: str, limit: int) -> None:
    assert len(cut_at_word(text, limit)) <= limit


def test_date_is_spelled_in_the_language_of_the_issue() -> None:
    assert spell_date("2026-05-03", "fr") == "3 mai 2026"
    assert spell_date("2026-05-03", "en") == "3 May 2026"
    assert spell_date("2026-05-03", "ja") == "2026年5月3日"
    assert spell_date("2026-05-03", "xx-nowhere") == "3 May 2026"


@pytest.mark.parametrize("char", ["\ue000", "\ue001"])
def test_a_text_cannot_forge_a_mark(char: str) -> None:
    with pytest.raises(TemplateProblem, match="private_use"):
        Marks("en").take_out(f"a {char}0\ue001 b", 3)


def test_a_loop_runs_fifty_times_at_most() -> None:
    environment = recipient_environment(autoescape=False)
    source = "{% for letter in city | passes %}[{{ letter }}]{% endfor %}"
    check_template(source)
    template = environment.from_string(source)

    assert template.render(city="x" * MAX_PASSES) == "[x]" * MAX_PASSES
    assert template.render() == ""
    with pytest.raises(TooManyPassesError):
        template.render(city="x" * (MAX_PASSES + 1))


@pytest.mark.parametrize(
    "source",
    ["{{ city | passes }}", "{% for a in city | passes | upper %}{% endfor %}", "{% if city | passes %}{% endif %}"],
)
def test_the_bound_of_loops_is_no_filter_for_authors(source: str) -> None:
    with pytest.raises(TemplateProblem):
        check_template(source)


def test_what_a_mail_puts_in_is_counted_with_its_loops() -> None:
    inside = '{{ name | default("") }}' * (MAX_WORK // MAX_PASSES)
    check_template("{% for a in city %}" + inside + "{% endfor %}")

    with pytest.raises(TemplateProblem) as caught:
        check_template("{% for a in city %}" + inside + "{% endfor %}" + '{{ name | default("") }}')

    assert caught.value.trouble.code == "tag.too_much_work"


@pytest.mark.parametrize(
    ("language", "spelled"),
    [
        ("en", "3 May 2026"),
        ("en-ZZ", "3 May 2026"),
        ("en-Latn", "3 May 2026"),
        ("en-x-any", "3 May 2026"),
        ("en-AU", "3 May 2026"),
        ("en-US", "May 3, 2026"),
        ("xx", "3 May 2026"),
        ("de-ZZ", "3. Mai 2026"),
    ],
)
def test_english_dates_begin_with_the_day_unless_the_country_is_one_that_does_not(language: str, spelled: str) -> None:
    assert spell_date("2026-05-03", language) == spelled
