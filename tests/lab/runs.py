"""The laboratory's runs: real workers that are killed, a relay that misbehaves, readers who leave meanwhile."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from tests.lab.checker import History, Kill, OptOut, Row, Said
from tests.support.lists import Newsroom, WorkerProcess
from tests.support.sink import ROOT
from tests.support.web_server import exchange, running_web
from worker.domain.delivery import DoubtPolicy
from worker.domain.issue import IssueState
from worker.errors import UnreachableError
from worker.storage import schema
from worker.storage.ledger import issues
from worker.storage.people import subscriptions
from worker.tokens import Keyring, Purpose, Token

CRASHING = """
import os, signal, sys
from worker.cli.commands import nothing_is_garbage
with nothing_is_garbage():
    from worker.actors import run_worker
    from worker.cli.context import open_settings
seen = 0
def hook(step, claim_id, number):
    global seen
    if step == {step!r}:
        seen += 1
        if seen == {number}:
            os.kill(os.getpid(), signal.SIGKILL)
sys.exit(run_worker(open_settings(is_process=True), hook))
"""
"""A worker that is killed at exactly one line of the path: the step's name, and the how manieth time."""


@dataclass
class LabRelay:
    """A relay of the laboratory, running."""

    url: str
    log: Path
    process: subprocess.Popen[str]

    @contextmanager
    def held(self) -> Iterator[None]:
        """It answers nobody meanwhile; its connections stay."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def said(self) -> list[Said]:
        lines = self.log.read_bytes().splitlines(keepends=True)
        return [Said(**json.loads(line)) for line in lines if line.endswith(b"\n")]


@contextmanager
def lab_relay(
    folder: Path, seed: int = 1, plan: Mapping[str, float] | None = None, delay_s: float = 0.0, without: str = ""
) -> Iterator[LabRelay]:
    """Misbehaves by shares, see `relay.PLANS`."""
    log = folder / "relay.log"
    log.touch()
    command = [sys.executable, "-m", "tests.lab.relay", str(log), "--seed", str(seed), "--delay", str(delay_s)]
    process = subprocess.Popen(
        [*command, "--plan", json.dumps(dict(plan or {})), "--without", without],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        yield LabRelay(f"smtp://127.0.0.1:{int(process.stdout.readline())}", log, process)
    finally:
        process.kill()
        process.communicate()


def history_of(desk: Newsroom, relay: LabRelay, slug: str = "spring", **more: object) -> History:
    """What one run left behind, of one issue."""
    with desk.database.read() as conn:
        issue = issues.get(conn, slug)
        table, reader = schema.delivery, schema.subscriber
        columns = (table.c.n, reader.c.address, table.c.state, table.c.tries, table.c.reason, table.c.doubts)
        found = conn.execute(
            select(*columns).join(reader, reader.c.id == table.c.subscriber_id).where(table.c.issue_id == issue.id)
        )
        rows = [Row(**row._mapping) for row in found]
        names = sorted({row.state for row in rows} | {"waiting", "deferred", "accepted", "in_doubt"})
        kept = conn.execute(
            select(*(func.sum(schema.shard.c[name]).label(name) for name in names)).where(
                schema.shard.c.issue_id == issue.id
            )
        ).one()
    counters = {name: int(getattr(kept, name) or 0) for name in names if getattr(kept, name)}
    return History(relay.said(), rows, counters, issue.audience, str(issue.state), **more)  # type: ignore[arg-type]


@dataclass
class Leaving:
    """Readers who press the mail program's button while the issue is being sent, one after the other."""

    desk: Newsroom
    seed: int
    readers: int
    answers: list[OptOut] = field(default_factory=list)

    def press(self, place: tuple[str, int], stop: threading.Event) -> None:
        """Until told to stop. The answer's time is taken after its last octet has come."""
        dice = random.Random(self.seed)
        keyring = Keyring([self.desk.settings.keys[0]])
        numbers = dice.sample(range(1, self.readers + 1), min(self.readers, 400))
        while (found := self._addresses(numbers)) is None:
            if stop.wait(0.1):
                return
        for number in numbers:
            if stop.is_set() or number not in found:
                return
            token = keyring.sign(Token(Purpose.UNSUBSCRIBE, number, 1, 1))
            flies, began = self._flies(number), time.monotonic()
            request = f"POST /u/{token} HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode()
            answer = exchange(place, request)
            now = time.monotonic()
            assert b" 200 " in answer[:20], answer
            late, noted = b"may be on its way" in answer, b"Noted" in answer
            self.answers.append(OptOut(found[number], now, now - began, late, flies or late or noted))
            stop.wait(0.05)

    def _addresses(self, numbers: list[int]) -> dict[int, str] | None:
        """Of subscriptions; None while the database is away."""
        query = select(schema.subscription.c.id, schema.subscriber.c.address).join(
            schema.subscriber, schema.subscriber.c.id == schema.subscription.c.subscriber_id
        )
        try:
            with self.desk.database.read() as conn:
                rows = conn.execute(query.where(schema.subscription.c.id.in_(numbers)))
                return {row.id: row.address for row in rows}
        except UnreachableError:
            return None

    def _flies(self, subscription_id: int) -> bool:
        """Whether a worker holds a copy for this reader; also true while nobody can tell."""
        try:
            with self.desk.database.read() as conn:
                now = self.desk.database.now(conn)
                return bool(subscriptions.copies_leaving(conn, [subscription_id], now))
        except UnreachableError:
            return True


