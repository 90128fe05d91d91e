"""Writing what became of a claim's rows: once, under the claim's id, with the counters in the same transaction."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, literal, select, text, update

from worker.domain.delivery import DeliveryState
from worker.storage.engine import database_now
from worker.storage.ledger import claims
from worker.storage.ledger.claims import Claim
from worker.storage.schema import claim, delivery, reply


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one row: the state to store, and the columns that state requires."""

    n: int
    old: DeliveryState
    state: DeliveryState
    reason: str | None = None
    code: int | None = None
    enhanced: str | None = None
    provider: str | None = None
    next_try: datetime | None = None
    first_try: datetime | None = None
    tried: int = 1
    """How much `tries` grows: 0 for a row that never was handed over (skipped)."""
    fingerprint: bytes | None = None
    phase: str = ""
    text: str = ""
    """The relay's words, escaped; kept for non-2xx."""


_SETTLE_POSTGRESQL = text(
    """
    UPDATE delivery AS d SET
      state = v.state, reason = v.reason, code = v.code, enhanced = v.enhanced, provider = v.provider,
      next_try = v.next_try, first_try = v.first_try, at = now(),
      fingerprint = CASE WHEN v.state = 'deferred' THEN d.fingerprint ELSE v.fingerprint END,
      tries = d.tries + v.tried,
      claim = CASE WHEN v.state = 'in_doubt' THEN CAST(:claim AS bigint) END,
      claimed_at = CASE WHEN v.state = 'in_doubt' THEN COALESCE(d.claimed_at, CAST(:claimed_at AS timestamptz))
                        WHEN v.state = 'deferred' THEN d.claimed_at END,
      doubts = d.doubts + CASE WHEN v.state = 'in_doubt' THEN 1 ELSE 0 END
    FROM unnest(CAST(:n AS int[]), CAST(:old AS text[]), CAST(:state AS text[]), CAST(:reason AS text[]),
                CAST(:code AS smallint[]), CAST(:enhanced AS text[]), CAST(:provider AS text[]),
                CAST(:next_try AS timestamptz[]), CAST(:first_try AS timestamptz[]), CAST(:fingerprint AS bytea[]),
                CAST(:tried AS smallint[]))
      AS v(n, old, state, reason, code, enhanced, provider, next_try, first_try, fingerprint, tried)
    WHERE d.issue_id = :issue_id AND d.n = v.n AND d.state = v.old
      -- The claim's own range: without it a young table's statistics make the planner read the whole issue.
      AND d.n BETWEEN :from_n AND :to_n
      AND (CASE WHEN CAST(:kind AS text) = 'first' THEN d.claim IS NULL AND d.next_try IS NULL
                ELSE d.claim = :claim END)
    """
)


def settle(conn: Connection, held: Claim, owner: str, results: Sequence[Result], *, again: bool = False) -> int | None:
    """Write the results of one claim: rows that still are its own, its `left`, the shard's counters.

    Returns rows written, or None when the claim is not ours any more (we were taken for dead, and must not settle).
    `again` says that an earlier try may have been committed without our learning of it: what it wrote is left out.
    """
    mine = conn.execute(
        select(claim.c.left).where(claim.c.id == held.id, claim.c.owner == owner).with_for_update()
    ).scalar()
    if mine is None:
        return None
    if again:
        numbers = [result.n for result in results]
        still = set(conn.execute(select(delivery.c.n).where(claims.rows_of(held), delivery.c.n.in_(numbers))).scalars())
        results = [result for result in results if result.n in still]
    if not results:
        return 0
    if conn.dialect.name == "postgresql":
        written = _settle_postgresql(conn, held, results)
    else:
        written = _settle_each(conn, held, results)
    if written != len(results):
        raise AssertionError(f"claim {held.id}: {written} of {len(results)} rows were still its own")
    moves: dict[tuple[DeliveryState, DeliveryState], int] = defaultdict(int)
    for result in results:
        moves[result.old, result.state] += 1
    if mine == written:
        conn.execute(delete(claim).where(claim.c.id == held.id))
    else:
        conn.execute(update(claim).where(claim.c.id == held.id).values(left=claim.c.left - written))
    _keep_replies(conn, held, results)
    claims.move_counts(conn, held.issue_id, held.shard_no, dict(moves))
    return written


def _settle_postgresql(conn: Connection, held: Claim, results: Sequence[Result]) -> int:
    columns = ("n", "code", "enhanced", "provider", "next_try", "first_try", "fingerprint", "tried", "reason")
    values: dict[str, Any] = {name: [getattr(result, name) for result in results] for name in columns}
    values["old"] = [str(result.old) for result in results]
    values["state"] = [str(result.state) for result in results]
    done = conn.execute(
        _SETTLE_POSTGRESQL,
        {
            **values,
            "issue_id": held.issue_id,
            "from_n": held.from_n,
            "to_n": held.to_n,
            "claim": held.id,
            "claimed_at": held.claimed_at,
            "kind": held.kind,
        },
    )
    return done.rowcount


def _settle_each(conn: Connection, held: Claim, results: Sequence[Result]) -> int:
    guard = [
        delivery.c.issue_id == held.issue_id,
        delivery.c.n == bindparam("b_n"),
        delivery.c.state == bindparam("b_old"),
    ]
    if held.kind == "first":
        guard += [delivery.c.claim.is_(None), delivery.c.next_try.is_(None)]
    else:
        guard.append(delivery.c.claim == held.id)
    names = ("state", "reason", "code", "enhanced", "provider", "next_try", "first_try", "fingerprint")
    written = 0
    kinds: dict[DeliveryState, list[Result]] = defaultdict(list)
    for result in results:
        kinds[result.state].append(result)
    for state, batch in kinds.items():
        extra: dict[str, Any] = {"claim": None, "claimed_at": None}
        if state is DeliveryState.IN_DOUBT:
            claimed_at = func.coalesce(delivery.c.claimed_at, literal(held.claimed_at, delivery.c.claimed_at.type))
            extra = {"claim": held.id, "claimed_at": claimed_at, "doubts": delivery.c.doubts + 1}
        elif state is DeliveryState.DEFERRED:
            # A repeat that is put off still has to come out as the same message.
            extra = {"claim": None, "fingerprint": delivery.c.fingerprint}
        given = [name for name in names if name not in extra]
        statement = (
            update(delivery)
            .where(*guard)
            .values(
                **{name: bindparam(f"b_{name}", type_=delivery.c[name].type) for name in given},
                at=database_now(),
                tries=delivery.c.tries + bindparam("b_tried"),
                **extra,
            )
        )
        rows = [
            {"b_n": r.n, "b_old": str(r.old), "b_tried": r.tried, **{f"b_{name}": getattr(r, name) for name in given}}
            for r in batch
        ]
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
