"""The port on which a process shows its metrics, and the file that says which port it took.

In: a callable that renders the page. A thread of its own answers it, with few connections and short deadlines: whoever
connects and says nothing costs neither a thread nor more than MOST_CONNECTIONS descriptors, and nothing that fails here
reaches the process. Each process writes `<state dir>/metrics/<role>-<number>.json` in the form of Prometheus' file
discovery and holds its lock: a free lock means that the process is gone, as with the journals.
"""

import asyncio
import fcntl
import json
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from worker.loopback import is_host_trouble

FOLDER = "metrics"  # below the state directory
PORTS_TRIED = 100
"""One process takes one port; a hundred in a row taken means something else is wrong."""

MOST_CONNECTIONS = 16
"""A few scrapers with a second connection each. Beyond them the oldest that asks for nothing makes room."""

BACKLOG = 8  # accepted at once: fewer than MOST_CONNECTIONS, so that a newcomer is heard before it must make room
DEADLINE_S = 10.0
"""For a whole exchange, as long as Prometheus waits unless told otherwise."""

LARGEST_HEAD = 8_192
_PATHS = (b"/metrics", b"/")

_log = logging.getLogger("metrics")


@dataclass(frozen=True)
class Target:
    """Where a living process shows its metrics: `address` is host:port."""

    role: str
    address: str


class MetricsPort:
    """A started port, or none: `place` is `http://host:port/metrics`, None when it is off or could not be had."""

    def __init__(self, place: str | None = None, stop: Callable[[], None] = lambda: None) -> None:
        self.place = place
        self.stop = stop
        """End it and take the file away; safe to repeat."""


def start(host: str, first_port: int, render: Callable[[], bytes], role: str, state_dir: Path) -> MetricsPort:
    """Serve on the first free port from `first_port` upward; nothing when that is 0.

    Nothing as well, with a warning, when no port is free or descriptors are out: a process works without being watched.
    """
    if first_port == 0:
        return MetricsPort()
    listener = _listen(host, first_port)
    if listener is None:
        return MetricsPort()
    port = listener.getsockname()[1]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    file = _TargetFile(state_dir / FOLDER, role, address)
    loop = asyncio.new_event_loop()
    server = _Server(listener, render)
    thread = threading.Thread(target=_run, args=(loop, server), name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        file.remove()
        if not loop.is_closed():
            loop.call_soon_threadsafe(server.ended.set)
            thread.join(2.0)

    return MetricsPort(f"http://{address}/metrics", stop)


def targets(state_dir: Path) -> list[Target]:
    """The processes of this state directory that show metrics now, by role and port, without dead ones."""
    found = []
    for path in sorted((state_dir / FOLDER).glob("*.json")):
        try:
            with path.open() as file:
                if _is_free(file.fileno()):
                    continue
                entry = json.load(file)[0]
                found.append(Target(str(entry["labels"]["role"]), str(entry["targets"][0])))
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            continue  # being written, taken away, or somebody else's
    return sorted(found, key=lambda each: (each.role, len(each.address), each.address))


class _TargetFile:
    """The file of this process; a folder that cannot be written costs the file, not the metrics."""

    def __init__(self, folder: Path, role: str, address: str) -> None:
        self._path = folder / f"{role}-{uuid.uuid4().hex[:12]}.json"
        self._descriptor = -1
        content = json.dumps([{"targets": [address], "labels": {"role": role}}]) + "\n"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            draft = self._path.with_suffix(".new")
            self._descriptor = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._descriptor, content.encode())
            draft.replace(self._path)  # whole or not at all, with its lock
        except OSError as error:
            _log.warning("the metrics port could not be noted in %s: %s", folder, error.strerror)

    def remove(self) -> None:
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def _sweep(folder: Path) -> None:
    """Take away files of processes that are gone."""
    for path in folder.glob("*.json"):
        try:
            with path.open() as file:
                if _is_free(file.fileno()):
                    path.unlink(missing_ok=True)
        except OSError:
            continue


def _is_free(descriptor: int) -> bool:
    """Whether nobody holds the file's lock; looking takes a shared lock for a moment."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _listen(host: str, first_port: int) -> socket.socket | None:
    """A listening socket; None, and a warning that names what to change, when there is none to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first_port, min(first_port + PORTS_TRIED, 65_536)):
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            if is_host_trouble(error):
                _log.warning("no metrics: metrics_host must be an address of this machine, which %s is not", host)
                return None
    _log.warning("no port of %s from %d upward is free for metrics; %d tried", host, first_port, PORTS_TRIED)
    return None


def _run(loop: asyncio.AbstractEventLoop, server: "_Server") -> None:
    try:
        loop.run_until_complete(server.serve())
    except Exception as error:
        # Whatever it was, the process goes on; its supervisor's scrape will miss it.
        _log.warning("metrics are not served any more: %s", type(error).__name__)
    finally:
        loop.close()


class _Server:
    """A page over HTTP for scrapers: GET or HEAD of it, one answer a connection."""

    def __init__(self, listener: socket.socket, render: Callable[[], bytes]) -> None:
        self._listener, self._render = listener, render
        self._silent: dict[asyncio.StreamWriter, None] = {}
        self._open = 0
        self.ended = asyncio.Event()
        # One scrape at a time: each asks the ledger, and its connections are the process's own.
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="metrics-render")

    async def serve(self) -> None:
        server = await asyncio.start_server(
            self._greet, sock=self._listener, backlog=BACKLOG, limit=LARGEST_HEAD, start_serving=True
        )
        await self.ended.wait()
        server.close()
        self._renderer.shutdown(wait=False, cancel_futures=True)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self._silent[writer] = None
        if self._open > MOST_CONNECTIONS:
            out = next(iter(self._silent))  # the newest is in it, so there is one
            del self._silent[out]
            out.transport.abort()
        try:
            async with asyncio.timeout(DEADLINE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                self._silent.pop(writer, None)
                writer.write(await self._answer(head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except Exception as error:
            _log.warning("a metrics page could not be made: %s", type(error).__name__)
        finally:
            self._silent.pop(writer, None)
            self._open -= 1
            writer.transport.abort()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.split(b" ", 1)[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD") or path not in _PATHS:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        page = await asyncio.get_running_loop().run_in_executor(self._renderer, self._render)
        kind = b"text/plain; version=0.0.4; charset=utf-8"
        start = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        return start % (kind, len(page)) + (b"" if method == b"HEAD" else page)
