"""The laboratory's case of clocks: those of running workers jump by minutes, days and years, while mails leave."""

import random
from contextlib import ExitStack
from pathlib import Path

from tests.lab.ground import Ground
from tests.lab.runs import bring_forward, done_so_far, history_of, is_over, lab_relay

JUMPS_S = (0.0, 0.0, 120.0, -120.0, 86_400.0, -86_400.0, 31_536_000.0, -31_536_000.0)

JUMPING = """
import sys
from datetime import datetime, timedelta
from worker import clock
from worker.actors import run_worker
from worker.cli.context import open_settings
class Jumping(datetime):
    @classmethod
    def now(cls, tz=None):
        with open({file!r}) as file:
            return datetime.now(tz) + timedelta(seconds=float(file.read()))
clock.datetime = Jumping
sys.exit(run_worker(open_settings(is_process=True)))
"""
"""A worker whose clock is so many seconds off as a file says, now and at any time; only `worker.clock` reads time."""


def clocks_jump(ground: Ground) -> None:
    """Two workers' clocks jump by up to a year, there and back: nobody is lost, given up or mailed twice."""
    desk, dice = ground.desk, random.Random(ground.seed)
    offsets = [ground.folder / f"offset{number}" for number in range(2)]
    for offset in offsets:
        set_offset(offset, 0.0)
    desk.readers(ground.size)
    with lab_relay(ground.folder, ground.seed, {"later": 0.3}, delay_s=0.02) as relay, ExitStack() as running:
        for offset in offsets:
            script = JUMPING.format(file=str(offset))
            running.enter_context(desk.worker(script, smtp_url=relay.url, claim_size="200"))
        desk.queue()
        for number in range(10):
            at = ground.size * number // 11  # when it begins is a time that may shift, so the first one has left
            desk.until(lambda at=at: done_so_far(desk) > at or is_over(desk), "mails leave")
            # With a database that has a clock of its own, a worker whose clock is wrong stands still: never both.
            right = dice.randrange(2)
            set_offset(offsets[right], 0.0 if ground.cluster else dice.choice(JUMPS_S))
            set_offset(offsets[1 - right], dice.choice(JUMPS_S))
        for offset in offsets:
            set_offset(offset, 0.0)
        bring_forward(desk)
        history = history_of(desk, relay)
    ground.judge(history)
    for state in ("expired", "in_doubt", "failed"):
        if history.counters.get(state):
            ground.violate(f"a clock that jumps made copies {state}", str(history.counters[state]))


def set_offset(offset: Path, seconds: float) -> None:
    made = offset.with_suffix(".new")
    made.write_text(str(seconds))
    made.replace(offset)
