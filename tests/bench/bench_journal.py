"""What the journal costs a mail: arm, answer and free of one slot, in a real file. Target: 3 % of the whole path."""

import statistics
import time
from pathlib import Path
from typing import Any

from worker import clock
from worker.journal.own import Journal

ROUNDS, MAILS = 7, 20_000
PATH_CPU_US = 200.0
"""CPU of a worker per mail on the whole path, without the journal, as `path-pg` shows it."""


def measure(folder: Path, _recipients: int) -> dict[str, Any]:
    """CPU microseconds per mail, the median of the rounds; what a slot is made of is computed too."""
    kept = Journal(folder, "bench", slots=4_096)
    rounds = []
    try:
        for claim in range(1, ROUNDS + 1):
            began = time.process_time()
            for n in range(1, MAILS + 1):
                key = claim, n
                kept.arm(key, 2525, clock.utcnow().timestamp(), b"12345678")
                kept.answer(key, "alb", 250, "2.0.0")
                kept.free([key])
            rounds.append((time.process_time() - began) / MAILS * 1e6)
    finally:
        kept.close()
    cost = statistics.median(rounds)
    return {
        "what": "journal, one mail's two records",
        "figure": round(cost, 2),
        "unit": "us CPU",
        "target": f"<= {PATH_CPU_US * 0.03:.0f} (3 %)",
        "share_percent": round(100 * cost / PATH_CPU_US, 2),
    }
