"""Writing what became of a claim's rows: once, under the claim's id, with the counters in the same transaction."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    DateTime,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    Update,
    bindparam,
    case,
    column,
    delete,
    func,
    literal,
    select,
    update,
)

from worker.domain.delivery import ClaimKind, DeliveryState, Reason
from worker.storage.engine import database_now
from worker.storage.ledger import claims
from worker.storage.ledger.claims import Claim
from worker.storage.schema import claim, delivery, reply


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one row: the state to store, and the columns that state requires."""

    n: int
    """The row's number in the issue."""
    old: DeliveryState
    """The stored state it has to be in still."""
    state: DeliveryState
    reason: Reason | None = None
    code: int | None = None
    """The reply's three digits (RFC 5321 4.2); None when no reply came."""
    enhanced: str | None = None
    """The reply's status code (RFC 3463)."""
    provider: str | None = None
    next_try: datetime | None = None
    """When a deferred row may be claimed again, aware UTC."""
    first_try: datetime | None = None
    """When it was first put off: the time to try counts from here."""
    tried: int = 1
    """How much `tries` grows: 0 for a row that never was handed over (skipped)."""
    fingerprint: bytes | None = None
    """Of a copy in doubt: 8 octets over what it was built from, so that a repeat can be proven to be the same."""
    phase: str = ""
    """Where in the dialogue the reply came."""
    text: str = ""
    """The relay's words, escaped; kept for non-2xx."""


_GIVEN: dict[str, Any] = {
    "n": Integer,
    "old": Text,
    "state": Text,
    "reason": Text,
    "code": SmallInteger,
    "enhanced": Text,
    "provider": Text,
    "next_try": DateTime(timezone=True),
    "first_try": DateTime(timezone=True),
    "fingerprint": LargeBinary,
    "tried": SmallInteger,
}
"""The fields of a result that an UPDATE needs, with the types PostgreSQL is told."""


def settle(conn: Connection, held: Claim, owner: str, results: Sequence[Result], *, again: bool = False) -> int | None:
    """Write the results of one claim: rows that still are its own, its `left`, the shard's counters.

    Returns rows written, or None when the claim is not ours any more (we were taken for dead, and must not settle).
    `again` says that an earlier try may have been committed without our learning of it: what it wrote is left out.
    """
    left = conn.execute(
        select(claim.c.left).where(claim.c.id == held.id, claim.c.owner == owner).with_for_update()
    ).scalar()
    if left is None:
        return None
    if again:
        numbers = [result.n for result in results]
        still = set(conn.execute(select(delivery.c.n).where(claims.rows_of(held), delivery.c.n.in_(numbers))).scalars())
        results = [result for result in results if result.n in still]
    if not results:
        return 0
    write = _settle_at_once if conn.dialect.name == "postgresql" else _settle_each
    written = write(conn, held, results)
    if written != len(results):
        raise AssertionError(f"claim {held.id}: {written} of {len(results)} rows were still its own")
    moves: dict[tuple[DeliveryState, DeliveryState], int] = defaultdict(int)
    for result in results:
        moves[result.old, result.state] += 1
    if left == written:
        conn.execute(delete(claim).where(claim.c.id == held.id))
    else:
        conn.execute(update(claim).where(claim.c.id == held.id).values(left=claim.c.left - written))
    _keep_replies(conn, held, results)
    claims.move_counts(conn, held.issue_id, held.shard_no, dict(moves))
    return written


