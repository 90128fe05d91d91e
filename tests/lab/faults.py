"""The laboratory's cases beside plain kills: signals, stopped processes, outages, spoiled lines, full disks, restores.

Each plays on a ground of its own and ends with the invariants held against everything it left behind.
"""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import redis

from tests.lab.checker import History, Kill
from tests.lab.ground import Ground, NotHereError
from tests.lab.proxy import End, proxy_to
from tests.lab.runs import (
    CRASHING,
    LabRelay,
    Leaving,
    bring_forward,
    done_so_far,
    history_of,
    is_over,
    kill_run,
    lab_relay,
)
from tests.lab.smtp_rows import ROWS, run_row
from tests.support.lists import Newsroom, WorkerProcess
from tests.support.programs import find_program
from tests.support.readers import KEY
from tests.support.redis import OwnRedis
from tests.support.web_server import running_web
from worker.dispatch import lock, orders
from worker.dispatch.events import Step
from worker.dispatch.nudger import Nudger, open_broker
from worker.dispatch.reconcile import repeat_never_miss
from worker.domain.delivery import DoubtPolicy
from worker.domain.issue import IssueState
from worker.journal.marks import FILE_NAME
from worker.operations import unlock
from worker.operations.backup import back_up, restore
from worker.storage.engine import open_database

ODD = {"mixed": 0.02, "later": 0.03, "bye": 0.02, "slow": 0.02}
"""A relay that is odd now and then, mixed codes in one reply among it."""

DRAINED_S = 5.0
STOPPED_S = 12.0
"""Longer than two looks for dead workers."""


def smtp_rows(ground: Ground) -> None:
    """Every row of the table, over one installation."""
    for number, row in enumerate(ROWS):
        for violation in run_row(ground.desk, row, number):
            ground.violate(violation.what, violation.where)
    ground.desk.assert_books_add_up()


