"""Issues: rows, states, totals. Every change of state names the state it expects."""

import difflib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, ScalarSelect, and_, exists, func, or_, select, update

from worker.domain.delivery import DeliveryState, DoubtPolicy, Totals
from worker.domain.issue import AudienceKind, Issue, IssueKind, IssueState, WaitReason
from worker.errors import NotFoundError, Remedy
from worker.storage.engine import database_now
from worker.storage.ledger import deliveries
from worker.storage.schema import claim, compiled_issue, delivery, figure, issue, publication, shard

_NO_WAIT = {"nudge_at": None, "wait_reason": WaitReason.NONE, "wait_detail": ""}

TO_SWEEP = {**_NO_WAIT, "unswept": True}
"""With a move to cancelled: the tick sweeps until no copy of the issue is in flight any more."""

AHEAD_S = 60.0
"""What is noted of the past and lies further ahead than this was noted before a clock was set back."""

_COLUMNS = [issue.c[name] for name in Issue.__dataclass_fields__]


def _issue(row: RowMapping) -> Issue:
    values = dict(row)
    values["kind"] = IssueKind(values["kind"])
    values["state"] = IssueState(values["state"])
    values["doubt"] = DoubtPolicy(values["doubt"])
    values["wait_reason"] = WaitReason(values["wait_reason"])
    return Issue(**values)


def get(conn: Connection, ref: str | int) -> Issue:
    """By slug, id, or `latest` (last queued). Raises NotFoundError naming near slugs."""
    query = select(*_COLUMNS)
    if ref == "latest":
        query = query.order_by(issue.c.queued_at.desc(), issue.c.id.desc()).limit(1)
    elif isinstance(ref, int):
        query = query.where(issue.c.id == ref)
    else:
        query = query.where(issue.c.slug == ref)
    row = conn.execute(query).mappings().first()
    if row is None and isinstance(ref, str) and ref.isdecimal() and int(ref[:20]) < 2**31:
        row = conn.execute(select(*_COLUMNS).where(issue.c.id == int(ref))).mappings().first()
    if row is not None:
        return _issue(row)
    if ref == "latest":
        raise NotFoundError("issue.none_yet", remedy=Remedy.CREATE)
    near = difflib.get_close_matches(str(ref), slugs(conn), n=3)
    raise NotFoundError("issue.unknown", ref=str(ref), near=near)


def find(conn: Connection, slug: str) -> Issue | None:
    row = conn.execute(select(*_COLUMNS).where(issue.c.slug == slug)).mappings().first()
    return None if row is None else _issue(row)


def slugs(conn: Connection) -> list[str]:
    return list(conn.execute(select(issue.c.slug).order_by(issue.c.id)).scalars())


def get_locked(conn: Connection, ref: str | int) -> Issue:
    """Like `get`, and its state stays until this transaction ends: for whoever opens rows again."""
    issue_id = get(conn, ref).id
    conn.execute(select(issue.c.id).where(issue.c.id == issue_id).with_for_update())
    return get(conn, issue_id)


def list_issues(conn: Connection, states: Iterable[IssueState] | None = None) -> list[Issue]:
    """Newest first; all of them, or those in the given states."""
    query = select(*_COLUMNS).order_by(issue.c.queued_at.desc(), issue.c.id.desc())
    if states is not None:
        query = query.where(issue.c.state.in_([str(state) for state in states]))
    return [_issue(row) for row in conn.execute(query).mappings()]


def insert(conn: Connection, **values: Any) -> int:  # noqa: ANN401 - the columns of `issue`
    """A new row, or the undone draft of the same slug taken up again. Returns its id."""
    draft = conn.execute(
        select(issue.c.id).where(issue.c.slug == values["slug"], issue.c.state == IssueState.DRAFT).with_for_update()
    ).scalar()
    if draft is None:
        return int(conn.execute(issue.insert().values(**values).returning(issue.c.id)).scalar_one())
    conn.execute(figure.delete().where(figure.c.issue_id == draft))
    conn.execute(compiled_issue.delete().where(compiled_issue.c.issue_id == draft))
    reset = {"started_at": None, "finished_at": None, "stopped_reason": "", "plan_cursor": None, "plan_until": None}
    conn.execute(update(issue).where(issue.c.id == draft).values(**{**reset, **values}))
    return int(draft)


def set_content(conn: Connection, issue_id: int, *, fingerprint: str, body: str, figures: list[dict[str, str]]) -> None:
    """Freeze what compiling made."""
    conn.execute(update(issue).where(issue.c.id == issue_id).values(fingerprint=fingerprint))
    conn.execute(compiled_issue.insert().values(issue_id=issue_id, fingerprint=fingerprint, body=body))
    if figures:
        conn.execute(figure.insert(), [{"issue_id": issue_id, **row} for row in figures])


def compiled_body(conn: Connection, issue_id: int) -> str:
    """The CompiledIssue's JSON."""
    return str(conn.execute(select(compiled_issue.c.body).where(compiled_issue.c.issue_id == issue_id)).scalar_one())


