"""Being told to stop by a signal, and waiting for it.

A handler may run while the main thread is anywhere, also inside the lock of the very event it waits for; so the handler
takes no lock: it notes the stop and writes one octet into a pipe, which wakes who waits.
"""

import os
import select
import signal
from collections.abc import Callable
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignal:
    """Made and waited for in the main thread. `on_stop` is called at each signal, in the handler: it must not block."""

    def __init__(self, on_stop: Callable[[], None] = lambda: None) -> None:
        self.is_told = False
        self._on_stop = on_stop
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in STOPPING:
            # Ignored by nohup is what nohup is for. But who is started in a script's background ignores SIGINT too, and
            # must hear it: somebody who sends it waits for the end.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._hear)

    def wait(self, timeout_s: float) -> bool:
        """Whether the process was told to stop; waits at most so long for it."""
        if not self.is_told:
            select.select([self._woken], [], [], timeout_s)
        return self.is_told

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.is_told = True
        self._on_stop()
        try:
            os.write(self._wake, b"!")
        except BlockingIOError:
            pass  # thousands of signals: it is awake