def told_to_stop(ground: Ground) -> None:
    """SIGTERM and SIGINT to a worker or its group, once or twice: drained in time, nobody in doubt, exit code 0."""
    dice = random.Random(ground.seed)
    ways: tuple[Callable[[WorkerProcess], None], ...] = (
        lambda worker: worker.tell(signal.SIGTERM),
        lambda worker: worker.process.send_signal(signal.SIGTERM),
        lambda worker: worker.tell(signal.SIGINT),
        lambda worker: (worker.tell(signal.SIGTERM), worker.tell(signal.SIGTERM))[0],
    )
    with sending(ground, ODD, delay_s=0.02) as relay:
        desk = ground.desk
        for number in range(ground.kills):
            with desk.worker(smtp_url=relay.url, claim_size="200") as worker:
                before = done_so_far(desk) + dice.randrange(max(ground.size // ground.kills // 2, 2))
                desk.until(lambda before=before: done_so_far(desk) > before or is_over(desk), "mails leave")
                ways[number % len(ways)](worker)
                told_at = time.monotonic()
                code = worker.process.wait(60)
                took_s = time.monotonic() - told_at
            if took_s > DRAINED_S:
                ground.violate("a stop took too long", f"{took_s:.1f} s")
            if code != 0:
                ground.violate("a worker that was told to stop failed", f"exit code {code}")
        finish(ground, relay)


def stopped_and_woken(ground: Ground) -> None:
    """SIGSTOP while another worker goes on: nothing of it is taken over, and it goes on itself when it is woken."""
    with sending(ground, {}, delay_s=0.01) as relay, ExitStack() as running:
        desk = ground.desk
        sleeper, _ = (running.enter_context(desk.worker(smtp_url=relay.url, claim_size="200")) for _ in range(2))
        desk.until(lambda: done_so_far(desk) > ground.size // 5, "mails leave")
        sleeper.tell(signal.SIGSTOP)
        threading.Event().wait(STOPPED_S)
        if desk.totals().in_doubt:
            ground.violate("a stopped process was taken for dead", str(desk.totals().in_doubt))
        sleeper.tell(signal.SIGCONT)
        bring_forward(desk)
        ground.judge(history_of(desk, relay))


def spoiled_lines_to_the_relay(ground: Ground) -> None:
    """Delay, resets, closes and half closes in the middle of everything, while workers are killed too."""
    with lab_relay(ground.folder, ground.seed, {"later": 0.02}) as relay:
        ends = (End.RESET, End.CLOSE, End.HALF_CLOSE)
        given = {"octets": (60_000, 900_000), "ends": ends, "seed": ground.seed, "delay_s": 0.002}
        with proxy_to(relay.port, **given) as proxy:
            spoiled = replace(relay, url=f"smtp://127.0.0.1:{proxy.port}")
            ground.judge(replace(_kill(ground, spoiled), is_spoiled=True))


def spoiled_lines_to_the_database(ground: Ground) -> None:
    """Lines to the database are reset, closed or swallowed at any octet: also between a commit and its answer."""
    if ground.cluster is None:
        raise NotHereError("lines to an SQLite file")
    desk = ground.desk
    ends = (End.RESET, End.CLOSE, End.BLACKHOLE)
    with sending(ground, {"later": 0.02}) as relay:
        with proxy_to(ground.cluster.port, octets=(30_000, 600_000), ends=ends, seed=ground.seed) as proxy:
            url = desk.given["database_url"].replace(f":{ground.cluster.port}/", f":{proxy.port}/")
            with desk.worker(smtp_url=relay.url, database_url=url), desk.worker(smtp_url=relay.url, database_url=url):
                # Not while copies are under way: the workers are killed at the end of this block.
                _every(2.0, proxy.cut, lambda: is_over(desk) or not (desk.totals().waiting or desk.totals().sending))
            proxy.octets = None
        finish(ground, relay)


def database_restarts(ground: Ground) -> None:
    """The database stops at once and comes back, again and again; readers leave all the time, also meanwhile."""
    if ground.cluster is None:
        raise NotHereError("a restart of an SQLite file")
    desk, cluster = ground.desk, ground.cluster
    leaving, stop = Leaving(desk, ground.seed, ground.size), threading.Event()
    with sending(ground, {}, delay_s=0.01) as relay, ExitStack() as running:
        place = running.enter_context(running_web(desk.settings, desk.database))
        for _ in range(2):
            running.enter_context(desk.worker(smtp_url=relay.url, claim_size="200"))
        press = threading.Thread(target=leaving.press, args=(place, stop))
        press.start()
        try:
            for number in range(3):
                at = ground.size * (number + 1) // 5
                desk.until(lambda at=at: done_so_far(desk) >= at or is_over(desk), "mails leave")
                if number == 1:
                    with psycopg.connect(f"{cluster.url.rpartition('/')[0]}/postgres", autocommit=True) as conn:
                        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'desk'")
                    continue
                cluster.stop()
                threading.Event().wait(3.0)  # readers press in the outage
                cluster.start()
                desk.database.engine.dispose()
            bring_forward(desk)
        finally:
            stop.set()
            press.join(60)
        ground.judge(history_of(desk, relay, opt_outs=leaving.answers))


def broker_is_lost(ground: Ground) -> None:
    """Redis is emptied, killed, filled with nonsense and old nudges: it costs time and nothing else."""
    if find_program("redis-server") is None:
        raise NotHereError("Redis, which is not installed")
    server, desk = OwnRedis(ground.folder), ground.desk
    server.start()
    desk.given |= {"broker_url": server.url}
    dice = random.Random(ground.seed)
    try:
        with sending(ground, {}, delay_s=0.01) as relay, ExitStack() as running:
            for _ in range(2):
                running.enter_context(desk.worker(smtp_url=relay.url, claim_size="200"))

            def spoil() -> None:
                way = dice.randrange(4)
                if way == 0:
                    server.stop()
                    server.start()
                    return
                with redis.Redis.from_url(server.url) as client:
                    keys = list(client.scan_iter("*"))
                    old = [(key, client.lrange(key, 0, -1)) for key in keys if client.type(key) == b"list"]
                    if way == 1:
                        client.flushdb()
                    for key, entries in old:
                        client.rpush(key, *(entries * 3), b"nonsense", b'{"actor": "send"}')

            _every(0.5, spoil, lambda: is_over(desk))
            ground.judge(history_of(desk, relay))
    finally:
        server.stop()


def full_disk(ground: Ground) -> None:
    """The disk of journal and claim log is full: nothing is sent and nobody is lost; with room again it goes on."""
    desk, state = ground.desk, ground.folder / "state"
    state.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(state)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        raise NotHereError("a full disk, because nothing may be mounted")
    try:
        with sending(ground, {"later": 0.02}, delay_s=0.01) as relay, desk.worker(smtp_url=relay.url) as worker:
            desk.until(lambda: done_so_far(desk) > ground.size // 5, "mails leave")
            stuffing, marks = state / "stuffing", state / FILE_NAME
            for size in (65_536, 1):
                _fill(stuffing, size)
            with marks.open("ab") as file:  # the last page of each file has room of its own
                file.write(b"-" * (-marks.stat().st_size % 4096 - 1) + b"\n")
            desk.until(lambda: "cannot be written down" in worker.said and not desk.totals().sending, "it stops")
            so_far = len(relay.said())
            threading.Event().wait(3.0)
            if len(relay.said()) > so_far:
                ground.violate("mail left without a record of it", str(len(relay.said()) - so_far))
            stuffing.unlink()
            bring_forward(desk)
            ground.judge(history_of(desk, relay))
    finally:
        subprocess.run(["umount", "-l", str(state)], check=False, capture_output=True)


def poison(ground: Ground) -> None:
    """One reader in fifty has an address that this relay cannot take: each fails by itself, all others are served."""
    desk = ground.desk
    desk.readers([f"{'reader' if n % 50 else 'leserä'}{n}@example.org" for n in range(1, ground.size + 1)])
    with lab_relay(ground.folder, ground.seed, without="SMTPUTF8") as relay:
        desk.queue()
        with desk.worker(smtp_url=relay.url):
            bring_forward(desk)
        history = history_of(desk, relay)
        ground.judge(history)
        failed = sum(row.state == "failed" for row in history.rows)
        if failed != ground.size // 50:
            ground.violate("others failed with those whom the relay cannot take", str(failed))


def never_miss(ground: Ground) -> None:
    """Copies in doubt are repeated once, as the same message, and never more often."""
    desk = ground.desk
    with lab_relay(ground.folder, ground.seed, {"cut": 0.004, "later": 0.02}) as relay:
        history = _kill(ground, relay, doubt=DoubtPolicy.NEVER_MISS, at_the_end=lambda: _repeat(desk))
        ground.judge(replace(history, repeats=True))


def _repeat(desk: Newsroom) -> None:
    while repeat_never_miss(desk.database, settle_s=0):
        desk.bring_forward()
        desk.until(lambda: not desk.totals().waiting and not desk.totals().sending, "repeats have left")


def restored_in_mid_issue(ground: Ground) -> None:
    """A backup of the middle of an issue is put back at its end: nothing leaves before `db unlock`, and after it
    nobody gets a second copy, and nobody who left since gets one."""
    desk, state = ground.desk, ground.folder / "state"
    folder = ground.folder / "backup"
    leaving, stop = Leaving(desk, ground.seed, ground.size), threading.Event()
    with sending(ground, {}, delay_s=0.005) as relay, ExitStack() as running:
        place = running.enter_context(running_web(desk.settings, desk.database))
        with desk.worker(smtp_url=relay.url, claim_size="200"), desk.worker(smtp_url=relay.url, claim_size="200"):
            desk.until(lambda: done_so_far(desk) > ground.size // 3, "mails leave")
            back_up(desk.database, desk.given["database_url"], state, folder)
            press = threading.Thread(target=leaving.press, args=(place, stop))
            press.start()
            desk.until(lambda: done_so_far(desk) > ground.size * 2 // 3, "mails leave")
        stop.set()
        press.join(60)
        url = _empty_database(ground)
        restore(folder, url, state, ground.folder / "keys")
        old = Newsroom(open_database(url, [KEY]), desk.folder, {**desk.given, "database_url": url})
        running.callback(old.database.close)
        so_far = len(relay.said())
        with old.worker(smtp_url=relay.url) as worker:
            old.until(lambda: "nothing is sent" in worker.said, "the worker finds the database older")
            if lock.compare(old.database, state).lock is None or len(relay.said()) > so_far:
                ground.violate("an older database was sent from")
            unlock.unlock(old.database, state, "lab")
            orders.resume(old.database, Nudger(open_broker(old.database, old.settings)), "spring", "lab")
            bring_forward(old)
        history = history_of(old, relay, opt_outs=leaving.answers)
        doubts = sum(row.state == "in_doubt" for row in history.rows)
        ground.judge(replace(history, is_restored=True), old)
        if doubts == ground.size:
            ground.violate("everybody is in doubt after a restore")


def _empty_database(ground: Ground) -> str:
    if ground.cluster is None:
        return f"sqlite:///{ground.folder}/restored/lab.sqlite3"
    server = ground.cluster.url.rpartition("/")[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
        conn.execute("CREATE DATABASE restored TEMPLATE template0")
    return f"{server}/restored"


def _kill(
    ground: Ground,
    relay: LabRelay,
    doubt: DoubtPolicy = DoubtPolicy.NEVER_TWICE,
    at_the_end: Callable[[], None] = lambda: None,
) -> History:
    given = {"deliveries": ground.size, "kills": ground.kills, "seed": ground.seed}
    return kill_run(ground.desk, relay, **given, doubt=doubt, at_the_end=at_the_end)


LINES: Mapping[Step, tuple[int, frozenset[int]]] = {
    Step.CLAIMED: (1, frozenset({0})),
    Step.RECHECKED: (1, frozenset({0})),
    Step.BUILT: (1, frozenset({0})),
    Step.ARMING: (40, frozenset({0})),
    Step.ARMED: (40, frozenset({1})),
    Step.ANSWERED: (40, frozenset({1})),
    Step.RECORDED: (40, frozenset({0})),
    # These happen beside the connection, which may be in the middle of a mail.
    Step.SETTLING: (1, frozenset({0, 1})),
    Step.SETTLED: (1, frozenset({0, 1})),
    Step.RELEASED: (1, frozenset({0, 1})),
}
"""Each line of the path: at which time of passing it a worker dies there, and how many that leaves in doubt."""


def at_each_line(ground: Ground) -> None:
    """A worker with one connection dies at a line of the path, another one goes on; every line in turn."""
    ground.desk.readers(ground.size)
    for step in LINES:
        die_at(ground, step)


def die_at(ground: Ground, step: Step) -> None:
    """The same for one line, and readers who are there."""
    desk, slug, folder = ground.desk, f"dies-{step}", ground.folder / step
    number, allowed = LINES[step]
    folder.mkdir()
    with lab_relay(folder, ground.seed) as relay:
        desk.queue(slug)
        one = {"smtp_url": relay.url, "smtp_connections": "1", "claim_size": "200"}
        with desk.worker(CRASHING.format(step=str(step), number=number), **one) as dying:
            desk.until(lambda: dying.process.poll() is not None, f"it died at {step}")
        with desk.worker(**one):
            desk.until_state(IssueState.FINISHED, slug)
        history = history_of(desk, relay, slug, connections=1, kills=[Kill(max(allowed), 0.0)])
    ground.judge(history)
    if history.counters.get("in_doubt", 0) not in allowed:
        ground.violate(f"a death at {step} costs another number of doubts", str(history.counters))


def under_load(ground: Ground) -> None:
    """Workers are killed at random moments, under full load, while readers leave."""
    plans: tuple[dict[str, float], ...] = (
        {"later": 0.03, "gone": 0.02, "bye": 0.02, "slow": 0.01},
        {},
        {"bye": 0.1, "full": 0.001},
    )
    # Some time for each mail, or an issue is over before all its kills.
    with lab_relay(ground.folder, ground.seed, plans[ground.seed % len(plans)], delay_s=0.04) as relay:
        ground.judge(_kill(ground, relay))


@contextmanager
def sending(ground: Ground, plan: Mapping[str, float], delay_s: float = 0.0) -> Iterator[LabRelay]:
    """Readers, a relay and an issue that is queued."""
    ground.desk.readers(ground.size)
    with lab_relay(ground.folder, ground.seed, plan, delay_s) as relay:
        ground.desk.queue()
        yield relay


def finish(ground: Ground, relay: LabRelay) -> None:
    with ground.desk.worker(smtp_url=relay.url):
        bring_forward(ground.desk)
    ground.judge(history_of(ground.desk, relay))


def _every(seconds: float, act: Callable[[], None], over: Callable[[], bool], most: int = 60) -> None:
    pause = threading.Event()
    for _ in range(most):
        if over():
            return
        act()
        pause.wait(seconds)


def _fill(path: Path, piece: int) -> None:
    """Until nothing more fits."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with suppress(OSError):
        while os.write(file, b"x" * piece):
            pass
    os.close(file)
