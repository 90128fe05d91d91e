"""The block of keys above an issue's text, read with the line of every key. Pure.

YAML is only the spelling: every value is a text, a list or a group of keys, never a guessed date, number or truth
value (`subject: No` is the subject "No"). Anchors, aliases and tags are refused, which also stops documents that grow
when they are unfolded.
"""

from dataclasses import dataclass
from difflib import get_close_matches

import yaml

from worker.errors import IssueFileError, Trouble

MAX_FILE_CHARS = 1_000_000  # a hundred times a long issue
MAX_DEPTH = 6  # deeper is a mistake, and the reader recurses once per level


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
    """One file being read: knows its path for every error it has to raise."""

    def __init__(self, path: str) -> None:
        self.path = path

    def refuse(self, line: int, problem: Trouble) -> IssueFileError:
        """The error to raise."""
        return IssueFileError("issue_file.malformed", path=self.path, line=line, problem=problem)

    def split(self, raw: str) -> tuple[str, str, int]:
        """(front matter, body, 1-based line of the body's first line). Raises IssueFileError."""
        lines = raw.split("\n")
        if lines[0].rstrip() != "---":
            raise self.refuse(1, Trouble("front_matter.missing"))
        for at, line in enumerate(lines[1:], start=1):
            if line.rstrip() in ("---", "..."):
                return "\n".join(lines[1:at]), "\n".join(lines[at + 1 :]), at + 2
        raise self.refuse(1, Trouble("front_matter.never_closed"))

    def read(self, text: str) -> Group:
        """The front matter's top group. Raises IssueFileError with the line of the file."""
        try:
            root = yaml.compose(text, Loader=_PlainLoader)
        except yaml.MarkedYAMLError as error:
            mark, problem = _where_and_why(error)
            raise self.refuse((mark.line if mark else 0) + 2, problem) from error
        except (yaml.YAMLError, RecursionError) as error:
            raise self.refuse(2, Trouble("front_matter.unreadable")) from error
        if root is None:
            raise self.refuse(2, Trouble("front_matter.empty"))
        group = self._value(root, 0)
        if not isinstance(group, Group):
            raise self.refuse(group.line, Trouble("front_matter.without_keys"))
        return group

    def _value(self, node: yaml.Node, depth: int) -> Value:
        line = node.start_mark.line + 2
        if depth > MAX_DEPTH:
            raise self.refuse(line, Trouble("yaml.too_deep", limit=MAX_DEPTH))
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
                raise self.refuse(key_line, Trouble("key.not_a_word"))
            if key.value in values:
                raise self.refuse(key_line, Trouble("key.twice", key=key.value, first_line=lines[key.value]))
            values[key.value], lines[key.value] = self._value(child, depth + 1), key_line
        return Group(values, lines, line)

    def known_keys(self, group: Group, known: tuple[str, ...], where: str) -> None:
        """Raises IssueFileError for the first key that is not `known`, with the nearest known one."""
        for key in group.values:
            if key not in known:
                near = "".join(get_close_matches(key, known, n=1, cutoff=0.5))
                problem = Trouble("key.unknown", key=key, where=where, near=near, known=known)
                raise self.refuse(group.key_lines[key], problem)

    def text(self, group: Group, key: str, default: str = "") -> str:
        """The text under `key`. Raises IssueFileError when it is a list or a group."""
        value = group.values.get(key)
        if value is None:
            return default
        if not isinstance(value, Text):
            raise self.refuse(group.key_lines[key], Trouble("key.not_a_text", key=key))
        return value.value.strip()

    def one_line(self, group: Group, key: str, default: str = "") -> str:
        """Like `text`, with every run of blanks and line ends folded to one blank."""
        return " ".join(self.text(group, key, default).split())

    def required(self, group: Group, key: str, where: str) -> str:
        """Like `one_line`. Raises IssueFileError when the key is missing."""
        if key not in group.values:
            raise self.refuse(group.line, Trouble("key.missing", key=key, where=where))
        return self.one_line(group, key)

    def group(self, group: Group, key: str) -> Group | None:
        """The group under `key`, or None. Raises IssueFileError for anything else."""
        value = group.values.get(key)
        if value is None or (isinstance(value, Text) and not value.value):
            return None
        if not isinstance(value, Group):
            raise self.refuse(group.key_lines[key], Trouble("key.not_a_group", key=key))
        return value

    def items(self, group: Group, key: str) -> tuple[Value, ...]:
        """The list under `key`; a single text counts as a list of one. Raises IssueFileError for a group."""
        value = group.values.get(key)
        if value is None or (isinstance(value, Text) and not value.value):
            return ()
        if isinstance(value, Group):
            raise self.refuse(group.key_lines[key], Trouble("key.not_a_list", key=key))
        return value.values if isinstance(value, Items) else (value,)

    def groups(self, group: Group, key: str) -> list[Group]:
        """The list of groups under `key`. Raises IssueFileError when an entry is not a group."""
        groups = []
        for value in self.items(group, key):
            if not isinstance(value, Group):
                raise self.refuse(value.line, Trouble("key.entry_not_a_group", key=key))
            groups.append(value)
        return groups


class _RefusedByUs(yaml.MarkedYAMLError):
    """Raised when YAML would take what an issue file may not have."""

    def __init__(self, problem: Trouble, mark: yaml.Mark) -> None:
        super().__init__(problem_mark=mark)
        self.trouble = problem


class _PlainLoader(yaml.SafeLoader):
    """Composes nodes only; nothing is constructed from them."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _RefusedByUs(Trouble("yaml.anchor"), event.start_mark)
        if getattr(event, "tag", None):
            raise _RefusedByUs(Trouble("yaml.tag"), event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


_NEVER_CLOSED = {
    "while parsing a flow sequence": Trouble("yaml.list_never_closed"),
    "while parsing a flow mapping": Trouble("yaml.group_never_closed"),
    "while scanning a quoted scalar": Trouble("yaml.quote_never_closed"),
    "while scanning a simple key": Trouble("yaml.colon_missing"),
}
"""What the parser was about when it gave up, and what that means: the trouble begins where it began."""


def _where_and_why(error: yaml.MarkedYAMLError) -> tuple[yaml.Mark | None, Trouble]:
    said = " ".join((error.problem or "").split())
    mark = error.problem_mark or error.context_mark
    if isinstance(error, _RefusedByUs):
        return mark, error.trouble
    if "mapping values are not allowed" in said:
        return mark, Trouble("yaml.colon_in_value")
    if "\\t" in said:
        return mark, Trouble("yaml.tab")
    for context, problem in _NEVER_CLOSED.items():
        if (error.context or "").startswith(context):
            return error.context_mark or mark, problem
    if "cannot start any token" in said:
        return mark, Trouble("yaml.reserved_character")
    if "expected <block end>" in said or "expected the beginning" in said:
        return mark, Trouble("yaml.misplaced_line")
    return mark, Trouble("yaml.unreadable_line")
