"""The lanes to one relay. A lane is a task that keeps one connection at work, and opens a new one when that is over.

A lane that dies of an unexpected error is logged as critical, counted, and replaced after a growing pause, one attempt
at a time. What its session held is settled by the session itself.
"""

import asyncio
import math
import ssl
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from worker import log
from worker.metrics import lane_deaths, relay_refusals
from worker.transport.door import OpeningError, Reason, silence
from worker.transport.handshake import Offer, tls_context
from worker.transport.health import RelayHealth
from worker.transport.held_mails import MailSource
from worker.transport.lessons import PIPELINING, Lessons
from worker.transport.next_hop import Relay
from worker.transport.replies import Phase
from worker.transport.session import Session
from worker.transport.waiting import Waiting
from worker.transport.wire import Broken, Cause, Wire

Connect = Callable[[Relay, ssl.SSLContext | None], Awaitable[tuple[Wire, Offer]]]
"""How a session is opened: `handshake.open_wire`. Raises OpeningError."""

_log = log.logger("transport.lanes")


@dataclass(frozen=True, slots=True)
class _Excused:
    """A refusal that other lines excuse as long as they get answers."""

    error: OpeningError
    answers: int
    """How many mails had been judged then."""


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
        self._lessons = Lessons()
        self._context: ssl.SSLContext | None = None
        self._opening: dict[object, tuple[float, int]] = {}  # the lanes that open a connection: since when, and how
        # many mails had been judged then
        self._begun_at = -math.inf  # when the last of them began
        self._excused: _Excused | None = None
        self.connections = 0
        """Sessions open now."""
        self._is_stopped = False
        self._restart: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None

    def staff(self) -> None:
        """Wake idle lanes and begin new ones."""
        if not self._waiting or self._is_stopped:
            return
        wanted = len(self._waiting) - self._wake(len(self._waiting))
        now = self._now()
        while wanted > 0 and len(self._tasks) < self._health.limit(now) and self._may_open(now):
            wanted -= 1
            task = asyncio.get_running_loop().create_task(self._run(), name=f"lane to {self._relay.key}")
            self._note_opening(task, now)
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def staff_soon(self) -> None:
        """The same, but not within the session that asks for it."""
        asyncio.get_running_loop().call_soon(self.staff)

    def stop(self) -> None:
        """Begin nothing more; lanes end with what they have on the wire."""
        self._is_stopped = True
        for timer in (self._restart, self._look):
            if timer is not None:
                timer.cancel()
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

    def _may_open(self, now: float) -> bool:
        """Whether one more connection may be opened now. A relay that is new or in trouble gets one at a time, and
        another one beside it only when that has been silent for long."""
        health = self._health
        if self._is_stopped or health.is_resting(now) or not health.may_begin(now):
            return False
        if not health.is_proven and (self._opening or self.connections):
            return not self._opening and now - self._begun_at >= health.pauses.silent_s
        return health.may_open(len(self._opening))

    def _note_opening(self, task: object, now: float) -> None:
        self._begun_at = now
        self._opening[task] = now, self._health.answers
        self._watch()

    def _watch(self) -> None:
        """Look again after a while whether anything has come of what was begun."""
        if self._look is None and not self._is_stopped:
            self._look = asyncio.get_running_loop().call_later(self._health.pauses.silent_s, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        now, health = self._now(), self._health
        if health.is_resting(now) or self._idle:
            pass  # it is said already; or a connection stands that works
        elif self._excused and self._excused.answers == health.answers:
            self._say_silence(self._excused.error, now)
        elif self._opening and (oldest := min(self._opening.values()))[1] == health.answers:
            if now - oldest[0] >= health.pauses.silent_s:
                self._say_silence(OpeningError(Phase.CONNECT, silence(self._relay), reason=Reason.SILENT), now)
        else:
            self._excused = None
        self.staff()
        if self._opening or self._excused or (self._waiting and not health.is_proven):
            self._watch()

    def _say_silence(self, error: OpeningError, now: float) -> None:
        self._excused = None
        self._health.note_silence(error, now)
        self._on_fault()

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
        self._opening.pop(task, None)
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
        session = await self._open()
        try:
            while session is not None and not self._is_stopped:
                if not self._waiting:
                    if not await self._wait_for_work():
                        break
                    continue
                await session.serve(self._source)
                if session.is_over:
                    over, session = session, None
                    await self._end(over)
                    now = self._now()
                    if not self._waiting or len(self._tasks) > self._health.limit(now) or not self._may_open(now):
                        break
                    self._note_opening(asyncio.current_task(), now)
                    session = await self._open()
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
        refusal: OpeningError | None = None
        setbacks = self._health.setbacks
        try:
            if self._context is None and self._relay.uses_tls:
                self._context = await asyncio.to_thread(tls_context, self._relay)
            wire, offer = await self._connect(self._relay, self._context)
        except OpeningError as error:
            refusal = error
        except Exception:
            self._note_barren(None, is_ours=True)
            raise
        finally:
            self._opening.pop(asyncio.current_task(), None)
        if refusal is not None:
            self._note_refusal(refusal)
            return None
        self.connections += 1
        self._health.note_connected(setbacks)
        if self.connections == self._relay.connections:
            self._health.note_all_open()
        self.staff_soon()
        most = self._lessons.most(self._relay.per_connection, self._now())
        relay = replace(self._relay, per_connection=most)
        return Session(relay, wire, offer, lessons=self._lessons, now=self._now)

    def _note_refusal(self, refusal: OpeningError) -> None:
        now, is_proven = self._now(), self._health.is_proven
        relay_refusals.labels(refusal.reason.value).inc()
        working = self.connections if is_proven else 0
        self._health.note_refused_connection(refusal, working=working, connecting=len(self._opening), now=now)
        if self._health.fault is None:
            self._excused = _Excused(refusal, self._health.answers)
            self._watch()
            asyncio.get_running_loop().call_later(self._health.restart_at - now, self.staff)
        self._on_fault()

    async def _end(self, session: Session) -> None:
        """Close a session and learn from how it went."""
        self.connections -= 1
        if session.broken is not None and session.broken.cause is not Cause.LET_GO:
            self._health.note_broken()
        self._learn_limit(session)
        if session.is_barren and not self._is_stopped:
            self._note_barren(session.broken, is_ours=session.failed, doubts=session.doubts)
        await session.quit()

    def _learn_limit(self, session: Session) -> None:
        now, configured = self._now(), self._relay.per_connection
        before = self._lessons.most(configured, now)
        if session.found_limit is not None:
            self._lessons.note_limit(session.found_limit, now)
        elif session.closed_after is not None:
            self._lessons.note_close(session.closed_after, now)
        if (most := self._lessons.most(configured, now)) < before:
            _log.info("the relay takes fewer mails over one connection", relay=self._relay.key, most=most)

    def _note_barren(self, broken: Broken | None, *, is_ours: bool, doubts: int = 0) -> None:
        if doubts and self._health.is_resting(self._now()):
            return  # lines that broke together are one sign
        cause = (
            f"every connection to {self._relay.key} ends by an error of our own; the log says which"
            if is_ours
            else f"{self._relay.key} breaks every connection after a mail's text, before it answers for it"
            if doubts
            else f"{self._relay.key} breaks every connection before it takes a mail"
            + (f": {broken.text}" if broken else "")
        )
        reason = Reason.OWN_FAULT if is_ours else Reason.CLOSED
        self._health.note_barren(OpeningError(Phase.MAIL, cause, reason=reason), self._now())
        if not is_ours and self._health.barren >= 2 and not self._lessons.is_proven:
            self._lessons.leave_out(PIPELINING, self._now())  # some gateways announce it and cut whoever uses it
        self._on_fault()


def error_place(error: BaseException) -> str:
    """What an error is and where it began, without its text, which may hold an address or a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{place}"
