"""Everything between a file of readers and their mailboxes: import, queue, worker process, Postfix, and its far side.

One `FarSide` serves a module's tests: its issues have left through a real Postfix, and what stands behind that relay
is what readers receive.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from selectolax.lexbor import LexborHTMLParser

from tests.support.lists import Newsroom, newsroom
from tests.support.mails import by_library
from tests.support.postfix import PostfixRelay, StartPostfix
from tests.support.sink import SinkProcess, sink_process
from worker.consent.imports import import_subscribers
from worker.domain.issue import IssueState
from worker.message.dkim import dns_record
from worker.message.key_store import make_key, show_public
from worker.storage import publications
from worker.tokens import Keyring

BASE_URL = "https://news.orrin-ring.test"
DOMAIN = "orrin-ring.test"
SELECTOR = "c1"
BOUNCES = f"returns@{DOMAIN}"
"""The return path of ring-statements; ring-news has none of its own."""

TITLES = {"ring-news": "Orrin Ring News", "ring-statements": "Statements of the Orrin Ring"}

_URL = re.compile(r"https?://[^\s<>\"']+")


@dataclass(frozen=True)
class Received:
    """One mail behind the relay: what the relay said in its dialogue, and every octet it handed on."""

    mail_from: str
    rcpt: str
    raw: bytes

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0] + b"\r\n"

    @cached_property
    def parts(self) -> tuple[str, str]:
        """(text, HTML), decoded by the standard library."""
        return by_library(self.raw)[1:]

    @property
    def unsubscribe_url(self) -> str:
        found = re.search(rb"^List-Unsubscribe: <([^>\r\n]+)>", self.head, re.MULTILINE)
        assert found, self.head
        return found[1].decode()

    @property
    def links(self) -> list[str]:
        """Every address in headers, text and HTML, pictures too, once each, in order."""
        text, html = self.parts
        tree = LexborHTMLParser(html)
        inside = [node.attributes.get(name) for name in ("href", "src") for node in tree.css(f"[{name}]")]
        # Headers are unfolded first; a URL in a text ends before the full stop of its sentence.
        head = re.sub(r"\r\n[ \t]", "", self.head.decode())
        plain = [url.rstrip(".,;:!?)") for part in (head, text) for url in _URL.findall(part)]
        return list(dict.fromkeys([*plain, *(link for link in inside if link)]))

    @property
    def own_links(self) -> list[str]:
        """Those that lead to us."""
        return [link for link in self.links if link.startswith(f"{BASE_URL}/")]

    @property
    def tokens(self) -> list[str]:
        """What stands in its links and lets one do or see something."""
        found = [
            urlsplit(link).path.split("/")[2] for link in self.own_links if re.match(r"/[uv]/", urlsplit(link).path)
        ]
        return list(dict.fromkeys(found))


@dataclass
class FarSide:
    """An installation whose relay is a real Postfix, and the mailboxes behind it."""

    desk: Newsroom
    relay: PostfixRelay
    sink: SinkProcess
    folder: Path

    @property
    def keyring(self) -> Keyring:
        return Keyring(self.desk.settings.keys)

    @property
    def dkim_record(self) -> str:
        path = self.desk.settings.dkim_dir / DOMAIN / f"{SELECTOR}.pem"
        return dns_record(show_public(path))

    def publish(self, slug: str, readers: Sequence[tuple[str, str]]) -> None:
        """A publication with these (address, name), imported from a file as an editor does; all must be taken in."""
        typed = {
            "slug": slug,
            "title": TITLES[slug],
            "from": f"The Orrin Ring <news@{DOMAIN}>",
            "postal_address": "The Orrin Ring\nQuay House, 7 Harbour Street\nPortavela",
            "contact": f"people@{DOMAIN}",
            "bounce_address": BOUNCES if slug == "ring-statements" else None,
        }
        with self.desk.database.write() as conn:
            publications.create_publication(conn, typed, actor="test")
        path = self.folder / f"{slug}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("email", "name"), *readers])
        result = import_subscribers(
            self.desk.database, slug, path, consent="sign-up form, 2026-05-03", actor="editor", state_dir=self.folder
        )
        assert (result.added, result.rejected) == (len(readers), 0), result.examples

    def send(self, *files: Path) -> None:
        """Queue these files, and have a worker process send them to the last row."""
        slugs = [self.desk.queue(file.stem, file=file).slug for file in files]
        self.work(*slugs)

    def work(self, *slugs: str) -> None:
        """A worker process until these issues are finished; then everything accepted has reached the far side."""
        with self.desk.worker() as worker:
            for slug in slugs:
                self.desk.until_state(IssueState.FINISHED, slug)
            assert worker.end() == 0, worker.said
        accepted = sum(self.desk.totals(issue).accepted for issue in self._slugs())
        self.desk.until(lambda: len(self.sink.accepted()) >= accepted, f"{accepted} mails arrived\n{self.relay.log}")

    def received(self, slug: str) -> dict[str, Received]:
        """{address: mail} of an issue, told apart by the return path alone, as a bounce would be."""
        issue_id = self.desk.issue(slug).id
        return {mail.rcpt: mail for mail in self.everything() if self.delivery_of(mail)[0] == issue_id}

    def everything(self) -> list[Received]:
        """All mails behind the relay, in the order they came."""
        mailbox = self.sink.mailbox
        first = mailbox.page()
        entries = [entry for number in range(1, first.pages + 1) for entry in mailbox.page(number).entries]
        found = []
        for entry in reversed(entries):
            raw = mailbox.raw(entry)
            assert raw is not None
            assert len(entry.rcpts) == 1
            found.append(Received(entry.mail_from, entry.rcpts[0], raw))
        return found

    def delivery_of(self, mail: Received) -> tuple[int, int]:
        """(issue, n) that a mail's return path names."""
        return self.keyring.read_verp(mail.mail_from.rpartition("@")[0].rpartition("+")[2])

    def _slugs(self) -> list[str]:
        with self.desk.database.read() as conn:
            return list(conn.exec_driver_sql("SELECT slug FROM issue ORDER BY id").scalars())


@contextmanager
def far_side(
    folder: Path, database_url: str, start_postfix: StartPostfix, *, more: str = "", **given: str
) -> Iterator[FarSide]:
    """An installation below `folder` with a DKIM key; `more` are lines for the relay's main.cf."""
    with sink_process(folder / "sink") as sink:
        relay = start_postfix("127.0.0.1", sink.port, more)
        settings: Mapping[str, str] = {"smtp_url": f"smtp://127.0.0.1:{relay.port}", "base_url": BASE_URL, **given}
        with newsroom(folder, database_url, with_relay=False, **settings) as desk:
            make_key(desk.settings.dkim_dir, DOMAIN, SELECTOR)
            yield FarSide(desk, relay, sink, folder)
