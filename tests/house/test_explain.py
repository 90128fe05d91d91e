"""`corranto explain` is complete and true: read from the code, so that whoever adds a rule or a state is told here."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.house.checkout import modules
from tests.support.issues import publication
from worker import errors
from worker.cli import INTERRUPTED
from worker.cli.commands import find_command, overview
from worker.cli.watch import WITH_PROBLEMS
from worker.compose import source
from worker.compose.issue_file import check_issue, read_issue_file, take_in_media
from worker.compose.template import FILTERS, TAGS
from worker.domain.compiled import READER_VARIABLES
from worker.domain.delivery import BounceKind, DeliveryState, DoubtReason, FailureReason, SkipReason
from worker.domain.issue import IssueKind, IssueState, WaitReason
from worker.screen.explain import render, render_names
from worker.screen.explanations import PAGES, Explanation, everything, find, near
from worker.screen.terminal import PLAIN_WIDTH
from worker.settings import Settings

ALL = everything()
LEVELS = {"ERROR": "E", "WARN": "W", "NOTE": "I"}


def names(group: str) -> set[str]:
    return {each.name for each in ALL if each.group == group}


def findings() -> dict[str, set[str]]:
    """Each code that a rule can give, with its levels: of calls of Finding, and of findings passed on as tuples."""
    seen: dict[str, set[str]] = {}
    for path, tree in modules():
        if not str(path).startswith("worker/compose/"):
            continue
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            named = {
                target.id: node.value
                for node in ast.walk(function)
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for level, code in _given(function):
                levels = {LEVELS[one.id] for one in ast.walk(named.get(_plain(level), level)) if _plain(one) in LEVELS}
                for one in ast.walk(named.get(_plain(code), code)):
                    if isinstance(one, ast.Constant) and isinstance(one.value, int):
                        seen.setdefault(str(one.value), set()).update(levels or set(LEVELS.values()) - {"I"})
    return seen


def _given(function: ast.FunctionDef) -> Iterator[tuple[ast.expr, ast.expr]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _name(node.func) == "Finding":
            yield node.args[0], node.args[1]
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 5:
            yield node.value.elts[0], node.value.elts[1]


def _plain(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def keys() -> set[str]:
    groups = {
        "card": source._CARD,
        "image": source._PICTURE,
        "figure": source._FIGURE,
        "signatory": source._SIGNATORY,
        "enclosure": source._ENCLOSURE,
        "lint": source._LINT,
    }
    top = {key for known in source._KEYS.values() for key in known}
    return top | {f"{group}.{key}" for group, known in groups.items() for key in known}


def test_every_key_of_an_issue_file_is_explained_and_no_other() -> None:
    assert names("key") == keys()


def test_a_key_names_the_kind_of_issue_that_alone_has_it() -> None:
    for each in ALL:
        if each.group == "key" and "." not in each.name:
            kinds = [kind.value for kind, known in source._KEYS.items() if each.name in known]
            assert each.facts.get("of", "both") == (kinds[0] if len(kinds) == 1 else "both"), each.name


def test_every_finding_of_lint_is_explained_with_its_levels_and_no_other() -> None:
    assert {each.name: set(each.facts["level"].split(" or ")) for each in ALL if each.group == "rule"} == findings()


def test_every_state_is_explained_and_no_other() -> None:
    assert names("delivery") == {*DeliveryState, "sending"}
    assert names("issue") == {*IssueState}


def test_every_reason_is_explained_and_no_other() -> None:
    kinds = {"skipped": SkipReason, "bounced": BounceKind, "failed": FailureReason, "in doubt": DoubtReason}
    stored = {(kind, str(reason)) for kind, reasons in kinds.items() for reason in reasons}
    stored |= {("an issue that waits", str(reason)) for reason in WaitReason if reason is not WaitReason.NONE}

    assert {(each.facts["of"], each.name) for each in ALL if each.group == "reason"} == stored


def test_every_exit_code_is_explained_and_no_other() -> None:
    raised = {kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")}

    assert names("exit") == {str(code) for code in {0, *raised, WITH_PROBLEMS, INTERRUPTED}}
    told = overview().partition("Exit codes:")[2]
    assert set(re.findall(r"[0-9]+", told)) == names("exit") - {str(INTERRUPTED)}


def test_every_setting_is_explained_and_no_other() -> None:
    assert names("setting") == set(Settings.model_fields)
    assert all(each.says for each in ALL if each.group == "setting")


def test_every_tag_filter_value_and_block_is_explained_and_no_other() -> None:
    assert names("text") == {"markdown", *READER_VARIABLES, *TAGS, *FILTERS, "figure", "quote", "cards"}


EXAMPLES = [
    pytest.param(each, kind, id=f"{each.group} {each.name} in a {kind}")
    for each in ALL
    if each.group in ("key", "text") and each.example
    for kind in IssueKind
    if each.facts.get("of", kind) == kind and ("cards:" not in each.head + each.example or kind is IssueKind.NEWSLETTER)
]


@pytest.mark.parametrize(("each", "kind"), EXAMPLES)
def test_an_example_is_without_a_finding(each: Explanation, kind: IssueKind, tmp_path: Path) -> None:
    # Given
    head, body = (each.example, "Some words.") if each.group == "key" else (each.head, each.example)
    lines = {"kind": f"kind: {kind}", "publication": "publication: letters"}
    lines |= {"subject": "subject: Ten letters or more", "preheader": "preheader: And a line behind them"}
    if head and each.name != "kind":
        lines[head.partition(":")[0]] = head
    if "::: figure" not in body and "figures" in lines:
        body += "\n\n::: figure"
    for name in re.findall(r"[\w-]+\.(?:png|jpg|pdf)", head):
        _write_file(tmp_path / name)
    path = tmp_path / "letter.md"
    path.write_text("---\n" + "\n".join(lines.values()) + f"\n---\n{body}\n", encoding="utf-8")

    # When
    text = read_issue_file(path)
    found = check_issue(
        text,
        publication("letters"),
        base_url="https://news.example.org",
        loopback_relay=False,
        signs=True,
        taken_in=take_in_media(text),
    )

    # Then
    found = [finding for finding in found if (str(finding), each.name) != ("W502", "for")]  # every loop has a bound
    assert [(str(finding), finding.line, str(finding.why)) for finding in found] == []


def _write_file(path: Path) -> None:
    if path.suffix == ".pdf":
        path.write_bytes(b"%PDF-1.4\n%%EOF\n")
    else:
        Image.new("RGB", (80, 60), "teal").save(path)


def test_everything_fits_a_terminal_and_commands_stay_whole() -> None:
    shown = [*render_names(ALL), *(line for each in ALL for line in render([each]) if line.style != "green")]

    assert [line.text for line in shown if len(line.text) > PLAIN_WIDTH] == []
    assert [line.text for line in shown if line.text.count("`") % 2] == []


def test_every_command_it_names_exists() -> None:
    said = [text for each in ALL for text in (each.says, *each.facts.values())]
    named = {command for text in said for command in re.findall(r"`corranto ([^`]+)`", text)}

    assert len(named) > 10
    for command in named:
        first, *rest = command.split()
        verbs = getattr(find_command(first), "commands", None)
        assert verbs is None or rest[0] in verbs, command
        # A command outside backticks could be broken between two lines.
    assert [text for text in said if re.search(r"(?<!`)corranto [a-z]+ [A-Z-]", text)] == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("W401", {("rule", "401")}),
        ("e401", {("rule", "401")}),
        ("401", {("rule", "401")}),
        ("in doubt", {("delivery", "in_doubt")}),
        ("In-Doubt", {("delivery", "in_doubt")}),
        ("failed (our side)", {("delivery", "failed")}),
        ("paused", {("issue", "paused"), ("reason", "paused")}),
        ("CORRANTO_HOLD_S", {("setting", "hold_s")}),
        ("hold-s", {("setting", "hold_s")}),
        ("exit 3", {("exit", "3")}),
        ("exit code 3", {("exit", "3")}),
        ("3", {("exit", "3")}),
        ("cards.0.title", {("key", "card.title")}),
        ("lead.title", {("key", "card.title")}),
        ("lead.image.src", {("key", "image.src")}),
        ("enclosures.file", {("key", "enclosure.file")}),
        ("subject:", {("key", "subject")}),
        ("preheader ", {("key", "preheader")}),
    ],
)
def test_a_thing_is_found_by_the_names_people_meet(typed: str, meant: set[tuple[str, str]]) -> None:
    assert {(each.group, each.name) for each in find(typed)} == meant


def test_a_page_has_all_of_its_groups_and_an_unknown_word_gets_near_ones() -> None:
    assert all(find(page) for page in PAGES)
    assert {each.group for each in find("issue-file")} == {"key", "text"}
    assert find("sbject") == []
    assert near("sbject") == ["subject"]
    assert near("\x1b[31m") == []
