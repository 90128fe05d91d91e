"""The proof finds what is wrong, by name, and nothing when nothing is."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import ColumnElement, Connection, Table, delete, text, update

from tests.support.ledgers import add_issue, planned_issue, send, settle
from worker.clock import utcnow
from worker.domain.delivery import DeliveryState
from worker.journal.host import host_id
from worker.journal.marks import ClaimLog
from worker.journal.own import HEADER_OCTETS, Journal
from worker.operations import verify
from worker.screen.proof import render_proof
from worker.storage import schema, workers
from worker.storage.engine import Database
from worker.storage.ledger import claims, deliveries, issues
from worker.storage.ledger.proofs import Discrepancy
from worker.storage.ledger.settlements import Result
from worker.storage.schema import (
    claim,
    compiled_issue,
    consent_log,
    delivery,
    figure,
    issue,
    media,
    reply,
    shard,
    subscription,
)


def prove(database: Database, state_dir: Path, issue: str | None = None) -> verify.Proof:
    """The proof without the pause before its second count: nothing happens meanwhile."""
    return verify.prove(database, state_dir, issue, pause=lambda seconds: None)


def accepted(_: int) -> dict[str, object]:
    return {"state": DeliveryState.ACCEPTED, "code": 250, "provider": "other", "fingerprint": b"8 octets"}


def test_verify_proves_an_issue_in_the_middle_of_being_sent(database: Database, tmp_path: Path) -> None:
    # Given
    issue_id = planned_issue(database, 30, shard_size=12)
    send(database, issue_id, accepted, size=5)
    with database.write() as conn:
        claims.claim_first(conn, issue_id, "w1", 4)
        released = claims.claim_first(conn, issue_id, "w1", 4)
        assert released is not None
        claims.release(conn, released, "w1")

    # When
    proof = prove(database, tmp_path)

    # Then
    assert proof.discrepancies == ()
    assert (proof.issues, proof.rows, proof.exit_code) == (1, 30, 0)
    assert render_proof(proof)[0].text.startswith("The books add up: 1 issue, 30 ledger rows")


def _shift_counter(conn: Connection, issue_id: int) -> None:
    conn.execute(update(shard).values(accepted=shard.c.accepted - 1, waiting=shard.c.waiting + 1))


def _forget_rows(conn: Connection, issue_id: int) -> None:
    conn.execute(delete(claim))
    conn.execute(update(shard).values(next_n=shard.c.next_n + 2))


def _drop_a_row(conn: Connection, issue_id: int) -> None:
    conn.execute(delete(delivery).where(delivery.c.n == 20))


def _miscount_a_claim(conn: Connection, issue_id: int) -> None:
    conn.execute(update(claim).values(left=claim.c.left - 1))


def _claim_twice(conn: Connection, issue_id: int) -> None:
    conn.execute(update(shard).values(next_n=shard.c.next_n - 2))
    claims.claim_first(conn, issue_id, "w1", 4)


def _lose_the_owner(conn: Connection, issue_id: int) -> None:
    workers.remove(conn, "w1")


def _orphan_a_retry(conn: Connection, issue_id: int) -> None:
    conn.execute(update(delivery).where(delivery.c.n == 25).values(claim=999, next_try=text("CURRENT_TIMESTAMP")))


def _finish_early(conn: Connection, issue_id: int) -> None:
    conn.execute(update(issue).values(state="finished", finished_at=issue.c.queued_at))


def _lose_the_text(conn: Connection, issue_id: int) -> None:
    conn.execute(delete(compiled_issue))


def _result_without_claim(conn: Connection, issue_id: int) -> None:
    conn.execute(update(shard).values(next_n=1))


@pytest.mark.parametrize(
    ("harm", "where", "what"),
    [
        (_shift_counter, "issue 1, shard 0", "counts 4 accepted, has 5 such rows"),
        (_forget_rows, "from row", "belong to no claim"),
        (_drop_a_row, "issue 1", "has an audience of 30 and 29 rows"),
        (_miscount_a_claim, "claim 2", "says 3 rows left, has 4"),
        (_claim_twice, "issue 1", "claims 2 and 3 hold the same rows"),
        (_lose_the_owner, "claim 2", "belongs to worker w1, which is not known"),
        (_orphan_a_retry, "from row 25", "1 open row belongs to claim 999, which is gone"),
        (_finish_early, "issue 1", "is finished and has 25 open rows"),
        (_lose_the_text, "table issue", "1 row needs a compiled text that is not there"),
        (_result_without_claim, "from row 1", "5 rows with a result and without a claim"),
    ],
)
def test_verify_names_the_discrepancy(
    database: Database, tmp_path: Path, harm: Callable[[Connection, int], None], where: str, what: str
) -> None:
    # Given
    issue_id = planned_issue(database, 30)
    send(database, issue_id, accepted, size=5)
    with database.write() as conn:
        claims.claim_first(conn, issue_id, "w1", 4)

    # When
    with database.write() as conn:
        harm(conn, issue_id)
    proof = prove(database, tmp_path)

    # Then
    assert any(where in each.where and what in each.what for each in proof.discrepancies), proof.discrepancies
    assert proof.exit_code == 1
    assert any(what[:20] in line.text for line in render_proof(proof))


def _insert(table: Table, **values: object) -> Callable[[Connection], object]:
    return lambda conn: conn.execute(table.insert().values(**values))


def _end(conn: Connection, event: str) -> None:
    """One reader left, and another's leaving was written down as something else."""
    conn.execute(update(subscription).values(state="ended", ended_at=utcnow(), ended_by="page"))
    for subscription_id, what in ((1, "ended"), (2, "import_undone"), (3, event)):
        _log(conn, subscription_id, what)


