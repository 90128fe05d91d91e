"""`demo --pull-the-plug`: a worker is killed while readers get their mail, one of them leaves, and the sum is taken.

Nothing is asserted: what is said at the end is counted from the mails that the sink really has, against the ledger.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.text import Text

from worker import clock, log, settings
from worker.consent.readers import show_reader
from worker.demo.place import FOLDER, SAMPLES, hold
from worker.demo.seed import ACTOR, seed
from worker.demo.show import GRACE_S
from worker.demo.stage import STUCK_S, Ended, Stage, ask
from worker.dispatch.progress import Progress
from worker.dispatch.queue import prepare, queue_issue
from worker.domain.delivery import DeliveryState, DoubtPolicy, SkipReason
from worker.domain.issue import Issue, IssueState
from worker.errors import UnreachableError
from worker.operations.deliveries import DeliveryRow, list_copies
from worker.operations.report import build
from worker.operations.verify import prove
from worker.quantities import count
from worker.screen.layout import paragraph
from worker.screen.proof import render_proof
from worker.screen.terminal import clean
from worker.sink.mailbox import Mailbox
from worker.storage.engine import Database
from worker.supervisor import Member, Tree
from worker.tokens import Keyring, Purpose, Token

READERS = 2_000
PLACE = FOLDER.with_name("demo-plug")
ISSUE = SAMPLES / "2026-11-statement.md"

SLOW_S = 0.08
"""How long the sink takes with each mail, so that one can watch: eight at a time are two thousand in twenty seconds."""
STOPPED = 130  # 128 + SIGINT, as shells count: whoever calls it must not take it for proof
LANES = 4
LEAVES_AT, PULLED_AT = 0.2, 0.5
"""When it happens, as a share of the readers."""

_MEMBERS = (Member("sink", is_last=True), Member("web"), Member("scheduler"))
_WORKERS = tuple(Member(f"worker-{n}", command="worker") for n in (1, 2, 3))


@dataclass
class Counted:
    """The sink's mails against the ledger, reader by reader."""

    lost: list[DeliveryRow] = field(default_factory=list)
    """The ledger says accepted, or nothing that is over, and the sink has no mail."""
    twice: list[DeliveryRow] = field(default_factory=list)
    arrived: list[DeliveryRow] = field(default_factory=list)
    """In doubt, and the sink has the mail."""
    missing: list[DeliveryRow] = field(default_factory=list)
    """In doubt, and it has none."""
    left: list[DeliveryRow] = field(default_factory=list)
    wrong: int = 0
    """Mails to somebody who is left out, or not in the ledger."""
    once: int = 0

    @property
    def adds_up(self) -> bool:
        return not (self.lost or self.twice or self.wrong)


def compare(copies: Counter[str], rows: list[DeliveryRow]) -> Counted:
    """Pure: how many mails each address has, and what the ledger says of it."""
    found, known = Counted(), set()
    for row in rows:
        number = copies[row.address or ""]
        known.add(row.address or "")
        if number > 1:
            found.twice.append(row)
        if row.state == DeliveryState.IN_DOUBT:
            (found.arrived if number else found.missing).append(row)
        elif row.state == DeliveryState.SKIPPED and row.reason == SkipReason.OPTED_OUT:
            found.left.append(row)
            found.wrong += number
        elif row.state == DeliveryState.ACCEPTED and number:
            found.once += 1
        else:
            found.lost.append(row)
    found.wrong += sum(number for address, number in copies.items() if address not in known)
    return found


def run(folder: Path, port: int | None) -> int:
    """Play it; 0 when it adds up, else 1, or STOPPED before the end. Raises RefusedError, UnreachableError."""
    with hold(folder, fresh=True, web_port=port) as place:
        environment = {**place.environment, "CORRANTO_SMTP_CONNECTIONS": str(LANES), "CORRANTO_CLAIM_SIZE": "200"}
        own = settings.load(environment)
        log.configure(own.log_format, "critical")
        show = _Show(place, own, Tree((*_MEMBERS, *_WORKERS[:2]), environment, grace_s=GRACE_S, log_dir=place.logs))
        try:
            return show.run()
        except Ended:
            show.console.print("\nstopped: nothing was counted", style="dim")
            return STOPPED
        finally:
            show.end()


