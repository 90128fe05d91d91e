"""What mail servers and sending services say, and whose trouble each of it is."""

import pytest

from worker.transport.replies import Outcome, Permanence, Phase, Reply, Scope, judge
from worker.transport.wordings import Limit, without_addresses

ANYWHERE = (Phase.MAIL, Phase.RCPT, Phase.BODY)
AT_READER = (Phase.RCPT, Phase.BODY)


def said(reply: str, phase: Phase) -> Outcome:
    return judge(phase, Reply(int(reply[:3]), reply[4:].encode()))


def everywhere(replies: list[str], phases: tuple[Phase, ...] = ANYWHERE) -> pytest.MarkDecorator:
    cases = [(reply, phase) for reply in replies for phase in phases]
    return pytest.mark.parametrize(("reply", "phase"), cases, ids=[f"{phase}-{reply[:60]}" for reply, phase in cases])


USED_UP = [
    "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to - gsmtp",
    "550 5.4.5 Daily SMTP relay sending limit exceeded for customer. - gsmtp",
    "550-5.4.5 Daily SMTP relay limit exceeded for user. - gsmtp",
    "550 5.7.1 Daily SMTP relay limit exceeded for customer. - gsmtp",
    "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
    "550 5.7.232 Your message can't be sent because your trial tenant has exceeded its daily limit for sending email",
    "550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit for sending to outside",
    "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message",
    "554 5.2.0 message quota exceeded",
    "454 Throttling failure: Daily message quota exceeded.",
    "451 Authentication failed: Maximum credits exceeded",
    "452 4.5.3 Daily message limit exceeded",
    "452 4.5.3 You have exceeded your hourly recipient quota",
    "450-Requested mail action not taken: mailbox unavailable\n450 Mail send limit exceeded.",
    "450 Requested mail action not taken: mailbox unavailable\nMail send limit exceeded.",
    "450 4.7.1 Number messages per hour exceeded",
    "550 Domain rivers.example.org has exceeded the max defers and failures per hour (5/5 (38%)) allowed",
    "550 Domain rivers.example.org has exceeded the max emails per hour (100/100) allowed. Message discarded.",
    "554 5.7.1 You have exceeded your daily sending limit",
    "550 5.7.1 Sending quota exceeded for this account",
    "452 4.3.1 message count quota exceeded",
    "421 4.7.0 Daily sending quota reached, try again tomorrow",
    "554 5.7.1 Your account has reached its monthly limit of messages",
    "550 5.7.0 Tageslimit erreicht",
    "450 4.2.1 Hourly sending limit of your plan reached",
]
PACE = [
    "454 Throttling failure: Maximum sending rate exceeded.",
    "452 4.4.5 Messages per second limit exceeded",
    "550 发送过于频繁",
    "421 4.7.28 Our system has detected an unusual rate of unsolicited mail originating from your IP address",
    "450 4.2.1 Peak SMTP relay limit exceeded for this customer.",
    "450 4.7.1 Too many messages per minute, slow down",
    "451 4.7.500 Server busy. Please try again later",
    "550 5.7.1 Rate limit exceeded, please try again later",
    "421 Rate limit reached. Please try again later",
    "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.example/concurrent_sending",
    "421 4.7.0 Trop de connexions",
]
PER_CONNECTION = [
    "452 4.4.5 too many messages in this session",
    "421 4.7.0 too many messages this session",
    "452 4.5.3 too many recipients",
    "452 4.5.3 Too many recipients received this session",
    "421 4.7.0 max messages per connection exceeded",
    "452 4.7.0 Too many messages in this connection",
    "451 4.7.0 Session message limit exceeded, please reconnect",
    "550 5.5.3 too many recipients",
    "421 Too many messages sent over this connection",
    "450 4.5.3 Message limit for this connection reached",
]
NOT_TRUSTED = [
    "550 5.7.501 Access denied, spam abuse detected from IP range",
    "550 5.7.502 Access denied, banned sender",
    "550 5.7.503 Access denied, banned sender",
    "550 5.7.708 Access denied, traffic not accepted from this IP",
    "550 5.7.705 Access denied, tenant has exceeded threshold",
    "550 5.1.8 Access denied, bad outbound sender",
    "554 5.2.0 STOREDRV.Submission.Exception:OutboundSpamException; Failed to process message",
    "550 5.7.1 Message rejected: reputation of your address is too low",
    "550 5.7.1 too many complaints",
    "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.example",
    "550 Your host is listed in a blocklist",
    "550 Rejected by policy",
    "550-Requested action not taken: mailbox unavailable\n550 Sender address is not allowed.",
    "550-Requested action not taken: mailbox unavailable\n550 Reject due to policy restrictions.",
    "554 5.7.1 <reader@example.org>: Relay access denied",
    "550 relay not permitted",
    "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
    "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    "550 we do not relay",
    "553 Relaying denied",
    "550 5.7.1 Relaying denied",
    "550 Authentication is required to send mail",
    "550 SMTP AUTH is required for message submission on port 587",
    "550 5.7.1 Client was not authenticated",
    "550 You are not allowed to send from this account",
    "554 Message rejected: Email address is not verified. The following identities failed the check in region X",
    "554 Message rejected: Sending suspended for this account.",
    "550 5.7.1 Sandbox subdomains are for test purposes only. Please add your own domain",
    "550 5.7.26 This mail has been blocked because the sender is unauthenticated. SPF and DKIM did not pass",
    "550 5.7.1 Unauthenticated email from rivers.example is not accepted due to domain's DMARC policy",
    "550 5.7.25 The IP address sending this message does not have a PTR record setup",
    "550 5.7.23 SPF validation failed",
    "550 5.7.20 no passing DKIM signature found",
    "550 5.1.0 sender rejected",
    "550 Sender verify failed",
    "550 5.7.509 Access denied, sending domain does not pass DMARC verification",
    "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domain",
    "550 5.1.2 Your domain is blocklisted",
]
RETURN_PATH = [
    "553 5.7.1 <bounces+x@rivers.example.org>: Sender address rejected: not owned by user letters",
    "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
    "554 5.2.252 SendAsDenied; letters not allowed to send as bounces",
    "501 5.1.7 Bad sender address syntax",
    "550 5.7.1 Sender address rejected: not owned by user",
    "553 5.7.1 Sender address rejected: not logged in",
    "553 sender address is not authorized for this login",
    "550 5.7.1 Not authorized to send from this address",
    "550-Requested action not taken: mailbox unavailable\n550 Sender address is not allowed.",
    "550 You are not allowed to use this sender address",
    "554 5.7.1 You are not allowed to send mail from this address",
    "550 5.7.0 From address not verified",
]
DEAD = [
    "550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking the address",
    "550 5.1.1 <daily.limit@example.org>: Recipient address rejected: User unknown in relay recipient table",
    "550 5.1.1 <spf@example.org>: Recipient address rejected: User unknown in local recipient table",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient reader@example.org not found by SMTP address lookup",
    "550 5.4.1 Recipient address rejected: Access denied. [AS(201806281)]",
    "550 5.2.1 The email account that you tried to reach is disabled",
    "550 No such user here",
    "550 user unknown",
    "550 Mailbox not found",
    "550 unrouteable address",
    "551 User not local; please try <other@example.org>",
    "550 5.7.1 <reader@example.org>: Recipient address rejected: user unknown",
    "554 delivery error: dd This user doesn't have an example.com account",
    "550 mailbox does not exist, your message was not delivered. See our spam policy",
    "550 Empfänger unbekannt",
    "553 5.3.0 <reader@example.org>... No such user here",
]
MAILBOX_BUSY_OR_FULL = [
    "552 5.2.2 mailbox full",
    "552 5.2.2 The email account that you tried to reach is over quota",
    "452 4.2.2 The recipient's inbox is out of storage space and over quota",
    "552 Quota exceeded",
    "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages",
    "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
    "550 5.2.121 Recipient's per hour message receive limit from specific sender exceeded",
    "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded",
    "450 4.2.0 Recipient address rejected: Greylisted, please try again later",
    "451 4.7.1 Greylisting in action, too many new senders, come back later",
]


