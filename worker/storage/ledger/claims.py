"""Claims: which worker holds which rows. The claim commits first; its id is the epoch every later write names.

Locks: who has a claim goes claim, deliveries, shard; who makes one or cancels begins elsewhere, and ARCHITECTURE.md
("Locks and their order") says why none of them waits in a circle.
Which rows a claim holds: `rows_of` one at hand, `rows_of_parameters` one given later, `holds_row` one in its table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)

from worker.domain.delivery import ClaimKind, DeliveryState, DoubtReason
from worker.domain.issue import IssueState
from worker.storage.engine import database_now
from worker.storage.schema import claim, delivery, issue, shard


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on rows of one shard, as it was when claimed; the row in the table goes on changing."""

    id: int
    """The epoch: never used again, so a write that names it comes from this holder or touches nothing."""
    issue_id: int
    shard_no: int
    kind: ClaimKind
    """Whether it holds a range or single rows."""
    from_n: int
    to_n: int
    """First and last number, both included; of a retry claim only the rows between that carry its id."""
    left: int
    """Rows without a result when it was made. Settlements count the table's own down; at 0 the claim ends."""
    of_state: DeliveryState
    """The stored state of all its rows, to which a release returns them."""
    claimed_at: datetime
    """The Date of the mails built under it. The database's clock, aware UTC."""


_UNTOUCHED = and_(delivery.c.next_try.is_(None), delivery.c.claim.is_(None))
"""What marks a range's rows: reopened ones have a next_try, and belong to retry claims."""


def rows_of(held: Claim) -> ColumnElement[bool]:
    """The WHERE that finds a claim's rows which have no result yet."""
    return _rows(held.kind, lambda name: getattr(held, name))


def rows_of_parameters(kind: ClaimKind) -> ColumnElement[bool]:
    """`rows_of` for a statement that is made once: over what `parameters` gives for a claim of that kind."""
    return _rows(kind, lambda name: bindparam(f"held_{name}", type_=claim.c[name].type))


def _rows(kind: ClaimKind, of: Callable[[str], Any]) -> ColumnElement[bool]:
    mark = _UNTOUCHED if kind is ClaimKind.FIRST else delivery.c.claim == of("id")
    return _holds(of("issue_id"), of("from_n"), of("to_n"), of("of_state"), mark)


def parameters(held: Claim) -> dict[str, Any]:
    """The values of `held_id`, `held_issue_id` and so on."""
    return {
        f"held_{name}": getattr(held, name) for name in ("id", "issue_id", "from_n", "to_n", "of_state", "claimed_at")
    }


def holds_row() -> ColumnElement[bool]:
    """Whether a row of `claim` holds a row of `delivery`: `rows_of`, written between the two tables."""
    mark = or_(
        and_(claim.c.kind == ClaimKind.FIRST, _UNTOUCHED),
        and_(claim.c.kind == ClaimKind.RETRY, delivery.c.claim == claim.c.id),
    )
    return _holds(claim.c.issue_id, claim.c.from_n, claim.c.to_n, claim.c.of_state, mark)


def _holds(issue_id: Any, from_n: Any, to_n: Any, of_state: Any, mark: ColumnElement[bool]) -> ColumnElement[bool]:  # noqa: ANN401 - values or columns
    return and_(delivery.c.issue_id == issue_id, delivery.c.n.between(from_n, to_n), delivery.c.state == of_state, mark)


