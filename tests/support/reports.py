"""Returned mails as servers write them: delivery reports (RFC 3464), complaints (RFC 5965), with what may vary."""

BOUNDARY = "=_report"


def delivery_report(
    *actions: str,
    to: str = "bounces@rivers.example.org",
    returned: str = "",
    status: str = "5.1.1",
    line_end: str = "\r\n",
    status_type: str = "message/delivery-status",
    returned_type: str = "message/rfc822",
) -> bytes:
    """A report with one recipient for each action, addressed to `to`, about a mail with the head `returned`."""
    groups = ["Reporting-MTA: dns; mx.example.net\n"]
    groups += [
        f"Final-Recipient: rfc822; reader{n}@example.org\nAction: {action}\nStatus: {status}\n"
        for n, action in enumerate(actions)
    ]
    parts = [
        ("text/plain; charset=us-ascii", "This is the mail system. I'm sorry to have to inform you.\n"),
        (status_type, "\n".join(groups)),
        (returned_type, f"{returned}\n\nDear reader,\n"),
    ]
    return _multipart("delivery-status", to, parts).replace("\n", line_end).encode()


def complaint(*, to: str = "abuse@rivers.example.org", returned: str = "") -> bytes:
    """A feedback report as mailbox providers send it, the reader's address left out."""
    parts = [
        ("text/plain", "This is an email abuse report.\n"),
        ("message/feedback-report", "Feedback-Type: abuse\nUser-Agent: Example/1.0\nVersion: 1\n"),
        ("message/rfc822", f"{returned}\n\nDear reader,\n"),
    ]
    return _multipart("feedback-report", to, parts).replace("\n", "\r\n").encode()


def _multipart(kind: str, to: str, parts: list[tuple[str, str]]) -> str:
    head = [
        "Return-Path: <>",
        f"Delivered-To: {to}",
        "From: MAILER-DAEMON@mx.example.net",
        f"To: {to}",
        "Subject: Undelivered Mail Returned to Sender",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind};\n\tboundary="{BOUNDARY}"',
    ]
    body = "".join(f"--{BOUNDARY}\nContent-Type: {media_type}\n\n{text}\n" for media_type, text in parts)
    return "\n".join(head) + f"\n\n{body}--{BOUNDARY}--\n"