def publication_slug(conn: Connection, publication_id: int) -> str:
    return str(conn.execute(select(publication.c.slug).where(publication.c.id == publication_id)).scalar_one())


def move(conn: Connection, issue_id: int, old: Iterable[IssueState], new: IssueState, **columns: Any) -> bool:  # noqa: ANN401
    """Change the state if it is one of `old`; whether it was."""
    done = conn.execute(
        update(issue)
        .where(issue.c.id == issue_id, issue.c.state.in_([str(state) for state in old]))
        .values(state=new, **columns)
    )
    return done.rowcount == 1


def totals(conn: Connection, issue_id: int) -> Totals:
    """From kept counters only: shards hold stored states, owned claims say how many of them are being sent."""

    # One statement, so that no settlement falls between the counters and the claims.
    def sending(of_state: DeliveryState) -> ScalarSelect[int]:
        left = select(func.coalesce(func.sum(claim.c.left), 0))
        return left.where(
            claim.c.issue_id == issue_id, claim.c.owner.is_not(None), claim.c.of_state == of_state
        ).scalar_subquery()

    sums = conn.execute(
        select(
            func.coalesce(func.sum(shard.c.to_n - shard.c.from_n + 1), 0),
            sending(DeliveryState.WAITING),
            sending(DeliveryState.DEFERRED),
            *(func.coalesce(func.sum(shard.c[str(state)]), 0) for state in DeliveryState),
        ).where(shard.c.issue_id == issue_id)
    ).one()
    audience, first, again, *stored = (int(value) for value in sums)
    counts = {str(state): value for state, value in zip(DeliveryState, stored, strict=True)}
    counts[DeliveryState.WAITING] -= first
    counts[DeliveryState.DEFERRED] -= again
    return Totals(audience=audience, sending=first + again, **counts)


def due_to_hold(conn: Connection, grace: timedelta) -> tuple[list[int], list[int]]:
    """Scheduled issues whose time came: moved to holding, or to held_late when missed by more than `grace`."""
    now_value = conn.execute(select(database_now())).scalar_one()
    due = conn.execute(
        select(issue.c.id, issue.c.due_at, issue.c.hold_s)
        .where(issue.c.state == IssueState.SCHEDULED, issue.c.due_at <= now_value)
        .with_for_update(skip_locked=True)
    ).all()
    held, late = [], []
    for issue_id, due_at, hold_s in due:
        if now_value - due_at > grace:
            text = f"missed its time by {_spell(now_value - due_at)}"
            move(conn, issue_id, [IssueState.SCHEDULED], IssueState.HELD_LATE, stopped_reason=text)
            late.append(issue_id)
        else:
            until = now_value + timedelta(seconds=hold_s)
            move(conn, issue_id, [IssueState.SCHEDULED], IssueState.HOLDING, hold_until=until)
            held.append(issue_id)
    return held, late


def _spell(span: timedelta) -> str:
    minutes = int(span.total_seconds()) // 60
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def start_held(conn: Connection) -> list[int]:
    """Issues whose hold is over: moved to sending, to be planned. One statement; any process may run it."""
    rows = conn.execute(
        update(issue)
        .where(issue.c.state == IssueState.HOLDING, issue.c.hold_until <= database_now())
        .values(
            state=IssueState.SENDING,
            started_at=database_now(),
            last_progress_at=database_now(),
            plan_cursor=0,
            plan_until=None,
            stopped_reason="",
        )
        .returning(issue.c.id)
    )
    return [int(row.id) for row in rows]


def start_at_once(conn: Connection, issue_id: int) -> None:
    """Move an issue that waits for its time to sending, to be planned: it had begun when the database was younger."""
    conn.execute(
        update(issue)
        .where(
            issue.c.id == issue_id,
            issue.c.state.in_([IssueState.HOLDING, IssueState.SCHEDULED, IssueState.HELD_LATE]),
        )
        .values(
            state=IssueState.SENDING,
            started_at=database_now(),
            last_progress_at=database_now(),
            plan_cursor=0,
            plan_until=None,
            stopped_reason="",
        )
    )


def finish_done(conn: Connection) -> list[int]:
    """Sending issues that are planned, with no open row and no claim: moved to finished.

    A never-miss row in its first doubt awaits its repeat, so its issue is not finished yet. Claims need not be asked:
    a row being sent still is stored waiting or deferred, and the shards' counters say so.
    """
    open_rows = (
        select(func.coalesce(func.sum(shard.c.waiting + shard.c.deferred), 0))
        .where(shard.c.issue_id == issue.c.id)
        .scalar_subquery()
    )
    awaits_repeat = exists().where(delivery.c.issue_id == issue.c.id, deliveries.awaits_repeat())
    done = and_(
        issue.c.state == IssueState.SENDING,
        issue.c.plan_cursor.is_(None),
        open_rows == 0,
        or_(issue.c.doubt != DoubtPolicy.NEVER_MISS, ~awaits_repeat),
    )
    likely = conn.execute(select(issue.c.id).where(done).with_for_update(skip_locked=True)).scalars().all()
    # Asked again under the lock: an editor's retry may have opened rows since the first query began.
    rows = conn.execute(
        update(issue)
        .where(issue.c.id.in_(likely), done)
        .values(state=IssueState.FINISHED, finished_at=database_now(), **_NO_WAIT)
        .returning(issue.c.id)
    )
    return [int(row.id) for row in rows]


