"""The sink as tests use it: inside the test's own event loop, or as a process that can be killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.sink.mailbox import Mailbox
from worker.sink.server import Sink, SinkConfig, parse_extensions

ROOT = Path(__file__).resolve().parents[2]

_PROCESS = """
import asyncio, json, sys
from pathlib import Path
from worker.sink.server import SinkConfig, parse_extensions, serve
given = json.loads(sys.argv[1])
config = SinkConfig(
    folder=Path(given["folder"]), port=given["port"], limit=given["limit"], count_only=given["count_only"],
    without=parse_extensions(given["without"]), log=Path(given["log"]) if given["log"] else None,
)
asyncio.run(serve(config, ready=lambda port: print(port, flush=True)))
"""


@dataclass(frozen=True)
class SinkProcess:
    """A sink in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    log: Path

    @property
    def url(self) -> str:
        """The value for CORRANTO_SMTP_URL."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def mailbox(self) -> Mailbox:
        """A fresh reader of what was accepted."""
        return Mailbox(self.folder)

    def accepted(self) -> list[dict[str, Any]]:
        """The acceptance log, oldest first: one entry for each mail, whether or not its reply arrived."""
        lines = self.log.read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        os.kill(self.process.pid, number)
        return self.process.wait(timeout=20)


@contextmanager
def sink_process(
    folder: Path,
    *,
    port: int = 0,
    limit: int = 25_000,
    without: str = "",
    count_only: bool = False,
    with_log: bool = True,
) -> Iterator[SinkProcess]:
    """A running sink process below `folder`; it is gone when the block ends. Reuse the folder to restart it.

    Without the acceptance log and with `count_only` it is fast enough to be a benchmark's other end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = {
        "folder": str(folder / "mailbox"),
        "port": port,
        "limit": limit,
        "without": without,
        "count_only": count_only,
        "log": str(folder / "accepted.log") if with_log else "",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _PROCESS, json.dumps(given)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        bound = int(process.stdout.readline())
        yield SinkProcess(process, bound, folder / "mailbox", folder / "accepted.log")
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@asynccontextmanager
async def sink_inside(folder: Path, **changes: Any) -> AsyncIterator[Sink]:
    """A sink in the running event loop; `without` may be a comma list."""
    if isinstance(changes.get("without"), str):
        changes["without"] = parse_extensions(changes["without"])
    sink = Sink(SinkConfig(folder=folder / "mailbox", port=0, **changes))
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop()


class Talk:
    """A client that writes octets as given and reads whole replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def reply(self) -> str:
        """One reply, its lines joined with LF; "" when the line was closed."""
        lines = []
        while line := (await asyncio.wait_for(self._reader.readline(), 20)).decode():
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    async def replies(self, number: int) -> list[str]:
        return [await self.reply() for _ in range(number)]

    def write(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def ask(self, octets: bytes, replies: int = 1) -> str:
        """Write, and return the last of so many replies."""
        self.write(octets)
        return (await self.replies(replies))[-1]

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def talk_to(port: int, *, hello: bool = True) -> AsyncIterator[Talk]:
    """A connection to a server on loopback, greeted with EHLO unless told otherwise."""
    talk = Talk(*await asyncio.open_connection("127.0.0.1", port))
    try:
        await talk.reply()
        if hello:
            await talk.ask(b"EHLO client.example.org\r\n")
        yield talk
    finally:
        talk.close()