def _log(conn: Connection, subscription_id: int, event: str) -> None:
    conn.execute(
        consent_log.insert().values(
            subscription_id=subscription_id, generation=1, event=event, channel="page", at=utcnow(), evidence=""
        )
    )


def _reply(issue_id: int, n: int) -> Callable[[Connection], object]:
    return _insert(reply, issue_id=issue_id, n=n, try_no=1, at=utcnow(), phase="rcpt", text="550 who?")


def _picture(conn: Connection) -> None:
    for sha256, media_id in (("a" * 64, "kept"), ("b" * 64, "lost")):
        conn.execute(
            figure.insert().values(id=media_id, issue_id=1, media=f"{sha256}.png", alt="", caption="", credit="")
        )
    conn.execute(
        media.insert().values(
            sha256="a" * 64, ext="png", content_type="image/png", title="", data=b"", created_at=utcnow()
        )
    )


@pytest.mark.parametrize(
    ("harm", "where", "what"),
    [
        (lambda conn: conn.execute(update(delivery).where(delivery.c.n == 2).values(issue_id=9)),
         "delivery", "1 row names an issue"),
        (lambda conn: conn.execute(update(delivery).where(delivery.c.n >= 2).values(subscriber_id=delivery.c.n + 90)),
         "delivery", "2 rows name a subscriber"),
        (lambda conn: [_reply(*key)(conn) for key in ((1, 1), (1, 9), (9, 2), (9, 3))],
         "reply", "3 rows name a delivery"),
        (_insert(claim, issue_id=9, shard_no=0, kind="first", from_n=1, to_n=2, left=2, of_state="waiting",
                 claimed_at=utcnow()), "claim", "1 row names an issue"),
        (lambda conn: (_log(conn, 1, "undone"), _log(conn, 99, "undone")),
         "consent_log", "1 row names a subscription"),
        (_picture, "figure", "1 row names a picture"),
        (lambda conn: conn.execute(delete(compiled_issue)), "issue", "1 row needs a compiled text"),
        (lambda conn: _end(conn, "undone"), "subscription", "1 row needs a line of the consent log about their end"),
    ],
)  # fmt: skip
def test_verify_names_the_table_whose_rows_name_what_is_not_there(
    database: Database, tmp_path: Path, harm: Callable[[Connection], None], where: str, what: str
) -> None:
    # Given
    planned_issue(database, 3)
    assert prove(database, tmp_path).adds_up

    # When
    with database.write() as conn:
        harm(conn)

    # Then
    found = [each for each in prove(database, tmp_path).discrepancies if each.where.startswith("table")]
    assert found == [Discrepancy(f"table {where}", f"{what} that is not there")]


