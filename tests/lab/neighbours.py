"""Faults between processes that are not alike: of another machine, of another version."""

import signal
import threading
import time
from contextlib import ExitStack

from tests.lab.checker import Kill
from tests.lab.faults import finish, sending
from tests.lab.ground import Ground
from tests.lab.runs import bring_forward, done_so_far, history_of, holds_nothing, owner_of
from tests.support.databases import give_version
from worker.storage import migrations

CONNECTIONS = 10
HOST_ALIVE_S, HOST_LOST_S = 55.0, 75.0
"""For how long a silent machine is left alone, and when it must have been taken for dead."""


def another_machine_sleeps(ground: Ground) -> None:
    """All of another machine stands still for over a minute: its copies are in doubt. It wakes, and neither arms nor
    settles; what its journal knows is settled when one of its workers begins again.

    A machine is a state directory, so two of them are two machines, whose processes cannot see each other's locks.
    """
    with sending(ground, {}, delay_s=0.02) as relay, ExitStack() as running:
        desk = ground.desk
        given = {"smtp_url": relay.url, "claim_size": "200"}
        running.enter_context(desk.worker(**given))
        there = {**given, "state_dir": str(ground.folder / "there")}
        sleeper = running.enter_context(desk.worker(**there))
        owner = owner_of(desk, sleeper)
        desk.until(lambda: not holds_nothing(desk, owner), "it holds something")
        sleeper.tell(signal.SIGSTOP)
        asleep_at = time.monotonic()
        threading.Event().wait(HOST_ALIVE_S)
        if holds_nothing(desk, owner):
            ground.violate("another machine was taken for dead too early")
        desk.until(lambda: holds_nothing(desk, owner), "it is taken for dead")
        if (took_s := time.monotonic() - asleep_at) > HOST_LOST_S:
            ground.violate("another machine was taken for dead too late", f"{took_s:.0f} s")
        sleeper.tell(signal.SIGCONT)
        if (code := sleeper.process.wait(60)) != 1:
            ground.violate("a worker that was taken for dead did not end as it should", f"exit code {code}")
        with desk.worker(**there):
            desk.until(lambda: desk.totals().in_doubt <= CONNECTIONS, "its journal is heard")
            bring_forward(desk)
        ground.judge(history_of(desk, relay, kills=[Kill(desk.totals().in_doubt, 0.0)]))


def upgraded_under_way(ground: Ground) -> None:
    """Old workers on a database that a new version upgraded: they settle and end by themselves, new ones go on.

    This version is the old one here, and the new one's is a number that it does not know.
    """
    with sending(ground, {"slow": 0.02}, delay_s=0.02) as relay, ExitStack() as running:
        desk = ground.desk
        old = [running.enter_context(desk.worker(smtp_url=relay.url, claim_size="200")) for _ in range(2)]
        desk.until(lambda: done_so_far(desk) > ground.size // 5, "mails leave")
        give_version(desk.database, "9999")
        for worker in old:
            if (code := worker.process.wait(60)) != 1:
                ground.violate("an old worker did not end as it should", f"exit code {code}")
        if desk.totals().in_doubt or desk.totals().sending:
            ground.violate("an old worker left something behind", str(desk.totals()))
        give_version(desk.database, migrations.HEAD)
        finish(ground, relay)
