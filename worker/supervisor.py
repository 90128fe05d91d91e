"""Several processes that start, run and end together: `corranto up` and the demo.

In: what to start. Out: the exit code of the first one that ends by itself, or of the signal that ended all. If this
process is killed, the kernel ends its children (PR_SET_PDEATHSIG), so no process and no port outlives the tree.
"""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from worker import clock
from worker.errors import UnreachableError

POLL_S = 0.1
LAST_GRACE_S = 0.6
"""What the members that end last get: the sink says goodbye within this time."""

_PR_SET_PDEATHSIG = 1  # prctl(2)
_MAX_LINE = 8_000
"""Octets of a line after which it is shown as it is, so that a child without line ends cannot fill the memory."""


@dataclass(frozen=True)
class Member:
    """One process: `corranto NAME`. `is_last` ends after the others, because they still need it."""

    name: str
    is_last: bool = False
    command: str = ""
    """What it runs, when its name is another one."""


class Tree:
    """The processes and their end. Start and run it in the main thread: the kernel ties children to a thread.

    `write` is given each line a member prints (name, line); with `log_dir`, lines go to `<log_dir>/<name>.log` instead.
    `grace_s` is what members get to finish after the first signal; a second one ends them at once.
    """

    def __init__(
        self,
        members: Sequence[Member],
        environment: Mapping[str, str],
        *,
        grace_s: float,
        write: Callable[[str, str], None] | None = None,
        log_dir: Path | None = None,
    ) -> None:
        self._members = members
        self._environment = dict(environment)
        self._grace_s = grace_s
        self._write = write
        self._log_dir = log_dir
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._buffers: dict[int, bytearray] = {}
        self._selector = selectors.DefaultSelector()
        self._asked = 0
        self.asked_by: int | None = None
        """The signal that asked the tree to end, if one did."""
        self.lost: str | None = None
        """The member that ended by itself, if one did."""

    def start(self) -> None:
        """Start every member and take over SIGTERM, SIGINT and SIGHUP. Raises UnreachableError when one cannot."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask)
        try:
            for member in self._members:
                self._spawn(member)
        except OSError as error:
            self.stop()
            raise UnreachableError("process.cannot_start", why=error.strerror) from error

    def step(self) -> bool:
        """Pass on what members printed, for at most POLL_S; whether all of them still run and nobody asked to end."""
        self._relay(POLL_S)
        for name, process in self._running.items():
            if process.poll() is not None and self.lost is None:
                self.lost = name
        return self.lost is None and self.asked_by is None

    def run(self) -> int:
        """Until one ends or a signal asks; then all end. Returns the exit code: the lost member's, 0 after a signal."""
        while self.step():
            pass
        return self.stop()

    def kill(self, name: str) -> None:
        """End one member as a crash would; it does not count as lost."""
        process = self._running.pop(name)
        _kill_group(process)
        process.wait()

    def add(self, member: Member) -> None:
        """Start one more, while this process has no threads. Raises OSError."""
        self._spawn(member)

    def stop(self) -> int:
        """End all members, the last ones after the others, within the grace; then by force. Safe to repeat."""
        code = 0
        if self.lost is not None:
            ended = self._running[self.lost].poll() or 0
            code = 128 - ended if ended < 0 else ended
        asked = self._asked
        last = [member.name for member in self._members if member.is_last]
        first = [name for name in self._running if name not in last]
        self._end(first, self._grace_s, asked)
        self._end([name for name in last if name in self._running], LAST_GRACE_S, asked)
        self._relay(0)
        return code

    def _spawn(self, member: Member) -> None:
        output: IO[bytes] | int = subprocess.PIPE
        if self._log_dir is not None:
            output = (self._log_dir / f"{member.name}.log").open("ab")
        # -P: a folder called worker where the command was called must not be taken for ours.
        command = [sys.executable, "-P", "-m", "worker.cli", member.command or member.name]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own words
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self._environment,
            # A session of its own: Ctrl-C reaches only this process, which tells the members in order.
            start_new_session=True,
            # Runs between fork and exec, which is safe because this process has no threads yet.
            preexec_fn=_tie_to(os.getpid()),
        )
        self._running[member.name] = process
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
            self._buffers[process.stdout.fileno()] = bytearray()
            self._selector.register(process.stdout, selectors.EVENT_READ, member.name)
        elif not isinstance(output, int):
            output.close()

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self._asked += 1
        self.asked_by = number

    def _end(self, names: Sequence[str], grace_s: float, asked: int) -> None:
        waiting = [self._running[name] for name in names if self._running[name].poll() is None]
        for process in waiting:
            process.terminate()
        deadline = clock.monotonic() + grace_s
        while waiting and clock.monotonic() < deadline and self._asked <= max(asked, 1):
            self._relay(POLL_S / 2)
            waiting = [process for process in waiting if process.poll() is None]
        for process in waiting:
            _kill_group(process)
            process.wait()

    def _relay(self, timeout_s: float) -> None:
        """Wait for output and pass on whole lines; without pipes this is only the wait."""
        for key, _ in self._selector.select(timeout_s):
            try:
                chunk = os.read(key.fd, 65_536)
            except BlockingIOError:
                continue
            buffer = self._buffers[key.fd]
            buffer += chunk
            *lines, rest = bytes(buffer).split(b"\n")
            if not chunk:
                self._selector.unregister(key.fileobj)
            if rest and (not chunk or len(rest) > _MAX_LINE):
                lines, rest = [*lines, rest], b""
            buffer[:] = rest
            for line in lines:
                if self._write is not None:
                    self._write(key.data, line.decode("utf-8", "replace"))


def _tie_to(parent: int) -> Callable[[], None]:
    """What a child does before it becomes the command: ask to be told to end when its parent is gone."""
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return lambda: None  # not Linux: the tree still ends its members itself

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the parent died between fork and prctl, so no signal will ever come

    return tie


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