@pytest.mark.parametrize("event", ["ended", "import_undone", "erased"])
def test_each_way_a_subscription_ends_is_a_line_about_its_end(database: Database, tmp_path: Path, event: str) -> None:
    planned_issue(database, 3)
    with database.write() as conn:
        _end(conn, event)
    assert prove(database, tmp_path).adds_up


def test_a_draft_needs_no_compiled_text(database: Database, tmp_path: Path) -> None:
    planned_issue(database, 3)
    with database.write() as conn:
        add_issue(conn, 1, "summer", state="draft", plan_cursor=None, started_at=None)
        conn.execute(delete(compiled_issue).where(compiled_issue.c.issue_id == 2))
    assert prove(database, tmp_path).adds_up


@pytest.mark.parametrize(
    ("moved", "what"),
    [(delivery.c.n == 1, "numbers its 3 rows 2 to 9, not 1 to 3"), (delivery.c.n == 3, "numbers its 3 rows 1 to 9")],
)
def test_verify_names_numbers_that_are_not_those_of_the_audience(
    database: Database, tmp_path: Path, moved: ColumnElement[bool], what: str
) -> None:
    planned_issue(database, 3)
    with database.write() as conn:
        conn.execute(update(delivery).where(moved).values(n=9))
    assert any(what in each.what for each in prove(database, tmp_path).discrepancies)


def test_verify_tries_every_rule_of_the_schema_again(sqlite_database: Database, tmp_path: Path) -> None:
    # Given
    planned_issue(sqlite_database, 3)
    with sqlite_database.write() as conn:
        conn.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        conn.execute(update(delivery).where(delivery.c.n == 2).values(state="bounced", reason="opted_out"))
        conn.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")

    # When
    proof = prove(sqlite_database, tmp_path)

    # Then
    broken = {each.what for each in proof.discrepancies if each.where == "table delivery"}
    assert {"1 row against the rule reason", "1 row against the rule known_since"} <= {
        what.replace("ck_delivery_", "") for what in broken
    }


def test_verify_of_one_issue_leaves_the_others_alone(database: Database, tmp_path: Path) -> None:
    # Given
    planned_issue(database, 3)
    with database.write() as conn:
        conn.execute(update(schema.issue).values(audience=9))

    # When / Then
    assert not prove(database, tmp_path, "spring").adds_up
    assert prove(database, tmp_path, "latest").discrepancies == prove(database, tmp_path).discrepancies


def test_verify_misses_the_journal_of_a_process_that_holds_rows(sqlite_database: Database, tmp_path: Path) -> None:
    # Given
    issue_id = planned_issue(sqlite_database, 3)
    host = host_id(tmp_path)
    with sqlite_database.write() as conn:
        workers.register(conn, "w2", host, "here 1")
        claims.claim_first(conn, issue_id, "w2", 3)

    # When
    proof = prove(sqlite_database, tmp_path)

    # Then
    assert [each.what for each in proof.discrepancies] == ["belongs to worker w2, whose journal is missing"]


def _begin(journal: Journal, key: tuple[int, int], verdict: str | None) -> None:
    assert journal.arm(key, 2525, 0.0, None)
    if verdict is not None:
        journal.answer(key, verdict, 250, None)