def cancelled_unswept(conn: Connection) -> list[int]:
    """Cancelled issues in which a copy may have been in flight: what comes back of it unsent is to be cancelled."""
    rows = conn.execute(select(issue.c.id).where(issue.c.unswept))
    return [int(row.id) for row in rows]


def note_swept(conn: Connection, issue_id: int) -> None:
    """A cancelled issue that nobody holds a claim of any more needs no sweep."""
    held = exists().where(claim.c.issue_id == issue_id)
    conn.execute(update(issue).where(issue.c.id == issue_id, ~held).values(unswept=False))


def bump_nudge(conn: Connection, issue_id: int) -> int:
    """A new nudge number: nudges with an older one are dropped when they arrive."""
    return int(
        conn.execute(
            update(issue)
            .where(issue.c.id == issue_id)
            .values(nudge_no=issue.c.nudge_no + 1, last_nudged_at=database_now(), **_NO_WAIT)
            .returning(issue.c.nudge_no)
        ).scalar_one()
    )


def wait_until(conn: Connection, issue_id: int, seconds: float, reason: WaitReason, detail: str = "") -> None:
    """Nothing of this issue may be sent for `seconds`: the tick nudges it then."""
    at = conn.execute(select(database_now())).scalar_one() + timedelta(seconds=seconds)
    conn.execute(
        update(issue)
        .where(issue.c.id == issue_id, issue.c.state == IssueState.SENDING)
        .values(nudge_at=at, wait_reason=reason, wait_detail=detail)
    )


def touch_claimed(conn: Connection, issue_id: int) -> None:
    """Note that a claim was made, at most once a second: the tick looks for issues without one.

    A nudge in the same second says as much, and has cleared the wait as well.
    """
    conn.execute(
        update(issue)
        .where(issue.c.id == issue_id, issue.c.state == IssueState.SENDING)
        .where(_is_old(issue.c.last_claim_at, 1), _is_old(issue.c.last_nudged_at, 1))
        .values(last_claim_at=database_now(), **_NO_WAIT)
    )


def touch_progress(conn: Connection, issue_id: int) -> None:
    """Note that results were settled, at most once a second."""
    conn.execute(
        update(issue)
        .where(issue.c.id == issue_id)
        .where(_is_old(issue.c.last_progress_at, 1))
        .values(last_progress_at=database_now())
    )


def _is_old(noted_at: ColumnElement[Any], seconds: float) -> ColumnElement[bool]:
    return or_(noted_at.is_(None), noted_at < database_now(-seconds), noted_at > database_now(AHEAD_S))


def without_nudge(conn: Connection, quiet_s: float) -> list[tuple[int, bool]]:
    """(issue, still planning) of sending issues that need a nudge now.

    Either their nudge_at has come, or they had neither claim nor nudge for `quiet_s` although rows are claimable (or
    unplanned). Waiting for a later try counts for nothing when another copy is due before it.
    """
    is_due = and_(delivery.c.next_try <= database_now(), delivery.c.claim.is_(None))
    claimable = or_(
        exists().where(shard.c.issue_id == issue.c.id, shard.c.next_n <= shard.c.to_n),
        exists().where(claim.c.issue_id == issue.c.id, claim.c.owner.is_(None)),
        exists().where(delivery.c.issue_id == issue.c.id, is_due),
    )
    is_quiet = and_(_is_old(issue.c.last_claim_at, quiet_s), _is_old(issue.c.last_nudged_at, quiet_s))
    planning = issue.c.plan_cursor.is_not(None)
    rows = conn.execute(
        select(issue.c.id, planning).where(
            issue.c.state == IssueState.SENDING,
            or_(
                issue.c.nudge_at <= database_now(),
                issue.c.nudge_at > database_now(deliveries.LONGEST_WAIT_S),
                and_(
                    or_(issue.c.nudge_at.is_(None), issue.c.wait_reason == WaitReason.LATER_TRIES),
                    or_(
                        and_(planning, issue.c.last_progress_at < database_now(-quiet_s)),
                        and_(is_quiet, claimable),
                    ),
                ),
            ),
        )
    )
    return [(int(issue_id), bool(plans)) for issue_id, plans in rows]


def audience_kind(conn: Connection, issue_id: int) -> tuple[AudienceKind, int | None]:
    row = conn.execute(select(issue.c.audience_kind, issue.c.audience_of).where(issue.c.id == issue_id)).one()
    return AudienceKind(row.audience_kind), row.audience_of


def is_anything_open(conn: Connection) -> bool:
    """Whether time or a crash may still bring something about: an unfinished issue, or a cancel to be swept after."""
    quiet = [str(state) for state in (IssueState.DRAFT, IssueState.FINISHED, IssueState.CANCELLED)]
    return bool(conn.execute(select(exists().where(or_(issue.c.state.not_in(quiet), issue.c.unswept)))).scalar())
