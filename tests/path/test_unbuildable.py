"""Mails that cannot be built: one copy's trouble, the whole issue's, and what is found before anything is frozen."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.support.lists import Newsroom, newsroom, until
from tests.support.scripted_smtp import STOP_READING, On, ScriptedRelay
from tests.support.words import refuses
from worker.dispatch import hand_over
from worker.dispatch.events import Step
from worker.domain.issue import IssueState
from worker.errors import RefusedError
from worker.message.key_store import make_key
from worker.storage import publications, schema

READERS = 30


@pytest.fixture
def desk(tmp_path: Path, sqlite_url: str) -> Iterator[Newsroom]:
    with newsroom(tmp_path, sqlite_url, with_relay=False) as made:
        made.readers(READERS)
        yield made


def spoil(desk: Newsroom, *addresses: str) -> None:
    """Values that cannot stand in a mail, as something else than an import might write them."""
    with desk.database.write() as conn:
        conn.execute(
            update(schema.subscriber).where(schema.subscriber.c.address.in_(addresses)).values(name="N" * 20_000)
        )


def change_stored(desk: Newsroom, **fields: Any) -> None:
    """The frozen issue as a damaged copy or another version would leave it."""
    with desk.database.write() as conn:
        body = json.loads(conn.execute(schema.compiled_issue.select()).one().body)
        conn.execute(update(schema.compiled_issue).values(body=json.dumps(body | fields)))


def send(desk: Newsroom) -> None:
    with desk.relayed_by(ScriptedRelay()) as hand:
        hand.send()


def test_a_row_that_cannot_be_built_fails_alone(desk: Newsroom) -> None:
    desk.queue()
    spoil(desk, "reader3@example.org", "reader4@example.org")
    send(desk)
    assert desk.states() == {"accepted": READERS - 2, "failed": 2}
    row = desk.rows()["reader3@example.org"]
    assert row.reason == "unbuildable"


def test_an_issue_of_which_every_row_fails_is_paused_with_the_cause(desk: Newsroom) -> None:
    desk.queue()
    spoil(desk, *(f"reader{n}@example.org" for n in range(1, READERS + 1)))
    send(desk)
    assert desk.issue().state is IssueState.PAUSED
    assert "could not be built: the value of name is longer than" in desk.issue().stopped_reason
    assert desk.states()["failed"] <= READERS
    desk.assert_books_add_up()


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"from_address": "no address"}, "cannot"), ({"boundary": "\n"}, "boundary"), ({"html": "{% if %}"}, "read")],
)
def test_an_issue_whose_stored_text_makes_no_mail_is_paused_and_nobody_fails(
    desk: Newsroom, fields: dict[str, str], words: str
) -> None:
    desk.queue()
    change_stored(desk, **fields)
    send(desk)
    assert desk.issue().state is IssueState.PAUSED
    assert words in desk.issue().stopped_reason
    assert desk.states() == {"waiting": READERS}


def test_an_issue_whose_stored_text_cannot_be_read_is_paused(desk: Newsroom) -> None:
    desk.queue()
    with desk.database.write() as conn:
        conn.execute(update(schema.compiled_issue).values(body="{"))
    send(desk)
    assert desk.issue().state is IssueState.PAUSED
    assert "cannot be read" in desk.issue().stopped_reason


def test_a_signing_key_that_cannot_be_used_pauses_the_issue(desk: Newsroom) -> None:
    desk.queue()
    folder = desk.settings.dkim_dir / "rivers.example.org"
    folder.mkdir(parents=True)
    (folder / "c1.pem").write_text("no key")
    send(desk)
    assert desk.issue().state is IssueState.PAUSED
    assert desk.issue().stopped_reason.startswith(f"safety stop: the DKIM key {folder / 'c1.pem'} cannot be used: ")


def test_what_no_worker_could_build_is_not_queued(desk: Newsroom) -> None:
    with desk.database.write() as conn:
        publications.edit_publication(
            conn, "rivers", {"bounce_address": f"{'b' * 40}@rivers.example.org"}, actor="test"
        )
    with refuses(RefusedError, "needs at most .* characters before the @"):
        desk.queue()


def test_a_signed_mail_for_the_longest_reader_is_tried_too(desk: Newsroom) -> None:
    make_key(desk.settings.dkim_dir, "rivers.example.org", "c1")
    desk.queue()
    assert desk.issue().state is IssueState.HOLDING


def test_large_mails_are_built_no_faster_than_they_leave(desk: Newsroom) -> None:
    # Given mails of half a megabyte, and a relay that reads none of them
    body = "\n\n".join("A line of the gauge book, as long as it takes. " * 20 for _ in range(60))
    desk.join(*(f"more{n}@example.org" for n in range(170)))
    desk.queue(file=desk.write("spring", body=body))
    built = []
    is_full = threading.Event()

    def count(step: Step, _: int, number: int) -> None:
        if step is Step.BUILT:
            built.append(number)

    relay = ScriptedRelay([On("body_begins", STOP_READING), On("bdat", STOP_READING)])
    with desk.relayed_by(relay) as hand:
        hand.sender.hook = count
        hand.tick()
        hand.work(most=1)
        part = hand.slice()
        batch = part.claim()
        assert batch is not None
        worker = threading.Thread(target=part.hand_over, args=(batch,))
        worker.start()
        try:
            until(lambda: hand.sender.hand_over.is_full, "the connections have enough")
            is_full.set()
            # Then no more than a portion over the measure is held
            held = hand.sender.hand_over._submitted_octets
            assert held <= hand_over.MOST_OCTETS + 3 * 1024 * 1024
            assert sum(built) < len(batch.due)
            # And whoever waits for room hears the word to stop, although nothing comes back
            hand.sender.draining.set()
            worker.join(20)
            assert not worker.is_alive()
        finally:
            hand.sender.draining.set()
            worker.join(20)
            hand.sender.hand_over.close(0.0)
            part.drain(0.0)
            part.give_back()
        assert not worker.is_alive()
    desk.bury()
    desk.assert_books_add_up()
