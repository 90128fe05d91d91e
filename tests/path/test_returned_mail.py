"""What comes back ends a doubt and nothing else; what is forged, foreign or contradictory moves nothing."""

import re
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.support.lists import Newsroom
from tests.support.postfix import postfix_servers
from tests.support.reports import complaint, delivery_report
from tests.support.scripted_smtp import CLOSE, KEEP, On, ScriptedRelay, Taken
from tests.support.sink import sink_process
from worker.dispatch.reconcile import repeat_never_miss
from worker.domain.delivery import DeliveryState, DoubtPolicy
from worker.domain.issue import IssueState
from worker.feedback.doubts import Finding, Weighed, weigh
from worker.tokens import Keyring


@contextmanager
def in_doubt(desk: Newsroom, *readers: str, policy: DoubtPolicy = DoubtPolicy.NEVER_TWICE) -> Iterator[list[Taken]]:
    """An issue whose copies were all taken by a relay that never said so; these copies."""
    desk.readers(readers)
    desk.queue(doubt=policy)
    relay = ScriptedRelay([On("body", KEEP, CLOSE)])
    with desk.relayed_by(relay) as hand:
        hand.send()
        assert desk.states() == {"in_doubt": len(readers)}
        yield relay.taken
    desk.assert_books_add_up()


def take(desk: Newsroom, raw: bytes) -> Weighed:
    return weigh(desk.database, Keyring(desk.settings.keys), raw, "test")


def return_path(copy: Taken) -> str:
    found = re.search(r"<(.+)>", copy.mail)
    assert found is not None
    return found[1]


def head(copy: Taken) -> str:
    return copy.body.partition(b"\r\n\r\n")[0].decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("action", "state", "reason"), [("failed", "bounced", "returned"), ("delayed", "accepted", None)]
)
def test_a_report_to_the_return_path_ends_the_doubt(
    both_desks: Newsroom, action: str, state: str, reason: str | None
) -> None:
    # Given
    desk = both_desks
    with in_doubt(desk, "anna@example.org", "berta@example.org") as copies:
        anna = next(each for each in copies if "anna" in each.rcpt)

        # When
        first = take(desk, delivery_report(action, to=return_path(anna)))
        again = take(desk, delivery_report("failed", to=return_path(anna)))

        # Then
        assert (first.finding, first.issue, first.state) == (Finding.SETTLED, "spring", DeliveryState(state))
        assert (again.finding, again.state) == (Finding.NOT_IN_DOUBT, DeliveryState(state))
        rows = desk.rows()
        assert (rows["anna@example.org"].state, rows["anna@example.org"].reason) == (state, reason)
        assert rows["berta@example.org"].state == "in_doubt"


def test_a_complaint_with_the_message_id_alone_ends_the_doubt(desk: Newsroom) -> None:
    with in_doubt(desk, "anna@example.org") as copies:
        assert take(desk, complaint(returned=head(copies[0]))).finding is Finding.SETTLED
        assert desk.states() == {"accepted": 1}


def test_a_repeat_is_not_sent_after_the_report(desk: Newsroom) -> None:
    # Given
    with in_doubt(desk, "anna@example.org", policy=DoubtPolicy.NEVER_MISS) as copies:
        # When
        take(desk, delivery_report("delivered", to=return_path(copies[0])))

        # Then
        assert repeat_never_miss(desk.database, settle_s=0) == 0
        assert len(copies) == 1


def test_nothing_moves_for_a_forged_foreign_or_contradictory_report(desk: Newsroom) -> None:
    # Given
    with in_doubt(desk, "anna@example.org", "berta@example.org") as copies:
        anna, berta = copies
        path = return_path(anna)
        token = path.partition("+")[2].partition("@")[0]
        other = "a" if token[20] != "a" else "b"
        forged = path.replace(token, f"{token[:20]}{other}{token[21:]}")
        foreign = Keyring(["another installation's key, as long as ours is"]).sign_verp(desk.issue().id, 1)
        message_id = re.search(r"Message-ID: <(.{39})(.)", head(anna))
        assert message_id is not None
        last = "2" if message_id[2] == "7" else "7"

        # When
        findings = [
            take(desk, raw).finding
            for raw in (
                delivery_report("failed", to=forged),
                delivery_report("failed", to=path.replace(token, foreign)),
                delivery_report("failed", to="anna@example.org"),
                delivery_report("failed", returned=f"Message-ID: <{'a' * 40}@rivers.example.org>"),
                delivery_report("failed", returned=f"Message-ID: <{message_id[1]}{last}@rivers.example.org>"),
                delivery_report("failed", to=path, returned=head(berta)),
                b"To: " + path.encode() + b"\r\nSubject: Out of office\r\n\r\nI am away.\r\n",
            )
        ]

        # Then
        assert findings == [*[Finding.NOT_OURS] * 5, Finding.SEVERAL, Finding.NO_REPORT]
        assert desk.states() == {"in_doubt": 2}


def test_an_issue_that_waited_for_its_repeats_alone_is_finished(desk: Newsroom) -> None:
    # Given
    with in_doubt(desk, "anna@example.org", policy=DoubtPolicy.NEVER_MISS) as copies:
        assert desk.issue().state is IssueState.SENDING
        take(desk, delivery_report("failed", to=return_path(copies[0])))

        # When
        with desk.hand() as hand:
            hand.tick()

        # Then
        assert desk.issue().state is IssueState.FINISHED


@pytest.mark.needs("postfix")
def test_what_postfix_returns_is_understood(desk: Newsroom, run_folder: Path, tmp_path: Path) -> None:
    # Given: the mailbox behind the relay is gone
    with (
        in_doubt(desk, "bounce-550.anna@example.org") as copies,
        sink_process(tmp_path / "behind") as behind,
        postfix_servers(run_folder) as start,
    ):
        relay = start("127.0.0.1", behind.port, "")
        copy = copies[0]

        # When: the copy in doubt had reached a Postfix
        with smtplib.SMTP("127.0.0.1", relay.port) as line:
            line.sendmail(return_path(copy), ["bounce-550.anna@example.org"], copy.body)
        desk.until(lambda: behind.accepted(), "a report came back")
        entry = behind.mailbox.page().entries[0]
        raw = behind.mailbox.raw(entry)
        assert raw is not None
        assert message_from_bytes(raw).get_content_type() == "multipart/report"
        found = take(desk, raw)

        # Then
        assert (found.finding, found.action) == (Finding.SETTLED, "failed")
        row = desk.rows()["bounce-550.anna@example.org"]
        assert (row.state, row.reason, row.enhanced) == ("bounced", "returned", "5.1.1")
