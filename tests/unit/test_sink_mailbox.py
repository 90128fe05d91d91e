"""The sink's mailbox: one process writes, another follows, and nothing answered is lost to kill -9."""

import asyncio
import re
import resource
import signal
from datetime import UTC, datetime, timedelta
from email.header import Header
from pathlib import Path

import pytest

from tests.support.sink import sink_process, talk_to
from tests.support.words import refuses
from worker.errors import RefusedError
from worker.sink.acceptance_log import AcceptedMail
from worker.sink.mailbox import PAGE_SIZE, Mailbox
from worker.sink.mailbox_writer import LARGEST_INDEX, MailboxWriter

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def mail(number: int, subject: str = "Tides", sender: str = "Tide Survey <news@example.org>") -> AcceptedMail:
    raw = f"Subject: {Header(subject, 'utf-8').encode()}\r\nFrom: {sender}\r\n\r\nNo. {number}\r\n".encode()
    return AcceptedMail(
        f"bounces+{number}@example.org", (f"reader{number}@example.org",), raw, NOON + timedelta(seconds=number)
    )


def test_pages_come_newest_first_while_the_mailbox_grows(tmp_path: Path) -> None:
    # Given
    mailbox = Mailbox(tmp_path / "box")
    assert mailbox.page().entries == ()
    writer = MailboxWriter(tmp_path / "box", limit=1000)
    for number in range(120):
        writer.append(mail(number))

    # When
    first, last = mailbox.page(), mailbox.page(99)
    writer.append(mail(120))

    # Then
    assert [entry.id for entry in first.entries] == list(range(120, 120 - PAGE_SIZE, -1))
    assert (first.total, first.pages, last.number, len(last.entries)) == (120, 3, 3, 20)
    assert mailbox.page().entries[0].rcpts == ("reader120@example.org",)
    assert mailbox.page(0).number == 1
    writer.close()


def test_search_finds_every_word_in_decoded_fields_whatever_their_case(tmp_path: Path) -> None:
    # Given
    writer = MailboxWriter(tmp_path, limit=1000)
    writer.append(mail(1, "Grüße aus dem Watt"))
    writer.append(mail(2, "Новости и приливы", '"Čapek, Karel" <karel@example.net>'))
    writer.close()
    mailbox = Mailbox(tmp_path)

    # When
    found = {query: [entry.id for entry in mailbox.page(query=query).entries] for query in QUERIES}

    # Then
    assert found == QUERIES


QUERIES = {
    "GRÜSSE": [1],
    "gru\u0308ße watt": [1],
    "НОВОСТИ": [2],
    "reader1@": [1],
    "example.net karel": [2],
    "bounces+2": [2],
    "example.org": [2, 1],
    "watt новости": [],
    "%": [],
    "  ": [2, 1],
}


def test_the_oldest_mails_make_room(tmp_path: Path) -> None:
    writer = MailboxWriter(tmp_path, limit=100)
    mailbox = Mailbox(tmp_path)

    for number in range(1000):
        writer.append(mail(number))
        if number % 97 == 0:
            assert mailbox.page().stored <= 100
    writer.close()

    page = mailbox.page()
    assert 90 <= page.stored <= 100
    assert page.entries[0].id == 1000
    assert mailbox.find(1) is None
    assert len(list(tmp_path.iterdir())) <= 2 * 20 + 1


@pytest.mark.parametrize("cut", [1, 40, 10_000])
def test_a_torn_end_costs_only_the_mail_that_was_being_written(tmp_path: Path, cut: int) -> None:
    # Given
    writer = MailboxWriter(tmp_path, limit=100)
    for number in range(3):
        writer.append(mail(number))
    writer.close()
    index = next(tmp_path.glob("*.index"))
    index.write_bytes(index.read_bytes()[: -min(cut, index.stat().st_size)])
    mailbox = Mailbox(tmp_path)
    before = [entry.id for entry in mailbox.page().entries]

    # When
    again = MailboxWriter(tmp_path, limit=100)
    new_id = again.append(mail(7))
    again.close()

    # Then
    assert before == ([2, 1] if cut < 10_000 else [])
    assert [entry.id for entry in mailbox.page().entries] == [new_id, *before]
    assert mailbox.find(new_id) == mailbox.page().entries[0]
    assert mailbox.raw(mailbox.page().entries[0]) == mail(7).raw


def test_a_damaged_line_hides_one_mail_only(tmp_path: Path) -> None:
    writer = MailboxWriter(tmp_path, limit=60)
    for number in range(3):
        writer.append(mail(number))
    writer.close()
    index = next(tmp_path.glob("*.index"))
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(lines[0] + b"\0" * 50 + b"\n" + b'{"id": "x"}\n' + lines[2])

    mailbox = Mailbox(tmp_path)

    assert [entry.id for entry in mailbox.page().entries] == [3, 1]
    assert mailbox.find(3) is not None
    assert mailbox.find(2) is None


