"""From issue text to the frozen content of its mails."""

import re
from dataclasses import replace

import pytest

from tests.support.issues import (
    BASE_URL,
    MEMBERS,
    STATEMENT,
    VIEW_URL,
    compiled,
    item,
    newsletter,
    publication,
    stand_in_media,
    statement,
)
from tests.support.words import refuses
from tests.unit.test_rules import FACTS
from worker.compose.marks import census
from worker.compose.rules import lint
from worker.compose.source import read_issue
from worker.compose.template import check_template, recipient_environment
from worker.domain.compiled import SYSTEM_VARIABLES, CompiledIssue
from worker.errors import IssueFileError, UsageError

VALUES = {"unsubscribe_url": f"{BASE_URL}/u/token", "consent_date": "3 May 2026"}


def fill(source: str, *, html: bool = False, **values: str) -> str:
    return recipient_environment(autoescape=html).from_string(source).render(VALUES | values)


@pytest.fixture(params=[MEMBERS, STATEMENT], ids=["members", "statement"])
def sample(request: pytest.FixtureRequest) -> CompiledIssue:
    issue = read_issue(request.param.name, request.param.read_text("utf-8"))
    return compiled(issue, stand_in_media(issue))


def test_stored_form_gives_the_same_issue_back(sample: CompiledIssue) -> None:
    again = CompiledIssue.from_json(sample.to_json())

    assert again.fingerprint == sample.fingerprint


def test_templates_stay_in_the_subset(sample: CompiledIssue) -> None:
    names = frozenset((*SYSTEM_VARIABLES, *sample.variables))

    for source in (sample.subject, sample.html, sample.text):
        check_template(source, names, always=frozenset(SYSTEM_VARIABLES))


def test_unsubscribe_address_stands_alone_on_its_line_in_the_text(sample: CompiledIssue) -> None:
    assert "{{ unsubscribe_url }}" in sample.text.split("\n")


def test_unsubscribe_is_the_first_link_of_the_footer(sample: CompiledIssue) -> None:
    footer = sample.html[sample.html.index('role="contentinfo"') :]

    assert re.findall(r'href="([^"]*)"', footer)[0] == "{{ unsubscribe_url }}"


def test_text_has_lines_of_72_columns_except_for_addresses(sample: CompiledIssue) -> None:
    text = fill(sample.text, name="Jo")

    assert "\r" not in text
    for line in text.split("\n"):
        assert len(line) <= 72 or line.startswith("http")


def test_reason_has_a_date_only_with_evidence(sample: CompiledIssue) -> None:
    for source in (sample.html, sample.text):
        assert "on 3 May 2026." in " ".join(fill(source).split())
        undated = " ".join(fill(source, consent_date="").split())
        assert "on 3 May" not in undated
        assert "You get this because you asked for Orrin Ring News." in undated


def test_text_part_says_everything_in_the_order_of_the_html(sample: CompiledIssue) -> None:
    text = " ".join(fill(sample.text, name="Jo").split())
    html = fill(sample.html, html=True, name="Jo")
    titles = [re.sub("<[^>]+>", "", found) for found in re.findall(r"<h[123][^>]*>(.*?)</h[123]>", html)]

    places = [text.find(title) for title in titles]

    assert -1 not in places
    assert places == sorted(places)


def test_view_page_has_no_hole_no_way_to_leave_for_one_and_no_mail_token(sample: CompiledIssue) -> None:
    assert "{{" not in sample.view_html
    assert "/u/" not in sample.view_html
    assert f'{BASE_URL}/"' not in sample.view_html
    assert f"go to {BASE_URL}/" in sample.view_html
    assert "<script" not in sample.view_html


def test_newsletter_of_seven_cards_is_small() -> None:
    issue = read_issue(MEMBERS.name, MEMBERS.read_text("utf-8"))

    assert len(compiled(issue, stand_in_media(issue)).html.encode()) <= 20_000


def test_title_is_the_subject() -> None:
    made = compiled(newsletter(subject="\"Hello {{ name | default('you') }} & all\""))

    assert "<title>Hello Jo &amp; all</title>" in fill(made.html, html=True, name="Jo")
    assert fill(made.subject, name="Jo") == "Hello Jo & all"