@everywhere(USED_UP)
def test_a_used_up_account_is_waited_for_and_blames_no_reader(reply: str, phase: Phase) -> None:
    outcome = said(reply, phase)
    assert (outcome.permanence, outcome.limit) == (Permanence.TRANSIENT, Limit.QUOTA)
    assert outcome.scope in (Scope.SENDER, Scope.SESSION)


@everywhere(PACE)
def test_too_fast_a_pace_is_ours_and_passes(reply: str, phase: Phase) -> None:
    outcome = said(reply, phase)
    assert (outcome.permanence, outcome.limit) == (Permanence.TRANSIENT, Limit.RATE)
    assert outcome.scope in (Scope.SENDER, Scope.SESSION)


@everywhere(PER_CONNECTION)
def test_a_limit_of_one_connection_is_told_from_one_of_the_account(reply: str, phase: Phase) -> None:
    outcome = said(reply, phase)
    assert (outcome.permanence, outcome.scope, outcome.limit) == (
        Permanence.TRANSIENT,
        Scope.SESSION,
        Limit.SESSION,
    )


@everywhere(NOT_TRUSTED)
def test_what_is_said_of_us_is_final_and_blames_no_reader(reply: str, phase: Phase) -> None:
    outcome = said(reply, phase)
    assert (outcome.permanence, outcome.limit) == (Permanence.PERMANENT, Limit.NONE)
    assert outcome.scope is Scope.SENDER or (phase is Phase.BODY and outcome.scope is Scope.MESSAGE)


