"""The block of keys above an issue's text, read with the line of every key. Pure.

YAML is only the spelling: every value is a text, a list or a group of keys, never a guessed date, number or truth
value (`subject: No` is the subject "No"). Anchors, aliases and tags are refused, which also stops documents that grow
when they are unfolded.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches

import yaml

from worker.errors import IssueFileError, Trouble

Fault = tuple[int, Trouble]
"""The line of the file, and what is wrong there."""

MAX_FILE_CHARS = 400_000  # forty times a long issue; what a template may have (template.MAX_TEMPLATE_CHARS)
MAX_DEPTH = 6  # deeper is a mistake, and the reader recurses once per level
MOST_FAULTS = 20  # of one file: more say that it is no issue file
# What a mail header, a terminal or a page could act on, what no UTF-8 can carry, our own marks, and line ends that
# only some programs see. A value may hold line ends and tabs; where it must be one line they are folded.
UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff\ue000\ue001]")


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
    """One file being read: knows its path, and notes every fault, so that one reading finds them all."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.faults: list[Fault] = []

    def note(self, line: int, problem: Trouble) -> None:
        """What is wrong with one value; reading goes on without it."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append((line, problem))

    def refuse(self, line: int, problem: Trouble) -> IssueFileError:
        """The error to raise where reading cannot go on."""
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
        """The front matter's top group. Lines that are no YAML are noted and left out.

        Raises IssueFileError when nothing of it can be read.
        """
        lines = text.split("\n")
        mended: set[int] = set()
        while True:
            try:
                root = yaml.compose("\n".join(lines), Loader=_PlainLoader)
                break
            except yaml.MarkedYAMLError as error:
                mark, problem = _where_and_why(error)
                at = min(mark.line if mark else 0, len(lines) - 1)
                if not lines[at].strip() or len(self.faults) >= MOST_FAULTS:
                    raise self._first_fault(at + 2, problem) from error
                if at and _REMARK.match(lines[at - 1]) and not isinstance(error, _RefusedByUs):
                    # YAML ended the value above at its #, and so took this line for something new.
                    self.note(at + 1, Trouble("yaml.remark", remark="#" + lines[at - 1].partition(" #")[2][:40]))
                    lines[at] = ""
                    continue
                if _UNCLOSED.fullmatch(problem.code) and " #" in lines[at]:
                    problem = Trouble("yaml.remark", remark="#" + lines[at].partition(" #")[2][:40])
                if problem.code == "yaml.misplaced_line" and _BRACKETED.match(lines[at]):
                    problem = Trouble("yaml.text_after_bracket")
                if at not in mended:
                    self.note(at + 2, problem)
                lines[at] = "" if at in mended else _quoted(lines[at])
                mended.add(at)
            except (yaml.YAMLError, RecursionError) as error:
                raise self._first_fault(2, Trouble("front_matter.unreadable")) from error
        if root is None:
            raise self._first_fault(2, Trouble("front_matter.empty"))
        group = self._value(root, 0, "\n".join(lines))
        if not isinstance(group, Group):
            raise self._first_fault(group.line, Trouble("front_matter.without_keys"))
        return group

    def _first_fault(self, line: int, problem: Trouble) -> IssueFileError:
        return self.refuse(*self.faults[0]) if self.faults else self.refuse(line, problem)

    def _value(self, node: yaml.Node, depth: int, text: str) -> Value:
        line = node.start_mark.line + 2
        if depth > MAX_DEPTH:
            raise self.refuse(line, Trouble("yaml.too_deep", limit=MAX_DEPTH))
        if isinstance(node, yaml.ScalarNode):
            return self._text(node, line, text)
        if isinstance(node, yaml.SequenceNode):
            return Items(tuple(self._value(child, depth + 1, text) for child in node.value), line)
        values: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for key, child in node.value:
            key_line = key.start_mark.line + 2
            if not isinstance(key, yaml.ScalarNode) or not _KEY.fullmatch(key.value):
                self.note(key_line, Trouble("key.not_a_word"))
            elif key.value in values:
                self.note(key_line, Trouble("key.twice", key=key.value, first_line=lines[key.value]))
            else:
                values[key.value], lines[key.value] = self._value(child, depth + 1, text), key_line
        return Group(values, lines, line)

    def _text(self, node: yaml.ScalarNode, line: int, text: str) -> Text:
        """A value as it was written: YAML would end it at a blank and #, and read escapes nobody could type."""
        value = "" if node.value in ("", "~", "null") and node.style is None else str(node.value)
        first = line + 1 if node.style in ("|", ">") else line
        if node.style not in ("|", ">"):
            rest, below = _behind(text, node.start_mark.index, node.end_mark.index)
            is_text = re.match(r"#\S", rest) is not None
            if rest.startswith("#") and is_text == (node.style is not None):
                self.note(node.end_mark.line + 2, Trouble("yaml.remark", remark=rest[:40]))
            elif is_text:
                value = f"{value} {rest}".strip()
            if below and node.style is None and value:
                self.note(node.end_mark.line + 3, Trouble("yaml.remark", remark=below[:40]))
        unfit = UNFIT.search(value)
        if unfit:
            at = first + (value.count("\n", 0, unfit.start()) if node.style == "|" else 0)
            self.note(at, Trouble("text.control_character", character=ord(unfit[0])))
            value = UNFIT.sub(" ", value)
        return Text(value, first)

    def known_keys(self, group: Group, known: tuple[str, ...], where: str) -> None:
        """Notes each key that is not `known`, with the nearest known one."""
        for key in group.values:
            if key not in known:
                near = "".join(get_close_matches(key[:40], known, n=1, cutoff=0.6))
                problem = Trouble("key.unknown", key=key[:40], where=where, near=near, known=known)
                self.note(group.key_lines[key], problem)

    def text(self, group: Group, key: str, default: str = "") -> str:
        """The text under `key`; the default when there is none, or a list or a group, which is noted."""
        value = group.values.get(key)
        if value is None:
            return default
        if not isinstance(value, Text):
            self.note(group.key_lines[key], Trouble("key.not_a_text", key=key))
            return default
        return value.value.strip()

    def one_line(self, group: Group, key: str, default: str = "") -> str:
        """Like `text`, with every run of blanks and line ends folded to one blank."""
        return " ".join(self.text(group, key, default).split())

    def required(self, group: Group, key: str, where: str) -> str:
        """Like `one_line`; notes a missing key."""
        if key not in group.values:
            # A line that could not be read, or a key that was not known, may have been this one.
            if not any(p.code.startswith("yaml.") or p.fields.get("near") == key for _, p in self.faults):
                self.note(group.line, Trouble("key.missing", key=key, where=where))
            return ""
        return self.one_line(group, key)

    def group(self, group: Group, key: str) -> Group | None:
        """The group under `key`, or None; notes anything else."""
        value = group.values.get(key)
        if value is None or (isinstance(value, Text) and not value.value):
            return None
        if not isinstance(value, Group):
            self.note(group.key_lines[key], Trouble("key.not_a_group", key=key))
            return None
        return value

    def items(self, group: Group, key: str) -> tuple[Value, ...]:
        """The list under `key`; a single text counts as a list of one. Notes a group."""
        value = group.values.get(key)
        if value is None or (isinstance(value, Text) and not value.value):
            return ()
        if isinstance(value, Group):
            self.note(group.key_lines[key], Trouble("key.not_a_list", key=key))
            return ()
        return value.values if isinstance(value, Items) else (value,)

    def groups(self, group: Group, key: str) -> list[Group]:
        """The list of groups under `key`; notes an entry that is none."""
        groups = []
        for value in self.items(group, key):
            if isinstance(value, Group):
                groups.append(value)
            else:
                self.note(value.line, Trouble("key.entry_not_a_group", key=key))
        return groups