def test_marks_keep_order_and_parents_through_all_tools() -> None:
    made = compiled(
        newsletter(
            "{% if country == 'France' %}\n\nBonjour **{{ name | default('vous') }}**\n\n"
            "{% else %}\n\nHello\n\n{% endif %}\n",
            "intro: \"{% if name %}Dear {{ name | default('x') }}{% endif %}\"\n",
        )
    )

    for values in ({"country": "France", "name": "Zoë"}, {"country": "", "name": ""}):
        html = fill(made.html, html=True, **values)
        assert ("Bonjour" in html) == (values["country"] == "France")
        assert ("Hello" in html) == (values["country"] != "France")
        assert not census(html)


def test_conditional_table_row_is_refused_with_its_line() -> None:
    body = "| a |\n|---|\n{% if name %}\n| b |\n{% endif %}\n"

    with refuses(UsageError, match=r"small\.md line 11: .*endif.* stands in another"):
        compiled(newsletter(body))


@pytest.mark.parametrize("tag", ["{% autoescape false %}x{% endautoescape %}", "{{ 0x" + "f" * 5_000 + " }}"])
def test_tag_whose_own_line_is_unknown_is_refused_with_one(tag: str) -> None:
    with refuses(UsageError, match=r"small\.md line 7: "):
        compiled(newsletter(f"{tag}\n"))


def test_system_variables_are_not_for_authors() -> None:
    with refuses(UsageError, match="belong to the layout"):
        compiled(newsletter('{{ unsubscribe_url | default("") }}'))


def test_card_with_text_opens_on_the_web_page_which_has_all_of_it() -> None:
    made = compiled(newsletter(front="cards:\n  - {title: A, blurb: Short, text: The **whole** story}\n"))

    assert f'href="{VIEW_URL}#card-1"' in made.html
    assert "whole" not in made.html
    assert 'id="card-1"' in made.view_html
    assert "The <strong>whole</strong> story" in made.view_html


def test_blurb_is_cut_at_a_word() -> None:
    made = compiled(newsletter(front=f"cards:\n  - {{title: A, blurb: {'word ' * 80}}}\n"))

    blurb = re.search(r"<p[^>]*>((?:word ?)+…)</p>", made.html)

    assert blurb is not None
    assert len(blurb[1]) <= 240
    assert blurb[1].endswith("word…")


@pytest.mark.parametrize(
    ("language", "direction", "unsubscribe"),
    [
        ("fr", "ltr", "Se désabonner"),
        ("ar", "rtl", "إلغاء الاشتراك"),
        ("zh-Hans", "ltr", "退订"),
        ("ja-JP", "ltr", "配信停止"),
    ],
)
def test_layout_speaks_the_language_of_the_issue(language: str, direction: str, unsubscribe: str) -> None:
    made = compiled(newsletter(), language=language)

    assert f'<html lang="{language}" dir="{direction}"' in made.html
    assert unsubscribe in made.html
    assert unsubscribe in made.text


def test_english_words_in_another_language_are_marked_as_english() -> None:
    made = compiled(newsletter(), language="pt")

    assert '<span lang="en" dir="ltr">' in made.html
    assert '<html lang="pt"' in made.html


def test_right_to_left_cards_are_mirrored() -> None:
    issue = read_issue(
        MEMBERS.name, MEMBERS.read_text("utf-8").replace("kind: newsletter", "kind: newsletter\nlanguage: ar")
    )

    html = compiled(issue, stand_in_media(issue)).html

    assert 'align="left"' not in html
    assert "padding:4px 0 14px 24px" in html
    assert 'cellpadding="0" cellspacing="0" border="0" dir="rtl"' in html


def test_missing_enclosure_is_refused() -> None:
    issue = read_issue(STATEMENT.name, STATEMENT.read_text("utf-8"))
    media = {key: item for key, item in stand_in_media(issue).items() if not key.endswith(".pdf")}

    with refuses(UsageError, match=r"annex-1\.pdf is missing"):
        compiled(issue, media)


def test_word_based_outlook_gets_tables_with_widths() -> None:
    issue = read_issue(MEMBERS.name, MEMBERS.read_text("utf-8"))
    html = compiled(issue, stand_in_media(issue)).html

    twins = re.findall(r"<!--\[if mso\]>(<table.*?)<!\[endif\]-->", html)
    columns = re.findall(r'<!--\[if mso\]><table role="presentation" width="552".*?<td width="188" valign="top">', html)
    assert len(columns) == html.count("max-width:188px") == html.count("max-width:364px") == 7
    assert all(re.search(r'<table role="presentation" width="\d+"', twin) for twin in twins)
    assert html.count("<!--[if mso]>") == html.count("<![endif]-->")
    for picture in re.findall(r"<img [^>]*>", html):
        assert re.search(r' width="\d+"', picture)
        assert re.search(r' height="\d+"', picture)
        assert "margin" not in picture
    for table in re.findall(r"<table [^>]*>", html):
        assert 'role="presentation"' in table
        assert 'cellpadding="0" cellspacing="0" border="0"' in table