class _Show(Stage):
    """The play, in its order."""

    def run(self) -> int:
        self.console.print(Text.assemble(("Corranto: pull the plug", "bold")))
        self._say(
            f"{READERS:,} invented readers are sent one mail each, by two programs side by side. One reader leaves "
            "meanwhile, and one of the programs is killed. It takes about forty seconds. All of it runs on this "
            "computer; nothing leaves it."
        )
        self.console.print()
        database, _ = self.open()
        self.tree.start()
        seed(database, self.settings, self.place.folder, READERS, slow_s=SLOW_S)
        self.wait_ready()
        issue = self._queue(database)
        self._tell("The mails begin to leave.")
        self._follow(database, issue, LEAVES_AT)
        self._leave(database, issue)
        self._follow(database, issue, PULLED_AT)
        self.tree.kill(_WORKERS[0].name)
        self._tell("One of the two programs is killed, in the middle of its work.")
        self.tree.add(_WORKERS[2])
        self._tell("A new one is started in its place.")
        self._follow(database, issue, 1.0)
        self._tell("All is over.")
        return self._conclude(database, issue)

    def _queue(self, database: Database) -> Issue:
        prepared = prepare(database, self.settings, ISSUE)
        return queue_issue(
            database,
            self.settings,
            prepared,
            due_at=None,
            zone="UTC",
            hold_s=0,
            doubt=DoubtPolicy.NEVER_TWICE,
            actor=ACTOR,
        ).issue

    def _follow(self, database: Database, issue: Issue, share: float) -> None:
        """Until that share of the mails is dealt with; the whole means until the issue is finished."""
        with self.console.status("") as shown:
            for seen in self.watch(database, issue, stuck_s=STUCK_S):
                if _is_there(seen, share):
                    return
                shown.update(f"{seen.done:,} of {READERS:,}")

    def _leave(self, database: Database, issue: Issue) -> None:
        """The reader whose turn is last presses the button of a mail program, as RFC 8058 has it."""
        # On a machine that is busy with something else all may be claimed by now; a claimed one can still be withheld.
        waiting = [
            row for state in ("waiting", "sending") for row in reversed([*list_copies(database, issue.id, state)])
        ]
        last = next((row for row in waiting if row.name.isascii()), waiting[0])
        theirs = show_reader(database, last.address or "").subscriptions
        here = next(one for one in theirs if one.publication_id == issue.publication_id)
        token = Keyring(self.settings.keys).sign(Token(Purpose.UNSUBSCRIBE, here.id, here.generation, issue.id))
        began = clock.monotonic()
        status, _ = ask("127.0.0.1", self.settings.web_port, f"/u/{token}", "POST")
        took_s = clock.monotonic() - began
        if status != 200:
            raise UnreachableError("demo.no_way_out", status=status)
        when = ", before the mail has left" if last.state == DeliveryState.WAITING else ""
        self._tell(f"{last.name} presses Unsubscribe{when}. Answered in {took_s:.2f} s: done.")

    def _conclude(self, database: Database, issue: Issue) -> int:
        rows = list(list_copies(database, issue.id))
        found = compare(_copies(Mailbox(self.settings.state_dir / "sink")), rows)
        proof = prove(database, self.settings.state_dir)
        good = found.adds_up and proof.adds_up
        self.console.print("\nWhat arrived, counted mail by mail, against our books:\n")
        self.console.print(
            Text("\n".join(line.text for line in paragraph(_sum(found, good=good), first="  ", rest="  "))),
            style="bold green" if good else "bold red",
        )
        self.console.print()
        self._say(f"{found.once:,} readers have their mail, once.")
        doubts = [*found.arrived, *found.missing]
        if doubts:
            self._say(
                f"In doubt: the killed program was handing {count(len(doubts), 'mail')} over, and the answer died "
                "with it. Corranto names these readers, guesses nothing, and sends no second mail unless the "
                f"editor says so. Counted here: {len(found.arrived)} arrived, {len(found.missing)} did not."
            )
        quiet = build(database, issue.id).silence
        if found.left:
            self._say(
                "Left out: from the press on, no mail was handed over."
                if not quiet.late
                else f"From the press to silence: {quiet.longest_s:.1f} s."
            )
        for line in render_proof(proof):
            self._say(line.text)
        return 0 if good else 1

    def _tell(self, text: str) -> None:
        now = clock.utcnow().astimezone()
        for line in paragraph(clean(text), first=f"  {now:%H:%M:%S}  ", rest=" " * 12):
            self.console.print(line.text, highlight=False)

    def _say(self, text: str) -> None:
        for line in paragraph(text, first="  ", rest="  "):
            self.console.print(line.text, highlight=False)


def _is_there(seen: Progress, share: float) -> bool:
    if share >= 1.0:
        return seen.issue.state is IssueState.FINISHED
    return not seen.counting and seen.done >= READERS * share


def _sum(found: Counted, *, good: bool) -> str:
    doubts = [row.name or f"number {row.n}" for row in (*found.arrived, *found.missing)]
    named = f": {', '.join(doubts)}" if doubts else ""
    left = "".join(f": opted out at {_local(row.left_at)}" for row in found.left[:1])
    end = "adds up ✓" if good else "DOES NOT ADD UP"
    wrong = f" · {found.wrong} to somebody who should have none" if found.wrong else ""
    return (
        f"{len(found.lost)} lost · {len(found.twice)} twice{wrong} · {len(doubts)} in doubt{named} · "
        f"{len(found.left)} left out{left} · {end}"
    )


def _local(at: datetime | None) -> str:
    return f"{at.astimezone():%H:%M:%S}" if at is not None else "?"


def _copies(mailbox: Mailbox) -> Counter[str]:
    """Mails by address, all pages."""
    counted: Counter[str] = Counter()
    number = pages = 1
    while number <= pages:
        page = mailbox.page(number)
        pages, number = page.pages, number + 1
        counted.update(address for entry in page.entries for address in entry.rcpts)
    return counted
