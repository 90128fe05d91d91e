"""Holes filled from prepared bytes say exactly what Jinja itself would say."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from tests.support.mails import COMPILED, unquote, values_of
from worker.compose.template import recipient_environment
from worker.domain.compiled import SYSTEM_VARIABLES
from worker.message.mime import clean_text
from worker.message.personalize import MAX_VALUE_CHARS, BoundTemplate, PersonalizeError, Personalizer

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
