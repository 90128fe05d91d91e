"""`corranto key new`: a key that signs unsubscribe links."""

import typer

from worker.cli.output import hint, say, tell
from worker.operations.keys import new_secret

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Keys that sign the links in every mail."
)


@app.callback()
def _keys() -> None:
    pass


@app.command()
def new() -> None:
    """Print a new random key for CORRANTO_SECRET_KEYS.

    The first key of that list signs, all of them verify: put a new one first, and keep the old ones for as long as
    mails signed with them may be read.
    """
    tell(new_secret())
    say("Keep it secret, and for years: without it the unsubscribe links in mails already sent stop working.")
    hint("set it as CORRANTO_SECRET_KEYS, then run corranto doctor")
