"""Each rule: what it finds, where, and what it leaves alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest

from tests.support.issues import (
    BASE_URL,
    MEMBERS,
    STATEMENT,
    compiled,
    load_issue_file,
    newsletter,
    publication,
    statement,
)
from worker.compose.findings import Finding, LintFacts
from worker.compose.issue_file import LAYOUT_DIR, check_issue, load_layouts
from worker.compose.layouts import layout_environment
from worker.compose.media import MediaItem
from worker.compose.rules import lint
from worker.compose.rules_mail import check_odd_readers
from worker.domain.issue import IssueText
from worker.errors import Trouble
from worker.screen.sentences import word

FACTS = LintFacts(
    publication=publication(),
    base_url=BASE_URL,
    loopback_relay=True,
    signs=True,
    sent_slugs=frozenset(),
    attributes=frozenset({"country"}),
    media={name: MediaItem(f"{'a' * 64}.png", "image/png", 100, 50, b"x") for name in ("a.png", "large:a.png")}
    | {"b.webp": MediaItem(f"{'b' * 64}.png", "image/png", 100, 50, b"x", origin="webp")},
    media_problems={
        "broken.png": Trouble("media.damaged", path="broken.png"),
        "a.svg": Trouble("media.not_a_picture", path="a.svg", kind="svg"),
    },
    layouts=load_layouts(),
)


def said(text: str | Trouble) -> str:
    """What a person reads in the terminal."""
    return text if isinstance(text, str) else word(text)


def found(issue: IssueText, facts: LintFacts = FACTS) -> list[tuple[str, int | None]]:
    return [(str(finding), finding.line) for finding in lint(issue, facts)]


def test_plain_issue_has_no_finding() -> None:
    assert found(newsletter()) == []


@pytest.mark.parametrize("path", [MEMBERS, STATEMENT], ids=["members", "statement"])
def test_samples_have_no_finding(path: Path) -> None:
    issue, media = load_issue_file(path)

    findings = check_issue(issue, publication(issue.publication), base_url=BASE_URL, loopback_relay=True, signs=True)

    assert findings == []
    assert all(item.data for item in media.values())


@pytest.mark.parametrize(
    ("front", "body", "expected"),
    [
        ("", "![](a.png)", ("E201", 7)),
        ("cards:\n  - {title: A, image: {src: a.png}}\n", "", ("E201", 7)),
        ("cards:\n  - {title: A, image: {src: a.png, alt: A, w: 9}}\n", "", ("W203", 7)),
        ("", "x\n\n![a](a.svg)", ("E205", 9)),
        ("", "![a](b.webp)", ("W205", 7)),
        ("", "![a](data:image/png;base64,xx)", ("E206", 7)),
        ("", "![a](none.png)", ("E208", 7)),
        ("", "![a](broken.png)", ("E208", 7)),
        ("", "![a](https://example.org/a.png)", ("E208", 7)),
        ("", "![a](http://example.org/a.png)", ("E208", 7)),
        ("", "[a](news.html)", ("E301", 7)),
        ("", "[a]()", ("E301", 7)),
        ("", "[a](javascript:x)", ("E301", 7)),
        ("", "[a](http://localhost/x)", ("E301", 7)),
        ("", "[a](https://staging.example.org/x)", ("E301", 7)),
        ("cards:\n  - {title: A, link: file:///x}\n", "", ("E301", 7)),
        ("", "[a](http://example.org/)", ("W303", 7)),
        ("", "one\ntwo [Click here](https://example.org/)", ("W304", 8)),
        ("", "[ici](https://example.org/)", ("W304", 7)),
        ("", "{{ name }}", ("E501", 7)),
        ("", "a\n\n{{ shoe | default('x') }}", ("E501", 9)),
        ("", "{{ unsubscribe_url | default('x') }}", ("E501", 7)),
        ("", "{% if name %}\n- a{% endif %}", ("E501", 8)),
        ("", "{{ name", ("E501", 7)),
        ("", "::: box", ("E501", 7)),
        ("", "one\nTODO two", ("E801", 8)),
        ("", "Lorem ipsum dolor", ("E801", 7)),
        ("", "[insert date] today", ("E801", 7)),
        ("", "a }} b", ("E801", 7)),
        ("language: xx-nowhere\n", "", ("E104", 6)),
    ],
)
def test_rule_finds_its_fault_at_its_line(front: str, body: str, expected: tuple[str, int]) -> None:
    assert expected in found(newsletter(body, front))


@pytest.mark.parametrize("body", ["", "  \n\n"])
def test_issue_that_says_nothing_is_refused_and_cannot_be_waived(body: str) -> None:
    # Given an issue with a subject, a preheader and a date, and no text
    issue = newsletter(body, "date: November 2026\nlint: {allow: [103], why: short}\n")

    # When
    codes = found(issue)

    # Then
    assert ("E103", None) in codes


@pytest.mark.parametrize("front", ["intro: Dear reader\n", "cards:\n  - {title: A, link: 'https://example.org/'}\n"])
def test_issue_without_a_body_says_something_when(front: str) -> None:
    # Given
    issue = newsletter("", front)

    # When
    codes = found(issue)

    # Then
    assert ("E103", None) not in codes


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        ("''", "E401"),
        ("Short", "W401"),
        ("Long " * 20, "W401"),
        ("READ THIS NOW please", "W403"),
        ("Buy this now!! today", "W403"),
        ('"Re: our meeting of yesterday"', "E403"),
        ("Before it", "W402"),
    ],
)
def test_subject_is_judged(subject: str, code: str) -> None:
    assert (code, 4) in found(newsletter(subject=subject)) or (code, 5) in found(newsletter(subject=subject))


def test_one_character_is_one() -> None:
    (said,) = [str(each.why) for each in lint(newsletter(subject="S"), FACTS) if str(each) == "W401"]

    assert said.startswith("the subject has 1 character,")


def test_same_subject_as_last_time_is_noticed() -> None:
    assert ("W401", 4) in found(newsletter(), replace(FACTS, last_subject="A plain subject"))


def test_sent_slug_is_refused_and_cannot_be_waived() -> None:
    issue = newsletter(front="lint: {allow: [804], why: again}\n")

    assert ("E804", None) in found(issue, replace(FACTS, sent_slugs=frozenset({"small"})))


def test_opt_out_address_without_https_is_refused_unless_loopback() -> None:
    assert ("E405", None) in found(newsletter(), replace(FACTS, base_url="http://news.example.org"))
    assert found(newsletter(), replace(FACTS, base_url="http://127.0.0.1:8025")) == []


def test_installation_for_rehearsals_may_link_to_itself() -> None:
    # Given
    here = replace(FACTS, base_url="https://staging.example.org")

    # When
    codes = found(newsletter("[The archive](https://staging.example.org/archive)"), here)

    # Then
    assert codes == []


def test_unsigned_mail_to_the_world_is_warned_about() -> None:
    finding = lint(newsletter(), replace(FACTS, signs=False, loopback_relay=False))[0]

    assert str(finding) == "W405"
    assert "Gmail and Yahoo" in said(finding.why)
    assert said(finding.fix) == "run corranto dkim create orrin-ring.test"


def test_long_issue_is_refused_before_gmail_cuts_it() -> None:
    assert ("W101", None) in found(newsletter("A word or two.\n\n" * 1900))
    assert ("E101", None) in found(newsletter("A word or two.\n\n" * 2600))


def test_waiver_turns_a_finding_into_a_note_with_its_reason() -> None:
    issue = newsletter("[here](https://example.org/)", "lint: {allow: [W304], why: it is a quotation}\n")

    findings = lint(issue, FACTS)

    assert [str(finding) for finding in findings] == ["I304"]
    assert "it is a quotation" in said(findings[0].why)


def test_findings_come_worst_first_and_each_says_why_and_how_to_fix() -> None:
    findings = lint(newsletter("[here](http://example.org/)\n\nTODO\n\n![](a.png)"), FACTS)

    assert [finding.level for finding in findings] == sorted((f.level for f in findings), key="EWI".index)
    assert all(isinstance(f, Finding) and f.why and f.fix and "\n" not in said(f.why) + said(f.fix) for f in findings)


@pytest.mark.parametrize(
    ("code", "issue", "changes"),
    [
        (208, statement(front="enclosures:\n- {title: A, file: a.pdf}\n"), {}),
        (301, newsletter("[there](news.html)\n"), {}),
        (301, newsletter(front="cards:\n- {title: A, blurb: B, link: 'javascript:x'}\n"), {}),
        (301, newsletter(front="lead: {title: A, blurb: B, link: '#top'}\n"), {}),
        (301, statement(front="enclosures:\n- {title: A, link: 'http://localhost/'}\n"), {}),
        (401, newsletter(subject="''"), {}),
        (405, newsletter(), {"base_url": "http://news.example.org"}),
        (406, newsletter(), {"publication": replace(publication(), postal_address=" ")}),
        (501, newsletter("{{ nme | default('x') }}\n"), {}),
        (501, newsletter("{{ name }}\n"), {}),
        (501, newsletter("{{ unsubscribe_url | default('') }}\n"), {}),
    ],
)
def test_what_would_harm_readers_blocks_and_no_waiver_lets_it_pass(
    code: int, issue: IssueText, changes: dict[str, Any]
) -> None:
    waiving = replace(issue, waived=(str(code),), waived_why="I know better")

    levels = {finding.level for finding in lint(waiving, replace(FACTS, **changes)) if finding.code == code}

    assert levels == {"E"}


def layouts_without(words: str, part: str) -> jinja2.Environment:
    """The layouts, spoiled: `words` are gone from the templates whose name ends in `part`."""
    texts = {path.name: path.read_text("utf-8") for path in LAYOUT_DIR.iterdir()}
    assert any(words in text for name, text in texts.items() if name.endswith(part))
    return layout_environment(
        {name: text.replace(words, "") if name.endswith(part) else text for name, text in texts.items()}
    )


@pytest.mark.parametrize(
    ("words", "part", "why"),
    [
        ("{{ unsubscribe_url }}", ".html", "the HTML part has no unsubscribe link"),
        ("{{ unsubscribe_url }}", ".txt", "the text part has no unsubscribe link"),
        ("{{ parts.say(reason) }}", ".html", "the HTML part does not say why the reader gets it"),
        ("{{ wrapped_reason }}", ".txt", "the text part does not say why the reader gets it"),
        ("{{ line }}", "footer.html", "the HTML part does not say who sends"),
        ("{{ line|wrap }}", "base.txt", "the text part does not say who sends"),
    ],
)
def test_a_layout_that_lost_the_way_out_or_its_reason_is_never_sent(words: str, part: str, why: str) -> None:
    findings = lint(newsletter(), replace(FACTS, layouts=layouts_without(words, part)))

    assert ("E406", why) in [(str(finding), finding.why) for finding in findings]


def test_a_text_part_that_lacks_most_of_what_the_html_says_is_noticed() -> None:
    spoiled = replace(FACTS, layouts=layouts_without("{{ segment.plain }}", ".txt"))

    assert ("W103", None) in found(newsletter("Forty words and more. " * 60), spoiled)


def test_a_link_without_words_is_noticed() -> None:
    assert ("W304", 7) in found(newsletter("[](https://example.org/)\n"))


def test_a_template_that_fails_for_an_odd_reader_is_found_before_that_reader_is() -> None:
    sound = compiled(newsletter())
    for spoiled in (replace(sound, html="{{ name.a.b }}"), replace(sound, text="{{ '{' }}% {{ '{%' }}")):
        findings = list(check_odd_readers(newsletter(), spoiled))

        assert {str(finding) for finding in findings} == {"E502"}
    assert list(check_odd_readers(newsletter(), sound)) == []


def test_a_language_no_program_knows_is_refused() -> None:
    assert ("E104", 6) in found(newsletter(front="language: klingon\n"))


def test_what_reads_as_a_leftover_only_inside_a_tag_is_none() -> None:
    assert found(newsletter("{% if name == 'TBD' %}\n\nHello.\n\n{% endif %}\n")) == []


def test_a_mistake_in_a_tag_is_told_with_its_own_line() -> None:
    assert ("E501", 9) in found(newsletter("One.\n\n{{ nme | default('x') }}\n"))
    assert ("E501", 9) in found(newsletter("One.\n\n{{ name }}\n"))


def test_an_installation_without_https_may_link_to_itself_without_a_warning() -> None:
    here = replace(FACTS, base_url="http://127.0.0.1:8025")

    assert found(newsletter("[The archive](http://127.0.0.1:8025/archive)\n"), here) == []


def weighing(octets: int, **facts: Any) -> MediaItem:
    return MediaItem(f"{octets:064}.png", "image/png", 100, 50, b"x" * octets, **facts)


def test_a_picture_says_what_it_weighs_for_a_phone() -> None:
    facts = replace(FACTS, media={"a.png": weighing(729_000), "b.png": weighing(290_000)})

    [finding] = lint(newsletter("![A grey crane](a.png) ![A small boat](b.png) and words"), facts)

    assert (str(finding), finding.line) == ("W204", 7)
    assert "a.png weighs 729 KB" in said(finding.why)


def test_many_pictures_say_what_they_weigh_together() -> None:
    media = {f"{at}.png": weighing(200_000 + at) for at in range(8)}

    [finding] = lint(
        newsletter(" ".join(f"![A grey crane]({src})" for src in media) + " and words"), replace(FACTS, media=media)
    )

    assert (str(finding), finding.line) == ("W204", None)
    assert "1.6 MB together" in said(finding.why)


def test_a_moving_png_says_where_it_stands_still() -> None:
    facts = replace(FACTS, media={"a.png": weighing(9, moves=True, origin="png")})

    [finding] = lint(newsletter("![A grey crane](a.png) and words"), facts)

    assert str(finding) == "W205"
    assert "its first picture stands still" in said(finding.why)


def test_a_link_to_a_file_beside_the_issue_is_told_how_to_send_it_along() -> None:
    [finding] = lint(statement("See the [agenda](agenda.pdf)."), FACTS)

    assert str(finding) == "E301"
    assert "enclosures:" in said(finding.fix)


@pytest.mark.parametrize("sign", ["\u202d", "\u202e"])
def test_a_sign_that_reverses_words_is_named_by_its_number(sign: str) -> None:
    [finding] = lint(newsletter(f"The river {sign}rose\u202c by two metres"), FACTS)

    assert (str(finding), finding.waivable) == ("E801", True)
    assert f"U+{ord(sign):04X}" in str(finding.why)


def test_isolates_around_another_script_are_no_fault() -> None:
    assert lint(newsletter("The river \u2067\u05e0\u05d4\u05e8\u2069 rose\u200f by two metres"), FACTS) == []


def test_braces_in_the_sender_s_name_are_read_as_what_they_show() -> None:
    odd = replace(FACTS, publication=replace(FACTS.publication, from_name="The {{ river }} letters"))

    assert lint(newsletter(), odd) == []


@pytest.mark.parametrize("line", ['language: "en', "language: [en", "language: 'en", 'language: "en" US'])
def test_a_line_that_cannot_be_read_is_one_finding(line: str) -> None:
    issue = newsletter(front=line + "\n")

    on_it = [finding for finding in lint(issue, FACTS) if finding.line == issue.faults[0][0]]

    assert len(on_it) == 1
    assert isinstance(on_it[0].why, Trouble)
    assert on_it[0].why.code.startswith("yaml.")


@pytest.mark.parametrize(
    ("written", "pasted"),
    [
        ("{{ nmae }}", '{{ name | default("…") }}'),
        ("{{ nmae | upper }}", '{{ name | upper | default("…") }}'),
        ('{{ Name | default("you") }}', '{{ name | default("you") }}'),
        ("{% if contry %}a{% endif %}", "{% if country %}"),
    ],
)
def test_a_misspelled_variable_is_named_with_what_to_paste(written: str, pasted: str) -> None:
    [finding] = [each for each in lint(newsletter(f"Dear {written}, hello.\n"), FACTS) if each.code == 501]

    assert "is not known for this publication" in said(finding.why)
    assert f"Write {pasted}" in said(finding.fix)
    mended = newsletter(f"Dear {pasted}a, hello.\n" + ("{% endif %}" if "{%" in pasted else ""))
    assert ("E501", 7) not in found(mended)


def test_a_variable_of_the_layout_is_not_told_to_take_a_default() -> None:
    [finding] = [each for each in lint(newsletter("{{ unsubscribe_url }}\n"), FACTS) if each.code == 501]

    assert said(finding.fix) == "remove it; the footer already has it"


def test_a_name_like_no_other_is_answered_with_a_tag_that_works() -> None:
    [finding] = [each for each in lint(newsletter("Dear {{ frist_nm }}.\n"), FACTS) if each.code == 501]

    assert 'such as {{ name | default("…") }}, or import it' in said(finding.fix)
