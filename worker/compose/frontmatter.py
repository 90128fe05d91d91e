"""The block of keys above an issue's text, read with the line of every key. Pure.

YAML is only the spelling: every value is a text, a list or a group of keys, never a guessed date, number or truth
value (`subject: No` is the subject "No"). Anchors, aliases and tags are refused, which also stops documents that grow
when they are unfolded.
"""

from dataclasses import dataclass
from difflib import get_close_matches

import yaml

from worker.errors import IssueFileError

MAX_FILE_CHARS = 1_000_000  # a hundred times a long issue
MAX_DEPTH = 6


@dataclass(frozen=True)
class Text:
    """A scalar; `line` is where its first character stands."""

    value: str
    line: int


@dataclass(frozen=True)
class Group:
    """A mapping with the line of each key."""

    values: "dict[str, Text | Group | Items]"
    key_lines: dict[str, int]
    line: int


@dataclass(frozen=True)
class Items:
    """A list."""

    values: "tuple[Text | Group | Items, ...]"
    line: int


Value = Text | Group | Items


class Reader:
    """One file being read: knows its path for every sentence it has to say."""

    def __init__(self, path: str) -> None:
        self.path = path

    def refuse(self, line: int, sentence: str) -> IssueFileError:
        """The error to raise."""
        return IssueFileError(f"{self.path} line {line}: {sentence}")

    def split(self, raw: str) -> tuple[str, str, int]:
        """(front matter, body, 1-based line of the body's first line). Raises UsageError."""
        lines = raw.split("\n")
        if lines[0].rstrip() != "---":
            raise self.refuse(
                1, "the file does not start with ---; put kind, publication and subject between two --- lines"
            )
        for at, line in enumerate(lines[1:], start=1):
            if line.rstrip() in ("---", "..."):
                return "\n".join(lines[1:at]), "\n".join(lines[at + 1 :]), at + 2
        raise self.refuse(1, "the front matter is never closed; add a line --- after its last key")

    def read(self, text: str) -> Group:
        """The front matter's top group. Raises UsageError with the line of the file."""
        try:
            root = yaml.compose(text, Loader=_PlainLoader)
        except yaml.MarkedYAMLError as error:
            mark, sentence = _where_and_why(error)
            raise self.refuse((mark.line if mark else 0) + 2, sentence) from error
        except (yaml.YAMLError, RecursionError) as error:
            raise self.refuse(2, "the front matter is not YAML that can be read; look for stray brackets") from error
        if root is None:
            raise self.refuse(2, "the front matter is empty; it needs kind, publication and subject")
        group = self._value(root, 0)
        if not isinstance(group, Group):
            raise self.refuse(group.line, "the front matter must be keys with values, such as subject: …")
        return group

    def _value(self, node: yaml.Node, depth: int) -> Value:
        line = node.start_mark.line + 2
        if depth > MAX_DEPTH:
            raise self.refuse(line, f"values are nested more than {MAX_DEPTH} deep; write them flatter")
        if isinstance(node, yaml.ScalarNode):
            empty = node.value in ("", "~", "null") and node.style is None
            return Text("" if empty else node.value, line + 1 if node.style in ("|", ">") else line)
        if isinstance(node, yaml.SequenceNode):
            return Items(tuple(self._value(child, depth + 1) for child in node.value), line)
        values: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for key, child in node.value:
            key_line = key.start_mark.line + 2
            if not isinstance(key, yaml.ScalarNode):
                raise self.refuse(key_line, "a key must be a plain word; put quotes around a value that starts with {")
            if key.value in values:
                raise self.refuse(
                    key_line, f"{key.value} stands twice (first in line {lines[key.value]}); keep one of them"
                )
            values[key.value], lines[key.value] = self._value(child, depth + 1), key_line
        return Group(values, lines, line)

    def known_keys(self, group: Group, known: tuple[str, ...], where: str) -> None:
        """Raises UsageError for the first key that is not `known`, with the nearest known one."""
        for key in group.values:
            if key not in known:
                near = get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise self.refuse(group.key_lines[key], f"{key} is not a key of {where}; {hint}")

    def text(self, group: Group, key: str, default: str = "") -> str:
        """The text under `key`. Raises UsageError when it is a list or a group."""
        value = group.values.get(key)
        if value is None:
            return default
        if not isinstance(value, Text):
            raise self.refuse(
                group.key_lines[key], f"{key} must be one text; put quotes around a value that starts with {{ or ["
            )
        return value.value.strip()

    def one_line(self, group: Group, key: str, default: str = "") -> str:
        """Like `text`, with every run of blanks and line ends folded to one blank."""
        return " ".join(self.text(group, key, default).split())

    def required(self, group: Group, key: str, where: str) -> str:
        """Like `one_line`. Raises UsageError when the key is missing."""
        if key not in group.values:
            raise self.refuse(group.line, f"{where} has no {key}; add a line {key}: …")
        return self.one_line(group, key)

    def group(self, group: Group, key: str) -> Group | None:
        """The group under `key`, or None. Raises UsageError for anything else."""
        value = group.values.get(key)
        if value is None or (isinstance(value, Text) and not value.value):
            return None
        if not isinstance(value, Group):
            raise self.refuse(group.key_lines[key], f"{key} must be a group of keys, indented below it")
        return value

    def items(self, group: Group, key: str) -> tuple[Value, ...]:
        """The list under `key`; a single text counts as a list of one. Raises UsageError for a group."""
        value = group.values.get(key)
        if value is None or (isinstance(value, Text) and not value.value):
            return ()
        if isinstance(value, Group):
            raise self.refuse(group.key_lines[key], f"{key} must be a list; start each entry with a dash")
        return value.values if isinstance(value, Items) else (value,)

    def groups(self, group: Group, key: str) -> list[Group]:
        """The list of groups under `key`. Raises UsageError when an entry is not a group."""
        groups = []
        for value in self.items(group, key):
            if not isinstance(value, Group):
                raise self.refuse(
                    value.line, f"an entry of {key} must be a group of keys, the first one after the dash"
                )
            groups.append(value)
        return groups


