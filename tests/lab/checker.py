"""What must hold between a relay's log, the ledger and the answers to opt-outs, whatever was killed meanwhile. Pure.

In: one History. Out: every violation, each with the copy it is about. Nothing is believed: the ledger's words are held
against what the relay wrote down before each of its replies. Invariants I1-I12, R1, R2, O1.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

TERMINAL = frozenset({"accepted", "bounced", "failed", "skipped", "cancelled", "expired", "in_doubt"})
OPEN = frozenset({"waiting", "deferred"})


@dataclass(frozen=True)
class Said:
    """One reply that the relay wrote down before it gave it."""

    at: float
    """Monotonic seconds, the same clock in every process of the machine."""
    phase: str
    """mail, rcpt, body; body also for a line that was cut instead of a reply, with code 0."""
    rcpt: str
    code: int
    message_id: str = ""
    """Of a body."""
    text: str = ""


@dataclass(frozen=True)
class Row:
    """One copy as the ledger has it at the end."""

    n: int
    address: str
    state: str
    tries: int
    reason: str | None = None
    doubts: int = 0


@dataclass(frozen=True)
class OptOut:
    """A reader's press: when it was answered, and whether the answer said that a copy may be on its way."""

    address: str
    answered_at: float
    took_s: float = 0.0
    may_be_on_its_way: bool = False
    was_in_flight: bool = False
    """Whether a worker held this reader's copy when the wish came, so that the answer had to wait for it."""


@dataclass(frozen=True)
class Kill:
    """One process that was killed."""

    doubts: int
    """Copies that it left in doubt."""
    recovered_s: float
    """Until nothing was held by it any more."""


@dataclass(frozen=True)
class History:
    """All that one run left behind."""

    said: Sequence[Said]
    rows: Sequence[Row]
    counters: Mapping[str, int]
    """The kept ones, by state."""
    audience: int
    issue_state: str
    connections: int = 10
    kills: Sequence[Kill] = ()
    opt_outs: Sequence[OptOut] = ()
    repeats: bool = False
    """Whether a copy in doubt may be repeated once (never-miss)."""
    slowest_recovery_s: float = 10.0
    is_spoiled: bool = False
    """Whether lines to the relay lose what was written: a body may have left here and never come there."""
    is_restored: bool = False
    """Whether the ledger is an older copy, put back: what had begun since is in doubt, however many that are."""
    orders: int = 0
    """Times that an editor had copies sent again."""


@dataclass(frozen=True)
class Violation:
    """What does not hold, and where."""

    what: str
    where: str


@dataclass
class _Copy:
    taken: list[Said] = field(default_factory=list)
    refused: list[Said] = field(default_factory=list)
    bodies: list[Said] = field(default_factory=list)


def check(history: History) -> list[Violation]:
    """Every violation, in no order that matters."""
    copies: dict[str, _Copy] = defaultdict(_Copy)
    for said in history.said:
        copy = copies[said.rcpt]
        if said.phase == "body":
            copy.bodies.append(said)
        if said.phase == "body" and 200 <= said.code < 300:
            copy.taken.append(said)
        elif said.code >= 400:
            copy.refused.append(said)
    return [
        *_rows(history),
        *_counted(history),
        *(violation for row in history.rows for violation in _row(row, copies[row.address], history)),
        *_strangers(history, copies),
        *_ids(history, copies),
        *_left(history, copies),
        *_killed(history),
    ]


def _rows(history: History) -> Iterator[Violation]:
    for address, count in Counter(row.address for row in history.rows).items():
        if count > 1:
            yield Violation("two rows of one reader", address)
    for n, count in Counter(row.n for row in history.rows).items():
        if count > 1:
            yield Violation("two rows of one number", str(n))
    if {row.n for row in history.rows} != set(range(1, history.audience + 1)):
        yield Violation("numbers are missing, or beyond the audience", str(history.audience))


