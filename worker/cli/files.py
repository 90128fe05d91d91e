"""Files of readers on the command line: how they are to be read, and what became of an import."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from worker.calling import called
from worker.cli.output import hint, say, tell
from worker.consent.how import How
from worker.consent.imports import ImportResult
from worker.consent.source import STDIN
from worker.errors import UsageError
from worker.quantities import count
from worker.screen.sentences import word

Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN", help="Another column, by name or place: email='E-mail', name='#3'."),
]
Encoding = Annotated[str | None, typer.Option(help="The file's encoding, such as cp1252.")]
Escape = Annotated[
    str | None, typer.Option(metavar="backslash", help="How the file marks a quotation mark, when not by two.")
]
NotLeft = Annotated[
    list[str] | None,
    typer.Option("--not-left-column", metavar="COLUMN", help="Is about something else and keeps nobody out."),
]

_MOST_REASONS = 10
_MOST_EXAMPLES = 3
_MOST_LINES = 5
_TIDIED = {
    "blanks": "blanks or signs nobody sees around an address taken away",
    "domain_case": "capitals in a domain made small",
    "idna": "a domain in another script, kept in its form for mail (IDNA)",
    "local_case": "capitals before the @, which count as small ones when comparing",
    "wrapped": "an address taken out of <>, mailto: or the signs after it",
    "line_breaks": "a line break in a value made a blank",
    "tabs": "a tab in a value made a blank",
    "unseen": "control characters or direction marks in a value dropped",
    "nothing": "a word for no value (NULL, N/A, -) taken as empty",
    "cut": "a value that was too long cut",
    "locale": "a computer's locale made a language tag",
    "language": "a language that is no tag like en or pt-BR left empty",
    "date": "a date that cannot be read for certain left empty (--dates settles 03/04/2021)",
    "status": "a status that is not known, taken as subscribed",
}
"""What reading did to values, per `folds` of an import."""


def read_pairs(typed: list[str], option: str, form: str) -> dict[str, str]:
    """NAME=VALUE options as a dictionary. Raises UsageError for what is none."""
    pairs = {}
    for pair in typed:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError("option.no_pair", option=option, typed=pair, form=form)
        pairs[name.strip()] = value.strip()
    return pairs


def show_result(result: ImportResult, publication: str, file: Path, how: How, rejects: Path | None) -> None:
    """What became of each line, as a sum that adds up; then why lines were refused, and what to do about those left."""
    would = "would be " if result.dry_run else ""
    tell(f"{count(result.read, 'line')} read for {publication}" + (", nothing was changed" if result.dry_run else ""))
    _show_columns(result)
    parts = {
        f"{would}added": result.added,
        f"subscribed already ({result.updated:,} updated)": result.already,
        "kept out: opted out earlier": result.kept_out_opted_out,
        "kept out: on the do-not-mail list": result.kept_out_suppressed,
        "kept out: left, says the file": result.kept_out_left,
        "kept out: never confirmed, says the file": result.kept_out_unconfirmed,
        "same person again in the file": result.duplicates_in_file,
        "refused": result.rejected,
    }
    for name, number in parts.items():
        if number or name.endswith("added"):
            tell(f"  {number:>9,}  {name}")
    for heading, number in result.left_by.items():
        tell(f"  {'':>9}    {number:,} x said by the column “{heading}”", style="dim")
    for heading in list(result.left_by)[:_MOST_LINES]:
        option = _option("--not-left-column", result, heading)
        tell(f"  {'':>9}    if “{_short(heading)}” is about something else, add: {option}", style="dim")
    for reason, number in sorted(result.reasons.items(), key=lambda pair: -pair[1])[:_MOST_REASONS]:
        tell(f"  {'':>9}    {number:,} x {word(reason)}", style="dim")
    _show_folds(result)
    for one in result.examples[:_MOST_EXAMPLES]:
        say(f"  line {one.line}: {_visible(one.value)}: {word(one.reason)}")
    if result.rejected:
        say(f"All refused lines are in {rejects}." if rejects else "--rejects FILE writes all refused lines to a file.")
    if result.kept_out_left:
        _offer(result, file, how)
    if result.import_id is not None:
        hint("corranto new newsletter first.md", f"corranto import undo {result.import_id}  # takes this import back")


def _show_columns(result: ImportResult) -> None:
    columns = result.columns
    if columns is None:
        return
    known = ", ".join(f"{name} = “{heading}”" for name, heading in columns.known_by)
    if columns.program or known:
        tell("  " + ": ".join(filter(None, (f"an export of {columns.program}" if columns.program else "", known))))
    for heading, variable in columns.renamed:
        tell(f"  the column “{_short(heading)}” is kept as {variable}", style="dim")
    if columns.left_out:
        shown = ", ".join(f"“{_short(heading)}”" for heading in columns.left_out[:_MOST_LINES])
        more = " …" if len(columns.left_out) > _MOST_LINES else ""
        tell(f"  left out, for no text could name them: {shown}{more}", style="dim")


def _show_folds(result: ImportResult) -> None:
    if result.folds:
        tell("  tidied while reading:", style="dim")
    for name, number in sorted(result.folds.items()):
        lines = result.fold_lines.get(name, ())
        places = ", ".join(map(str, lines[:_MOST_LINES])) + (" …" if number > min(len(lines), _MOST_LINES) else "")
        where = f" (line{'s' if number > 1 else ''} {places})" if lines else ""
        tell(f"  {'':>9}    {number:,} x {_TIDIED.get(name, name)}{where}", style="dim")


def _offer(result: ImportResult, file: Path, how: How) -> None:
    """How those who left become opt-outs; the commands work as they stand."""
    if how.left and not result.dry_run:
        new = count(result.opted_out, "address", "addresses")
        say(f"{new} of those who left are new on the do-not-mail list: no publication mails them.")
        return
    if how.left:
        say("Without --dry-run, those who left go onto the do-not-mail list: no publication mails them.")
        return
    if str(file) == STDIN or not file.is_file() or result.columns is None:
        named = " ".join(_option("--left-column", result, heading) for heading in result.left_by)
        say(f"To keep those who left from all mail, of any publication, add: {named or '--left-column COLUMN'}")
        return
    options = [
        part for name, heading in how.mapping.items() if name == "email" for part in ("--map", f"email={heading}")
    ]
    options += [part for heading in how.not_left for part in ("--not-left-column", heading)]
    options += ["--encoding", how.encoding] if how.encoding else []
    options += ["--escape", how.escape] if how.escape else []
    command = shlex.join(["suppression", "import", str(file), *options])
    say("To keep those who left from all mail, of any publication:")
    say(f"  {called()} {command}")


def _option(option: str, result: ImportResult, heading: str) -> str:
    """An option that names a column, by its place where its heading stands twice or cannot be typed."""
    texts = result.file.header if result.file is not None else ()
    found = [column.index for column in result.columns.left if column.heading == heading] if result.columns else []
    once = sum(text.strip().casefold() == heading.casefold() for text in texts) == 1
    can_be_typed = once and heading.isprintable() and len(heading) <= 40
    names = [heading] if can_be_typed else [f"#{index + 1}" for index in found]
    return shlex.join([part for name in names for part in (option, name)])


def _visible(text: str) -> str:
    """A refused value with a name for each sign that has no width or looks like a blank."""
    return "".join(char if char == " " or char.isprintable() else f"U+{ord(char):04X}" for char in text)


def _short(heading: str) -> str:
    return heading if len(heading) <= 40 else heading[:40] + "…"