def claim_first(conn: Connection, issue_id: int, owner: str, size: int) -> Claim | None:
    """Up to `size` rows of a released range, else the next up to `size` numbers of a shard. None without any left.

    Shards that another worker is settling are passed over first, and waited for only when all of them are.
    """
    if not _is_sending(conn, issue_id):
        return None
    released = conn.execute(
        select(claim)
        .where(claim.c.issue_id == issue_id, claim.c.owner.is_(None))
        .order_by(claim.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if released is not None:
        to_n = _shorten(conn, _claim(released._mapping), size)
        return _insert_first(conn, issue_id, released.shard_no, released.from_n, to_n, owner)
    open_shards = (
        select(shard.c.no, shard.c.next_n, shard.c.to_n)
        .where(shard.c.issue_id == issue_id, shard.c.next_n <= shard.c.to_n)
        .order_by(shard.c.no)
        .limit(1)
    )
    free = conn.execute(open_shards.with_for_update(skip_locked=True)).first()
    if free is None:
        free = conn.execute(open_shards.with_for_update()).first()
    if free is None:
        return None
    to_n = min(free.next_n + size - 1, free.to_n)
    conn.execute(update(shard).where(shard.c.issue_id == issue_id, shard.c.no == free.no).values(next_n=to_n + 1))
    return _insert_first(conn, issue_id, free.no, free.next_n, to_n, owner)


def _shorten(conn: Connection, released: Claim, size: int) -> int:
    """Take the first `size` rows out of a released range; the rest stays released. Returns the last number taken.

    A range claimed under a wide rate must not be taken whole under a narrow one.
    """
    if released.left <= size:
        conn.execute(delete(claim).where(claim.c.id == released.id))
        return released.to_n
    rows = select(delivery.c.n).where(rows_of(released)).order_by(delivery.c.n)
    last = int(conn.execute(rows.offset(size - 1).limit(1)).scalar_one())
    rest = {"from_n": last + 1, "left": claim.c.left - size}
    conn.execute(update(claim).where(claim.c.id == released.id).values(**rest))
    return last


def claim_retry(conn: Connection, issue_id: int, owner: str, size: int) -> Claim | None:
    """Rows whose next_try has come, of one shard and one stored state, one by one. None when none is due."""
    if not _is_sending(conn, issue_id):
        return None
    due = and_(delivery.c.issue_id == issue_id, delivery.c.next_try <= database_now(), delivery.c.claim.is_(None))
    first = conn.execute(
        select(delivery.c.n, delivery.c.state, shard.c.no, shard.c.from_n, shard.c.to_n)
        .join(shard, and_(shard.c.issue_id == issue_id, delivery.c.n.between(shard.c.from_n, shard.c.to_n)))
        .where(due)
        .order_by(delivery.c.next_try)
        .limit(1)
    ).first()
    if first is None:
        return None
    numbers = list(
        conn.execute(
            select(delivery.c.n)
            .where(due, delivery.c.state == first.state, delivery.c.n.between(first.from_n, first.to_n))
            .order_by(delivery.c.n)
            .limit(size)
            .with_for_update(skip_locked=True)
        ).scalars()
    )
    if not numbers:
        return None
    values = {"shard_no": first.no, "kind": ClaimKind.RETRY, "from_n": numbers[0], "to_n": numbers[-1]}
    held = _insert(conn, issue_id, owner, of_state=first.state, left=len(numbers), **values)
    conn.execute(
        update(delivery).where(delivery.c.issue_id == issue_id, delivery.c.n.in_(numbers)).values(claim=held.id)
    )
    return held


class ForgottenError(Exception):
    """Raised when rows have no result that their holder saw committed: the database is an older one."""


def release(conn: Connection, held: Claim, owner: str, most: int | None = None) -> bool:
    """Give back what has no result: a range stays to be taken, single rows lose the claim's id.

    Of a cancelled issue the rows are cancelled instead. Whether the claim still was ours and rows can be sent again.
    Raises ForgottenError when more than `most` are left.
    """
    state = conn.execute(select(issue.c.state).where(issue.c.id == held.issue_id)).scalar()
    left = conn.execute(
        select(claim.c.left).where(claim.c.id == held.id, claim.c.owner == owner).with_for_update()
    ).scalar()
    if left is None:
        return False
    if most is not None and left > most:
        raise ForgottenError(f"claim {held.id}: {left} rows are left, of {most}")
    if state == IssueState.CANCELLED:
        cancel_rows(conn, held)
    elif held.kind is ClaimKind.RETRY:
        conn.execute(update(delivery).where(rows_of(held)).values(claim=None))
    if state == IssueState.CANCELLED or held.kind is ClaimKind.RETRY or left == 0:
        conn.execute(delete(claim).where(claim.c.id == held.id))
    else:
        conn.execute(update(claim).where(claim.c.id == held.id).values(owner=None))
    return int(left) > 0 and state != IssueState.CANCELLED


def cancel_rows(conn: Connection, held: Claim) -> int:
    """A claim's rows without result become cancelled; the shard's counters follow."""
    done = conn.execute(
        update(delivery)
        .where(rows_of(held))
        .values(state=DeliveryState.CANCELLED, at=database_now(), claim=None, next_try=None)
    ).rowcount
    move_counts(conn, held.issue_id, held.shard_no, {(held.of_state, DeliveryState.CANCELLED): done})
    return done


def lose(conn: Connection, held: Claim, reason: DoubtReason) -> int:
    """A dead worker's rows without result become in doubt as a whole, and the claim ends. Returns how many.

    They keep the claim's id and time: only evidence about that claim may move them later.
    """
    gone = conn.execute(delete(claim).where(claim.c.id == held.id, claim.c.owner.is_not(None))).rowcount
    if not gone:
        return 0
    done = conn.execute(
        update(delivery)
        .where(rows_of(held))
        .values(
            state=DeliveryState.IN_DOUBT,
            reason=reason,
            at=database_now(),
            claim=held.id,
            # A repeat that is lost again was dated like the first copy.
            claimed_at=func.coalesce(delivery.c.claimed_at, literal(held.claimed_at, delivery.c.claimed_at.type)),
            next_try=None,
            doubts=delivery.c.doubts + 1,
            tries=delivery.c.tries + 1,
        )
    ).rowcount
    move_counts(conn, held.issue_id, held.shard_no, {(held.of_state, DeliveryState.IN_DOUBT): done})
    return done


def skip_to(conn: Connection, issue_id: int, shard_no: int, last: int) -> None:
    """A shard's numbers up to `last` count as claimed; those that have no result wait as a released range."""
    here = (shard.c.issue_id == issue_id, shard.c.no == shard_no)
    next_n = conn.execute(select(shard.c.next_n).where(*here)).scalar_one()
    if last < next_n:
        return
    rows = _holds(issue_id, next_n, last, DeliveryState.WAITING, _UNTOUCHED)
    if conn.execute(select(func.count()).select_from(delivery).where(rows)).scalar_one():
        held = _insert_first(conn, issue_id, shard_no, next_n, last, owner="")
        conn.execute(update(claim).where(claim.c.id == held.id).values(owner=None))
    conn.execute(update(shard).where(*here).values(next_n=last + 1))


def recount_released(conn: Connection, issue_id: int, shard_no: int) -> None:
    """After rows were taken out of released ranges: their `left` follows, and those without any end."""
    released = conn.execute(
        select(claim)
        .where(claim.c.issue_id == issue_id, claim.c.shard_no == shard_no, claim.c.owner.is_(None))
        .with_for_update()
    ).all()
    for row in released:
        held = _claim(row._mapping)
        left = conn.execute(select(func.count()).select_from(delivery).where(rows_of(held))).scalar_one()
        if not left:
            conn.execute(delete(claim).where(claim.c.id == held.id))
        elif left != held.left:
            conn.execute(update(claim).where(claim.c.id == held.id).values(left=left))


def never_claimed(conn: Connection, issue_id: int) -> list[tuple[int, int]]:
    """First and last number of what no claim has reached yet, shard by shard."""
    rows = select(shard.c.next_n, shard.c.to_n).where(shard.c.issue_id == issue_id, shard.c.next_n <= shard.c.to_n)
    return [(int(next_n), int(to_n)) for next_n, to_n in conn.execute(rows.order_by(shard.c.no))]


def is_owned(conn: Connection, held: Claim, owner: str) -> bool:
    """Whether a claim still is this worker's: not when it was taken for dead."""
    return conn.execute(select(claim.c.owner).where(claim.c.id == held.id)).scalar() == owner


def owned_by(conn: Connection, owners: Sequence[str]) -> list[Claim]:
    """Claims of the given workers, locked, in the order of their shards: the order everybody locks shards in."""
    rows = conn.execute(
        select(claim)
        .where(claim.c.owner.in_(list(owners)))
        .order_by(claim.c.issue_id, claim.c.shard_no, claim.c.id)
        .with_for_update(skip_locked=True)
    )
    return [_claim(row._mapping) for row in rows]


def owned_by_issue(conn: Connection, issue_id: int) -> list[Claim]:
    """An issue's owned claims, locked, in the order of their shards."""
    rows = conn.execute(
        select(claim)
        .where(claim.c.issue_id == issue_id, claim.c.owner.is_not(None))
        .order_by(claim.c.shard_no, claim.c.id)
        .with_for_update()
    )
    return [_claim(row._mapping) for row in rows]


def owners(conn: Connection) -> set[str]:
    """Workers that own a claim now."""
    return set(conn.execute(select(claim.c.owner).where(claim.c.owner.is_not(None)).distinct()).scalars())


def count_owned(conn: Connection, issue_id: int) -> int:
    """Owned claims of an issue: none means nothing of it is in flight."""
    return int(
        conn.execute(
            select(func.count()).select_from(claim).where(claim.c.issue_id == issue_id, claim.c.owner.is_not(None))
        ).scalar_one()
    )


def move_counts(
    conn: Connection, issue_id: int, shard_no: int, moves: dict[tuple[DeliveryState, DeliveryState], int]
) -> None:
    """Shift a shard's kept counters: {(from, to): rows}."""
    change: dict[str, int] = {}
    for (old, new), rows in moves.items():
        change[old] = change.get(old, 0) - rows
        change[new] = change.get(new, 0) + rows
    values = {name: shard.c[name] + by for name, by in change.items() if by}
    if values:
        conn.execute(update(shard).where(shard.c.issue_id == issue_id, shard.c.no == shard_no).values(**values))


def _is_sending(conn: Connection, issue_id: int) -> bool:
    """Unlocked: a pause that commits right after is seen by the check that follows every claim."""
    return conn.execute(select(issue.c.state).where(issue.c.id == issue_id)).scalar() == IssueState.SENDING


def _insert_first(conn: Connection, issue_id: int, shard_no: int, from_n: int, to_n: int, owner: str) -> Claim:
    rows = _holds(issue_id, from_n, to_n, DeliveryState.WAITING, _UNTOUCHED)
    left = conn.execute(select(func.count()).select_from(delivery).where(rows)).scalar_one()
    values = {"shard_no": shard_no, "kind": ClaimKind.FIRST, "from_n": from_n, "to_n": to_n}
    return _insert(conn, issue_id, owner, of_state=DeliveryState.WAITING, left=left, **values)


def _insert(conn: Connection, issue_id: int, owner: str, **values: Any) -> Claim:  # noqa: ANN401 - columns of `claim`
    row = conn.execute(
        claim.insert().values(issue_id=issue_id, owner=owner, claimed_at=database_now(), **values).returning(claim)
    ).one()
    return _claim(row._mapping)


def _claim(row: RowMapping) -> Claim:
    values: dict[str, Any] = dict(row)
    values.pop("owner")
    values["kind"] = ClaimKind(values["kind"])
    values["of_state"] = DeliveryState(values["of_state"])
    return Claim(**values)