def test_answers_and_returned_mail_reach_whom_the_publication_names() -> None:
    made = compiled(
        newsletter(),
        reply_to="desk@orrin-ring.test",
        bounce_address="returns@orrin-ring.test",
        contact="help@orrin-ring.test",
    )

    assert (made.reply_to, made.bounce_address) == ("desk@orrin-ring.test", "returns@orrin-ring.test")
    assert (made.contact, made.list_id) == ("help@orrin-ring.test", "ring-news.orrin-ring.test")


def test_a_publications_own_promise_and_privacy_page_stand_in_its_mails() -> None:
    made = compiled(newsletter(), promise="We tell nobody.", privacy_url="https://orrin-ring.test/privacy")

    for part in (made.html, made.text):
        assert "We tell nobody." in part
        assert "https://orrin-ring.test/privacy" in part
        assert f"{BASE_URL}/privacy" not in part


def test_an_issue_in_another_language_than_its_publication_says_so_and_spells_its_dates() -> None:
    made = compiled(newsletter('Depuis {{ since | default("") | date }}\n', "language: fr\n"))

    assert made.language == "fr"
    assert "Se désabonner" in made.text
    assert "Depuis 3 mai 2026" in fill(made.text, since="2026-05-03")


def test_a_slash_at_the_end_of_the_base_url_breaks_no_address() -> None:
    assert "example.org//" not in compiled(newsletter(), base_url=f"{BASE_URL}/").html


def test_every_picture_and_file_a_mail_names_is_hosted(sample: CompiledIssue) -> None:
    named = set(re.findall(rf"{BASE_URL}/media/([0-9a-f]+\.[a-z]+)", sample.html + sample.view_html + sample.text))
    figures = {figure["media"] for figure in sample.figures}

    assert named
    assert named | figures == set(sample.media)
    assert {f"{BASE_URL}/figure/{figure['id']}" for figure in sample.figures} == set(
        re.findall(rf"{BASE_URL}/figure/[0-9a-f]+", sample.html)
    )


@pytest.mark.parametrize(
    ("image", "natural", "shown"),
    [
        ("{src: a.png, alt: A}", (1200, 600), (164, 82)),
        ("{src: a.png, alt: A}", (100, 40), (100, 40)),
        ("{src: a.png, alt: A, w: 80, h: 20}", (1200, 600), (80, 20)),
        ("{src: a.png, alt: A, w: 328, h: 100}", (1200, 600), (164, 50)),
        ("{src: a.png, alt: A}", (1200, 2), (164, 1)),
    ],
)
def test_a_picture_is_neither_blown_up_nor_pulled_out_of_shape(
    image: str, natural: tuple[int, int], shown: tuple[int, int]
) -> None:
    made = compiled(newsletter(front=f"cards:\n  - {{title: A, image: {image}}}\n"), {"a.png": item(*natural)})

    pictures = re.findall(r"<img [^>]*>", made.html)

    assert pictures
    for picture in pictures:
        assert f' width="{shown[0]}"' in picture
        assert f' height="{shown[1]}"' in picture


def test_a_picture_that_only_decorates_is_passed_over_when_a_mail_is_read_aloud() -> None:
    front = "cards:\n  - {title: A, image: {src: a.png, alt: Waves, decorative: true}}\n"

    made = compiled(newsletter(front=front), {"a.png": item(10, 10)})

    assert 'alt=""' in made.html
    assert "Waves" not in made.html


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", "news.html", "https://a b"])
def test_a_cards_bad_link_is_never_sent(link: str) -> None:
    made = compiled(newsletter(front=f"cards:\n  - {{title: A, blurb: B, link: '{link}'}}\n"))

    for part in (made.html, made.view_html, made.text):
        assert link not in part


def test_a_reader_is_named_in_a_cards_title_but_in_no_attribute() -> None:
    front = "cards:\n  - title: \"For {{ name | default('you') }}\"\n    link: https://example.org/\n"

    html = fill(compiled(newsletter(front=front)).html, html=True, name='"Jo" <b>')

    assert "For &#34;Jo&#34; &lt;b&gt;" in html
    assert not re.search(r'="[^"]*For &#34;', html)


