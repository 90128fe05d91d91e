"""`corranto demo`: everything on this machine, to try it."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.output import end
from worker.demo import plug
from worker.demo.place import FOLDER, WEB_PORT
from worker.demo.show import DemoOptions, run
from worker.errors import UsageError

DEFAULT_READERS = 200


def demo(
    recipients: Annotated[
        int, typer.Option("--recipients", metavar="N", help="Invented readers of a new demo.")
    ] = DEFAULT_READERS,
    leave: Annotated[bool, typer.Option("--exit", help="End after the sum: 0 when it adds up, else 1.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier runs first.")] = False,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65_535, help=f"Web port. Default: {WEB_PORT}, or the next free.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Where it keeps its data.", show_default=False)
    ] = None,
    pull_the_plug: Annotated[
        bool,
        typer.Option("--pull-the-plug", help="Another demo: a worker is killed meanwhile, and all mail is counted."),
    ] = False,
) -> None:
    """Start everything with invented readers, send a sample issue, and show where to look. Nothing leaves this machine.

    A second run carries on with the same data. Ctrl-C ends it and leaves no process.
    """
    if pull_the_plug:
        if leave or fresh or recipients != DEFAULT_READERS:
            raise UsageError("demo.plug_alone")
        end(plug.run(folder or plug.PLACE, port))
    end(run(DemoOptions(readers=recipients, leaves=leave, fresh=fresh, port=port, folder=folder or FOLDER)))
