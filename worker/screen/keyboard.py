"""Single keys from a terminal, while something else is shown there. Without a terminal there are none."""

import os
import select
import sys
import termios
import tty
from typing import Any, Self


class Keys:
    """As a context: the terminal gives each key at once and shows none; at the end it is as before."""

    def __init__(self) -> None:
        self.is_open = False
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        try:
            if sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():
                self._before = termios.tcgetattr(sys.stdin)
                # Ctrl-C keeps making its signal; only echo and the wait for a whole line go.
                tty.setcbreak(sys.stdin)
                self.is_open = True
        except (OSError, ValueError, termios.error):
            pass
        return self

    def __exit__(self, *_raised: object) -> None:
        if self.is_open:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)
            self.is_open = False

    def read(self, timeout_s: float) -> str:
        """The next key in small letters, or "" when none came in time. Without a terminal only waits."""
        ready, _, _ = select.select([sys.stdin] if self.is_open else [], [], [], timeout_s)
        return os.read(sys.stdin.fileno(), 1).decode("ascii", "replace").lower() if ready else ""