FIGURES = "figures:\n- {src: a.png, alt: First, caption: Tide}\n- {src: a.png, alt: Second, caption: Coast}\n"


def test_every_figure_and_card_stands_once_where_it_was_put_or_at_the_end() -> None:
    cards = "cards:\n- {title: Card, blurb: B}\n"

    made = compiled(newsletter("::: figure 2\n\nmiddle\n\n::: cards\n\nlast\n", cards + FIGURES), {"a.png": item(9, 9)})

    words = ["Coast", "middle", "Card", "last", "Tide"]
    assert [made.text.count(word) for word in words] == [1] * 5
    assert sorted(words, key=made.text.index) == words


@pytest.mark.parametrize("body", ["::: figure 1\n\n::: figure 1\n", "::: figure 3\n", "::: figure 0\n"])
def test_a_figure_that_is_not_there_to_place_is_refused(body: str) -> None:
    with refuses(UsageError, "has no entry of its own in figures"):
        compiled(newsletter(body, FIGURES), {"a.png": item(9, 9)})


def test_a_figures_page_is_for_all_so_it_names_nobody() -> None:
    front = "figures:\n- {src: a.png, alt: A, caption: \"{{ name | default('x') }}\"}\n"

    with refuses(UsageError, "cannot hold a reader's value"):
        compiled(newsletter(front=front), {"a.png": item(9, 9)})


def test_an_enclosed_file_says_its_kind_and_size() -> None:
    front = "enclosures:\n- {title: Annex, file: a.pdf}\n"

    assert "PDF, 34 KB" in compiled(statement(front=front), {"a.pdf": item()}).text


def test_who_is_quoted_stands_apart_from_what_was_said() -> None:
    made = compiled(newsletter("::: quote\nWe *row*.\n— Ada Lowe\n:::\n"))

    assert "> We row.\n>\n> — Ada Lowe\n" in made.text


def test_a_sender_whose_address_begins_with_its_name_is_named_once() -> None:
    assert compiled(newsletter()).text.count("The Orrin Ring\n") == 1
    assert "Ring Press\nThe Orrin Ring\n" in compiled(newsletter(), from_name="Ring Press").text


def test_braces_that_are_no_tag_reach_the_reader_as_they_are() -> None:
    made = compiled(newsletter("Write `{` `{ %` and {x}.\n"))

    assert "{ %" in fill(made.text)
    assert not census(fill(made.html, html=True))


def test_a_loop_is_compiled_with_its_bound() -> None:
    made = compiled(newsletter("{% for letter in name %}{{ letter }}{% endfor %}"))

    assert "{% for letter in name | passes %}" in made.html
    assert "{% for letter in name | passes %}" in made.text


def test_a_file_with_a_fault_is_not_compiled() -> None:
    with refuses(IssueFileError, "line 6: language"):
        compiled(newsletter(front="language: 'en\" onload'\n"))


def test_caption_and_credit_stand_apart() -> None:
    front = "figures:\n- {src: a.png, alt: A, caption: The quay, credit: Jo Doe}\n"
    media = {"a.png": item(10, 10), "large:a.png": item(10, 10)}

    made = compiled(statement("::: figure\n", front), media)

    assert "The quay</p>" in made.html
    assert "\nJo Doe\n" in made.text


def test_an_alt_text_of_a_person_has_no_tag_in_it() -> None:
    front = "signatory: {name: 'Jo {{ name | default(\"\") }} Doe', portrait: a.png}\n"

    made = compiled(statement(front=front), {"a.png": item(10, 10)})

    assert 'alt="Portrait of Jo Doe"' in made.html


@pytest.mark.parametrize(
    "address",
    [
        "The Orrin Ring\nQuay House",
        "the orrin ring \nQuay House",
        "The  Orrin Ring, Quay House",
        "Quay House\nThe Orrin Ring",
    ],
)
def test_the_sender_is_named_once(address: str) -> None:
    made = compiled(newsletter(), postal_address=address)

    assert made.text.casefold().count("the orrin ring") == 1
    assert lint(newsletter(), replace(FACTS, publication=replace(publication(), postal_address=address))) == []


def test_a_line_of_the_address_is_said_once() -> None:
    assert compiled(newsletter(), postal_address="Quay House\nPortavela\nPortavela").text.count("Portavela") == 1
