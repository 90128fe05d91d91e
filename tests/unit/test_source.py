"""Issue files: what they give, and the sentence each mistake gets."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.words import refuses
from worker.compose.source import read_issue
from worker.domain.issue import IssueKind
from worker.errors import UsageError
from worker.screen.sentences import word

GOOD = """---
kind: newsletter
publication: ring-news
subject: No
preheader: 12:30
cards:
  - title: One
    blurb: |
      First line
      second line
    image: {src: a.png, alt: A, w: 164, h: 110}
lint: {allow: [W403], why: it is meant}
---
Body
"""


def test_values_stay_the_text_that_was_written() -> None:
    issue = read_issue("issues/2026-11 Members.fr.md", GOOD)

    assert (issue.kind, issue.subject, issue.preheader) == (IssueKind.NEWSLETTER, "No", "12:30")
    assert issue.slug == "2026-11-members"
    assert issue.body == "Body\n"
    assert issue.waived == ("403",)
    assert (issue.cards[0].blurb, issue.cards[0].line) == ("First line\nsecond line", 7)
    assert issue.cards[0].picture is not None
    assert issue.cards[0].picture.width == 164


def test_lines_are_those_of_the_file() -> None:
    issue = read_issue("a.md", GOOD)

    assert issue.lines["subject"] == 4
    assert issue.lines["cards.0.blurb"] == 9
    assert issue.lines["cards.0.image.src"] == 11
    assert issue.body_line == 14


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("subject: No", "subjekt: No"), 4, "did you mean subject?"),
        (("subject: No\n", ""), 2, "has no subject"),
        (("kind: newsletter", "kind: digest"), 2, 'kind "digest" does not exist; write newsletter or statement'),
        (("subject: No", "subject: a: b"), 4, "put quotes"),
        (("subject: No", "subject: {{ name }}"), 4, "quotes"),
        (("subject: No", "subject: [a, b]"), 4, "must be one text"),
        (("subject: No", "subject: No\nsubject: Yes"), 5, "stands twice (first in line 4)"),
        (("subject: No", "subject: &a No"), 4, "anchors"),
        (("subject: No", "subject: !!python/object:os.system No"), 4, "tags"),
        (("subject: No", "subject: a\u2028b"), 4, "U+2028"),
        (("subject: No", "subject: a\x00b"), 4, "U+0000"),
        (("subject: No", "subject: [No"), 4, "[ is never closed"),
        (("subject: No", "subject: {No"), 4, "{ is never closed"),
        (("subject: No", 'subject: "No'), 4, "a quote is opened here"),
        (("subject: No", "subject: No\npreheader"), 5, "no colon"),
        (("subject: No", "subject: @No"), 4, "keeps for itself"),
        (("    blurb: |", "   blurb: |"), 8, "indent it like its neighbours"),
        (("title: One", "title:"), 7, "is empty"),
        (("w: 164", "w: wide"), 11, "whole pixels"),
        (("src: a.png, ", ""), 11, "has no src"),
        (("[W403], why: it is meant", "[W403]"), 12, "why"),
        (("[W403]", "[loud]"), 12, "finding codes"),
        (("cards:", "lead: 3\ncards:"), 6, "group of keys"),
        (("---\nBody", "Body"), 1, "never closed"),
        (("---\nkind", "kind"), 1, "does not start with ---"),
        (("publication: ring-news", "publication: ring-news\nslug: A B"), 4, "cannot be used"),
        (("publication: ring-news", "publication: ring-news\nslug: latest"), 4, "another issue"),
        (("publication: ring-news", "publication: ring-news\nslug: 12"), 4, "another issue"),
    ],
)
def test_mistake_gets_one_sentence_with_its_line(change: tuple[str, str], line: int, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_issue("a.md", GOOD.replace(*change, 1))

    sentence = word(caught.value)
    assert sentence.startswith(f"a.md line {line}: ")
    assert words in sentence
    assert "\n" not in sentence


@given(st.text(st.sampled_from("-:{}[]&*!|>'\"# \nabk,")), st.text(max_size=20))
@settings(max_examples=200)
def test_any_text_is_read_or_refused_in_one_line(front: str, body: str) -> None:
    refused = ""
    try:
        read_issue("a.md", f"---\nkind: statement\npublication: p\nsubject: s\n{front}\n---\n{body}")
    except UsageError as error:
        refused = word(error)

    assert "\n" not in refused


@pytest.mark.parametrize("name", ["latest.md", "2026.md", "Latest .md"])
def test_file_name_that_reads_like_another_issue_is_refused(name: str) -> None:
    with refuses(UsageError, match=r"line 1: slug .* add a line slug"):
        read_issue(name, GOOD)


def test_nesting_bomb_is_refused() -> None:
    with pytest.raises(UsageError):
        read_issue("a.md", "---\nkind: " + "[" * 5000 + "\n---\n")


STATEMENT = "---\nkind: statement\npublication: p\nsubject: s\n{}---\nBody\n"


@pytest.mark.parametrize(
    ("front", "line", "words"),
    [
        ("enclosures:\n- {title: A}\n", 6, "needs either link: … or file: …"),
        ("enclosures:\n- {title: A, link: 'https://a.test', file: a.pdf}\n", 6, "and not both"),
        ("enclosures:\n- {title: A, file: a.pdf, fil: b}\n", 6, "fil is not a key of an enclosure"),
        ("figures:\n- {src: a.png, captoin: x}\n", 6, "captoin is not a key of a figure; did you mean caption?"),
        ("signatory: {nam: x}\n", 5, "nam is not a key of signatory"),
        ("signatory: {role: x}\n", 5, "signatory has no name"),
        ("lint: {alow: [W403]}\n", 5, "alow is not a key of lint"),
        ("cards: []\n", 5, "cards is not a key of a statement"),
    ],
)
def test_a_mistake_in_a_statement_is_not_dropped_without_a_word(front: str, line: int, words: str) -> None:
    with refuses(UsageError, re.escape(words)) as caught:
        read_issue("a.md", STATEMENT.format(front))

    assert caught.value.trouble.fields["line"] == line


@pytest.mark.parametrize("change", [("title: One", "titel: One"), ("alt: A", "alternative: A")])
def test_a_misspelled_key_of_a_card_is_not_dropped_without_a_word(change: tuple[str, str]) -> None:
    with refuses(UsageError, "is not a key of"):
        read_issue("a.md", GOOD.replace(*change))


def test_cards_are_counted_from_one_as_an_editor_does() -> None:
    with refuses(UsageError, "card 2 has no title"):
        read_issue("a.md", GOOD.replace("lint:", "  - blurb: x\nlint:"))


def test_line_ends_of_every_system_read_alike() -> None:
    texts = {read_issue("a.md", GOOD.replace("\n", end)).body for end in ("\n", "\r\n", "\r")}

    assert texts == {"Body\n"}


@pytest.mark.parametrize("char", ["\ue000", "\ue001", "\u2029", "\x1b", "\x85"])
def test_a_character_that_acts_in_secret_is_refused(char: str) -> None:
    with refuses(UsageError, f"U\\+{ord(char):04X}"):
        read_issue("a.md", GOOD.replace("Body", f"Bo{char}dy"))
