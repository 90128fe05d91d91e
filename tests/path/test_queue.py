"""Queueing holds the writer lock for a moment only, and freezes exactly what was checked."""

import sqlite3
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.issues import MEMBERS, STATEMENT
from tests.support.lists import Newsroom
from tests.support.words import refuses
from worker.cli.queue import spell_proof
from worker.dispatch.queue import Prepared, Queued, prepare, queue_issue, refuse_unready
from worker.domain.compiled import CompiledIssue
from worker.domain.delivery import DoubtPolicy
from worker.domain.issue import AudienceKind, IssueState
from worker.editorial.approval import approve
from worker.editorial.drafts import check_draft
from worker.editorial.preview import preview_issue
from worker.editorial.proof import compile_for_proof, send_proof, sign_copy
from worker.errors import LintError, RefusedError
from worker.storage import schema
from worker.storage.ledger import issues
from worker.tokens import TOKEN_CHARS, Keyring, Purpose, Token

PUBLICATIONS = {MEMBERS: "ring-news", STATEMENT: "ring-statements"}
DUE = datetime(2099, 1, 2, 3, 4, tzinfo=UTC)


class Opened:
    """How often files below a folder are opened for reading; the interpreter's own audit events tell."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.names, self._on = str(folder), [], True
        sys.addaudithook(self._hear)

    def _hear(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self._on and name == "open" and str(arguments[0]).startswith(self._folder):
            self.names.append(Path(str(arguments[0])).name)

    def stop(self) -> list[str]:
        self._on = False
        return sorted(self.names)


def queue(desk: Newsroom, prepared: Prepared, **given: Any) -> Queued:
    terms = {"due_at": None, "zone": "UTC", "hold_s": 600, "doubt": DoubtPolicy.NEVER_TWICE, "actor": "editor"}
    return queue_issue(desk.database, desk.settings, prepared, **{**terms, **given})


def compiled(desk: Newsroom, slug: str) -> CompiledIssue:
    with desk.database.read() as conn:
        table = schema.compiled_issue
        body = conn.execute(select(table.c.body).where(table.c.issue_id == desk.issue(slug).id)).scalar_one()
    return CompiledIssue.from_json(body)


class Watched(Mapping[str, Any]):
    """Media that note, whenever somebody looks at them, whether the database's writer lock is held."""

    def __init__(self, media: Mapping[str, Any], path: str) -> None:
        self._media, self._path, self.looks, self.under_lock = media, path, 0, 0

    def _note(self) -> None:
        self.looks += 1
        conn = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("ROLLBACK")
        except sqlite3.OperationalError:
            self.under_lock += 1
        finally:
            conn.close()

    def __getitem__(self, key: str) -> Any:
        self._note()
        return self._media[key]

    def __iter__(self) -> Iterator[str]:
        self._note()
        return iter(self._media)

    def __len__(self) -> int:
        return len(self._media)


@pytest.mark.parametrize("path", [MEMBERS, STATEMENT], ids=["members", "statement"])
def test_an_opt_out_waits_for_no_picture_and_no_compiling(desk: Newsroom, path: Path) -> None:
    # Given an issue with pictures: whoever compiles it or makes rows of them must look at them
    desk.readers(2, PUBLICATIONS[path])
    prepared = prepare(desk.database, desk.settings, path)
    media = Watched(prepared.draft.media, desk.given["database_url"].removeprefix("sqlite:///"))

    # When
    queue(desk, replace(prepared, draft=replace(prepared.draft, media=media)))

    # Then nobody did while the one writer lock was held, and all of them are stored, a figure's large one too
    assert (media.looks > 0, media.under_lock) == (True, 0)
    with desk.database.read() as conn:
        stored = set(conn.execute(select(schema.media.c.sha256)).scalars())
    assert stored == {item.name.partition(".")[0] for item in prepared.draft.media.values()}


