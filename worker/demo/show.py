"""The demo from start to end: prepare, start the tree, send a sample, show the sum, stay until Ctrl-C.

In order: the folder is held; the schema stands; the processes start and warm up while readers are imported; when the
web answers, the sample is queued; its hold can be undone; progress until nothing more leaves now; the sum; the URLs.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

from rich.live import Live
from rich.text import Text

from worker import clock, log, metrics_port, settings
from worker.calling import called
from worker.compose.findings import Level
from worker.demo.place import FOLDER, SAMPLES, Place, announce, hold
from worker.demo.readers import LANGUAGES, MAX_READERS, count_troubles
from worker.demo.seed import ACTOR, Seeded, seed
from worker.demo.stage import STUCK_S, Ended, Stage, near
from worker.dispatch import orders
from worker.dispatch.progress import Progress
from worker.dispatch.queue import prepare, queue_issue
from worker.domain.delivery import DoubtPolicy, Totals
from worker.domain.issue import Issue, IssueState
from worker.errors import CorrantoError, UsageError
from worker.operations.issues import list_issues
from worker.operations.verify import prove
from worker.quantities import count, spell_span
from worker.screen import progress
from worker.screen.keyboard import Keys
from worker.screen.proof import render_proof
from worker.screen.report import equation
from worker.screen.sentences import word
from worker.screen.terminal import clean
from worker.settings import Settings
from worker.storage.engine import Database
from worker.supervisor import Member, Tree

NEWSLETTER, STATEMENT = SAMPLES / "2026-11-members.md", SAMPLES / "2026-11-statement.md"
GRACE_S = 2.0
_MEMBERS = (Member("sink", is_last=True), Member("web"), Member("worker"), Member("scheduler"))


@dataclass(frozen=True)
class DemoOptions:
    """What was asked for on the command line."""

    readers: int
    leaves: bool
    """End after the sum, with 0 or 1."""
    fresh: bool
    port: int | None
    folder: Path


def run(options: DemoOptions) -> int:
    """Run the demo; returns its exit code. Raises RefusedError, UsageError, UnreachableError."""
    if not 1 <= options.readers <= MAX_READERS:
        raise UsageError("demo.recipients", number=options.readers, most=MAX_READERS)
    with hold(options.folder, fresh=options.fresh, web_port=options.port) as place:
        own = settings.load(place.environment)
        log.configure(own.log_format, "warning")
        tree = Tree(_MEMBERS, place.environment, grace_s=GRACE_S, log_dir=place.logs)
        show = _Show(options, place, own, tree)
        try:
            return show.run()
        except Ended:
            return 0
        finally:
            show.end()


class _Show(Stage):
    """The sample issue from start to sum."""

    def __init__(self, options: DemoOptions, place: Place, own: Settings, tree: Tree) -> None:
        super().__init__(place, own, tree)
        self._options = options
        self._took_s: float | None = None

    def run(self) -> int:
        about = f": all of it runs in {near(self.place.folder)}; nothing leaves this computer"
        self.console.print(Text.assemble(("Corranto demo", "bold"), clean(about)))
        database, schema = self.open()
        age = f"created, schema {schema.version}" if self.place.is_new else "as it was left; --fresh starts anew"
        self._row("database", "SQLite", age)
        self._row("broker", "SQL", "in the same database")
        self.tree.start()
        self._row("mail sink", f"127.0.0.1:{self.place.sink_port}", "takes all mail, delivers none")
        seeded = seed(database, self.settings, self.place.folder, self._options.readers)
        self._row("readers", *self._spell_readers(seeded))
        self.wait_ready()
        announce(self.place)
        if self.place.moved:
            self._row("note", "another web port than last time: links in earlier mails do not work")
        issue = self._queue(database)
        last = self._follow(database, issue)
        return self._conclude(database, last)

    def end(self) -> None:
        """As any stage, saying so to who pressed Ctrl-C."""
        if not self._options.leaves and self.tree.asked_by is not None:
            self.console.print("\nstopping", style="dim")
        super().end()

    def _queue(self, database: Database) -> Issue:
        """The newsletter sample, queued unless an earlier run did."""
        known = next((view.issue for view in list_issues(database) if view.issue.slug == NEWSLETTER.stem), None)
        if known is not None:
            self._row("issue", NEWSLETTER.name, f"queued earlier, {known.state}")
            return known
        prepared = prepare(database, self.settings, NEWSLETTER)
        draft = prepared.draft
        lint = f"lint: {count(draft.errors, 'error')}, {count(draft.count(Level.WARN), 'warning')}"
        self._row("issue", NEWSLETTER.name, lint)
        queued = queue_issue(
            database,
            self.settings,
            prepared,
            due_at=None,
            zone=draft.publication.zone,
            hold_s=self.settings.hold_s,
            doubt=DoubtPolicy.NEVER_TWICE,
            actor=ACTOR,
        )
        for warning in queued.warnings:
            self._row("note", word(warning))
        return queued.issue

    def _follow(self, database: Database, issue: Issue) -> Progress:
        """Show hold and sending until nothing more leaves now: copies deferred by the sink are left to their time."""
        self.console.print()
        stuck_s = STUCK_S if self._options.leaves else math.inf  # else somebody watches
        # Transient: what was shown on the way makes room for the sum.
        with Keys() as keys, Live(console=self.console, auto_refresh=False, transient=True) as screen:
            for seen in self.watch(database, issue, stuck_s=stuck_s):
                if seen.issue.started_at is not None:
                    self._took_s = (clock.utcnow() - seen.issue.started_at).total_seconds()
                if _is_still(seen):
                    break
                if self.console.is_terminal:
                    screen.update(_view(seen, can_undo=keys.is_open), refresh=True)
                if keys.read(0.0) == "u" and seen.issue.state is IssueState.HOLDING:
                    orders.undo(database, seen.issue.slug, ACTOR)
        return seen

    def _conclude(self, database: Database, last: Progress) -> int:
        totals = last.totals
        if last.issue.state is IssueState.DRAFT:
            self.console.print("  Undone: nobody was mailed, the issue is a draft again.")
        if totals.audience:
            self.console.print(Text("  ").append_text(progress.bar(totals)).append(_spell_done(last, self._took_s)))
            self.console.print()
        for line in equation(totals) if totals.audience else []:
            self.console.print(f"  {line.text.replace(' adds up', ' ✓ adds up')}", style=line.style or "bold")
        if self._options.leaves:
            return self._verdict(database, last)
        self._show_links(database)
        while True:
            self.step()

    def _verdict(self, database: Database, last: Progress) -> int:
        """0 when the books were proved and mail got through; else 1, saying why."""
        try:
            proof = prove(database, self.settings.state_dir)
        except CorrantoError as error:
            self.console.print(f"  {clean(word(error))}", style="red")
            return 1
        for line in render_proof(proof):
            self.console.print(f"  {line.text}", style=line.style or None)
        good = proof.adds_up and last.totals.adds_up and last.totals.accepted > 0
        return 0 if good and _as_scripted(last.totals, self._options, is_new=self.place.is_new) else 1

    def _show_links(self, database: Database) -> None:
        base = self.place.base_url
        links = {
            "Inbox": (f"{base}/sink", "open a mail and press Unsubscribe"),
            "Readers": (f"{base}/", "what there is, and how to leave"),
            "Health": (f"{base}/readyz", ""),
        }
        if metrics := _metrics(self.settings):
            links["Metrics"] = (metrics, "of the web process; the worker shows its own")
        self.console.print()
        width = max(len(url) for url, _ in links.values()) + 2
        for name, (url, what) in links.items():
            self.console.print(f"  {name:<10} {url:<{width}}{f'← {what}' if what else ''}".rstrip())
        self.console.print(f"\nNext: {self._next_step(database)}", style="bold")
        self.console.print(f"      {self._command()} issue report latest       Ctrl-C stops everything.")

    def _next_step(self, database: Database) -> str:
        """A command that will not be refused: a sample that was not queued yet, or a copy of one."""
        samples = self.place.samples
        statement = samples / STATEMENT.name
        listed = [view.issue for view in list_issues(database)]
        taken = {issue.slug for issue in listed if issue.state is not IssueState.DRAFT}
        if NEWSLETTER.stem not in taken:
            return f"{self._command()} queue {near(samples / NEWSLETTER.name)}"
        if STATEMENT.stem not in taken:
            return (
                f"{self._command()} queue {near(statement)} --hold 5m\n"
                "      Meanwhile leave all newsletters from a mail of the inbox:\n"
                "      the report names that copy skipped."
            )
        numbers = itertools.count(2)
        copy = next(path for n in numbers if (path := statement.with_stem(f"statement-{n}")).stem not in taken)
        return f"cp {near(statement)} {near(copy)}\n      {self._command()} queue {near(copy)} --hold 5m"

    def _command(self) -> str:
        """How to speak to this demo from another terminal in this folder: ./run finds it by itself in its place."""
        if called() != "corranto" and self.place.folder == FOLDER:
            return called()
        return f"CORRANTO_CONFIG={near(self.place.own_config)} {called()}"

    def _spell_readers(self, seeded: Seeded) -> tuple[str, str]:
        if not seeded.added:
            return f"{seeded.readers:,} invented", "from an earlier run"
        troubles = count_troubles(seeded.readers)
        drops = count(troubles.drop, "drops the line", "drop the line")
        hard = f"{troubles.bounce:,} will bounce, {troubles.defer:,} defer, {drops}"
        return f"{seeded.readers:,} in {len(LANGUAGES)} languages", hard

    def _row(self, name: str, what: str, more: str = "") -> None:
        self.console.print(f"  {name:<10} {clean(what):<24} {clean(more)}".rstrip())


def _view(seen: Progress, *, can_undo: bool) -> Text:
    view = progress.render(seen, clock.utcnow())
    if can_undo and seen.issue.state is IssueState.HOLDING:
        view.append("    [press u to undo]", style="dim")
    return view


def _spell_done(last: Progress, took_s: float | None) -> str:
    """197/200 in 6.4 s; 3 to retry."""
    totals = last.totals
    said = f"  {last.done:,}/{totals.audience:,}"
    if took_s is not None:
        said += f" in {took_s:.1f} s" if took_s < 60 else f" in {spell_span(took_s)}"
    return said + (f"; {totals.deferred:,} to retry" if totals.deferred else "")


def _is_still(seen: Progress) -> bool:
    """Nothing will leave in the next moments."""
    totals = seen.totals
    if seen.issue.state is IssueState.SENDING:
        return not seen.counting and totals.audience > 0 and not (totals.waiting or totals.sending)
    return seen.issue.state not in (IssueState.HOLDING, IssueState.SCHEDULED)


def _as_scripted(totals: Totals, options: DemoOptions, *, is_new: bool) -> bool:
    """A first run's sum is known beforehand: the sink refuses, defers and drops exactly as it was told to."""
    if not is_new:
        return True
    ended = (totals.audience, totals.bounced, totals.deferred, totals.in_doubt)
    return ended == (options.readers, *count_troubles(options.readers))


def _metrics(own: Settings) -> str | None:
    """The web process's metrics page, the one that reads the ledger."""
    of_web = (each for each in metrics_port.targets(own.state_dir) if each.role == "web")
    return next((f"http://{each.address}/metrics" for each in of_web), None)
