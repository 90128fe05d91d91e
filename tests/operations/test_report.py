"""A report adds up, names what the relay said, and holds nobody's address but in the list of doubts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from tests.support.ledgers import FINGERPRINT, LONG_AGO, planned_issue, send
from worker.domain.delivery import DeliveryState, Totals
from worker.domain.report import Leavers, Silence
from worker.operations import report
from worker.operations.deliveries import list_copies
from worker.screen.report import equation, render_report, spell_pace
from worker.storage import schema
from worker.storage.engine import Database
from worker.storage.ledger import issues, reports

LATER = datetime.now(UTC) + timedelta(hours=1)


def outcome(n: int) -> dict[str, object]:
    """Row 1 bounces, 2 is deferred, 3 is in doubt, 4 fails; the rest is accepted."""
    common = {"provider": "gmail" if n % 2 else "other", "fingerprint": FINGERPRINT}
    refused = {"code": 550, "enhanced": "5.1.1", "phase": "rcpt", "text": f"reader{n}@example.org is unknown\x1b[31m"}
    return common | {
        1: {"state": DeliveryState.BOUNCED, "reason": "at_handover", **refused},
        2: {
            "state": DeliveryState.DEFERRED,
            "next_try": LATER,
            "first_try": LATER,
            "code": 451,
            "phase": "rcpt",
            "text": "come back later",
        },
        3: {"state": DeliveryState.IN_DOUBT, "reason": "line_broke"},
        4: {"state": DeliveryState.FAILED, "reason": "unbuildable", "tried": 0},
    }.get(n, {"state": DeliveryState.ACCEPTED, "code": 250})


def test_report_of_an_issue_adds_up_and_names_the_reasons(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 10)
    send(database, issue_id, outcome)

    # When
    found = report.build(database, "latest")
    data = found.as_dict()
    lines = [line.text for line in render_report(found)]

    # Then
    assert data["state"] == "sending"
    assert data["totals"]["adds_up"] is True
    assert {key: value for key, value in data["totals"].items() if value} == {
        "audience": 10,
        "accepted": 6,
        "bounced": 1,
        "deferred": 1,
        "in_doubt": 1,
        "failed": 1,
        "adds_up": True,
    }
    assert data["providers"]["gmail"] == {"accepted": 3, "bounced": 1, "in_doubt": 1}
    assert [(each["code"], each["rows"]) for each in data["replies"]] == [(451, 1), (550, 1)]
    assert data["in_doubt"][0]["address"] == "reader3@example.org"
    assert found.totals.to_check
    assert "accepted 6 + bounced 1 + deferred 1 + in doubt 1 + failed (our side) 1 = 10" in " ".join(lines)
    assert any("reader3@example.org" in line for line in lines)


def test_report_shows_no_address_of_a_refused_reader_and_no_control_character(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 10)
    send(database, issue_id, outcome)

    # When
    text = "\n".join(line.text for line in render_report(report.build(database, issue_id)))

    # Then
    assert "reader1@example.org" not in text
    assert "[address] is unknown" in text
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_report_counts_who_left_through_the_issue_and_came_back(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 3)
    send(database, issue_id, lambda n: {"state": DeliveryState.ACCEPTED, "code": 250})
    with database.write() as conn:
        ids = list(conn.execute(select(schema.subscription.c.id)).scalars())
        for subscription_id, event, channel in (
            (ids[0], "ended", "one_click"),
            (ids[1], "ended", "page"),
            (ids[1], "undone", "page"),
        ):
            conn.execute(
                schema.consent_log.insert().values(
                    subscription_id=subscription_id,
                    generation=1,
                    event=event,
                    channel=channel,
                    at=LONG_AGO,
                    issue_id=issue_id,
                    evidence="",
                )
            )

    # When
    found = report.build(database, issue_id)

    # Then
    assert found.leavers == Leavers(2, 2, {"one_click": 1, "page": 1}, 1)
    assert not found.totals.to_check
    text = " ".join(" ".join(line.text for line in render_report(found)).split())
    assert "2 readers left through this issue (mail program's button 1, page 1); 1 came back." in text


def test_report_counts_a_person_once_who_ended_several_subscriptions(database: Database) -> None:
    # Given two readers of two publications: one pressed "Stop all" and took both back, the other ended one
    issue_id = planned_issue(database, 2)
    with database.write() as conn:
        issue = issues.get(conn, issue_id)
        first = conn.execute(select(schema.publication).where(schema.publication.c.id == issue.publication_id)).one()
        other = conn.execute(
            schema.publication.insert()
            .values({**first._mapping, "id": 99, "slug": "other"})
            .returning(schema.publication.c.id)
        ).scalar_one()
        rows = conn.execute(select(schema.subscription).order_by(schema.subscription.c.id)).all()
        conn.execute(schema.subscription.insert().values({**rows[0]._mapping, "id": 999, "publication_id": other}))
        for subscription_id, event in ((rows[0].id, "ended"), (999, "ended"), (rows[1].id, "ended"),
                                       (rows[0].id, "undone"), (999, "undone")):  # fmt: skip
            conn.execute(
                schema.consent_log.insert().values(
                    subscription_id=subscription_id, generation=1, event=event, channel="page",
                    at=LONG_AGO, issue_id=issue_id, evidence="",
                )
            )  # fmt: skip

    # When
    found = report.build(database, issue_id)

    # Then
    assert found.leavers == Leavers(people=2, subscriptions=3, by_channel={"page": 2}, came_back=1)
    text = " ".join(" ".join(line.text for line in render_report(found)).split())
    assert "2 readers left through this issue, ending 3 subscriptions (page 2); 1 came back." in text


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, ""), (2.0, "3.0 a second, over 2 s")])
def test_a_pace_is_shown_from_one_second_of_sending_on(database: Database, seconds: float, shown: str) -> None:
    send(database, planned_issue(database, 10), outcome)
    found = report.build(database, "spring")

    span = report.Span(LATER, LATER + timedelta(seconds=seconds))

    assert spell_pace(replace(found, accepted=span)) == shown


def test_report_of_an_issue_that_has_not_begun_has_no_times_to_show(database: Database) -> None:
    planned_issue(database, 2)
    lines = [line.text for line in render_report(report.build(database, "spring"))]
    assert "accepted 0 + bounced 0 + waiting 2 = 2 adds up" in lines
    assert not [line for line in lines if line.startswith(("first accepted", "pace"))]


def test_equation_that_does_not_add_up_says_so_and_what_to_run() -> None:
    lines = equation(Totals(audience=10, accepted=9))
    assert lines[-1].text.endswith("= 10 DOES NOT ADD UP, run: corranto verify")


def test_only_a_copy_that_may_have_left_has_a_message_id(database: Database) -> None:
    # Given: three of five copies met the relay
    issue_id = planned_issue(database, 5)
    send(database, issue_id, outcome, size=3)

    # When
    rows = list(list_copies(database, issue_id))

    # Then
    named = {row.n: row.message_id for row in rows}
    assert [n for n, name in named.items() if name] == [1, 2, 3]
    assert len(set(named.values())) == 4


def test_a_report_names_the_first_doubts_and_says_how_many_more_there_are(database: Database) -> None:
    # Given
    in_doubt = {"state": DeliveryState.IN_DOUBT, "reason": "line_broke", "fingerprint": FINGERPRINT}
    issue_id = planned_issue(database, report.MOST_DOUBTS + 2, shard_size=500)
    send(database, issue_id, lambda n: in_doubt, size=500)

    # When
    built = report.build(database, issue_id)
    lines = [line.text for line in render_report(built)]

    # Then
    assert len(built.doubts) == report.MOST_DOUBTS
    assert "and 2 more" in lines
    assert lines[-1] == "All of them: corranto issue deliveries spring --state in_doubt --csv"


@pytest.mark.parametrize(
    ("state", "needed"), [("in_doubt", True), ("failed", True), ("expired", True), ("bounced", False)]
)
def test_a_report_asks_somebody_to_check_where_something_can_be_done(
    database: Database, state: str, needed: bool
) -> None:
    # Given a report whose whole audience ended in one state
    planned_issue(database, 1)
    built = replace(report.build(database, "spring"), totals=Totals(audience=1, **{state: 1}))

    # When / Then
    assert bool(built.totals.to_check) is needed


def test_the_provider_with_the_most_trouble_stands_first(database: Database) -> None:
    # Given
    planned_issue(database, 1)
    counts = {
        "gmail": {DeliveryState.ACCEPTED: 9, DeliveryState.BOUNCED: 1},
        "gmx": {DeliveryState.ACCEPTED: 1, DeliveryState.DEFERRED: 1},
        "other": {DeliveryState.ACCEPTED: 500},
    }

    # When
    lines = [line.text for line in render_report(replace(report.build(database, "spring"), providers=counts))]

    # Then
    at = lines.index("By provider")
    assert [line.split()[0] for line in lines[at + 2 : at + 5]] == ["gmx", "gmail", "other"]
    assert lines[at + 1].split() == ["provider", "accepted", "bounced", "deferred"]


def test_a_report_tells_how_soon_nothing_left_to_those_who_left(database: Database) -> None:
    # Given readers who left while the issue was being sent: 1 and 2 before their copy was taken, 3 after it, 4 and 5
    # before it left, 6 before the issue began; 7 stayed, and ended another publication
    issue_id = planned_issue(database, 7)
    withheld = {"state": DeliveryState.SKIPPED, "reason": "opted_out", "tried": 0}
    send(database, issue_id, lambda n: withheld if 4 <= n <= 6 else {"state": DeliveryState.ACCEPTED, "code": 250})
    begun = LONG_AGO + timedelta(days=1)
    with database.write() as conn:
        conn.execute(update(schema.issue).values(started_at=begun))
        conn.execute(update(schema.delivery).values(at=begun + timedelta(minutes=1)))
        for reader, after_s in ((1, 50), (2, 58), (3, 70), (4, 0), (5, 30), (6, -1)):
            ended = {"state": "ended", "ended_at": begun + timedelta(seconds=after_s), "ended_by": "page"}
            one = schema.subscription.c.subscriber_id == reader
            conn.execute(update(schema.subscription).where(one).values(**ended))
        first = conn.execute(select(schema.publication)).one()
        conn.execute(schema.publication.insert().values({**first._mapping, "id": 99, "slug": "other"}))
        left = conn.execute(select(schema.subscription).where(schema.subscription.c.subscriber_id == 1)).one()
        conn.execute(
            schema.subscription.insert().values({**left._mapping, "id": 999, "subscriber_id": 7, "publication_id": 99})
        )

    # Then
    found = report.build(database, issue_id)
    assert found.silence == Silence(withheld=2, late=2, longest_s=10.0)
    assert found.accepted == report.Span(begun + timedelta(minutes=1), begun + timedelta(minutes=1))


def test_refusals_are_told_apart_by_state_and_both_codes_and_the_commonest_stand_first(database: Database) -> None:
    # Given
    replies = [
        *[(DeliveryState.DEFERRED, 451, "4.3.0")] * 3, *[(DeliveryState.DEFERRED, 452, "4.3.0")] * 2,
        *[(DeliveryState.DEFERRED, 450, None)] * 2, (DeliveryState.DEFERRED, 451, None),
        (DeliveryState.BOUNCED, 550, "5.1.1"), (DeliveryState.ACCEPTED, 250, None),
    ]  # fmt: skip

    def refused(n: int) -> dict[str, object]:
        state, code, enhanced = replies[n - 1]
        more: dict[str, object] = {"reason": "at_handover"} if state == DeliveryState.BOUNCED else {}
        if state == DeliveryState.DEFERRED:
            more = {"next_try": LONG_AGO, "first_try": LONG_AGO}
        return {"state": state, "code": code, "enhanced": enhanced, "text": f"{code} of {n}", **more}

    issue_id = planned_issue(database, len(replies))
    send(database, issue_id, refused)

    # Then
    with database.read() as conn:
        found = reports.refusals(conn, issue_id)
        assert reports.refusals(conn, issue_id, limit=2) == found[:2]
    assert [(each.code, each.enhanced, each.rows, each.example) for each in found] == [
        (451, "4.3.0", 3, "451 of 1"),
        (450, None, 2, "450 of 6"),
        (452, "4.3.0", 2, "452 of 4"),
        (451, None, 1, "451 of 8"),
        (550, "5.1.1", 1, "550 of 9"),
    ]
    assert [each.state for each in found] == [DeliveryState.DEFERRED] * 4 + [DeliveryState.BOUNCED]


def test_only_the_last_words_about_a_copy_count(database: Database) -> None:
    # Given a copy that was put off twice
    issue_id = planned_issue(database, 1)
    later = {"state": DeliveryState.DEFERRED, "next_try": LONG_AGO, "first_try": LONG_AGO, "code": 451, "text": "first"}
    send(database, issue_id, lambda n: later)
    with database.write() as conn:
        [said] = conn.execute(select(schema.reply)).all()
        conn.execute(schema.reply.insert().values({**said._mapping, "id": said.id + 1, "code": 452, "text": "last"}))

        # Then
        assert [(each.code, each.example) for each in reports.refusals(conn, issue_id)] == [(452, "last")]


def test_our_reasons_are_counted_most_first(database: Database) -> None:
    # Given
    skips = ["opted_out", "suppressed", "opted_out", "paused"]

    def reasons(n: int) -> dict[str, object]:
        if n == 5:
            return {"state": DeliveryState.FAILED, "reason": "too_big"}
        return {"state": DeliveryState.SKIPPED, "reason": skips[n - 1], "tried": 0}

    issue_id = planned_issue(database, 5)
    send(database, issue_id, reasons)

    # Then
    with database.read() as conn:
        assert reports.by_reason(conn, issue_id) == [
            (DeliveryState.SKIPPED, "opted_out", 2),
            (DeliveryState.SKIPPED, "paused", 1),
            (DeliveryState.SKIPPED, "suppressed", 1),
            (DeliveryState.FAILED, "too_big", 1),
        ]
