"""Holes filled from prepared bytes say exactly what Jinja itself would say."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from tests.support.mails import COMPILED, DATE, builder, reader, unquote, values_of
from tests.support.words import refuses
from worker.compose.template import recipient_environment
from worker.domain.compiled import SYSTEM_VARIABLES
from worker.message.build import BuildError, Built
from worker.message.mime import clean_text
from worker.message.personalize import (
    MAX_MAIL_OCTETS,
    MAX_VALUE_CHARS,
    BoundTemplate,
    PersonalizeError,
    Personalizer,
    UnfitRowError,
)

CONSTANTS = st.text(st.sampled_from("ab .=\nF<&é漢From "), max_size=40)
TAGS = st.sampled_from(
    [
        '{{ name | default("x") }}',
        "{{ name | upper }}",
        "{{ city | title }}",
        "{{ city | truncate(5) }}",
        "{% if name %}yes {{ name }}{% elif city %}{{ city }}{% else %} no {% endif %}",
        "{% for letter in city %}[{{ letter }}]{% endfor %}",
        '{{ "a constant" }}',
        '{% if city == "Bern" %}Bern{% endif %}',
    ]
)
TEMPLATES = st.lists(st.one_of(CONSTANTS, TAGS), max_size=10).map("".join)
VALUES = st.text(st.characters(), max_size=30)


@given(TEMPLATES, VALUES, VALUES)
@settings(max_examples=150)
@example("{{ name }}", "", "")
@example("From {{ name }}\n.{{ city }}", "From me", ".")
@example("{{ name }} ", "a\r", "\n")
def test_the_prepared_pieces_decode_to_what_the_template_renders(template: str, name: str, city: str) -> None:
    personalizer = Personalizer(replace(COMPILED, text=template, html=template, subject="x"))

    _, text, html = personalizer.fill({"name": name, "city": city})
    shown = personalizer.show({"name": name, "city": city})

    clean = {"name": clean_text(name), "city": clean_text(city)}
    for content, escaping, seen in ((text, False, shown.text), (html, True, shown.html)):
        expected = recipient_environment(escaping).from_string(template).render(clean)
        assert unquote(b"".join(content)) == expected
        assert seen == expected


def test_constants_are_the_same_objects_at_every_rendering() -> None:
    template = BoundTemplate(recipient_environment(autoescape=True), COMPILED.html)

    first = [piece for piece in template.pieces({"city": "a"}) if type(piece) is str]
    again = [piece for piece in template.pieces({"city": "a"}) if type(piece) is str]

    assert len(first) > 3
    assert all(one is other for one, other in zip(first, again, strict=True))


def test_no_readers_value_is_kept() -> None:
    template = BoundTemplate(recipient_environment(autoescape=True), COMPILED.html)
    before = dict(template.constants)

    for number in range(50):
        assert f"reader {number}".encode() in b"".join(template.encode({**values_of(name=f"reader {number}")}))

    assert template.constants == before


def test_every_variable_of_templates_layout_and_issue_is_known() -> None:
    compiled = replace(COMPILED, html="{{ view_url }}{{ shoe }}", variables=("city",))

    variables = Personalizer(compiled).variables

    assert {"city", "shoe", "view_url", "name", "language", *SYSTEM_VARIABLES} <= set(variables)
    assert list(variables) == sorted(variables)


def test_missing_values_are_empty_and_unknown_ones_ignored() -> None:
    shown = Personalizer(COMPILED).show({"shoe": "44"})

    assert shown.subject == "Dear reader, the river is rising"
    assert "44" not in shown.html + shown.text


@pytest.mark.parametrize(
    "value", [Markup("<b>"), 7, None, ["a"], b"bytes", "x" * (MAX_VALUE_CHARS + 1)], ids=["markup", *"7nlbx"]
)
def test_only_plain_text_of_bounded_length_is_filled_in(value: object) -> None:
    with pytest.raises(PersonalizeError, match="name") as caught:
        Personalizer(COMPILED).fill({"name": value})  # type: ignore[dict-item]

    assert "<b>" not in str(caught.value)


def test_a_subject_is_always_one_line_in_mail_and_preview() -> None:
    values = {"name": "Jane\r\nBcc: x\u2028y"}

    subject, shown = Personalizer(COMPILED).fill(values)[0], Personalizer(COMPILED).show(values)

    assert subject == shown.subject == "Jane Bcc: x y, the river is rising"


LOOP = "{% for letter in city | passes %}" + "word " * 9_000 + "{{ letter }}{% endfor %}"


def test_a_mail_that_grows_beyond_its_bound_is_an_error_of_that_reader_alone() -> None:
    personalizer = Personalizer(replace(COMPILED, text=LOOP, html=LOOP))

    _, text, html = personalizer.fill({"city": "x" * 20})
    with refuses(UnfitRowError, "more than 2097152 octets"):
        personalizer.fill({"city": "x" * 50})
    with refuses(UnfitRowError, "more than 2097152 octets"):
        personalizer.show({"city": "x" * 50})

    assert sum(map(len, text + html)) < MAX_MAIL_OCTETS
    assert b"".join(text).endswith(b"x")


def test_a_mail_is_measured_while_it_grows() -> None:
    """Of a loop that would make 200 MB no more is ever made than one piece beyond the bound."""
    personalizer = Personalizer(replace(COMPILED, text="{% for letter in city %}" + "word " * 9_000 + "{% endfor %}"))

    with pytest.raises(UnfitRowError) as caught:
        personalizer.fill({"city": "x" * MAX_VALUE_CHARS})

    assert caught.value.code == "message.too_long"
    assert caught.value.trouble.fields["size"] < MAX_MAIL_OCTETS + 60_000


def test_a_loop_over_a_longer_value_is_an_error_of_that_reader() -> None:
    with refuses(UnfitRowError, "51 times, more than 50"):
        Personalizer(replace(COMPILED, text=LOOP)).fill({"city": "x" * 51})


def test_a_row_that_does_not_fit_leaves_its_neighbours() -> None:
    answers = builder(replace(COMPILED, text=LOOP, html=LOOP)).build_all(
        [
            reader(attributes={"city": "x" * 50}),
            reader(attributes={"city": "x" * 51}),
            reader(attributes={"city": "x"}),
        ],
        DATE,
    )

    assert [type(answer) for answer in answers] == [BuildError, BuildError, Built]
    assert "more than 2097152 octets" in str(answers[0])
    assert "more than 50" in str(answers[1])


@given(TEMPLATES, VALUES, VALUES)
@settings(max_examples=60)
def test_measured_and_unmeasured_mails_are_the_same(template: str, name: str, city: str) -> None:
    personalizer = Personalizer(replace(COMPILED, text=template, html=template, subject="x"))
    clean = personalizer.clean({"name": name, "city": city})

    _, text, html = personalizer.fill(clean)
    _, measured_text, measured_html = personalizer._fill_measured(clean)

    assert (b"".join(text), b"".join(html)) == (b"".join(measured_text), b"".join(measured_html))


@given(TEMPLATES, VALUES, VALUES)
@settings(max_examples=60)
def test_no_mail_is_longer_than_what_was_reckoned(template: str, name: str, city: str) -> None:
    personalizer = Personalizer(replace(COMPILED, text=template, html=template, subject="x"))
    values = personalizer.clean({"name": name, "city": city})

    _, text, html = personalizer.fill(values)

    assert sum(map(len, text + html)) <= personalizer._fixed + personalizer._holes * max(map(len, values.values()))
