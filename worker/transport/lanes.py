"""The lanes to one relay. A lane is a task that keeps one connection at work, and opens a new one when that is over.

A lane that dies of an unexpected error is logged as critical, counted, and replaced after a growing pause, one attempt
at a time. What its session held is settled by the session itself.
"""

import asyncio
import ssl
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from worker import log
from worker.metrics import lane_deaths
from worker.transport.handshake import Offer, OpeningError, tls_context
from worker.transport.health import RelayHealth
from worker.transport.held_mails import MailSource
from worker.transport.next_hop import Relay
from worker.transport.replies import Phase
from worker.transport.session import Session
from worker.transport.waiting import Waiting
from worker.transport.wire import Wire

Connect = Callable[[Relay, ssl.SSLContext | None], Awaitable[tuple[Wire, Offer]]]
"""How a session is opened: `handshake.open_wire`. Raises OpeningError."""

_log = log.logger("transport.lanes")


@dataclass
class WireForm:
    """What this relay has taught us about its announcements: some offer PIPELINING and lose what follows."""

    overlap: bool = True
    pipeline: bool = True
    is_proven: bool = False
    """Whether it has judged a mail in the present form."""

    def learn(self, session: Session) -> None:
        """From a session that has ended."""
        if session.misfit is Phase.MAIL and self.pipeline and self.overlap and session.judged:
            self.overlap = False
        elif session.misfit is not None and not self.is_proven:
            self.pipeline = False
        if session.judged:
            self.is_proven = True

    def doubt(self, barren: int) -> None:
        """So many connections broke in a row: some gateways announce PIPELINING and cut whoever uses it."""
        if barren >= 2 and not self.is_proven:
            self.pipeline = False


class Lanes:
    """As many lanes as there is work for and the relay allows. All methods belong to the event loop's thread."""

    def __init__(
        self,
        relay: Relay,
        source: MailSource,
        waiting: Waiting,
        health: RelayHealth,
        *,
        connect: Connect,
        now: Callable[[], float],
        on_fault: Callable[[], object],
    ) -> None:
        self._relay, self._source, self._waiting, self._health = relay, source, waiting, health
        self._connect, self._now, self._on_fault = connect, now, on_fault
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._form = WireForm()
        self._context: ssl.SSLContext | None = None
        self._connecting = 0
        self._most = relay.per_connection  # mails a connection carries, as far as the relay has told
        self.connections = 0
        """Sessions open now."""
        self._is_stopped = False
        self._restart: asyncio.TimerHandle | None = None

    def staff(self) -> None:
        """Wake idle lanes and begin new ones."""
        if not self._waiting or self._is_stopped:
            return
        wanted = len(self._waiting) - self._wake(len(self._waiting))
        now = self._now()
        if not self._health.may_begin(now):
            return
        for _ in range(min(wanted, self._health.limit(now) - len(self._tasks))):
            task = asyncio.get_running_loop().create_task(self._run(), name=f"lane to {self._relay.key}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def staff_soon(self) -> None:
        """The same, but not within the session that asks for it."""
        asyncio.get_running_loop().call_soon(self.staff)

    def stop(self) -> None:
        """Begin nothing more; lanes end with what they have on the wire."""
        self._is_stopped = True
        if self._restart is not None:
            self._restart.cancel()
        self._wake(len(self._idle))

    async def close(self, grace_s: float) -> None:
        """Stop, and cut the lines that are still there after `grace_s` seconds."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            # Again and again: wait_for of Python 3.11 loses a cancellation that meets a result.
            await asyncio.wait(self._tasks, timeout=0.05)

    def _wake(self, count: int) -> int:
        woken = 0
        while self._idle and woken < count:
            sleeper = self._idle.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                woken += 1
        return woken

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            self.staff()
            return
        lane_deaths.labels(self._relay.key).inc()
        _log.critical("a lane died of an error of our own", relay=self._relay.key, cause=error_place(error))
        now = self._now()
        self._health.note_death(len(self._tasks), now)
        if self._restart is not None:
            self._restart.cancel()
        self._restart = asyncio.get_running_loop().call_later(self._health.restart_at - now, self.staff)

    async def _run(self) -> None:
        session: Session | None = None
        try:
            while not self._is_stopped:
                if not self._waiting:
                    if not await self._wait_for_work():
                        break
                    continue
                if session is None:
                    session = await self._open()
                    if session is None:
                        break
                await session.serve(self._source)
                if session.is_over:
                    await self._end(session)
                    session = None
                    if len(self._tasks) > self._health.limit(self._now()):
                        break
        finally:
            if session is not None:
                await self._end(session)

    async def _wait_for_work(self) -> bool:
        """False when nothing came for as long as a connection is worth keeping."""
        sleeper = asyncio.get_running_loop().create_future()
        self._idle.append(sleeper)
        try:
            async with asyncio.timeout(self._relay.timeouts.idle_s):
                await sleeper
        except TimeoutError:
            return bool(self._waiting)
        finally:
            if sleeper in self._idle:
                self._idle.remove(sleeper)
        return True

    async def _open(self) -> Session | None:
        self._connecting += 1
        refusal: OpeningError | None = None
        try:
            if self._context is None and self._relay.uses_tls:
                self._context = await asyncio.to_thread(tls_context, self._relay)
            wire, offer = await self._connect(self._relay, self._context)
        except OpeningError as error:
            refusal = error
        except Exception:
            self._note_barren(is_ours=True)
            raise
        finally:
            self._connecting -= 1
        if refusal is not None:
            self._health.note_refused_connection(
                refusal.cause,
                refusal.phase,
                refusal.code,
                live=self.connections,
                connecting=self._connecting,
                now=self._now(),
            )
            self._on_fault()
            return None
        self.connections += 1
        self._health.note_connected()
        relay = replace(self._relay, per_connection=self._most)
        return Session(relay, wire, offer, overlap=self._form.overlap, pipeline=self._form.pipeline)

    async def _end(self, session: Session) -> None:
        """Close a session and learn from how it went."""
        self.connections -= 1
        self._form.learn(session)
        if session.found_limit is not None and session.found_limit < self._most:
            self._most = max(session.found_limit, 1)
            _log.info("the relay takes fewer mails over one connection", relay=self._relay.key, most=self._most)
        if session.is_barren and not self._is_stopped:
            self._note_barren(is_ours=session.failed, doubts=session.doubts)
        await session.quit()

    def _note_barren(self, *, is_ours: bool, doubts: int = 0) -> None:
        if doubts and self._health.is_resting(self._now()):
            return  # lines that broke together are one sign
        cause = (
            f"every connection to {self._relay.key} ends by an error of our own; the log says which"
            if is_ours
            else f"{self._relay.key} breaks every connection after a mail's text, before it answers for it"
            if doubts
            else f"{self._relay.key} breaks every connection before it takes a mail"
        )
        self._health.note_barren(cause, self._now())
        if not is_ours:
            self._form.doubt(self._health.barren)
        self._on_fault()


def error_place(error: BaseException) -> str:
    """What an error is and where it began, without its text, which may hold an address or a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{place}"
