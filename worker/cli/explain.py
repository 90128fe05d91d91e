"""`corranto explain`: what a key, a finding, a state, a reason, an exit code or a setting means."""

from typing import Annotated

import typer

from worker.cli.commands import GROUPS
from worker.cli.output import Json, tell_json, tell_lines
from worker.errors import NotFoundError
from worker.screen.explain import render, render_names
from worker.screen.explanations import everything, find, near


def explain(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Such as subject, W401, in doubt, exit 3, hold_s or issue-file."),
    ] = None,
    json: Json = False,
) -> None:
    """Explain a key of an issue file, a finding of lint, a state, a reason, an exit code or a setting.

    Without a name: everything there is to ask for. Needs no settings and no database.
    """
    word = " ".join(words or ())
    found = find(word) if word.strip() else list(everything())
    if not found:
        commands = {name for group in GROUPS.values() for name in group}
        command = next((first for first in word.split()[:1] if first in commands), "")
        raise NotFoundError("explain.unknown", word=word, command=command, near=near(word))
    if json:
        tell_json({"explanations": [each.as_dict() for each in found]})
    elif word.strip():
        tell_lines(render(found))
    else:
        tell_lines(render_names(found))
