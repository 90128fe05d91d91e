"""A report is understood as RFC 3464 and 5965 have it, and a mail that is none says nothing, however it was made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reports import complaint, delivery_report
from worker.feedback.report import LARGEST_REPORT, Verdict, read_report

TOKEN = "ab" * 21
LEFT_SIDE = "cd" * 20
HEAD = f"Return-Path: <bounces+{TOKEN}@rivers.example.org>\nMessage-ID: <{LEFT_SIDE}@rivers.example.org>"


@pytest.mark.parametrize(
    ("actions", "verdict", "action"),
    [
        (("failed",), Verdict.RETURNED, "failed"),
        (("Failed (mailbox gone)",), Verdict.RETURNED, "failed"),
        (("delayed",), Verdict.LEFT, "delayed"),
        (("delivered",), Verdict.LEFT, "delivered"),
        (("relayed",), Verdict.LEFT, "relayed"),
        (("EXPANDED",), Verdict.LEFT, "expanded"),
        (("failed", "failed"), Verdict.RETURNED, "failed"),
        (("failed", "delivered"), Verdict.LEFT, "delivered"),
    ],
)
@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
@pytest.mark.parametrize("kind", ["", "global-"])
def test_the_action_of_a_delivery_report_decides(
    actions: tuple[str, ...], verdict: Verdict, action: str, line_end: str, kind: str
) -> None:
    # When
    raw = delivery_report(*actions, line_end=line_end, status_type=f"message/{kind}delivery-status")
    report = read_report(raw)

    # Then
    assert report is not None
    assert (report.verdict, report.action) == (verdict, action)
    assert report.status == ("5.1.1" if verdict is Verdict.RETURNED else None)


@pytest.mark.parametrize("actions", [(), ("read",), ("failed", "perhaps")])
def test_an_action_that_nobody_knows_says_nothing(actions: tuple[str, ...]) -> None:
    assert read_report(delivery_report(*actions)) is None


def test_a_complaint_says_that_the_mail_left() -> None:
    report = read_report(complaint(returned=HEAD))
    assert report is not None
    assert (report.verdict, report.action) == (Verdict.LEFT, "complained")
    assert (report.return_paths, report.message_ids) == ((TOKEN,), (LEFT_SIDE,))


@pytest.mark.parametrize("returned_type", ["message/rfc822", "text/rfc822-headers", "message/global-headers"])
def test_names_are_taken_from_the_envelope_and_the_returned_head(returned_type: str) -> None:
    # Given: the envelope's in capitals, as some servers have it
    to = f"Bounces+{TOKEN.upper()}@RIVERS.example.org"

    # When
    report = read_report(delivery_report("failed", to=to, returned=HEAD, returned_type=returned_type))

    # Then
    assert report is not None
    assert {each.lower() for each in report.return_paths} == {TOKEN}
    assert report.message_ids == (LEFT_SIDE,)


def test_a_name_in_the_words_of_a_report_names_nothing() -> None:
    # Given: what anybody may type, in a subject, in a text and behind the returned head
    raw = delivery_report("failed", returned="Subject: hello")
    raw = raw.replace(b"I'm sorry", f"bounces+{TOKEN}@rivers.example.org <{LEFT_SIDE}@rivers.example.org>".encode())
    raw = raw.replace(b"Subject: Undelivered", f"Subject: bounces+{TOKEN}@rivers.example.org".encode())
    raw = raw.replace(b"Dear reader", f"Message-ID: <{LEFT_SIDE}@rivers.example.org>".encode())

    # When
    report = read_report(raw)

    # Then
    assert report is not None
    assert (report.return_paths, report.message_ids) == ((), ())


def test_a_mail_that_is_no_report_says_nothing() -> None:
    for raw in (b"", b"\r\n", b"Subject: Out of office\r\n\r\nI am away.\r\n", HEAD.encode() + b"\n\nfailed\n"):
        assert read_report(raw) is None


def test_what_stands_beyond_the_bound_is_not_read() -> None:
    # Given: a returned mail of many megabytes
    raw = delivery_report("failed", returned=HEAD).replace(b"Dear reader", b"x" * (4 * LARGEST_REPORT))

    # When
    report = read_report(raw)

    # Then
    assert report is not None
    assert report.message_ids == (LEFT_SIDE,)


@given(st.binary(max_size=2000))
def test_no_octets_make_it_fail(octets: bytes) -> None:
    read_report(octets)
    raw = delivery_report("failed", returned=HEAD)
    middle = len(raw) // 2
    read_report(raw[:middle] + octets + raw[middle:])
    read_report(raw.replace(b"Action: failed", b"Action: " + octets))