class _PlainLoader(yaml.SafeLoader):
    """Composes nodes only; nothing is constructed from them."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases (& and *) are not used here; put quotes around the value",
                problem_mark=event.start_mark,
            )
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem="tags (!) are not used here; put quotes around the value", problem_mark=event.start_mark
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


_NEVER_CLOSED = {
    "while parsing a flow sequence": "a list that begins with [ is never closed; add ] or put quotes around the value",
    "while parsing a flow mapping": "a group that begins with { is never closed; add } or put quotes around the value",
    "while scanning a quoted scalar": "a quote is opened here and never closed; add the closing one",
    "while scanning a simple key": "this line has no colon; write key: value, or indent it below the key it belongs to",
}
"""What the parser was about when it gave up, and what that means: the trouble begins where it began."""


def _where_and_why(error: yaml.MarkedYAMLError) -> tuple[yaml.Mark | None, str]:
    problem = " ".join((error.problem or "").split())
    mark = error.problem_mark or error.context_mark
    if "put quotes" in problem:
        return mark, problem
    if "mapping values are not allowed" in problem:
        return mark, "a value contains a colon followed by a blank; put quotes around the whole value"
    if "\\t" in problem:
        return mark, "a tab stands where blanks are needed; indent with blanks"
    for context, sentence in _NEVER_CLOSED.items():
        if (error.context or "").startswith(context):
            return error.context_mark or mark, sentence
    if "cannot start any token" in problem:
        return mark, "a value begins with a character that YAML keeps for itself; put quotes around the whole value"
    if "expected <block end>" in problem or "expected the beginning" in problem:
        return mark, "this line does not fit those above it; indent it like its neighbours, and check dashes and quotes"
    return mark, "this line cannot be read; check indentation, dashes and quotes"
