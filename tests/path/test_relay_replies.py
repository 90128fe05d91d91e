"""What relays say and do to a list: whose trouble each of it is, how few copies pay for it, and what is said of it.

Each story is told with one connection to a relay next door, and with ten to one far away.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lists import Newsroom, newsroom
from tests.support.scripted_smtp import CLOSE, On, ScriptedRelay
from worker.domain.issue import IssueState
from worker.storage.ledger import deliveries

READERS = 40
AT_ONCE = 10
NEAR_AND_FAR = pytest.mark.parametrize(("lanes", "latency_s"), [(1, 0.0), (AT_ONCE, 0.0), (AT_ONCE, 0.08)])
PHASES = pytest.mark.parametrize("event", ["mail", "rcpt", "body"])
"""Where in the dialogue the relay says it."""
PLACES = pytest.mark.parametrize(
    ("event", "lanes", "latency_s"),
    [("mail", 1, 0.0), ("rcpt", 1, 0.0), ("body", 1, 0.0), ("rcpt", AT_ONCE, 0.0), ("body", AT_ONCE, 0.08)],
)

QUOTAS = [
    b"550 5.1.90 daily limit for message recipients reached\r\n",
    b"550 5.4.5 Daily user sending limit exceeded\r\n",
    b"452 4.5.3 Daily message limit exceeded\r\n",
    b"454 Throttling failure: Daily message quota exceeded\r\n",
    b"550 5.7.1 you have exceeded your hourly sending quota\r\n",
]


@pytest.fixture
def lone_desk(tmp_path: Path, sqlite_url: str) -> Iterator[Newsroom]:
    """An installation whose relay is the test's."""
    with newsroom(tmp_path, sqlite_url, with_relay=False) as made:
        made.readers(READERS)
        yield made


@PLACES
@pytest.mark.parametrize("words", QUOTAS, ids=[words[:9].decode() for words in QUOTAS])
def test_a_used_up_limit_makes_the_issue_wait_and_blames_nobody(
    lone_desk: Newsroom, words: bytes, event: str, lanes: int, latency_s: float
) -> None:
    relay = ScriptedRelay([On(event, words)], round_trip_s=latency_s)
    lone_desk.given |= {"smtp_connections": str(lanes)}
    lone_desk.queue()
    with lone_desk.relayed_by(relay) as hand:
        hand.send()
    states = lone_desk.states()
    assert set(states) <= {"waiting", "deferred"}
    assert states["deferred"] <= 3 + 2 * lanes
    assert lone_desk.issue().state is IssueState.SENDING
    assert "our sending limit there is used up" in lone_desk.wait_reason()
    assert lone_desk.wait_reason().startswith("relay ")


@PLACES
@pytest.mark.parametrize(
    "words",
    [
        b"452 4.4.5 too many messages in this session\r\n",
        b"452 4.5.3 too many recipients in this connection\r\n",
        b"421 4.7.0 max messages per connection reached\r\n",
    ],
)
def test_a_connection_that_carries_no_more_is_followed_by_another_at_once(
    lone_desk: Newsroom, words: bytes, event: str, lanes: int, latency_s: float
) -> None:
    # Given a relay that takes four mails over each connection
    relay = FourMails([], latency_s=latency_s, event=event, words=words)
    lone_desk.given |= {"smtp_connections": str(lanes)}
    lone_desk.queue()

    # When
    with lone_desk.relayed_by(relay) as hand:
        hand.send()

    # Then everybody has the mail at once, and no connection is asked for a fifth one for long
    assert lone_desk.states() == {"accepted": READERS}
    assert len(relay.taken) == READERS
    assert relay.refused <= lanes + 1


class FourMails(ScriptedRelay):
    """Says its words to whatever would be the fifth mail of a connection."""

    def __init__(self, scenario: list[On], *, latency_s: float, event: str, words: bytes) -> None:
        super().__init__(scenario, round_trip_s=latency_s)
        self.refused = 0
        self._event, self._words = event, words

    def answer(self, event: str, connection: int) -> bytes | None:
        if event == self._event and sum(mail.connection == connection for mail in self.taken) >= 4:
            self.refused += 1
            return self._words
        return None


