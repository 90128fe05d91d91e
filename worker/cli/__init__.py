"""The command line: finds the command, runs it, and says what went wrong in one sentence.

Data goes to standard output, talk to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 an issue file
to mend, 4 refused, 5 a dependency is unreachable, 6 finished with problems; 130 after Ctrl-C.
"""

import errno
import io
import itertools
import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from worker.calling import called
from worker.cli.commands import find_command, overview, version
from worker.cli.output import SCHEMA
from worker.confine import confine
from worker.errors import CorrantoError, SettingsError, Trouble, UsageError
from worker.log import scrub
from worker.screen.sentences import word
from worker.screen.terminal import clean

_OUTPUT_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing to standard output meets; files of ours are named by their errors."""

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Never raises; no traceback unless the log level is debug."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        confine()
        _open_closed_streams()
        _speak_any_encoding()
    try:
        return _run(arguments)
    except CorrantoError as error:
        if _wants_json(arguments):
            _explain_to_programs(error)
        else:
            _explain(error)
        return error.exit_code
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return _end_unheard()
    except SystemExit as stop:
        # The argument parser and the screens' library make an exit 1 of a broken pipe.
        if isinstance(stop.__context__, BrokenPipeError):
            return _end_unheard()
        raise
    except Exception as error:
        return _explain_unexpected(error, as_json=_wants_json(arguments))


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether a program reads the answer: --json, with a value too, which is wrong usage; after -- it is a name."""
    options = itertools.takewhile(lambda argument: argument != "--", arguments)
    return any(option.partition("=")[0] == "--json" for option in options)


def _open_closed_streams() -> None:
    """Whoever closed our output (`>&-`) wants to hear nothing; and no file of ours may come to be its descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for as long as the process


def _speak_any_encoding() -> None:
    """A character that the terminal's encoding lacks is shown as its escape, and is no fault."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _end_unheard() -> int:
    """The reader of our output went away (`| head`): not a fault, and nothing can be said any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _run(arguments: list[str]) -> int:
    for number, argument in enumerate(arguments, start=1):
        if not argument.isascii() and any("\ud800" <= char <= "\udfff" for char in argument):
            # No text can be made of it: no database, log or screen would take it.
            raise UsageError("command.not_text", number=number, argument=ascii(argument)[1:61])
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview(), flush=True)
        return 0 if arguments else 2
    if arguments[0] in ("--version", "version"):
        print(version(), flush=True)
        return 0
    command = find_command(arguments[0])
    code = command(args=arguments[1:], prog_name=f"corranto {arguments[0]}", standalone_mode=False)
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _explain(error: CorrantoError) -> None:
    if isinstance(error, SettingsError) and len(error.problems) > 1:
        print(f"corranto: {len(error.problems)} settings are wrong:", file=sys.stderr)
        for problem in error.problems:
            print(f"  {clean(word(problem))}", file=sys.stderr)
        return
    sentences = clean(word(error), keep_lines=True).splitlines() or ["failed"]
    print("\n          ".join([f"corranto: {sentences[0]}", *sentences[1:]]), file=sys.stderr)
    _show_trace()


def _explain_to_programs(error: CorrantoError) -> None:
    problems = error.problems if isinstance(error, SettingsError) else [error.trouble]
    _tell_programs(error.exit_code, [(problem.code, clean(word(problem))) for problem in problems])
    _show_trace()


def _tell_programs(exit_code: int, sentences: Iterable[tuple[str, str]]) -> None:
    """What --json promises holds for refusals too; on standard error, since standard output holds what was asked."""
    told = [{"code": code, "sentence": sentence} for code, sentence in sentences]
    print(json.dumps({"schema": SCHEMA, "exit_code": exit_code, "errors": told}, indent=2), file=sys.stderr)


def _explain_unexpected(error: Exception, *, as_json: bool) -> int:
    """Usage errors of the argument parser in its own words; anything else is a fault of ours."""
    describe = getattr(error, "format_message", None)
    if describe is not None:
        context = getattr(error, "ctx", None)
        exit_code = int(getattr(error, "exit_code", 2))
        if type(error).__name__ == "NoArgsIsHelpError":  # a noun without its verb
            print(describe())
            return exit_code
        if said := clean(" ".join(_in_our_words(describe()).split())):
            if as_json:
                _tell_programs(exit_code, [("command.usage", said)])
                return exit_code
            print(f"corranto: {said}", file=sys.stderr)
            if context is not None:
                path = context.command_path.removeprefix("corranto")
                print(f"see: {called()}{path} --help", file=sys.stderr)
        return exit_code
    if type(error).__name__ == "Abort":
        print(file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT_TROUBLE:
        print(f"corranto: {word(Trouble('output.unwritable', why=error.strerror))}", file=sys.stderr)
        _end_unheard()
        return 1
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        said = f"{clean(str(error.filename))}: {error.strerror}"
    else:
        # Its text may hold an address or a statement with one, so only its kind is shown.
        said = (
            f"something unexpected happened ({type(error).__name__}); this is a fault of Corranto. "
            "Set CORRANTO_LOG_LEVEL=debug and try again to see where."
        )
    if as_json:
        _tell_programs(1, [("command.unexpected", said)])
    else:
        print(f"corranto: {said}", file=sys.stderr)
    _show_trace()
    return 1


_LIBRARY_WORDS = (
    (r"Value error, ", ""),
    (r"Input should be a valid integer\b[^:]*", "write a whole number"),
    (r"Input should be a valid number\b[^:]*", "write a number"),
    (r"Input should be greater than or equal to ", "write at least "),
    (r"Input should be less than or equal to ", "write at most "),
    (r"Input should be greater than ", "write more than "),
    (r"Input should be less than ", "write less than "),
    (r"Input should be ", "write "),
)


def _in_our_words(said: str) -> str:
    """The validation library's sentences as ours; the argument parser's own are short and plain."""
    for pattern, ours in _LIBRARY_WORDS:
        said = re.sub(pattern, ours, said)
    return said


def _show_trace() -> None:
    """Only for whoever debugs."""
    if os.environ.get("CORRANTO_LOG_LEVEL", "").lower() == "debug":
        print(clean(scrub(traceback.format_exc()), keep_lines=True), file=sys.stderr)