@pytest.mark.parametrize("has_slot_of_the_claim", [True, False])
def test_verify_holds_what_journals_say_against_the_ledger(
    database: Database, tmp_path: Path, has_slot_of_the_claim: bool
) -> None:
    # Given a worker whose claims are over: what it began is waiting, cancelled, settled, reopened, or was not taken
    issue_id = planned_issue(database, 9)
    journal = Journal(tmp_path, "w9")
    log = ClaimLog(tmp_path)
    with database.write() as conn:
        workers.register(conn, "w9", host_id(tmp_path), "here 1")
        held = claims.claim_first(conn, issue_id, "w9", 9)
        assert held is not None
        assert log.note(held.id, issue_id, (1, 9)) == ""
        if has_slot_of_the_claim:
            assert journal.claim(held.id, issue_id, 1, 9)
    accepted, unsent = "arb", "ulc"
    for n, verdict in ((1, None), (2, accepted), (3, accepted), (4, accepted), (5, unsent), (6, None), (7, accepted)):
        _begin(journal, (held.id, n), verdict)
    journal.disarm((held.id, 6))

    # When it still owns them, all is well; and when they are gone without a trace, it is not
    before = prove(database, tmp_path)
    with database.write() as conn:
        conn.execute(delete(claim))
        for n, values in (
            (3, {"state": DeliveryState.CANCELLED, "at": utcnow()}),
            (4, {"state": DeliveryState.ACCEPTED, "at": utcnow(), "tries": 1, "code": 250, "provider": "other"}),
            (7, {"next_try": utcnow()}),
        ):
            conn.execute(update(delivery).where(delivery.c.n == n).values(**values))
    after = prove(database, tmp_path)
    journal.close()
    log.close()

    # Then
    assert before.discrepancies == ()
    copies = [(each.where, each.what) for each in after.discrepancies if "copy" in each.where]
    assert copies == [
        (f"issue {issue_id}, copy 1", "is waiting, and begun says worker w9"),
        (f"issue {issue_id}, copy 2", "is waiting, and accepted says worker w9"),
        (f"issue {issue_id}, copy 3", "is cancelled, and accepted says worker w9"),
    ]


def test_verify_names_a_journal_that_cannot_be_read(sqlite_database: Database, tmp_path: Path) -> None:
    planned_issue(sqlite_database, 3)
    journal = Journal(tmp_path, "w1")
    with journal.path.open("r+b") as file:
        file.seek(HEADER_OCTETS + 70)
        file.write(b"\xff")
    assert [each.what for each in prove(sqlite_database, tmp_path).discrepancies] == [
        "has a journal of which some cannot be read"
    ]
    journal.close()
    assert prove(sqlite_database, tmp_path).adds_up


def test_what_is_settled_between_two_counts_is_no_discrepancy(sqlite_database: Database, tmp_path: Path) -> None:
    # Given books that are wrong for a moment
    planned_issue(sqlite_database, 3)
    with sqlite_database.write() as conn:
        conn.execute(update(schema.issue).values(audience=9))

    def settle(_seconds: float) -> None:
        with sqlite_database.write() as conn:
            conn.execute(update(schema.issue).values(audience=3))

    # When
    proof = verify.prove(sqlite_database, tmp_path, pause=settle)

    # Then
    assert proof.adds_up


def test_a_proof_of_one_issue_counts_its_rows_alone(database: Database, tmp_path: Path) -> None:
    # Given
    planned_issue(database, 3)
    with database.write() as conn:
        add_issue(conn, issues.get(conn, "spring").publication_id, "summer", plan_cursor=None)

    # When
    proof = prove(database, tmp_path, "summer")

    # Then
    assert proof.as_dict() == {"adds_up": True, "issues": 0, "rows": 0, "discrepancies": []}
    assert (prove(database, tmp_path).rows, prove(database, tmp_path, "spring").rows) == (3, 3)


def test_a_later_try_inside_a_range_that_is_being_sent_is_no_second_copy(database: Database, tmp_path: Path) -> None:
    # Given a range of which two were put off and are tried again while its other copies are on the wire
    issue_id = planned_issue(database, 6)
    with database.write() as conn:
        held = claims.claim_first(conn, issue_id, "w1", 5)
        assert held is not None
    past = utcnow() - timedelta(hours=1)
    put_off = [Result(n, DeliveryState.WAITING, DeliveryState.DEFERRED, next_try=past, first_try=past) for n in (2, 3)]
    settle(database, held, put_off)
    with database.write() as conn:
        assert claims.claim_retry(conn, issue_id, "w1", 5) is not None

    # Then
    assert prove(database, tmp_path).discrepancies == ()

    # When it is cancelled: what is on the wire may still come back
    with database.write() as conn:
        conn.execute(update(issue).values(state="cancelled"))
        deliveries.cancel_open(conn, issue_id)

    # Then
    assert prove(database, tmp_path).discrepancies == ()

    # When nobody holds those any more
    with database.write() as conn:
        conn.execute(delete(claim))

    # Then
    found = [each.what for each in prove(database, tmp_path, "spring").discrepancies]
    assert "is cancelled and has 5 open rows" in found