@everywhere(RETURN_PATH)
def test_a_refused_return_path_is_known_as_one(reply: str, phase: Phase) -> None:
    outcome = said(reply, phase)
    assert (outcome.permanence, outcome.scope, outcome.names_return_path) == (
        Permanence.PERMANENT,
        Scope.SENDER,
        True,
    )


@everywhere(DEAD, AT_READER)
def test_a_dead_address_bounces(reply: str, phase: Phase) -> None:
    outcome = said(reply, phase)
    assert (outcome.permanence, outcome.limit) == (Permanence.PERMANENT, Limit.NONE)
    assert outcome.scope is Scope.RECIPIENT
    assert not outcome.names_return_path


@everywhere(MAILBOX_BUSY_OR_FULL, AT_READER)
def test_a_full_or_busy_mailbox_is_its_readers_and_tried_again(reply: str, phase: Phase) -> None:
    outcome = said(reply, phase)
    assert (outcome.permanence, outcome.limit) == (Permanence.TRANSIENT, Limit.NONE)
    assert outcome.scope is Scope.RECIPIENT or (phase is Phase.BODY and reply.startswith("432"))


@everywhere(
    [
        "552 5.3.4 Message size exceeds fixed limit",
        "552 5.2.3 message too large",
        "552 message size limit exceeded",
        "554 5.3.4 Error: message too big for system",
    ],
    (Phase.MAIL, Phase.BODY),
)
def test_too_large_a_mail_is_no_limit_of_the_account(reply: str, phase: Phase) -> None:
    outcome = said(reply, phase)
    assert (outcome.permanence, outcome.scope, outcome.limit) == (Permanence.PERMANENT, Scope.MESSAGE, Limit.NONE)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("5.1.1 <ann@example.org>: User unknown", "5.1.1 <address>: User unknown"),
        ("no mailbox ann@example.org here", "no mailbox <address> here"),
        ("see https://x.example/?to=ann%40example.org&y=1", "see https:<address>"),
        ("user Ann.Lee unknown", "user <address> unknown"),
        ("<ann.lee>... unknown", "<address>... unknown"),
        ("bounces+abc=example.org@rivers.example refused", "<address> refused"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_no_address_stays_in_a_relays_words(words: str, shown: str) -> None:
    assert without_addresses(words, "ann.lee@example.org") == shown


def test_words_made_to_be_slow_are_read_in_one_go() -> None:
    # Given 500 characters that begin every phrase and end none
    for word in ("exceed ", "mailbox ", "sender ", "daily ", "your "):
        said(f"550 {word * 100}", Phase.RCPT)


@everywhere(["550 5.4.6 Unusual sending activity detected. Please try after sometime"])
def test_an_account_that_looks_unusual_to_its_service_is_our_trouble(reply: str, phase: Phase) -> None:
    # When
    outcome = said(reply, phase)

    # Then
    assert outcome.scope is Scope.SENDER
    assert not outcome.may_suppress


@pytest.mark.parametrize(
    "reply",
    [
        "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.7]",
        "451 4.4.62 Mail sent to the wrong Office 365 region. ATTR35",
        "450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.7]",
        "454 4.7.1 Relay access denied",
    ],
)
def test_a_passing_no_to_our_host_is_our_trouble_at_a_recipient_too(reply: str) -> None:
    assert said(reply, Phase.RCPT).scope is Scope.SENDER


@pytest.mark.parametrize("code", ["450 4.1.1", "550 5.1.1"])
def test_a_mailbox_that_could_not_be_probed_is_one_readers(code: str) -> None:
    reply = f"{code} <r@example.org>: Recipient address rejected: unverified address: connect timed out"

    assert said(reply, Phase.RCPT).scope is Scope.RECIPIENT


def test_greylisting_by_host_is_one_readers() -> None:
    reply = "450 4.7.1 <r@example.org>: Client host rejected: Greylisted, try again in 300 seconds"

    assert said(reply, Phase.RCPT).scope is Scope.RECIPIENT
