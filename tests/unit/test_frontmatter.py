"""The keys above an issue's text: the very words that were written, each with its line, or a refusal."""

import pytest

from worker.compose.frontmatter import Group, Items, Reader, Text
from worker.errors import IssueFileError, Trouble

READER = Reader("a.md")


def top(text: str) -> Group:
    return READER.read(text)


def refused(text: str) -> tuple[int, Trouble]:
    with pytest.raises(IssueFileError) as caught:
        top(text)
    fields = caught.value.trouble.fields
    assert fields["path"] == "a.md"
    return fields["line"], fields["problem"]


@pytest.mark.parametrize("written", ["No", "12:30", "2026-11-01", "1_000", "0x10", "yes", "1e3", "+49 30", "null "])
def test_a_value_is_never_guessed_to_be_a_date_a_number_or_a_truth_value(written: str) -> None:
    value = top(f"subject: x\nother: {written}\n").values["other"]

    assert isinstance(value, Text)
    assert value.value == ("" if written.strip() == "null" else written)
    assert value.line == 3


def test_text_over_several_lines_keeps_its_lines_and_says_where_they_begin() -> None:
    group = top("intro: |\n  one\n  two\nlast: 'null'\n")

    assert group.values["intro"] == Text("one\ntwo\n", 3)
    assert group.values["last"] == Text("null", 5)
    assert group.key_lines == {"intro": 2, "last": 5}


def test_the_body_begins_after_the_second_rule_and_may_hold_others() -> None:
    assert READER.split("---\nkind: x\n---\nBody\n---\nmore") == ("kind: x", "Body\n---\nmore", 4)
    assert READER.split("---  \nkind: x\n...\n")[2] == 4


def test_lists_and_groups_know_the_lines_of_their_entries() -> None:
    group = top("cards:\n- title: A\n- title: B\n")

    cards = group.values["cards"]
    assert isinstance(cards, Items)
    assert [one.line for one in READER.groups(group, "cards")] == [3, 4]
    assert [READER.text(one, "title") for one in READER.groups(group, "cards")] == ["A", "B"]


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("a: *b", 2, "yaml.anchor"),
        ("a: &b c", 2, "yaml.anchor"),
        ("x: y\na: !!int 3", 3, "yaml.tag"),
        ("a: b: c", 2, "yaml.colon_in_value"),
        ("a: b\na: c", 3, "key.twice"),
        ("? {a: b}\n: c", 2, "key.not_a_word"),
        ("a: " + "[" * 8 + "]" * 8, 2, "yaml.too_deep"),
        ("- a", 2, "front_matter.without_keys"),
        ("", 2, "front_matter.empty"),
        ("a: [b", 2, "yaml.list_never_closed"),
        ("a: {b", 2, "yaml.group_never_closed"),
        ("a: 'b", 2, "yaml.quote_never_closed"),
    ],
)
def test_what_an_editor_did_not_mean_is_refused_with_its_line(text: str, line: int, code: str) -> None:
    where, problem = refused(text)

    assert (where, problem.code) == (line, code)


def test_a_text_that_grows_when_unfolded_never_does() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    )

    assert refused(bomb)[1].code == "yaml.anchor"


def test_a_misspelled_key_is_told_its_neighbour_or_all_there_are() -> None:
    near, far = top("subjekt: x\n"), top("zzz: x\n")
    problems = []
    for group in (near, far):
        with pytest.raises(IssueFileError) as caught:
            READER.known_keys(group, ("subject", "kind"), "newsletter")
        problems.append(caught.value.trouble.fields["problem"].fields)

    assert [problem["near"] for problem in problems] == ["subject", ""]
    assert problems[1]["known"] == ("subject", "kind")


@pytest.mark.parametrize(
    ("text", "ask", "code"),
    [
        ("a: [b]", "text", "key.not_a_text"),
        ("a: b", "group", "key.not_a_group"),
        ("a: {b: c}", "items", "key.not_a_list"),
        ("a: [b]", "groups", "key.entry_not_a_group"),
    ],
)
def test_a_value_of_another_shape_than_asked_is_refused(text: str, ask: str, code: str) -> None:
    with pytest.raises(IssueFileError) as caught:
        getattr(READER, ask)(top(text), "a")

    assert caught.value.trouble.fields["problem"].code == code


def test_what_is_left_empty_counts_as_not_written() -> None:
    group = top("a:\nb: ''\nc: one\n")

    assert READER.group(group, "a") is None
    assert READER.items(group, "a") == READER.items(group, "b") == READER.items(group, "missing") == ()
    assert READER.items(group, "c") == (Text("one", 4),)
    assert READER.one_line(group, "missing", "x") == "x"
    with pytest.raises(IssueFileError):
        READER.required(group, "missing", "front_matter")
