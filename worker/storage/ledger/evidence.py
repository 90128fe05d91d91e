"""Evidence about copies in doubt: what it may move, and where to. Nothing that was settled otherwise meanwhile.

A copy in doubt keeps the id of the claim that lost it; a journal names that id, and touches no row without it. A report
names the copy.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, literal, select, update

from worker.domain.delivery import BounceKind, DeliveryState, DoubtReason
from worker.domain.issue import IssueState
from worker.storage.engine import database_now
from worker.storage.ledger import claims, issues
from worker.storage.schema import delivery, issue, reply, shard

_OPEN = (IssueState.SENDING, IssueState.PAUSED, IssueState.FINISHED)


def in_doubt_since(conn: Connection, issue_id: int, claim_id: int, from_n: int, to_n: int) -> list[int]:
    """Numbers of the copies that are in doubt because a claim's host was taken for dead."""
    return list(
        conn.execute(
            select(delivery.c.n)
            .where(
                delivery.c.issue_id == issue_id,
                delivery.c.n.between(from_n, to_n),
                delivery.c.state == DeliveryState.IN_DOUBT,
                delivery.c.reason == DoubtReason.HOST_LOST,
                delivery.c.claim == claim_id,
            )
            .order_by(delivery.c.n)
        ).scalars()
    )


def state_of(conn: Connection, issue_id: int, n: int) -> DeliveryState | None:
    """In which state a copy is stored; None when there is no such copy."""
    query = select(delivery.c.state).where(delivery.c.issue_id == issue_id, delivery.c.n == n)
    state = conn.execute(query).scalar()
    return None if state is None else DeliveryState(state)


def keep_words(conn: Connection, issue_id: int, n: int, enhanced: str | None, text: str) -> None:
    """What a copy was settled by, as its newest words; `enhanced` is a status code (RFC 3463) or None."""
    row = (delivery.c.issue_id == issue_id, delivery.c.n == n)
    tries = select(delivery.c.tries).where(*row).scalar_subquery()
    words = {"try_no": tries, "at": database_now(), "phase": "report", "enhanced": enhanced, "text": text}
    conn.execute(reply.insert().values(issue_id=issue_id, n=n, **words))
    if enhanced is not None:
        conn.execute(update(delivery).where(*row).values(enhanced=enhanced))


def resolve(
    conn: Connection,
    issue_id: int,
    claim_id: int | None,
    numbers: Sequence[int],
    to: DeliveryState,
    bounced: BounceKind = BounceKind.AT_HANDOVER,
) -> int:
    """Move copies in doubt on: accepted, bounced, or waiting, which is due now. Returns how many.

    Only while their claim is the one named; None stands for any. A waiting one of an issue that was finished sets it
    back to sending; of a cancelled issue nothing is reopened.
    """
    if not numbers:
        return 0
    state = conn.execute(select(issue.c.state).where(issue.c.id == issue_id).with_for_update()).scalar()
    if to is DeliveryState.WAITING and state not in _OPEN:
        return 0
    columns: dict[str, Any] = {"state": to, "at": database_now(), "claim": None, "reason": None}
    if to is DeliveryState.WAITING:
        # It never left: no copy to repeat, so a new Date and no try.
        columns |= {"next_try": database_now(), "claimed_at": None, "fingerprint": None}
        columns |= {"doubts": delivery.c.doubts - 1, "tries": delivery.c.tries - 1, "first_try": None}
    elif to is DeliveryState.BOUNCED:
        columns["reason"] = bounced
    done = 0
    shards = conn.execute(
        select(shard.c.no, shard.c.from_n, shard.c.to_n)
        .where(shard.c.issue_id == issue_id, shard.c.from_n <= max(numbers), shard.c.to_n >= min(numbers))
        .order_by(shard.c.no)
    ).all()
    for no, from_n, to_n in shards:
        mine = [n for n in numbers if from_n <= n <= to_n]
        if not mine:
            continue
        is_still = delivery.c.state == DeliveryState.IN_DOUBT
        if claim_id is not None:
            is_still = and_(is_still, delivery.c.claim == claim_id)
        moved = conn.execute(
            update(delivery).where(delivery.c.issue_id == issue_id, delivery.c.n.in_(mine), is_still).values(**columns)
        ).rowcount
        claims.move_counts(conn, issue_id, no, {(DeliveryState.IN_DOUBT, to): moved})
        done += moved
    if done and to is DeliveryState.WAITING:
        issues.move(conn, issue_id, [IssueState.FINISHED], IssueState.SENDING, finished_at=None)
    return done


def doubt_begun(conn: Connection, issue_id: int, ranges: Sequence[tuple[int, int]], claim_id: int, why: str) -> int:
    """Copies that had begun, and of which a restored database does not know the end, are in doubt. Returns how many.

    Only rows that could be sent again; each keeps `why` as its last words. No fingerprint: nothing proves a repeat.
    """
    done = 0
    shards = conn.execute(
        select(shard.c.no, shard.c.from_n, shard.c.to_n)
        .where(shard.c.issue_id == issue_id)
        .order_by(shard.c.no)
        .with_for_update()
    ).all()
    for no, from_n, to_n in shards:
        for first, last in ranges:
            if last < from_n or first > to_n:
                continue
            inside = delivery.c.n.between(max(first, from_n), min(last, to_n))
            for state in (DeliveryState.WAITING, DeliveryState.DEFERRED):
                here = (delivery.c.issue_id == issue_id, inside, delivery.c.state == state)
                number = (delivery.c.issue_id, delivery.c.n, delivery.c.tries + 1)
                words = select(*number, database_now(), literal("body"), literal(why)).where(*here)
                conn.execute(reply.insert().from_select(["issue_id", "n", "try_no", "at", "phase", "text"], words))
                moved = conn.execute(
                    update(delivery)
                    .where(*here)
                    .values(
                        state=DeliveryState.IN_DOUBT,
                        reason=DoubtReason.WORKER_LOST,
                        at=database_now(),
                        claim=claim_id,
                        claimed_at=database_now(),
                        next_try=None,
                        fingerprint=None,
                        code=None,
                        enhanced=None,
                        doubts=delivery.c.doubts + 1,
                        tries=delivery.c.tries + 1,
                    )
                ).rowcount
                claims.move_counts(conn, issue_id, no, {(state, DeliveryState.IN_DOUBT): moved})
                done += moved
        claims.recount_released(conn, issue_id, no)
        claims.skip_to(conn, issue_id, no, min(max(last for _, last in ranges), to_n))
    return done
