"""How a person here calls this program, so that whatever is printed to be typed works when it is pasted.

An installed program is called `corranto`; a checkout's ./run says in CALLED_AS what was typed instead. That is no
setting: it changes words only.
"""

import os
import re

CALLED_AS = "CALLED_AS"

_COMMAND = re.compile(r"(?<![\w./-])corranto (?=[a-z-])")


def called() -> str:
    """`corranto`, or how ./run was called, such as `./run corranto`."""
    return os.environ.get(CALLED_AS, "corranto")


def as_called(text: str) -> str:
    """Our own words with every command in them spelled as this one was called. Not for what others wrote."""
    return _COMMAND.sub(lambda _: f"{called()} ", text)
