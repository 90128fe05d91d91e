"""Pictures and files by the hash of their content: `/media/{sha256}.{ext}`, in pieces and never whole in memory.

A file's bytes were an editor's: they are shown as what we stored, or downloaded. Immutable, so any part of it may be
asked for at any time (RFC 9110 14) and a cache never asks again. What a request costs here is one piece and one place;
who stops reading is cut off by the connection's own patience.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from worker.editorial import views
from worker.editorial.views import HostedFile
from worker.storage.engine import Database
from worker.web.lanes import FILES, run_in
from worker.web.pages import Pages

FOREVER = "public, max-age=31536000, immutable"

PIECE_OCTETS = 512 * 1024
"""What is read at a time. SQLite walks to a piece page by page: smaller ones make a large file slow."""

WRITTEN_OCTETS = 128 * 1024
"""What is handed to the network at a time. A line slower than this in STALL_S (6 kB a second) counts as dead."""

MOST_AT_ONCE = 24
"""Files on their way, each with one piece in memory and two parts of it on their way to the network."""

PLACE_WITHIN_S = 5.0
"""What a request waits for one of these places; then it is told to come again."""

_FILE_NAME = re.compile(r"([0-9a-f]{64})\.([a-z0-9]{1,8})", re.ASCII)
_SHOWN_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Pictures a browser may show in place; all else, SVG included, is a download: it could bring script."""

_RANGE = re.compile(r"bytes\s*=\s*(?:(\d{1,15})\s*-\s*(\d{1,15})?|-\s*(\d{1,15}))\s*", re.ASCII | re.IGNORECASE)


def routes(database: Database, pages: Pages) -> list[BaseRoute]:
    """/media/{name}."""
    return [Route("/media/{name}", _Files(database, pages).file)]


class _Files:
    def __init__(self, database: Database, pages: Pages) -> None:
        self._database, self._pages = database, pages
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def file(self, request: Request) -> Response:
        """A whole file, a part of it, or the word that nothing changed."""
        name = _FILE_NAME.fullmatch(request.path_params["name"])
        if name is None:
            return self._pages.error(404)
        tag = f'"{name[1]}"'
        file = await run_in(FILES, views.find_file, self._database, name[1])
        if file is None or file.ext != name[2]:
            return self._pages.error(404)
        if _knows(request.headers.get("if-none-match"), tag):
            return Response(status_code=304, headers={"ETag": tag, "Cache-Control": FOREVER})
        headers = {
            "ETag": tag,
            "Cache-Control": FOREVER,
            "Accept-Ranges": "bytes",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            # Web mailers show the pictures inside their own pages.
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Content-Disposition": _disposition(file),
            "Content-Type": file.content_type,
        }
        part = range(file.size)
        if request.method == "GET" and request.headers.get("if-range", tag).strip() == tag:
            asked = _part(request.headers.getlist("range"), file.size)
            part = part if asked is None else asked
            if file.size and not part:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{file.size}"})
        status = 200
        if part != range(file.size):
            status, headers["Content-Range"] = 206, f"bytes {part.start}-{part.stop - 1}/{file.size}"
        headers["Content-Length"] = str(len(part))
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        return _Pieces(self, file, part, status, headers)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[bool]:
        """One of the places, or False when none became free in time."""
        try:
            async with asyncio.timeout(PLACE_WITHIN_S):
                await self._places.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._places.release()

    async def piece(self, file: HostedFile, first: int, stop: int) -> bytes:
        """The next octets before `stop`; empty at the end."""
        octets = min(PIECE_OCTETS, stop - first)
        if octets <= 0:
            return b""
        return await run_in(FILES, views.read_piece, self._database, file.sha256, first, octets)

    def busy(self) -> Response:
        answer = self._pages.error(503)
        answer.headers["Retry-After"] = "5"
        return answer


class _Pieces(Response):
    """The answer itself: one piece is read when the one before has left."""

    def __init__(self, files: _Files, file: HostedFile, part: range, status: int, headers: dict[str, str]) -> None:
        super().__init__(status_code=status, headers=headers)
        self.raw_headers = [each for each in self.raw_headers if each[0] != b"content-length"]
        self.raw_headers.append((b"content-length", str(len(part)).encode()))
        self._files, self._file, self._part = files, file, part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._files.place() as is_there:
            if not is_there:
                await self._files.busy()(scope, receive, send)
                return
            first = self._part.start
            # Read before the head is sent: a database that is away is then a page, not half an answer.
            piece = await self._files.piece(self._file, first, self._part.stop)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            gone = asyncio.ensure_future(_until_gone(receive))
            try:
                while piece and not gone.done():
                    first += len(piece)
                    for at in range(0, len(piece), WRITTEN_OCTETS):
                        part = piece[at : at + WRITTEN_OCTETS]
                        await send({"type": "http.response.body", "body": part, "more_body": True})
                    piece = await self._files.piece(self._file, first, self._part.stop)
                if not gone.done():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                gone.cancel()


async def _until_gone(receive: Receive) -> None:
    """Returns when the other side is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _knows(header: str | None, tag: str) -> bool:
    """Whether If-None-Match names this file: `*`, one tag or several, weak ones too (RFC 9110 13.1.2)."""
    if header is None:
        return False
    given = [each.strip().removeprefix("W/") for each in header.split(",")]
    return tag in given or given == ["*"]


def _part(headers: list[str], size: int) -> range | None:
    """The one part of a file that is asked for; an empty one when it lies behind the end, None for the whole file.

    Several parts at once, other units and what cannot be read are answered with the whole, as RFC 9110 14.2 allows.
    """
    found = _RANGE.fullmatch(headers[0].strip()) if len(headers) == 1 else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return range(max(0, size - int(suffix)), size) if int(suffix) else range(0)
    if last is not None and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1 if last is not None else size)) if int(first) < size else range(0)


def _disposition(file: HostedFile) -> str:
    """RFC 6266: pictures inline, all else as a file with its name, once in ASCII and once whole (RFC 8187)."""
    if file.content_type in _SHOWN_TYPES:
        return "inline"
    name = re.sub(r'[\x00-\x1f\x7f/\\"\u2028\u2029]', "_", file.title).strip() or file.file_name
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"