_UNCLOSED = re.compile(r"yaml\.(?:list|group)_never_closed")
_REMARK = re.compile(r"[^#\"']*[^#\"'\s]\s+#")
_KEY = re.compile(r"[\w-]{1,60}")
_KEYED = re.compile(r"(\s*(?:- +)*[\w-]{1,60}:[ \t]+)(\S.*)")


def _quoted(line: str) -> str:
    """A line that YAML cannot read, with its value in quotes; nothing when it has no key."""
    match = _KEYED.fullmatch(line)
    if match is None:
        return ""
    return match[1] + "'" + match[2].replace("'", "''") + "'"


def _behind(text: str, begin: int, at: int) -> tuple[str, str]:
    """(what stands behind a value on its line, a remark on the next line that is indented as if it went on)."""
    end = text.find("\n", at)
    rest = text[at : end if end >= 0 else len(text)]
    line = text[text.rfind("\n", 0, begin) + 1 : begin]
    indent = len(line) - len(line.lstrip(" -"))
    following = text[end + 1 :].split("\n", 1)[0] if end >= 0 else ""
    below = following.strip() if following.lstrip().startswith("#") else ""
    deeper = len(following) - len(following.lstrip()) > indent
    is_behind = not rest or rest[0] in " \t"
    return (rest.strip() if is_behind else ""), (below if deeper and not rest.strip() else "")


_BRACKETED = re.compile(r"\s*(?:- +)?[\w-]+: +[\[{]")
"""`subject: [Update] The bridge`: YAML reads a list, and then does not know what to do with the rest of the line."""


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
    if "expected chomping" in said or "cannot start any token" in said or "expected alphabetic" in said:
        return mark, Trouble("yaml.reserved_character")
    if "expected <block end>" in said or "expected the beginning" in said:
        return mark, Trouble("yaml.misplaced_line")
    return mark, Trouble("yaml.unreadable_line")
