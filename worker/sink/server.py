"""The embedded mail sink: an SMTP server on loopback that accepts all mail and delivers none.

`serve` is the whole process; `Sink` is the same inside another event loop. A crash loses no mail that was answered
(see `sink.mailbox_writer`); the senders' open transactions are in doubt for them, as with any relay.
"""

import asyncio
import errno
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from worker import clock
from worker.errors import RefusedError, Remedy, UnreachableError, UsageError
from worker.loopback import is_host_trouble, is_loopback
from worker.sink.acceptance_log import AcceptanceLog, AcceptedMail
from worker.sink.commands import Extension
from worker.sink.dialogue import Dialogue
from worker.sink.mailbox_writer import MailboxWriter
from worker.sink.state import Counts, SinkState

DEFAULT_LIMIT = 25_000  # mails kept: the oldest go first
MOST_MAILS = 1_000_000
"""Above this the inbox's index no longer fits the memory of a web process."""
MOST_DIALOGUES = 1_000
SPARE_FILES = 64  # open files that are no dialogues: the mailbox's, the log, the loop's own, newcomers at the door
IDLE_S = 300.0  # RFC 5321 4.5.3.2.7
MAIL_S = 900.0  # the longest one mail may take to come in: the largest one at 30 KB/s
GREETING_S = 30.0  # for EHLO: who only connects holds a place
_SWEEP_S = 15.0  # between two looks for idle clients: IDLE_S is kept to a twentieth
JUDGE_EVERY = 16
"""Counting mode is the other end of a benchmark: judging each 22 KB body would cost half its time."""


@dataclass(frozen=True)
class SinkConfig:
    """How one sink runs. `folder` is the mailbox's, `log` the acceptance log's file; port 0 takes a free one.

    Raises UsageError or RefusedError.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 1025
    limit: int = DEFAULT_LIMIT
    without: frozenset[Extension] = field(default_factory=frozenset)
    log: Path | None = None
    count_only: bool = False

    def __post_init__(self) -> None:
        require_loopback(self.host)
        if not 0 <= self.port <= 65535:
            raise UsageError("sink.port_out_of_range", port=self.port)
        if not 1 <= self.limit <= MOST_MAILS:
            raise UsageError("sink.limit_out_of_range", limit=self.limit, most=MOST_MAILS)


def parse_extensions(text: str) -> frozenset[Extension]:
    """The value of `--without`: names separated by commas. Raises UsageError naming what is not one."""
    names = {name.strip().upper() for name in text.split(",") if name.strip()}
    known = {extension.value for extension in Extension}
    unknown = sorted(names - known)
    if unknown:
        raise UsageError("sink.extension_unknown", unknown=unknown, known=sorted(known))
    return frozenset(Extension(name) for name in names)


def require_loopback(host: str) -> None:
    """Raises RefusedError unless `host` is a loopback address: the sink keeps readers' mail open to anyone."""
    if not is_loopback(host):
        raise RefusedError("sink.not_on_loopback", host=host, remedy=Remedy.CHANGE)


def refuse_beside_real_relay(relay_host: str) -> None:
    """Raises RefusedError when mail goes to a real relay: an inbox that stays empty would be taken for a fault."""
    if not is_loopback(relay_host):
        raise RefusedError("sink.relay_elsewhere", host=relay_host, remedy=Remedy.CONFIGURE)


def _places() -> int:
    """How many dialogues at once: a thousand, or what the limit of open files leaves."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DIALOGUES if soft == resource.RLIM_INFINITY else max(16, min(MOST_DIALOGUES, soft - SPARE_FILES))


class Sink:
    """A running sink. `port` is known after `start`."""

    def __init__(self, config: SinkConfig) -> None:
        self._config = config
        self._log: AcceptanceLog | None = None
        self._writer: MailboxWriter | None = None
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._state = SinkState(
            frozenset(Extension) - config.without,
            self._keep,
            judge_every=JUDGE_EVERY if config.count_only else 1,
            most_dialogues=_places(),
        )
        self.port = config.port

    @property
    def counts(self) -> Counts:
        return self._state.counts

    async def start(self) -> None:
        """Open the files and listen. Raises RefusedError (folder in use) or UnreachableError (port, disk)."""
        config = self._config
        host = "127.0.0.1" if config.host.lower() == "localhost" else config.host.strip("[]")
        try:
            if config.log is not None:
                self._log = AcceptanceLog(config.log)
            if not config.count_only:
                self._writer = MailboxWriter(config.folder, config.limit)
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Dialogue(self._state), host, config.port, backlog=512
            )
        except OSError as error:
            self._close_files()
            if error.errno == errno.EADDRINUSE:
                raise UnreachableError("sink.port_taken", port=config.port, host=config.host) from error
            if is_host_trouble(error):
                raise UnreachableError("sink.host_not_here", host=config.host) from error
            raise UnreachableError(
                "sink.cannot_start",
                host=config.host,
                port=config.port,
                folder=str(config.folder),
                reason=error.strerror,
            ) from error
        except RefusedError:
            self._close_files()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop listening, say 421 to whoever is connected, close the files."""
        if self._server is not None:
            self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        dialogues = list(self._state.dialogues)
        for dialogue in dialogues:
            dialogue.dismiss(b"421 4.3.2 The sink is stopping")
        # One turn of the loop lets the farewells leave; a client that does not read them is cut off.
        await asyncio.sleep(0.05)
        for dialogue in dialogues:
            dialogue.abort()
        self._close_files()

    def _keep(self, mail: AcceptedMail) -> None:
        if self._writer is not None:
            self._writer.append(mail)
        if self._log is not None:
            self._log.write(mail)

    def _close_files(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._log is not None:
            self._log.close()
            self._log = None

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = clock.monotonic()
            self._state.dismiss_idle(now - IDLE_S)
            self._state.dismiss_slow(now - MAIL_S)
            self._state.dismiss_silent(now - GREETING_S)


async def serve(config: SinkConfig, ready: Callable[[int], None] | None = None) -> None:
    """Run a sink until SIGTERM or SIGINT; `ready` is told the bound port. Returns within a second of the signal."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sink = Sink(config)
    await sink.start()
    try:
        if ready is not None:
            ready(sink.port)
        await stop.wait()
    finally:
        await sink.stop()
