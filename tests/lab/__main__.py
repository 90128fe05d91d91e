"""`./run lab [--quick|--full] [--seed N] [CASE…]`: hurt a real installation and prove what is left behind.

Exit 1 on any violation. What cannot be injected on this machine is said to be skipped, never to have passed.
"""

import argparse
import sys

import structlog
from rich.console import Console
from rich.table import Table

from tests.lab.cases import FULL, NOT_HERE, QUICK, play
from tests.lab.ground import Sum


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run lab")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="cases", action="store_const", const=QUICK, help="some minutes (default)")
    size.add_argument("--full", dest="cases", action="store_const", const=FULL, help="most of an hour")
    parser.add_argument("--seed", type=int, default=1, help="of kills, leavers and the relay's moods (default 1)")
    parser.add_argument(
        "names", nargs="*", metavar="CASE", help=f"only these: {', '.join(sorted({c.name for c in FULL}))}"
    )
    given = parser.parse_args()
    cases = given.cases or QUICK
    names = {case.name for case in cases}
    if unknown := [name for name in given.names if name not in names]:
        parser.error(f"there is no case {', '.join(unknown)} here; there are: {', '.join(sorted(names))}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # the workers' logs are theirs
    err, total = Console(stderr=True), Sum(skipped=list(NOT_HERE))
    for case in cases:
        if not given.names or case.name in given.names:
            before = len(total.violations)
            took_s = play(case, given.seed, total)
            err.print(f"{case.title}: {len(total.violations) - before or 'no'} violations, {took_s:.0f} s")
    table = Table("what", "figure", "bound")
    for row in total.rows():
        table.add_row(*row)
    err.print(table)
    for violation in total.violations[:50]:
        err.print(f"violated: {violation.what} ({violation.where})", markup=False)
    err.print(f"skipped, because it cannot be done here: {', '.join(total.skipped)}")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
