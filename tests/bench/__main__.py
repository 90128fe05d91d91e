"""`./run bench [CASE...]`: measurements as a table and JSON. Servers are private, on loopback, and end with the run."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import bench_journal, bench_message, bench_path

CASES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "path-pg": bench_path.on_postgresql,
    "path-sqlite": bench_path.on_sqlite,
    "journal": bench_journal.measure,
    "message": lambda _folder, _recipients: {
        "what": "one message built, no DKIM",
        "figure": bench_message.measure(False)["cpu_us"],
        "unit": "us CPU",
        "target": "<= 80",
        **bench_message.measure(False),
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of: {', '.join(CASES)}; none = all")
    parser.add_argument("--recipients", type=int, default=20_000, help="audience of the path cases (default 20000)")
    given = parser.parse_args()
    unknown = [case for case in given.cases if case not in CASES]
    if unknown:
        parser.error(f"there is no case {', '.join(unknown)}; there are: {', '.join(CASES)}")
    results = {}
    for case in given.cases or CASES:
        with tempfile.TemporaryDirectory(prefix="corranto-bench-") as folder:
            Path(folder).chmod(0o755)  # PostgreSQL runs as another user when we are root
            results[case] = CASES[case](Path(folder), given.recipients)
    table = Table("case", "what", "figure", "unit", "target")
    for case, row in results.items():
        table.add_row(case, row["what"], str(row["figure"]), row["unit"], row["target"])
    Console(stderr=True).print(table)
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
