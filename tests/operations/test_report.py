"""A report adds up, names what the relay said, and holds nobody's address but in the list of doubts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from tests.support.ledgers import FINGERPRINT, LONG_AGO, planned_issue, send
from worker.domain.delivery import DeliveryState, Totals
from worker.domain.report import Leavers
from worker.operations import report
from worker.screen.report import equation, render_report, spell_pace
from worker.storage import schema
from worker.storage.engine import Database
from worker.storage.ledger import issues

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