def _counted(history: History) -> Iterator[Violation]:
    states = Counter(row.state for row in history.rows)
    if sum(states.values()) != history.audience:
        yield Violation("the states do not sum to the audience", str(sum(states.values())))
    for state in {*states, *history.counters}:
        if states.get(state, 0) != history.counters.get(state, 0):
            yield Violation("a counter differs from its rows", state)
    is_over = all(row.state in TERMINAL for row in history.rows)
    if history.issue_state == "finished" and not is_over:
        yield Violation("finished with open rows", history.issue_state)
    if history.issue_state == "sending" and is_over and len(history.rows) == history.audience:
        yield Violation("all is over and it is not finished", history.issue_state)


def _row(row: Row, copy: _Copy, history: History) -> Iterator[Violation]:
    where = f"n {row.n}"
    if row.state in OPEN and history.issue_state == "finished":
        yield Violation("nobody sent it, and nobody will", where)
    if row.state == "accepted" and not copy.taken:
        yield Violation("accepted, and the relay never took it", where)
    if copy.taken and row.state not in ("accepted", "in_doubt", "bounced"):
        yield Violation("the relay took it, and the ledger does not know", where)
    allowed = 1 + history.orders + (min(row.doubts, 1) if history.repeats else 0)
    if len(copy.taken) > allowed:
        yield Violation("taken more often than allowed", where)
    if row.state in ("accepted", "bounced") and row.tries < 1:
        yield Violation("a result without a try", where)
    if len(copy.bodies) > max(row.tries, 1) + 1:
        yield Violation("more bodies than tries", where)
    if row.state == "bounced" and not any(_blames_reader(said) for said in copy.refused):
        yield Violation("blamed for what the relay did not say of them", where)
    may_be_lost = history.is_spoiled or row.reason in ("host_lost", "worker_lost")
    if row.state == "in_doubt" and not copy.bodies and not may_be_lost:
        yield Violation("in doubt without a body", where)
    if row.state == "in_doubt" and row.doubts < 1:
        yield Violation("in doubt and not counted", where)


def _blames_reader(said: Said) -> bool:
    return 500 <= said.code < 600 and said.phase in ("rcpt", "body") and " 5.7" not in f" {said.text}"


def _strangers(history: History, copies: Mapping[str, _Copy]) -> Iterator[Violation]:
    known = {row.address for row in history.rows}
    for address, copy in copies.items():
        if address not in known and (copy.bodies or copy.taken):
            yield Violation("a mail to somebody who is not in the audience", address)


def _ids(history: History, copies: Mapping[str, _Copy]) -> Iterator[Violation]:
    readers: dict[str, set[str]] = defaultdict(set)
    for address, copy in copies.items():
        ids = {said.message_id for said in copy.bodies if said.message_id}
        for each in ids:
            readers[each].add(address)
        if len(ids) > 1 and not history.orders:
            yield Violation("two Message-IDs of one copy", address)
        if any(not said.message_id for said in copy.taken):
            yield Violation("a mail without Message-ID", address)
    for each, whose in readers.items():
        if len(whose) > 1:
            yield Violation("one Message-ID for two readers", each)


def _left(history: History, copies: Mapping[str, _Copy]) -> Iterator[Violation]:
    rows = {row.address: row for row in history.rows}
    for out in history.opt_outs:
        late = [said for said in copies[out.address].bodies if said.at > out.answered_at]
        if late and not out.may_be_on_its_way:
            yield Violation("a copy after the opt-out was answered", out.address)
        if len(late) > 1:
            yield Violation("two copies after the opt-out was answered", out.address)
        row = rows.get(out.address)
        if row is not None and row.state in OPEN and history.issue_state == "finished":
            yield Violation("left, and still waiting", out.address)


def _killed(history: History) -> Iterator[Violation]:
    for number, kill in enumerate(history.kills, 1):
        if kill.doubts > history.connections:
            yield Violation("more in doubt than connections", f"kill {number}: {kill.doubts}")
        if kill.recovered_s > history.slowest_recovery_s:
            yield Violation("recovered too slowly", f"kill {number}: {kill.recovered_s:.1f} s")
    lost = sum(row.state == "in_doubt" and row.reason == "worker_lost" for row in history.rows)
    if lost > len(history.kills) * history.connections and not history.is_restored:
        yield Violation("more copies lost with workers than they can have had", str(lost))
