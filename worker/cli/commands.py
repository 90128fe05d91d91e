"""Which commands there are, in the order a newcomer meets them, and the file each lives in.

A command's file is imported when the command is called: `corranto key new` need not wait for the ledger's libraries.
"""

import difflib
import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import typer
from typer.main import get_command

from worker.calling import as_called
from worker.errors import UsageError

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Try it": {"demo": ("demo", "everything on this machine; nothing leaves it")},
    "Write and send": {
        "new": ("new", "begin an issue file: newsletter or statement"),
        "lint": ("drafts", "check an issue file before it goes out"),
        "preview": ("drafts", "see it as HTML page, text or .eml"),
        "proof": ("drafts", "mail it to yourself, marked [PROOF]"),
        "explain": ("explain", "a key, a finding, a state, an exit code, a setting"),
        "queue": ("queue", "send it: now after a hold, or at a time"),
        "issue": ("issues", "list show watch undo pause resume cancel ..."),
    },
    "Publications and readers": {
        "publication": ("publications", "create edit show list"),
        "subscriber": ("subscribers", "import add show list export erase"),
        "import": ("imports", "list undo"),
        "suppression": ("suppressions", "import add list remove: the do-not-mail list"),
        "unsubscribe": ("unsubscribe", "end a subscription, or all of a reader's"),
    },
    "Processes": {
        "up": ("processes", "web, worker, scheduler (and sink) in one tree"),
        "web": ("processes", "readers' pages and health checks"),
        "worker": ("processes", "hands mail to the relay; run as many as needed"),
        "scheduler": ("processes", "starts what is due, finds what got stuck"),
        "sink": ("processes", "a mail server that shows mail, delivers none"),
    },
    "Look after it": {
        "status": ("health", "what runs, what is being sent"),
        "doctor": ("health", "find out what is wrong, with the fix"),
        "verify": ("health", "prove that the ledger adds up"),
        "intake": ("intake", "returned mail ends the doubt about a copy"),
        "db": ("databases", "upgrade check backup restore unlock"),
        "key": ("keys", "new: a key for unsubscribe links"),
        "dkim": ("dkim", "create show-dns: sign mail of a domain"),
    },
}
"""By first word: the module of `worker.cli` behind it, and what it is for in at most 50 characters.

The module holds `app` (a noun with verbs), or a function named as the word (a verb without noun).
"""

_MEANINGS = "What a key, a finding, a state or a setting means: corranto explain NAME"
_EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 an issue file to mend,\n"
    "            4 refused, 5 a dependency is unreachable, 6 finished with problems"
)


def overview() -> str:
    """The help of `corranto` itself."""
    lines = ["usage: corranto COMMAND [ARGUMENTS]      corranto COMMAND --help tells more"]
    for title, entries in GROUPS.items():
        lines += ["", title, *(f"  {word:<13} {purpose}" for word, (_, purpose) in entries.items())]
    return as_called(
        "\n".join(
            [
                *lines,
                "",
                _MEANINGS,
                _EXIT_CODES,
            ]
        )
    )


def version() -> str:
    """`corranto 0.1.0`."""
    try:
        return f"corranto {metadata.version('corranto')}"
    except metadata.PackageNotFoundError:
        return "corranto (from a checkout)"


def find_command(word: str) -> Any:  # noqa: ANN401 - a click command, whose type typer keeps private
    """The command behind a first word. Raises UsageError naming near words."""
    entries = {name: entry for group in GROUPS.values() for name, entry in group.items()}
    if word not in entries:
        raise UsageError("command.unknown", command=word, near=difflib.get_close_matches(word, entries, n=2))
    with nothing_is_garbage():
        module = importlib.import_module(f"worker.cli.{entries[word][0]}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command()(getattr(module, word))
    return _in_plain_help(get_command(app))


@contextmanager
def nothing_is_garbage() -> Iterator[None]:
    """What is imported here stays. Looking for garbage among it would be a quarter of a process' start, and a pause of
    all its threads again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _in_plain_help(command: Any) -> Any:  # noqa: ANN401 - as above
    """The command with what is to be typed in capitals everywhere: FILE, [ISSUE], --limit N; choices as a|b.

    The library shows {FILE}, <path> and list[Path] by turns.
    """
    for param in command.params:
        if param.param_type_name == "argument":
            name = (param.metavar or param.name.upper()).strip("[]")
            many = "..." if param.nargs != 1 else ""
            name = name.removesuffix("...")
            usage = f"{name}{many}" if param.required else f"[{name}{many}]"
            param.metavar = name
            param.get_usage_pieces = lambda _, usage=usage: [usage]
            param.display_type_rich = lambda **_: None
        elif param.metavar is None and not param.is_flag:
            typed = param.type_descriptor
            if not typed.is_choice:
                param.metavar = (
                    "FILE" if typed.is_path else "N" if typed.is_ranged or typed.annotation is int else "TEXT"
                )
            else:
                param.metavar = "|".join(str(getattr(choice, "value", choice)) for choice in typed.choices)
    for each in getattr(command, "commands", {}).values():
        _in_plain_help(each)
    return command