@pytest.mark.parametrize("what", ["queue", "preview", "proof"])
def test_every_picture_is_read_and_made_smaller_once(desk: Newsroom, what: str) -> None:
    # Given
    desk.readers(2, "ring-statements")
    opened = Opened(STATEMENT.parent / "media")

    # When
    if what == "queue":
        queue(desk, prepare(desk.database, desk.settings, STATEMENT))
    else:
        draft = check_draft(desk.database, desk.settings, STATEMENT)
        if what == "preview":
            preview_issue(desk.database, desk.settings, draft, None).html()
        else:
            send_proof(desk.database, desk.settings, draft, ["me@example.org"])

    # Then
    names = ["annex-1.pdf", "figure-large.jpg", "figure.jpg", "japan.jpg", "signature.png"]
    assert opened.stop() == names


@pytest.mark.parametrize("path", [MEMBERS, STATEMENT], ids=["members", "statement"])
def test_the_link_to_the_issue_s_page_opens_that_issue_and_nobody_sees_what_stood_in_for_it(
    desk: Newsroom, path: Path
) -> None:
    # Given
    desk.readers(2, PUBLICATIONS[path])
    prepared = prepare(desk.database, desk.settings, path)

    # When
    issue = queue(desk, prepared).issue

    # Then
    frozen = compiled(desk, issue.slug)
    assert prepared.draft.stand_in not in frozen.to_json()
    assert frozen.fingerprint == issue.fingerprint
    assert f"corranto-{issue.id}-" in frozen.boundary
    links = {part[:TOKEN_CHARS] for text in (frozen.html, frozen.text) for part in text.split("/v/")[1:]}
    assert [Keyring(desk.settings.keys).read(link, Purpose.VIEW).issue for link in links] == [issue.id]


def test_a_proof_shows_no_stand_in_either(desk: Newsroom) -> None:
    # Given
    desk.readers(1, "ring-news")
    draft = check_draft(desk.database, desk.settings, MEMBERS)

    # When
    compiled_proof = compile_for_proof(desk.settings, draft, sign_copy(desk.settings, 7, 2))

    # Then
    assert draft.stand_in not in compiled_proof.to_json()
    link = compiled_proof.text.split("/v/")[1][:TOKEN_CHARS]
    assert Keyring(desk.settings.keys).read(link, Purpose.PROOF) == Token(Purpose.PROOF, generation=2, issue=7)


def test_two_editors_who_queue_the_same_file_at_once_send_it_once(both_desks: Newsroom) -> None:
    # Given both have been shown what would be sent
    desk = both_desks
    desk.readers(2)
    file = desk.write("spring")
    mine, theirs = (prepare(desk.database, desk.settings, file) for _ in range(2))
    first = queue(desk, theirs).issue

    # When / Then
    with refuses(RefusedError, "spring was queued by somebody else just now; see: corranto issue show spring"):
        queue(desk, mine)
    assert desk.issue().fingerprint == first.fingerprint


def test_a_file_with_an_error_is_not_queued_whoever_asks(desk: Newsroom) -> None:
    # Given
    desk.readers(2)
    prepared = prepare(desk.database, desk.settings, desk.write("spring", body="{{ nmae }}"))

    # When / Then
    with refuses(LintError, "1 error and cannot be queued; see: corranto lint"):
        queue(desk, prepared)


def test_an_issue_for_nobody_may_be_scheduled_but_not_sent_now(desk: Newsroom) -> None:
    # Given
    desk.readers(1)
    with desk.database.write() as conn:
        conn.execute(update(schema.subscription).values(state="pending", confirmed_at=None))
    prepared = prepare(desk.database, desk.settings, desk.write("spring"))

    # When / Then
    with refuses(RefusedError, "nobody would get spring: rivers has 1 unconfirmed, 0 opted out, 0 suppressed"):
        queue(desk, prepared)
    scheduled = queue(desk, prepared, due_at=datetime.now(UTC) + timedelta(days=1))
    assert scheduled.issue.state is IssueState.SCHEDULED
    assert scheduled.issue.hold_until is None