@NEAR_AND_FAR
def test_a_line_cut_after_every_body_pauses_the_issue_with_few_in_doubt(
    lone_desk: Newsroom, lanes: int, latency_s: float
) -> None:
    lone_desk.given |= {"smtp_connections": str(lanes)}
    lone_desk.queue()
    with lone_desk.relayed_by(ScriptedRelay([On("body", CLOSE)], round_trip_s=latency_s)) as hand:
        hand.tick()
        for _ in range(600):
            hand.work()
            if lone_desk.issue().state is IssueState.PAUSED:
                break
            lone_desk.age_nudges()
            lone_desk.bring_forward()
            hand.tick()
    assert lone_desk.issue().state is IssueState.PAUSED
    assert "did not answer for it" in lone_desk.issue().stopped_reason
    assert 3 <= lone_desk.states()["in_doubt"] <= lanes + 3
    assert set(lone_desk.states()) == {"in_doubt", "waiting"}


@PLACES
def test_a_refused_return_path_is_said_with_its_setting(
    lone_desk: Newsroom, event: str, lanes: int, latency_s: float
) -> None:
    words = b"553 5.7.1 <letters@rivers.example.org>: Sender address rejected: not owned by user letters\r\n"
    lone_desk.given |= {"smtp_connections": str(lanes)}
    lone_desk.queue()
    with lone_desk.relayed_by(ScriptedRelay([On(event, words)], round_trip_s=latency_s)) as hand:
        hand.send()
    issue = lone_desk.issue()
    assert issue.state is IssueState.PAUSED
    assert "CORRANTO_RETURN_PATH=fixed" in issue.stopped_reason
    assert "@" not in issue.stopped_reason
    assert lone_desk.states()["failed"] <= 10 + 2 * lanes
    assert set(lone_desk.states()) == {"failed", "waiting"}


def test_the_fixed_return_path_is_taken_by_such_a_relay(lone_desk: Newsroom) -> None:
    relay = ScriptedRelay([On("mail", b"553 5.7.1 Sender address rejected: not owned by user\r\n", line="[+]")])
    lone_desk.given["return_path"] = "fixed"
    lone_desk.queue()
    with lone_desk.relayed_by(relay) as hand:
        hand.send()
    assert lone_desk.states() == {"accepted": READERS}
    assert {mail.mail.split()[1] for mail in relay.taken} == {"FROM:<letters@rivers.example.org>"}


@pytest.mark.parametrize(
    "words",
    [
        b"550 5.1.1 user unknown\r\n",
        b"550 no such user\r\n",
        b"550 5.4.1 Recipient address rejected: Access denied\r\n",
    ],
)
def test_many_dead_addresses_among_living_ones_bounce_and_stop_nothing(lone_desk: Newsroom, words: bytes) -> None:
    lone_desk.join(*[f"{'dead' if n % 10 else 'alive'}{n}@example.org" for n in range(200)])
    lone_desk.queue()
    with lone_desk.relayed_by(ScriptedRelay([On("rcpt", words, line="dead")])) as hand:
        hand.send()
    assert lone_desk.states() == {"bounced": 180, "accepted": 20 + READERS}


@PHASES
def test_no_address_a_relay_says_outlives_its_reader(lone_desk: Newsroom, event: str) -> None:
    # Given a relay that names the reader in every way
    words = b"550 5.7.1 reader1@example.org reader2%%40example.org (READER3@example.org) blocked by policy\r\n"
    lone_desk.queue()
    with lone_desk.relayed_by(ScriptedRelay([On(event, words)])) as hand:
        hand.send()
    with lone_desk.database.read() as conn:
        shown = deliveries.list_by_state(conn, lone_desk.issue().id)
    said = [row.reply_text for row in shown]
    assert any(said)
    for text in (lone_desk.issue().stopped_reason, *said):
        assert "reader" not in text.lower()