def test_a_mail_that_could_not_be_kept_is_not_listed_and_the_next_one_is(tmp_path: Path) -> None:
    # Given files that may not grow, so that a write ends in the middle of a mail
    writer = MailboxWriter(tmp_path, limit=100)
    writer.append(mail(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    # When
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(mail(1).raw) + 5, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.append(mail(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append(mail(3))
    writer.close()

    # Then
    mailbox = Mailbox(tmp_path)
    assert [mailbox.raw(entry) for entry in mailbox.page().entries] == [mail(3).raw, mail(1).raw]


def test_a_folder_emptied_and_filled_anew_is_read_anew(tmp_path: Path) -> None:
    # Given
    writer = MailboxWriter(tmp_path, limit=100)
    writer.append(mail(1, "old"))
    writer.close()
    mailbox = Mailbox(tmp_path)
    assert mailbox.page().entries[0].subject == "old"

    # When
    names = {path.name for path in tmp_path.glob("0*")}
    kept = [path.open("rb") for path in tmp_path.glob("*.index")]  # keeps the inode from being given again
    for name in names:
        (tmp_path / name).unlink()
    assert mailbox.page().stored == 0
    writer = MailboxWriter(tmp_path, limit=100)
    writer.append(mail(2, "new"))
    writer.close()

    # Then
    assert {path.name for path in tmp_path.glob("0*")} == names
    assert [entry.subject for entry in mailbox.page().entries] == ["new"]
    for file in kept:
        file.close()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    writer = MailboxWriter(tmp_path, limit=100)

    with refuses(RefusedError, match="another sink writes"):
        MailboxWriter(tmp_path, limit=100)
    writer.close()

    MailboxWriter(tmp_path, limit=100).close()


def test_every_answered_mail_survives_kill_and_the_next_sink_goes_on(tmp_path: Path) -> None:
    async def send(port: int, number: int) -> None:
        async with talk_to(port) as talk:
            for _ in range(number):
                raw = mail(1).raw
                talk.write(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nBDAT %d LAST\r\n" % len(raw) + raw)
                assert (await talk.replies(3))[2].startswith("250")

    # Given
    with sink_process(tmp_path) as sink:
        asyncio.run(send(sink.port, 30))
        # When
        sink.stop(signal.SIGKILL)
    with sink_process(tmp_path) as sink:
        asyncio.run(send(sink.port, 5))

        # Then
        assert sink.mailbox.page().total == 35
        assert len(sink.accepted()) == 35
        assert sink.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sink_ends_at_once_with_a_slow_client_connected(tmp_path: Path, number: signal.Signals) -> None:
    async def scenario(port: int) -> None:
        async with talk_to(port) as talk, talk_to(port) as idle:
            raw = mail(1).raw
            talk.write(
                b"MAIL FROM:<a@example.org>\r\nRCPT TO:<slow+900@example.org>\r\nBDAT %d LAST\r\n" % len(raw) + raw
            )
            await talk.replies(2)
            assert await asyncio.to_thread(sink.stop, number) == 0
            assert (await idle.reply()).startswith("421 4.3.2")

    with sink_process(tmp_path) as sink:
        asyncio.run(scenario(sink.port))


def test_what_is_counted_and_found_is_what_is_listed(tmp_path: Path) -> None:
    # Given lines that are JSON and yet no mail: without a size, with a time that is none, with a text that is none
    writer = MailboxWriter(tmp_path, limit=200)
    for number in range(5):
        writer.append(mail(number, "tides"))
    writer.close()
    index = next(tmp_path.glob("*.index"))
    lines = index.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"size"', b'"sise"')
    lines[2] = lines[2].replace(b'"at":"2', b'"at":"x')
    lines[3] = re.sub(rb'"subject":"[^"]*"', b'"subject":7', lines[3])
    index.write_bytes(b"".join(lines))

    for page in (Mailbox(tmp_path).page(), Mailbox(tmp_path).page(query="tides")):
        assert [entry.id for entry in page.entries] == [5, 1]
        assert (page.total, page.stored) == (2, 2)


def test_the_index_stays_small_whatever_the_mails_say_of_themselves(tmp_path: Path) -> None:
    # Given the longest lines: many recipients, fields of characters that JSON spells in six
    writer = MailboxWriter(tmp_path, limit=25_000)
    rcpts = tuple(f"{'x' * 60}{number}@{'y' * 180}.example.org" for number in range(100))
    hostile = AcceptedMail("", rcpts, b"Subject: " + b"\x01" * 990 + b"\r\n\r\n", NOON)
    first = writer.append(hostile)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.index"))

    # When
    for _ in range(LARGEST_INDEX // size + 200):
        writer.append(hostile)
    writer.close()

    # Then
    assert size > 10_000
    assert sum(path.stat().st_size for path in tmp_path.glob("*.index")) <= LARGEST_INDEX
    assert Mailbox(tmp_path).find(first) is None


def test_a_mail_is_read_in_pieces(tmp_path: Path) -> None:
    writer = MailboxWriter(tmp_path, limit=60)
    writer.append(mail(1))
    large = AcceptedMail("", ("jane@example.org",), b"Subject: x\r\n\r\n" + b"x" * 200_000, NOON)
    mailbox, number = Mailbox(tmp_path), writer.append(large)
    writer.append(mail(2))

    entry = mailbox.find(number)

    assert entry is not None
    pieces = list(mailbox.pieces(entry))
    assert b"".join(pieces) == large.raw
    assert len(pieces) == 4
    writer.close()