def test_mail_that_comes_back_must_have_an_address_to_come_back_to(desk: Newsroom) -> None:
    # Given a relay that is not on this machine
    desk.readers(1)
    prepared = prepare(desk.database, desk.settings, desk.write("spring"))
    far = desk.settings.model_copy(update={"smtp_url": type(desk.settings.smtp_url)("smtp://relay.example.net")})

    # When / Then
    with refuses(RefusedError, "rivers has no bounce address, so mail that comes back would be lost"):
        refuse_unready(far, prepared, None)


def test_an_editor_is_told_at_once_what_the_issue_will_wait_for(desk: Newsroom) -> None:
    # Given a broker and a relay that do not answer
    desk.readers(1)
    prepared = prepare(desk.database, desk.settings, desk.write("spring"))
    url = type(desk.settings.smtp_url)
    silent = {"broker_url": url("redis://127.0.0.1:1/0"), "smtp_url": url("smtp://127.0.0.1:1")}
    away = desk.settings.model_copy(update=silent)

    # When
    queued = queue_issue(
        *(desk.database, away, prepared),
        **{"due_at": None, "zone": "UTC", "hold_s": 600, "doubt": DoubtPolicy.NEVER_TWICE, "actor": "editor"},
    )

    # Then
    assert queued.issue.state is IssueState.HOLDING
    assert [warning.code for warning in queued.warnings] == ["queue.waits_for_broker", "queue.waits_for_relay"]


def test_who_queued_what_for_how_many_is_written_down_and_the_terms_are_kept(both_desks: Newsroom) -> None:
    # Given
    desk = both_desks
    desk.readers(3)
    desk.queue("winter")
    prepared = prepare(
        *(desk.database, desk.settings, desk.write("spring")), audience=AudienceKind.REST_OF, audience_of="winter"
    )

    # When
    issue = queue(desk, prepared, doubt=DoubtPolicy.NEVER_MISS, hold_s=90, due_at=DUE, zone="Europe/Paris").issue

    # Then
    with desk.database.read() as conn:
        kind = issues.audience_kind(conn, issue.id)
        act = conn.execute(select(schema.act).order_by(schema.act.c.id.desc()).limit(1)).one()
    assert kind == (AudienceKind.REST_OF, desk.issue("winter").id)
    assert (issue.doubt, issue.hold_s, issue.due_at, issue.zone) == (DoubtPolicy.NEVER_MISS, 90, DUE, "Europe/Paris")
    assert (act.actor, act.act, act.object) == ("editor", "issue.queue", "issue spring")


def test_queueing_says_who_approved_this_very_text(desk: Newsroom) -> None:
    # Given a text mailed to two people, of whom one says yes
    desk.readers(2)
    file = desk.write("spring")
    before = prepare(desk.database, desk.settings, file)
    send_proof(desk.database, desk.settings, before.draft, ["me@example.org", "chief@example.org"])
    mailed = prepare(desk.database, desk.settings, file)
    token = Keyring(desk.settings.keys).read(sign_copy(desk.settings, 1, 2), Purpose.PROOF)
    approve(desk.database, token, approved=True)
    approved = prepare(desk.database, desk.settings, file)

    # When a word is changed
    desk.write("spring", body="The gauge stood at five metres.")
    changed = prepare(desk.database, desk.settings, file)

    # Then
    assert spell_proof(before) == "none was mailed"
    assert spell_proof(mailed) == "mailed to 2, approved by nobody yet"
    assert spell_proof(approved).startswith("approved by chief@example.org on ")
    assert spell_proof(changed) == "the text was changed since the last proof, which was approved"


def test_each_proof_s_links_are_its_own_copy_s(desk: Newsroom) -> None:
    desk.readers(1)
    draft = check_draft(desk.database, desk.settings, desk.write("spring"))

    send_proof(desk.database, desk.settings, draft, ["me@example.org", "chief@example.org"])

    assert desk.relay is not None
    mailbox = desk.relay.mailbox
    mails = {entry.rcpts[0]: mailbox.raw(entry).replace(b"=\r\n", b"").decode() for entry in mailbox.page().entries}
    tokens = [sign_copy(desk.settings, 1, no) for no in (1, 2)]
    found = [[token in mails[to] for token in tokens] for to in ("me@example.org", "chief@example.org")]
    assert found == [[True, False], [False, True]]