def _update_at_once(kind: ClaimKind) -> Update:
    """PostgreSQL: one statement, whose rows come as one array a column.

    Made once a kind: to put it together and to look it up again would cost more than its execution.
    """
    arrays = [bindparam(f"b_{name}", type_=ARRAY(each)) for name, each in _GIVEN.items()]
    new = func.unnest(*arrays).table_valued(*(column(*field) for field in _GIVEN.items())).render_derived("new").c
    in_doubt, deferred = new.state == DeliveryState.IN_DOUBT, new.state == DeliveryState.DEFERRED
    return (
        update(delivery)
        # The claim's range is part of it: without it a young table's statistics make PostgreSQL read the whole issue.
        .where(claims.rows_of_parameters(kind), delivery.c.n == new.n, delivery.c.state == new.old)
        .values(
            {name: new[name] for name in ("state", "reason", "code", "enhanced", "provider", "next_try", "first_try")}
        )
        .values(
            at=database_now(),
            tries=delivery.c.tries + new.tried,
            # A repeat that is put off still has to come out as the same message, and one lost again keeps its Date.
            fingerprint=case((deferred, delivery.c.fingerprint), else_=new.fingerprint),
            claim=case((in_doubt, bindparam("held_id", type_=delivery.c.claim.type))),
            claimed_at=case(
                (in_doubt, _first_date(bindparam("held_claimed_at", type_=delivery.c.claimed_at.type))),
                (deferred, delivery.c.claimed_at),
            ),
            doubts=delivery.c.doubts + case((in_doubt, 1), else_=0),
        )
    )


def _first_date(claimed_at: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """The Date of the copy that first went in doubt: this claim's, or what a repeat was dated."""
    return func.coalesce(delivery.c.claimed_at, claimed_at)


_AT_ONCE = {kind: _update_at_once(kind) for kind in ClaimKind}


def _settle_at_once(conn: Connection, held: Claim, results: Sequence[Result]) -> int:
    arrays = {f"b_{name}": [getattr(result, name) for result in results] for name in _GIVEN}
    return conn.execute(_AT_ONCE[held.kind], {**arrays, **claims.parameters(held)}).rowcount


def _settle_each(conn: Connection, held: Claim, results: Sequence[Result]) -> int:
    """SQLite: one statement a state, executed row by row."""
    written = 0
    kinds: dict[DeliveryState, list[Result]] = defaultdict(list)
    for result in results:
        kinds[result.state].append(result)
    for state, batch in kinds.items():
        extra: dict[str, Any] = {"claim": None, "claimed_at": None}
        if state is DeliveryState.IN_DOUBT:
            date = _first_date(literal(held.claimed_at, delivery.c.claimed_at.type))
            extra = {"claim": held.id, "claimed_at": date, "doubts": delivery.c.doubts + 1}
        elif state is DeliveryState.DEFERRED:
            extra = {"claim": None, "fingerprint": delivery.c.fingerprint}
        given = [name for name in _GIVEN if name in delivery.c and name not in ("n", *extra)]
        statement = (
            update(delivery)
            .where(
                claims.rows_of(held),
                delivery.c.n == bindparam("b_n"),
                delivery.c.state == bindparam("b_old"),
            )
            .values(
                **{name: bindparam(f"b_{name}", type_=delivery.c[name].type) for name in given},
                at=database_now(),
                tries=delivery.c.tries + bindparam("b_tried"),
                **extra,
            )
        )
        rows = [{f"b_{name}": getattr(result, name) for name in ("n", "old", "tried", *given)} for result in batch]
        written += conn.execute(statement, rows).rowcount
    return written


def _keep_replies(conn: Connection, held: Claim, results: Iterable[Result]) -> None:
    rows = [
        {
            "issue_id": held.issue_id,
            "n": result.n,
            "b_n": result.n,
            "phase": result.phase[:12],
            "code": result.code,
            "enhanced": result.enhanced,
            "text": result.text,
        }
        for result in results
        if result.text and result.state is not DeliveryState.ACCEPTED
    ]
    if not rows:
        return
    tries = (
        select(delivery.c.tries)
        .where(delivery.c.issue_id == held.issue_id, delivery.c.n == bindparam("b_n"))
        .scalar_subquery()
    )
    conn.execute(reply.insert().values(at=database_now(), try_no=tries), rows)
