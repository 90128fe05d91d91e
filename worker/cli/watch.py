"""Watching an issue: a live view on a terminal, a line every ten seconds elsewhere."""

import sys
from collections.abc import Callable

from rich.live import Live

from worker import clock
from worker.cli.context import Ledger
from worker.cli.output import hint, say
from worker.dispatch import orders
from worker.dispatch.nudger import Nudger, open_broker
from worker.dispatch.progress import Progress, later_tries, observe
from worker.domain.issue import IssueState
from worker.errors import CorrantoError
from worker.quantities import count
from worker.screen import progress
from worker.screen.instants import When
from worker.screen.keyboard import Keys
from worker.screen.sentences import word
from worker.screen.terminal import err_console

EVERY_S = 0.5
LINE_EVERY_S = 10.0
WITH_PROBLEMS = 6

_OVER = (IssueState.FINISHED, IssueState.CANCELLED, IssueState.DRAFT)
STOPPED = (IssueState.PAUSED, IssueState.HELD_LATE)
_HELP = "  [p] pause or resume  [c] cancel  [q] stop watching, sending goes on"


def is_over(seen: Progress) -> bool:
    """Nothing of the issue will leave any more."""
    return seen.issue.state in _OVER


def needs_nobody_here(seen: Progress) -> bool:
    """Over, stopped until somebody decides, or down to tries that come in minutes or days: nothing to wait for."""
    return is_over(seen) or seen.issue.state in STOPPED or seen.only_later_tries


def watch(ledger: Ledger, issue_id: int, *, until: Callable[[Progress], bool] = is_over) -> int:
    """Until the issue is over (or `until`), or q. Returns the exit code: 0, or 6 when somebody should look."""
    first = observe(ledger.database, ledger.settings, issue_id)
    last = _watch_terminal(ledger, first, until) if sys.stderr.isatty() else _watch_lines(ledger, first, until)
    if last.issue.state in STOPPED and until(last):
        hint(f"corranto issue show {last.issue.slug}")
        return WITH_PROBLEMS
    if last.only_later_tries and until(last):
        _tell_later_tries(ledger, last)
        return WITH_PROBLEMS
    if not is_over(last):
        return 0
    return WITH_PROBLEMS if last.totals.to_check or not last.totals.adds_up else 0


def _tell_later_tries(ledger: Ledger, last: Progress) -> None:
    left = later_tries(ledger.database, ledger.settings, last.issue.id)
    if left is None:
        return  # tried between two looks
    zone = last.issue.zone
    say(
        f"{count(left.copies, 'copy was', 'copies were')} put off by the relay. Workers go on by themselves: the next "
        f"try is on {When(left.next_at, zone).spell()}, the last until {When(left.last_at, zone).spell()}."
    )
    hint(f"corranto issue watch {last.issue.slug}")


def _watch_lines(ledger: Ledger, first: Progress, until: Callable[[Progress], bool]) -> Progress:
    seen, said_at = first, clock.monotonic()
    say(progress.render_line(first, clock.utcnow()))
    with Keys() as keys:
        while not until(seen):
            keys.read(EVERY_S)
            before, seen = seen, observe(ledger.database, ledger.settings, seen.issue.id, seen)
            if seen.issue.state != before.issue.state or clock.monotonic() - said_at >= LINE_EVERY_S:
                say(progress.render_line(seen, clock.utcnow()))
                said_at = clock.monotonic()
    return seen


def _watch_terminal(ledger: Ledger, first: Progress, until: Callable[[Progress], bool]) -> Progress:
    seen, note, sure = first, "", False
    with Keys() as keys, Live(console=err_console(), auto_refresh=False) as screen:
        while True:
            shown = progress.render(seen, clock.utcnow())
            done = until(seen)
            if not done and keys.is_open:
                shown.append(f"\n{note or _HELP}", style="dim")
            screen.update(shown, refresh=True)
            if done:
                return seen
            key = keys.read(EVERY_S)
            if key == "q":
                screen.update(progress.render(seen, clock.utcnow()), refresh=True)  # without the help
                return seen
            if key in ("p", "c"):
                note, sure = _obey(ledger, seen, key, sure=sure and key == "c")
            elif key:
                note, sure = "", False
            seen = observe(ledger.database, ledger.settings, seen.issue.id, seen)


def _obey(ledger: Ledger, seen: Progress, key: str, *, sure: bool) -> tuple[str, bool]:
    """Carry out a key. Returns what to show instead of the help, and whether c was pressed once."""
    slug = seen.issue.slug
    if key == "c" and not sure:
        return "  Cancel for good? Press c again; any other key goes on.", True
    try:
        if key == "c":
            orders.cancel(ledger.database, ledger.settings, slug, ledger.actor)
        elif seen.issue.state is IssueState.PAUSED:
            orders.resume(ledger.database, Nudger(open_broker(ledger.database, ledger.settings)), slug, ledger.actor)
        else:
            orders.pause(ledger.database, ledger.settings, slug, ledger.actor)
    except CorrantoError as error:
        return f"  {word(error)}", False
    return "", False
