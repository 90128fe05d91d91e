"""Commands that the README and the terminal's sentences name exist, with the options they are given."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from tests.house.checkout import ROOT
from worker.cli.commands import find_command
from worker.screen.sentences import FIXES, SENTENCES

README = (ROOT / "README.md").read_text(encoding="utf-8")


def pasted() -> Iterator[str]:
    """Every call of corranto in a block of the README, without its comment, its redirection or what it is for."""
    for block in re.findall(r"```\n(.*?)```", README, re.DOTALL):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if call := re.match(r"(?:.*\$\()?(?:\./run )?corranto ([a-z].*)", line):
                yield re.split(r"\s+#|\s>|\)\"|\s{2,}", call[1])[0]


def said() -> Iterator[str]:
    for each in (*SENTENCES.values(), *FIXES.values()):
        text = each if isinstance(each, str) else "\n".join(each)
        yield from re.findall(r"(?<![\w/.-])corranto ([a-z]+(?: [a-z-]+)?)", text)


def context_of(words: list[str]) -> Any:
    command = find_command(words[0])
    verbs = getattr(command, "commands", None)
    if verbs is None:
        return command.make_context(words[0], words[1:])
    assert words[1] in verbs, f"corranto {' '.join(words[:2])}"
    return verbs[words[1]].make_context(words[1], words[2:])


@pytest.mark.parametrize("call", sorted(set(pasted())))
def test_a_command_of_the_readme_takes_what_it_is_given(call: str) -> None:
    assert context_of(shlex.split(call))


def test_a_command_in_a_sentence_exists() -> None:
    for call in set(said()):
        first, *rest = call.split()
        verbs = getattr(find_command(first), "commands", None)
        assert verbs is None or (rest and rest[0] in verbs), f"corranto {call}"
