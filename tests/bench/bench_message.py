"""How long one personal mail takes to build: `python -m tests.bench.bench_message [--dkim]`.

Target: 80 µs for 22 KB. CPU time is what building costs; wall time is that plus whatever else the machine does.
"""

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.support.mails import COMPILED, DATE, builder, reader
from worker.message.build import Built
from worker.message.dkim import Signer, create_key

ROUNDS, BATCH = 15, 400
PARAGRAPH = '<p style="margin: 0 0 16px">Der Pegel steht bei 3 m = 300 cm; Wanderer grüßen am Ufer.</p>\n'
SENTENCE = "Der Pegel steht bei 3 m; Wanderer grüßen am Ufer.\n"


def measure(signed: bool) -> dict[str, float]:
    """Microseconds per mail, medians of the rounds, and its size in octets."""
    compiled = replace(
        COMPILED,
        html=COMPILED.html.replace("</body>", PARAGRAPH * 165 + "</body>"),
        text=COMPILED.text + SENTENCE * 75,
    )
    signer = Signer("letters.example.org", "c1", create_key()) if signed else None
    build = builder(compiled, signer=signer)
    rows = [reader(n=n, address=f"reader{n}@example.org", name=f"Reader {n} Müller") for n in range(1, BATCH + 1)]
    wall, cpu, mails = [], [], []
    with ThreadPoolExecutor(2) as executor:
        for _ in range(3 if signed else ROUNDS):
            began, began_cpu = time.perf_counter(), time.process_time()
            mails = build.build_all(rows, DATE, executor if signed else None)
            wall.append((time.perf_counter() - began) / BATCH * 1e6)
            cpu.append((time.process_time() - began_cpu) / BATCH * 1e6)
    assert all(isinstance(mail, Built) for mail in mails)
    size = len(mails[0].message) if isinstance(mails[0], Built) else 0
    return {
        "cpu_us": round(statistics.median(cpu), 1),
        "wall_us": round(statistics.median(wall), 1),
        "best_wall_us": round(min(wall), 1),
        "octets": size,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dkim", action="store_true", help="sign in two threads")
    sys.stdout.write(json.dumps(measure(parser.parse_args().dkim)) + "\n")
