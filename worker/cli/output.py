"""How commands speak: data to standard output, talk to standard error, questions only to a person."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, NoReturn

import typer

from worker.calling import as_called
from worker.errors import RefusedError
from worker.screen.layout import Line, paragraph
from worker.screen.terminal import clean, err_console, out_console, table, table_width

SCHEMA = 1
"""Version of every --json object; grows when a field changes its meaning or goes."""

Json = Annotated[bool, typer.Option("--json", help="Machine-readable, with a stable shape.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def tell(text: str, style: str | None = None) -> None:
    """One or more lines of data."""
    out_console().print(clean(text, keep_lines=True), style=style)


def say(text: str, style: str | None = None) -> None:
    """One or more lines of talk."""
    sys.stdout.flush()
    err_console().print(clean(text, keep_lines=True), style=style)


def hint(*commands: str) -> None:
    """The commands to run next, for a person, spelled as this one was called."""
    first, *rest = map(as_called, commands)
    say("\n      ".join([f"Next: {first}", *rest]), style="dim")


def warn(text: str) -> None:
    """Something to know that did not stop the command."""
    say(f"warning: {text}", style="yellow")


def tell_json(data: Mapping[str, Any]) -> None:
    """A JSON object with its schema version. Escapes all but ASCII, so no control character reaches a terminal."""
    print(json.dumps({"schema": SCHEMA, **data}, default=_plain, indent=2))


def tell_lines(lines: Iterable[Line]) -> None:
    """A screen that another room made: its texts are clean already."""
    console = out_console()
    for line in lines:
        console.print(line.text, style=line.style or None)


def tell_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one below the other; long values go on under their own beginning."""
    width = max(len(name) for name in fields) + 2
    for name, value in fields.items():
        tell_lines(paragraph(str(value), first=f"{name:<{width}}", rest=" " * width))


def _plain(value: object) -> object:
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    return list(value) if isinstance(value, set | frozenset) else str(value)


def tell_table(heads: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> None:
    """A table with a bold first line."""
    head, *lines = table(heads, rows, width=table_width(), right=right)
    tell_lines([Line(head, "bold"), *map(Line, lines)])


def confirm(question: str, *, yes: bool, answer: str = "yes") -> None:
    """Go on only after the expected answer. Raises RefusedError: nobody to ask, or another answer."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError("confirm.nobody_here", question=question)
    sys.stdout.flush()
    err_console().print(clean(f"{question}\nType {answer} to go on: ", keep_lines=True), end="")
    typed = sys.stdin.readline().strip().replace(",", "")
    if typed.lower() != answer.lower():
        raise RefusedError("confirm.other_answer", answer=answer)


def end(code: int) -> NoReturn:
    """Leave the command with an exit code, everything having been said."""
    raise typer.Exit(code)