def owner_of(desk: Newsroom, worker: WorkerProcess) -> str:
    """The worker's id in the ledger, by its process."""
    with desk.database.read() as conn:
        label = schema.worker.c.label
        return str(
            conn.execute(select(schema.worker.c.id).where(label.like(f"%:{worker.process.pid}"))).scalars().one()
        )


def doubts_of(desk: Newsroom) -> int:
    with desk.database.read() as conn:
        table = schema.delivery
        where = (table.c.state == "in_doubt", table.c.reason == "worker_lost")
        return int(conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one())


def holds_nothing(desk: Newsroom, owner: str) -> bool:
    with desk.database.read() as conn:
        table = schema.claim
        return conn.execute(select(table.c.id).where(table.c.owner == owner).limit(1)).first() is None


def kill_run(
    desk: Newsroom,
    relay: LabRelay,
    *,
    deliveries: int,
    kills: int,
    seed: int,
    doubt: DoubtPolicy = DoubtPolicy.NEVER_TWICE,
    at_the_end: Callable[[], None] = lambda: None,
    **changes: str,
) -> History:
    """Send an issue while its workers are killed, one of two at a time, at random moments under load."""
    dice = random.Random(seed)
    desk.readers(deliveries)
    done: list[Kill] = []
    leaving, stop = Leaving(desk, seed, deliveries), threading.Event()
    with ExitStack() as running:
        place = running.enter_context(running_web(desk.settings, desk.database))
        alive = [running.enter_context(desk.worker(smtp_url=relay.url, **changes)) for _ in range(2)]
        desk.queue(doubt=doubt)
        press = threading.Thread(target=leaving.press, args=(place, stop))
        press.start()
        try:
            for number in range(kills):
                at = deliveries * (number + dice.random()) / (kills + 1)
                desk.until(lambda at=at: done_so_far(desk) >= at or is_over(desk), "mails leave")
                if is_over(desk):
                    break
                victim = alive.pop(dice.randrange(len(alive)))
                owner, before = owner_of(desk, victim), doubts_of(desk)
                killed_at = time.monotonic()
                os.killpg(victim.process.pid, signal.SIGKILL)
                victim.process.wait()
                # On a slow machine the rest would leave before the last kill: then the relay waits for what is late.
                is_late = done_so_far(desk) >= deliveries * (number + 1) / (kills + 1)
                with relay.held() if is_late else nullcontext():
                    alive.append(running.enter_context(desk.worker(smtp_url=relay.url, **changes)))
                    desk.until(lambda owner=owner: holds_nothing(desk, owner), "its claims are dealt with")
                done.append(Kill(doubts_of(desk) - before, time.monotonic() - killed_at))
            at_the_end()
            bring_forward(desk)
        finally:
            stop.set()
            press.join(30)
    return history_of(desk, relay, kills=done, opt_outs=leaving.answers)


def bring_forward(desk: Newsroom) -> None:
    """Wait for the end of the issue. Deferred copies are due in minutes; here they are due now, again and again."""

    def over() -> bool:
        if desk.totals().deferred and not desk.totals().waiting:
            desk.bring_forward()
        return is_over(desk)

    desk.until(over, "the issue is over")


def done_so_far(desk: Newsroom) -> int:
    totals = desk.totals()
    return totals.audience - totals.waiting - totals.sending


def is_over(desk: Newsroom) -> bool:
    return desk.issue().state in (IssueState.FINISHED, IssueState.PAUSED)
