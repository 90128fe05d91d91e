"""The keys above an issue's text: the very words that were written, each with its line, or a refusal."""

import pytest

from worker.compose.frontmatter import Group, Items, Reader, Text
from worker.errors import IssueFileError, Trouble

READER = Reader("a.md")


def top(text: str) -> Group:
    return READER.read(text)


def refused(text: str) -> tuple[int, Trouble]:
    """The first fault: noted, or raised where nothing can be read."""
    reader = Reader("a.md")
    try:
        reader.read(text)
    except IssueFileError as error:
        fields = error.trouble.fields
        assert fields["path"] == "a.md"
        return fields["line"], fields["problem"]
    return reader.faults[0]


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
    problems = []
    for text in ("subjekt: x\n", "zzz: x\n"):
        reader = Reader("a.md")
        reader.known_keys(reader.read(text), ("subject", "kind"), "newsletter")
        problems.append(reader.faults[0][1].fields)

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
    reader = Reader("a.md")

    getattr(reader, ask)(reader.read(text), "a")

    assert [problem.code for _, problem in reader.faults] == [code]


def test_what_is_left_empty_counts_as_not_written() -> None:
    reader = Reader("a.md")
    group = reader.read("a:\nb: ''\nc: one\n")

    assert reader.group(group, "a") is None
    assert reader.items(group, "a") == reader.items(group, "b") == reader.items(group, "missing") == ()
    assert reader.items(group, "c") == (Text("one", 4),)
    assert reader.one_line(group, "missing", "x") == "x"
    assert reader.faults == []


def test_a_required_key_that_is_missing_is_noted_unless_another_fault_may_have_been_it() -> None:
    missing, misspelled, unreadable = Reader("a.md"), Reader("a.md"), Reader("a.md")

    missing.required(missing.read("a: b"), "subject", "front_matter")
    group = misspelled.read("subjekt: b")
    misspelled.known_keys(group, ("subject",), "newsletter")
    misspelled.required(group, "subject", "front_matter")
    unreadable.required(unreadable.read("a: b\nsubject b"), "subject", "front_matter")

    assert [problem.code for _, problem in missing.faults] == ["key.missing"]
    assert [problem.code for _, problem in misspelled.faults] == ["key.unknown"]
    assert [problem.code for _, problem in unreadable.faults] == ["yaml.colon_missing"]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("subject: The river letter #42: floods", "The river letter #42: floods"),
        ("subject: Spring – our letter #42", "Spring – our letter #42"),
        ("subject: #42 is out", "#42 is out"),
        ("subject: #EarthDay and more", "#EarthDay and more"),
        ("subject: C# and F#", "C# and F#"),
        ('subject: "Letter #42" # remark', "Letter #42"),
    ],
)
def test_a_number_sign_belongs_to_the_text(line: str, value: str) -> None:
    assert top(f"kind: x\n{line}\nother: y").values["subject"] == Text(value, 3)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("subject: Letter # 42", 2),
        ("subject: Letter # draft", 2),
        ("subject: one\n  two # three\n  four", 3),
        ("subject: one\n  # 42", 3),
        ("subject: one\n  two\n  #42", 4),
        ("cards:\n- title: A # b\n", 3),
        ("cards:\n- {title: Letter #42, link: x}\n", 3),
    ],
)
def test_a_remark_that_would_shorten_a_value_is_named_with_its_line(text: str, line: int) -> None:
    assert (refused(text)[0], refused(text)[1].code) == (line, "yaml.remark")


@pytest.mark.parametrize(
    "text", ["# note\na: b\n# note\nc: d", "a: 'b' # note", "a: |\n  b # c\n  # d", "a: [b] # note"]
)
def test_a_remark_of_its_own_is_no_fault(text: str) -> None:
    reader = Reader("a.md")

    reader.read(text)

    assert reader.faults == []


@pytest.mark.parametrize("escape", [r"\0", r"\ud800", r"\a", r"\e", r"\x85", r"\L", r"\ue000", r"\ufeff", r"\x9b"])
def test_a_value_is_checked_as_it_was_parsed_not_as_it_was_written(escape: str) -> None:
    assert (refused(f'a: b\nsubject: "x{escape}y"')[0], refused(f'a: b\nsubject: "x{escape}y"')[1].code) == (
        3,
        "text.control_character",
    )


def test_every_line_that_is_no_yaml_is_named_in_one_reading() -> None:
    reader = Reader("a.md")

    group = reader.read("subject: @home\nplace: News: of the river\ndate 3\nkind: newsletter\n")

    assert [line for line, _ in reader.faults] == [2, 3, 4]
    assert group.values["kind"] == Text("newsletter", 5)
    assert group.values["subject"] == Text("@home", 2)


@pytest.mark.parametrize("value", ["[Update] The bridge opens", "{draft} The bridge opens", "[1/3] Part one"])
def test_a_value_that_begins_with_a_bracket_is_told_to_stand_in_quotes(value: str) -> None:
    line, problem = refused(f"kind: statement\nsubject: {value}\npublication: letters\n")
    assert (line, problem.code) == (3, "yaml.text_after_bracket")
