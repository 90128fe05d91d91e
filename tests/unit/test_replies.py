"""How replies are read and whom they speak about."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.transport.replies import MAX_TEXT, Permanence, Phase, Reply, Scope, clean, in_doubt, judge, unsent
from worker.transport.reply_reader import MAX_LINES, MAX_REPLY_BYTES, MalformedReplyError, ReplyReader

ACCEPTED, TRANSIENT, PERMANENT, DOUBT = (
    Permanence.ACCEPTED,
    Permanence.TRANSIENT,
    Permanence.PERMANENT,
    Permanence.DOUBT,
)
RECIPIENT, MESSAGE, SENDER, SESSION = Scope.RECIPIENT, Scope.MESSAGE, Scope.SENDER, Scope.SESSION


@pytest.mark.parametrize(
    ("phase", "reply", "permanence", "scope", "may_suppress"),
    [
        (Phase.MAIL, "421 4.3.2 closing", TRANSIENT, SESSION, False),
        (Phase.MAIL, "450 4.1.8 sender domain unknown", TRANSIENT, SENDER, False),
        (Phase.MAIL, "452 4.3.1 no space", TRANSIENT, SESSION, False),
        (Phase.MAIL, "454 4.7.0 TLS not available due to local problem", TRANSIENT, SESSION, False),
        (Phase.RCPT, "452 4.3.1 Insufficient system storage", TRANSIENT, SESSION, False),
        (Phase.RCPT, "451 4.3.5 Server configuration problem", TRANSIENT, SESSION, False),
        (Phase.RCPT, "451 qq trouble creating files in queue (#4.3.0)", TRANSIENT, SESSION, False),
        (Phase.RCPT, "451 4.3.0 Temporary lookup failure", TRANSIENT, RECIPIENT, False),
        (
            Phase.RCPT,
            "550 5.1.1 <a@b.test>: Recipient address rejected: unverified address: lost",
            PERMANENT,
            RECIPIENT,
            False,
        ),
        (Phase.BODY, "451 qq write error or disk full (#4.3.0)", TRANSIENT, SESSION, False),
        (Phase.MAIL, "530 5.7.0 authentication required", PERMANENT, SESSION, False),
        (Phase.MAIL, "550 5.7.1 not from you", PERMANENT, SENDER, False),
        (Phase.MAIL, "552 5.3.4 too big", PERMANENT, MESSAGE, False),
        (Phase.MAIL, "503 5.5.1 nested", PERMANENT, SESSION, False),
        (Phase.RCPT, "421 4.7.0 closing", TRANSIENT, SESSION, False),
        (Phase.RCPT, "450 4.2.0 greylisted", TRANSIENT, RECIPIENT, False),
        (Phase.RCPT, "451 4.7.1 greylisted", TRANSIENT, RECIPIENT, False),
        (Phase.RCPT, "452 4.2.2 mailbox full", TRANSIENT, RECIPIENT, False),
        (Phase.RCPT, "550 5.1.1 no such user", PERMANENT, RECIPIENT, True),
        (Phase.RCPT, "550 no such user", PERMANENT, RECIPIENT, True),
        (Phase.RCPT, "551 5.1.6 moved", PERMANENT, RECIPIENT, True),
        (Phase.RCPT, "553 5.1.3 syntax", PERMANENT, RECIPIENT, True),
        (Phase.RCPT, "550 5.2.1 disabled", PERMANENT, RECIPIENT, True),
        (Phase.RCPT, "550 5.7.17 owner changed", PERMANENT, RECIPIENT, True),
        (Phase.RCPT, "556 5.1.10 null MX", PERMANENT, RECIPIENT, True),
        (Phase.RCPT, "552 5.2.2 mailbox full", TRANSIENT, RECIPIENT, False),
        (Phase.RCPT, "552 mailbox full", TRANSIENT, RECIPIENT, False),
        (Phase.RCPT, "550 5.1.8 bad sender domain", PERMANENT, SENDER, False),
        (Phase.RCPT, "554 5.7.1 relay access denied", PERMANENT, SENDER, False),
        (Phase.RCPT, "554 no", PERMANENT, RECIPIENT, False),
        (Phase.RCPT, "550 5.4.4 no route", PERMANENT, RECIPIENT, False),
        (Phase.RCPT, "503 5.5.1 need MAIL", PERMANENT, SESSION, False),
        (Phase.RCPT, "550 2.0.0 contradicts itself", PERMANENT, RECIPIENT, False),
        (Phase.RCPT, "550 4.1.1 contradicts itself", PERMANENT, RECIPIENT, False),
        (Phase.RCPT, "550 5.5.3 too many recipients", TRANSIENT, SESSION, False),
        (Phase.DATA, "451 4.3.0 later", TRANSIENT, SESSION, False),
        (Phase.DATA, "554 5.5.1 no valid recipients", PERMANENT, SESSION, False),
        (Phase.DATA, "550 no", PERMANENT, MESSAGE, False),
        (Phase.BODY, "250 2.0.0 queued", ACCEPTED, MESSAGE, False),
        (Phase.BODY, "251 forwarded", ACCEPTED, MESSAGE, False),
        (Phase.BODY, "220 odd", ACCEPTED, MESSAGE, False),
        (Phase.BODY, "250 5.1.1 contradicts itself", ACCEPTED, MESSAGE, False),
        (Phase.BODY, "250 2.1.5 recipient ok", DOUBT, SESSION, False),
        (Phase.BODY, "354 go on", DOUBT, SESSION, False),
        (Phase.BODY, "421 4.4.2 time-out", TRANSIENT, SESSION, False),
        (Phase.BODY, "450 later", TRANSIENT, MESSAGE, False),
        (Phase.BODY, "452 4.2.2 full", TRANSIENT, RECIPIENT, False),
        (Phase.BODY, "550 5.1.1 no such user", PERMANENT, RECIPIENT, True),
        (Phase.BODY, "550 no", PERMANENT, MESSAGE, False),
        (Phase.BODY, "552 5.3.4 too big", PERMANENT, MESSAGE, False),
        (Phase.BODY, "552 too big", PERMANENT, MESSAGE, False),
        (Phase.BODY, "554 5.7.1 looks like spam", PERMANENT, SENDER, False),
        (Phase.BODY, "554 5.6.0 bad content", PERMANENT, MESSAGE, False),
        (Phase.BODY, "500 5.5.2 what?", PERMANENT, SESSION, False),
    ],
)
def test_a_reply_is_judged_by_how_final_it_is_and_whom_it_blames(
    phase: Phase, reply: str, permanence: Permanence, scope: Scope, may_suppress: bool
):
    # When
    outcome = judge(phase, Reply(int(reply[:3]), reply[4:].encode()))

    # Then
    assert (outcome.permanence, outcome.scope, outcome.may_suppress) == (permanence, scope, may_suppress)
    assert outcome.code == int(reply[:3])


@pytest.mark.parametrize("words", [b"5.1.1x no", b"15.1.1 no", b"5.1 no", b"see 5.1.1", b"5.1.1234 no"])
def test_an_enhanced_code_counts_only_where_and_as_it_must_be_written(words: bytes):
    assert judge(Phase.RCPT, Reply(550, words)).enhanced is None


def test_the_relays_words_are_kept_as_one_harmless_line():
    # Given a relay that writes escapes, right-to-left marks, HTML and more than anyone wants to read
    words = b"5.1.1 \x1b[2J\x07 <script>\n\xff\xe2\x80\xae\x00" + b"x" * 60_000

    # When
    text = judge(Phase.RCPT, Reply(550, words)).text

    # Then
    assert text.startswith("5.1.1 \\x1b[2J\\x07 <script> \\xff\\u202e\\x00xxx")
    assert len(text) == MAX_TEXT
    assert text.isprintable()


@given(st.binary(max_size=3000))
@settings(max_examples=200)
def test_cleaned_words_never_carry_a_control_character(words: bytes):
    text = clean(words)
    assert text.isprintable()
    assert len(text) <= MAX_TEXT


def test_an_unsent_mail_blames_the_session():
    assert unsent(Phase.CONNECT, "refused").scope is SESSION


@pytest.mark.parametrize(
    ("data", "replies"),
    [
        (b"250 ok\r\n", [(250, b"ok")]),
        (b"250\r\n", [(250, b"")]),
        (b"250-one\r\n250-two\r\n250 three\r\n", [(250, b"one\ntwo\nthree")]),
        (b"250-one\r\n250\r\n", [(250, b"one\n")]),
        (b"250 a\r\n354 b\r\n550 c\r\n", [(250, b"a"), (354, b"b"), (550, b"c")]),
        (b"250 na\xc3\xafve \xff\r\n", [(250, b"na\xc3\xafve \xff")]),
    ],
)
def test_well_formed_replies_are_read(data: bytes, replies: list[tuple[int, bytes]]):
    assert ReplyReader().feed(data) == replies


@pytest.mark.parametrize(
    "data",
    [
        b"2500 weird\r\n",
        b"250x\r\n",
        b"25\r\n",
        b"\r\n",
        b"ok\r\n",
        b"199 no\r\n",
        b"600 no\r\n",
        b"260 no\r\n",
        b"554-x\r\n250 y\r\n",
        b"250 ok\n",
        b"250 ok\n250 ok\r\n",
        b"250 o\rk\r\n",
        b"250 o\x00k\r\n",
        b"250 " + b"x" * 2100,
        b"250 " + b"x" * 2100 + b"\r\n",
        b"250-x\r\n" * (MAX_LINES + 1),
        b"250 good\r\nbad\r\n",
    ],
)
def test_what_is_no_reply_is_refused(data: bytes):
    with pytest.raises(MalformedReplyError):
        ReplyReader().feed(data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([220, 250, 354, 421, 550]),
            st.lists(st.binary(max_size=20).filter(lambda b: not set(b) & set(b"\r\n\0")), min_size=1, max_size=4),
        ),
        max_size=6,
    ),
    st.lists(st.integers(0, 400), max_size=12),
)
@settings(max_examples=200)
@example([(250, [b"ok"])], [7])
def test_replies_are_the_same_however_the_line_cuts_them(parts: list[tuple[int, list[bytes]]], cuts: list[int]):
    # Given replies written out, and cut anywhere
    whole = b"".join(
        b"%d%b%b\r\n" % (code, b" " if n == len(lines) else b"-", line)
        for code, lines in parts
        for n, line in enumerate(lines, 1)
    )
    edges = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})

    # When
    reader, replies = ReplyReader(), []
    for start, end in pairwise(edges):
        replies += reader.feed(whole[start:end])

    # Then
    assert replies == [(code, b"\n".join(lines)) for code, lines in parts]
    assert reader.is_empty


def test_a_mail_is_not_in_doubt_because_the_relay_has_said_much_before():
    # Given a relay that answers everything in two lines, as some do for each mail of a long connection
    reader = ReplyReader()

    # Then the ten thousandth reply is read like the first
    for n in range(10_000):
        assert reader.feed(b"250-2.0.0 taken\r\n250 2.0.0 queued as %d\r\n" % n)[0].code == 250


def test_a_reply_that_never_ends_is_left_before_it_fills_the_memory():
    # Given fewer lines than a reply may have, each short enough
    line = b"250-" + b"x" * 2000 + b"\r\n"
    lines = MAX_REPLY_BYTES // len(line) + 2
    assert lines < MAX_LINES

    # Then
    with pytest.raises(MalformedReplyError, match="too long"):
        ReplyReader().feed(line * lines)


@given(st.lists(st.binary(max_size=60), max_size=8))
@settings(max_examples=200)
def test_any_octets_are_either_replies_or_refused(pieces: list[bytes]):
    reader = ReplyReader()
    try:
        for piece in pieces:
            for reply in reader.feed(piece):
                assert 200 <= reply.code <= 559
    except MalformedReplyError:
        pass


def test_a_doubt_is_the_sessions_and_blames_no_reader():
    outcome = in_doubt("the line\r\nbroke", 250)
    assert (outcome.permanence, outcome.scope, outcome.phase) == (Permanence.DOUBT, Scope.SESSION, Phase.BODY)
    assert (outcome.code, outcome.enhanced) == (250, None)
    assert outcome.text.isprintable()


@pytest.mark.parametrize(
    ("words", "scope"),
    [
        (b"4.3.2 the system is being serviced", Scope.SESSION),
        (b"4.3.2 this recipient is being moved", Scope.RECIPIENT),
    ],
)
def test_what_is_put_off_for_the_system_is_the_relays_unless_it_names_the_recipient(words: bytes, scope: Scope):
    assert judge(Phase.RCPT, Reply(451, words)).scope is scope
